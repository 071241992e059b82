//! Commits, one call each: here on the leader, forwarded from anywhere else.

use prost::Message;
use toka_ledger::command::Commit;
use toka_ledger::{Outcome, Rejection};
use toka_proto::convert::commit::prepare;
use toka_proto::convert::read::check_vault;
use toka_proto::convert::status;
use toka_proto::v1;
use toka_raft::{CommitError, Leader};
use tokio::time::timeout_at;
use tonic::{Request, Response, Status};

use super::Shared;
use super::shared::off_reactor;
use crate::limits::PREPARE_INLINE_BYTES;
use crate::refusal;
use crate::routing::{self, Call, Pauses, Route};

/// What became of an attempt.
enum Attempt {
    /// This is the answer.
    Done(Result<Response<v1::CommitResponse>, Status>),
    /// The leader was lost. The commit may have been applied: trying again is safe, since what was
    /// applied is found by its digest.
    Again(Status),
}

pub(super) async fn commit(
    shared: &Shared,
    request: Request<v1::CommitRequest>,
) -> Result<Response<v1::CommitResponse>, Status> {
    let call = shared.admit(request.metadata())?;
    let _inside = shared.gates.commits.enter()?;
    let request = request.into_inner();
    check_vault(&request.vault).map_err(|error| status::invalid(&error))?;
    let mut prepared = None;
    let mut pauses = Pauses::default();
    loop {
        let route = shared.router.route(&call).await?;
        let attempt = match &route {
            Route::Here(_) => {
                let commit = match prepared.take() {
                    Some(commit) => commit,
                    None => prepare_one(request.clone()).await?,
                };
                prepared = Some(commit.clone());
                propose(shared, &call, commit).await
            }
            Route::There(leader) => forward(shared, &call, leader, request.clone()).await,
        };
        let last = match attempt {
            Attempt::Done(answer) => return answer,
            Attempt::Again(last) => last,
        };
        tracing::debug!(
            leader = route.leader().node_id,
            reason = last.message(),
            "commit again"
        );
        if !shared
            .router
            .before_retry(route.leader(), call.deadline, &mut pauses)
            .await
        {
            return Err(routing::out_of_time(&last));
        }
    }
}

async fn prepare_one(request: v1::CommitRequest) -> Result<Commit, Status> {
    let v1::CommitRequest {
        events,
        preconditions,
        ..
    } = request;
    prepare_events(events, preconditions).await
}

/// Checks and prepares; the leader's clock gives the time later.
pub(super) async fn prepare_events(
    events: Vec<v1::NewEvent>,
    preconditions: Vec<v1::Precondition>,
) -> Result<Commit, Status> {
    let bytes: usize = events.iter().map(Message::encoded_len).sum();
    let prepared = if bytes > PREPARE_INLINE_BYTES {
        off_reactor(move || prepare(events, preconditions, 0)).await?
    } else {
        prepare(events, preconditions, 0)
    };
    prepared.map_err(|error| status::invalid(&error))
}

async fn propose(shared: &Shared, call: &Call, commit: Commit) -> Attempt {
    match timeout_at(call.deadline, shared.replica.commit(commit)).await {
        Ok(Ok(outcome)) => Attempt::Done(response(shared, outcome).map(Response::new)),
        Ok(Err(error @ (CommitError::NotLeader { .. } | CommitError::Unknown)))
            if !call.is_forwarded =>
        {
            Attempt::Again(refusal::commit(&error))
        }
        Ok(Err(error)) => Attempt::Done(Err(refusal::commit(&error))),
        Err(_) => Attempt::Done(Err(status::no_leader(
            "the commit was not agreed on before the deadline; it is safe to repeat it",
        ))),
    }
}

async fn forward(
    shared: &Shared,
    call: &Call,
    leader: &Leader,
    request: v1::CommitRequest,
) -> Attempt {
    let router = &shared.router;
    let mut client = match router.vault(leader) {
        Ok(client) => client,
        Err(status) => return Attempt::Again(status),
    };
    let request = router.timed_request(call, request);
    let answer = tokio::select! {
        answer = timeout_at(call.deadline, client.commit(request)) => answer,
        // A leader that was cut off from the others may never answer.
        () = router.superseded(leader) => {
            return Attempt::Again(status::no_leader("the leader was replaced"));
        }
    };
    match answer {
        Ok(Ok(reply)) => Attempt::Done(Ok(routing::relay(reply))),
        Ok(Err(refusal)) if routing::is_worth_another_leader(&refusal) => Attempt::Again(refusal),
        Ok(Err(refusal)) => Attempt::Done(Err(routing::relay_status(&refusal))),
        Err(_) => Attempt::Again(status::no_leader("the leader did not answer in time")),
    }
}

/// An outcome as a reply.
fn response(shared: &Shared, outcome: Outcome) -> Result<v1::CommitResponse, Status> {
    let Committed { revision, events } = committed(outcome)?;
    Ok(v1::CommitResponse {
        header: Some(header(shared, revision)),
        revision,
        events,
    })
}

/// A commit that was applied.
pub(super) struct Committed {
    pub(super) revision: u64,
    pub(super) events: Vec<v1::Event>,
}

pub(super) fn committed(outcome: Outcome) -> Result<Committed, Status> {
    match outcome {
        Outcome::Committed { revision, headers } => {
            let events = headers
                .iter()
                .map(|header| v1::Event::from(&**header))
                .collect();
            Ok(Committed { revision, events })
        }
        Outcome::Rejected { rejection, .. } => Err(status::rejection(&rejection)),
        // The answer to a command that no client can send.
        Outcome::Created { .. } => Err(status::rejection(&Rejection::AlreadyCreated)),
    }
}

/// State of the leader after a commit at `revision`.
pub(super) fn header(shared: &Shared, revision: u64) -> v1::ResponseHeader {
    let mut header = shared.header(&shared.reader.position());
    // The outcome may be known a moment before the position is published.
    header.revision = header.revision.max(revision);
    header
}
