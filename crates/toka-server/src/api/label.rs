//! Labels of intents: set on the leader, forwarded from anywhere else.

use toka_ledger::intent::IntentId;
use toka_ledger::{IntentLabel, Invalid, Outcome};
use toka_proto::convert::read::check_vault;
use toka_proto::convert::status;
use toka_proto::v1;
use toka_raft::Leader;
use tonic::{Request, Response, Status};

use super::Shared;
use super::commit::{Refused, forwarded, header, proposed};
use crate::routing::{Call, Pauses, Route};

pub(super) async fn label(
    shared: &Shared,
    request: Request<v1::LabelIntentRequest>,
) -> Result<Response<v1::LabelIntentResponse>, Status> {
    let call = shared.admit(&request)?;
    let _inside = shared.gates.commits.enter()?;
    let request = request.into_inner();
    let label = check(&request).map_err(|error| status::invalid(&error))?;
    let mut pauses = Pauses::default();
    loop {
        let route = shared.router.route(&call).await?;
        let attempt = match &route {
            Route::Here(_) => propose(shared, &call, request.intent, label.clone()).await,
            Route::There(leader) => forward(shared, &call, leader, request.clone()).await,
        };
        match attempt {
            Ok(response) => return Ok(response),
            Err(refused) => {
                refused
                    .before_retry(shared, &call, &route, &mut pauses)
                    .await?
            }
        }
    }
}

async fn forward(
    shared: &Shared,
    call: &Call,
    leader: &Leader,
    request: v1::LabelIntentRequest,
) -> Result<Response<v1::LabelIntentResponse>, Refused> {
    let mut client = shared.router.intents(leader).map_err(Refused::Again)?;
    let request = shared.router.timed_request(call, request);
    forwarded(shared, call, leader, client.label_intent(request)).await
}

fn check(request: &v1::LabelIntentRequest) -> Result<Option<IntentLabel>, Invalid> {
    check_vault(&request.vault)?;
    (!request.label.is_empty())
        .then(|| IntentLabel::new(&request.label))
        .transpose()
}

async fn propose(
    shared: &Shared,
    call: &Call,
    intent: u64,
    label: Option<IntentLabel>,
) -> Result<Response<v1::LabelIntentResponse>, Refused> {
    let labelled = shared.replica.label_intent(IntentId(intent), label);
    match proposed(call, "label", labelled).await? {
        Outcome::Labelled { revision, intent } => Ok(Response::new(v1::LabelIntentResponse {
            header: Some(header(shared, revision)),
            revision,
            intent: intent.0,
        })),
        Outcome::Rejected { rejection, .. } => Err(Refused::Final(status::rejection(&rejection))),
        other => unreachable!("a label has no other outcome: {other:?}"),
    }
}
