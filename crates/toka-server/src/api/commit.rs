//! Commits, one call each: here on the leader, forwarded from anywhere else.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use toka_ledger::command::Commit;
use toka_ledger::{EventHeader, Outcome, Rejection};
use toka_proto::convert::commit::{prepare, set_cursor_histories};
use toka_proto::convert::coordination::mix_deliveries;
use toka_proto::convert::read::check_vault;
use toka_proto::convert::status;
use toka_proto::convert::wire::{EventParts, put_message};
use toka_proto::v1;
use toka_raft::{CommitError, Leader};
use tokio::time::timeout_at;
use tonic::{Request, Response, Status};

use super::Shared;
use super::shared::off_reactor;
use crate::auth::Access;
use crate::limits::PREPARE_INLINE_BYTES;
use crate::refusal;
use crate::routing::{self, Call, Pauses, Route};

/// An attempt without an answer.
pub(super) enum Refused {
    /// This is the answer.
    Final(Status),
    /// The leader was lost. The commit may have been applied: trying again is safe, since what was
    /// applied is found by its digest.
    Again(Status),
}

/// The answer is an encoded [`v1::CommitResponse`].
pub(super) async fn commit(
    shared: &Shared,
    request: Request<v1::CommitRequest>,
) -> Result<Response<Bytes>, Status> {
    let call = shared.admit(&request)?;
    let _inside = shared.gates.commits.enter()?;
    let request = request.into_inner();
    check_vault(&request.vault).map_err(|error| status::invalid(&error))?;
    shared.check_cursors(&request.preconditions)?;
    call.access
        .check_commit(&request.events, &request.preconditions)?;
    let mut work = Work::Sent(request);
    let mut pauses = Pauses::default();
    loop {
        let route = shared.router.route(&call).await?;
        let attempt = match &route {
            Route::Here(_) => {
                if let Work::Sent(sent) = &work {
                    let (events, preconditions) = (&sent.events, &sent.preconditions);
                    let parents =
                        shared.check_parents(&call.access, call.deadline, events, preconditions);
                    parents.await?;
                }
                let commit = work.prepare(shared.history_id()).await?;
                shared.check_moves(&commit, call.deadline).await?;
                let attempt = propose(shared, &call, &commit).await;
                work = Work::Prepared(commit);
                attempt
            }
            Route::There(leader) => {
                let request = work.message(shared.history_id());
                // Boxed, as what follows from a refusal: a commit that the leader takes is not to carry the room for it.
                Box::pin(forward(shared, &call, leader, request)).await
            }
        };
        match attempt {
            Ok(response) => return Ok(response),
            Err(refused) => {
                Box::pin(refused.before_retry(shared, &call, &route, &mut pauses)).await?;
            }
        }
    }
}

impl Refused {
    /// Waits until it is time to try again.
    ///
    /// # Errors
    /// The final answer, or that time is up.
    pub(super) async fn before_retry(
        self,
        shared: &Shared,
        call: &Call,
        route: &Route,
        pauses: &mut Pauses,
    ) -> Result<(), Status> {
        let last = match self {
            Self::Final(status) => return Err(status),
            Self::Again(last) => last,
        };
        let leader = route.leader();
        tracing::debug!(
            leader = leader.node_id,
            reason = last.message(),
            "command again"
        );
        let is_in_time = shared.router.before_retry(leader, call.deadline, pauses);
        match is_in_time.await {
            true => Ok(()),
            false => Err(routing::out_of_time(&last)),
        }
    }
}

/// A commit in the form that it was needed in last.
enum Work {
    Sent(v1::CommitRequest),
    Prepared(Commit),
}

impl Work {
    /// For this node, whose history is `history_id`.
    async fn prepare(self, history_id: u128) -> Result<Commit, Status> {
        match self {
            Self::Sent(v1::CommitRequest {
                events,
                preconditions,
                ..
            }) => prepare_events(events, preconditions, history_id).await,
            Self::Prepared(commit) => Ok(commit),
        }
    }

    /// For another node. Moves of cursors were checked against this node's history, and a node of another one
    /// must refuse them; a commit that was prepared has forgotten which one its client named.
    fn message(&self, history_id: u128) -> v1::CommitRequest {
        let mut request = match self {
            Self::Sent(request) => request.clone(),
            Self::Prepared(commit) => {
                let mut commit = commit.clone();
                mix_deliveries(&mut commit.preconditions, history_id);
                commit.into()
            }
        };
        set_cursor_histories(&mut request.preconditions, history_id);
        request
    }
}

/// Checks and prepares; the leader's clock gives the time later. Deliveries that the commit acknowledges are of groups
/// of the history `history_id`, or of none.
pub(super) async fn prepare_events(
    events: Vec<v1::NewEvent>,
    preconditions: Vec<v1::Precondition>,
    history_id: u128,
) -> Result<Commit, Status> {
    let bytes: usize = events.iter().map(Message::encoded_len).sum();
    let prepared = if bytes > PREPARE_INLINE_BYTES {
        off_reactor(move || prepare(events, preconditions, 0)).await?
    } else {
        prepare(events, preconditions, 0)
    };
    let mut commit = prepared.map_err(|error| status::invalid(&error))?;
    mix_deliveries(&mut commit.preconditions, history_id);
    Ok(commit)
}

async fn propose(
    shared: &Shared,
    call: &Call,
    commit: &Commit,
) -> Result<Response<Bytes>, Refused> {
    let outcome = proposed(call, "commit", shared.replica.commit(commit)).await?;
    let committed = committed(outcome, &call.access).map_err(Refused::Final)?;
    Ok(Response::new(answer(shared, &committed)))
}

