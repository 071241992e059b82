//! Labels of intents: set on the leader, forwarded from anywhere else.

use toka_ledger::intent::IntentId;
use toka_ledger::{IntentLabel, Invalid, Outcome};
use toka_proto::convert::read::check_vault;
use toka_proto::convert::status;
use toka_proto::v1;
use toka_raft::{CommitError, Leader};
use tokio::time::timeout_at;
use tonic::{Request, Response, Status};

use super::Shared;
use super::commit::{Refused, forwarded, header};
use crate::refusal;
use crate::routing::{self, Call, Pauses, Route};

pub(super) async fn label(
    shared: &Shared,
    request: Request<v1::LabelIntentRequest>,
) -> Result<Response<v1::LabelIntentResponse>, Status> {
    let call = shared.admit(request.metadata())?;
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
        let last = match attempt {
            Ok(response) => return Ok(response),
            Err(Refused::Final(status)) => return Err(status),
            Err(Refused::Again(last)) => last,
        };
        let leader = route.leader();
        if !shared
            .router
            .before_retry(leader, call.deadline, &mut pauses)
            .await
        {
            return Err(routing::out_of_time(&last));
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
    let proposed = shared.replica.label_intent(IntentId(intent), label);
    match timeout_at(call.deadline, proposed).await {
        Ok(Ok(Outcome::Labelled { revision, intent })) => {
            Ok(Response::new(v1::LabelIntentResponse {
                header: Some(header(shared, revision)),
                revision,
                intent: intent.0,
            }))
        }
        Ok(Ok(Outcome::Rejected { rejection, .. })) => {
            Err(Refused::Final(status::rejection(&rejection)))
        }
        Ok(Ok(Outcome::Committed { .. } | Outcome::Created { .. })) => {
            unreachable!("a label has no other outcome")
        }
        Ok(Err(error @ (CommitError::NotLeader { .. } | CommitError::Unknown)))
            if !call.is_forwarded =>
        {
            Err(Refused::Again(refusal::commit(&error)))
        }
        Ok(Err(error)) => Err(Refused::Final(refusal::commit(&error))),
        Err(_) => Err(Refused::Final(status::no_leader(
            "the label was not agreed on before the deadline; it is safe to repeat it",
        ))),
    }
}