/// What became of a command that was proposed on this node; `what` names it.
pub(super) async fn proposed<T>(
    call: &Call,
    what: &str,
    outcome: impl Future<Output = Result<T, CommitError>>,
) -> Result<T, Refused> {
    match timeout_at(call.deadline, outcome).await {
        Ok(Ok(outcome)) => Ok(outcome),
        // A leader whose clock is wrong hands over: the next one is asked.
        Ok(Err(
            error @ (CommitError::NotLeader { .. }
            | CommitError::Unknown
            | CommitError::Clock { .. }),
        )) if !call.is_forwarded => Err(Refused::Again(refusal::commit(&error))),
        Ok(Err(error)) => Err(Refused::Final(refusal::commit(&error))),
        Err(_) => Err(Refused::Final(status::no_leader(format!(
            "the {what} was not agreed on before the deadline; it is safe to repeat it"
        )))),
    }
}

async fn forward(
    shared: &Shared,
    call: &Call,
    leader: &Leader,
    request: v1::CommitRequest,
) -> Result<Response<Bytes>, Refused> {
    let mut client = shared.router.vault(leader).map_err(Refused::Again)?;
    let request = shared.router.timed_request(call, request);
    let reply = forwarded(shared, call, leader, client.commit(request)).await?;
    Ok(reply.map(|mut reply| {
        call.access.hide_earlier(&mut reply.events);
        Bytes::from(reply.encode_to_vec())
    }))
}

/// The leader's answer to a command that was forwarded to it.
pub(super) async fn forwarded<T>(
    shared: &Shared,
    call: &Call,
    leader: &Leader,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<Response<T>, Refused> {
    let answer = tokio::select! {
        answer = timeout_at(call.deadline, answer) => answer,
        // A leader that was cut off from the others may never answer.
        () = shared.router.superseded(leader) => {
            return Err(Refused::Again(status::no_leader("the leader was replaced")));
        }
    };
    match answer {
        Ok(Ok(reply)) => Ok(routing::relay(reply)),
        Ok(Err(refusal)) if routing::is_worth_another_leader(&refusal) => {
            Err(Refused::Again(refusal))
        }
        Ok(Err(refusal)) => Err(Refused::Final(routing::relay_status(&refusal))),
        Err(_) => Err(Refused::Again(status::no_leader(
            "the leader did not answer in time",
        ))),
    }
}

/// A commit that was applied, as its caller may see it.
pub(super) struct Committed {
    pub(super) revision: u64,
    pub(super) headers: Vec<Arc<EventHeader>>,
}

pub(super) fn committed(outcome: Outcome, access: &Access) -> Result<Committed, Status> {
    match outcome {
        Outcome::Committed {
            revision,
            mut headers,
        } => {
            access.hide_earlier_headers(&mut headers);
            Ok(Committed { revision, headers })
        }
        Outcome::Rejected { rejection, .. } => Err(status::rejection(&rejection)),
        // The answer to a command that no client can send.
        _ => Err(status::rejection(&Rejection::AlreadyCreated)),
    }
}

impl Committed {
    /// Bytes of the events as the field `tag` of a message.
    pub(super) fn events_len(&self, tag: u32) -> usize {
        let events = self.headers.iter();
        let bytes = events.map(|header| EventParts::from(&**header).field_len(tag));
        bytes.sum()
    }

    /// Writes the events as the field `tag` of a message.
    pub(super) fn write_events(&self, tag: u32, out: &mut Vec<u8>) {
        for header in &self.headers {
            EventParts::from(&**header).encode_field(tag, out);
        }
    }
}

/// Of [`v1::CommitResponse`].
const EVENTS: u32 = 3;

/// An encoded [`v1::CommitResponse`].
fn answer(shared: &Shared, committed: &Committed) -> Bytes {
    let head = v1::CommitResponse {
        header: Some(header(shared, committed.revision)),
        revision: committed.revision,
        events: Vec::new(),
    };
    let mut answer = Vec::with_capacity(head.encoded_len() + committed.events_len(EVENTS));
    put_message(&head, &mut answer);
    committed.write_events(EVENTS, &mut answer);
    answer.into()
}

/// State of the leader after a commit at `revision`.
pub(super) fn header(shared: &Shared, revision: u64) -> v1::ResponseHeader {
    let mut header = shared.header(&shared.reader.position());
    // The outcome may be known a moment before the position is published.
    header.revision = header.revision.max(revision);
    header
}

#[cfg(test)]
mod tests {
    use toka_proto::convert::commit::cursor_histories;
    use toka_proto::v1::precondition::Condition;

    use super::*;

    fn request() -> v1::CommitRequest {
        let cursor = v1::CursorMove {
            name: "worker".to_owned(),
            from_sequence: 1,
            to_sequence: 2,
            ..Default::default()
        };
        v1::CommitRequest {
            events: vec![v1::NewEvent {
                kind: "done".to_owned(),
                ..Default::default()
            }],
            preconditions: vec![v1::Precondition {
                condition: Some(Condition::CursorMove(cursor)),
            }],
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn a_forwarded_move_of_a_cursor_names_the_history() {
        let named = |work: &Work| cursor_histories(&work.message(7).preconditions);
        let sent = Work::Sent(request());
        assert_eq!(named(&sent), Ok(vec![7]));
        let prepared = Work::Prepared(sent.prepare(7).await.expect("valid"));
        assert_eq!(named(&prepared), Ok(vec![7]));

        let mut by_client = request();
        set_cursor_histories(&mut by_client.preconditions, 8);
        assert_eq!(named(&Work::Sent(by_client)), Ok(vec![8]));
    }
}
