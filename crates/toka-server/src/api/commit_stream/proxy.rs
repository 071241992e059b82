//! A commit stream that reached a follower.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use futures::{Stream, StreamExt};
use prost::Message as _;
use toka_proto::convert::commit::set_cursor_histories;
use toka_proto::convert::{metadata, status};
use toka_proto::v1;
use toka_raft::Leader;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status, Streaming};

use super::RESEND;
use crate::api::Shared;
use crate::api::vault::Answers;
use crate::routing::{self, Call};

/// Passes everything on to the leader, and its answers back.
pub(super) async fn forward(
    shared: &Arc<Shared>,
    call: &Call,
    leader: Leader,
    requests: Streaming<v1::CommitStreamRequest>,
    permit: OwnedSemaphorePermit,
) -> Result<Response<Answers<Bytes>>, Status> {
    let mut client = shared.router.vault(&leader)?;
    let ended = CancellationToken::new();
    let history_id = shared.history_id();
    // The client's half that breaks off ends the leader's too.
    let requests = requests
        .scan((), |(), request| std::future::ready(request.ok()))
        .map(move |mut request: v1::CommitStreamRequest| {
            // This node took it, so a leader of another history must not.
            set_cursor_histories(&mut request.preconditions, history_id);
            for further in &mut request.more {
                set_cursor_histories(&mut further.preconditions, history_id);
            }
            request
        })
        .take_until(ended.clone().cancelled_owned());
    let reply = client.commit_stream(shared.router.request(call, requests));
    let reply = match tokio::time::timeout_at(call.deadline, reply).await {
        Ok(Ok(reply)) => {
            // A leader that is older would not see further commits of a message.
            let commits = metadata::commits_per_message(reply.metadata());
            let mut relayed = routing::relay(reply);
            metadata::put_commits_per_message(relayed.metadata_mut(), commits);
            relayed
        }
        // Requests may have been taken already, so they cannot be sent to another one from here.
        Ok(Err(refusal)) if routing::is_worth_another_leader(&refusal) => {
            return Err(status::no_leader(RESEND));
        }
        Ok(Err(refusal)) => return Err(routing::relay_status(&refusal)),
        Err(_) => return Err(status::no_leader("the leader did not answer in time")),
    };
    let (metadata, answers, _) = reply.into_parts();
    let end = end_of(Arc::clone(shared), leader);
    let answers = passed_on(answers, end, (ended.drop_guard(), permit));
    let mut response = Response::new(shared.streams.watch(Box::pin(answers)));
    *response.metadata_mut() = metadata;
    Ok(response)
}

/// What ends a forwarded stream from this side.
async fn end_of(shared: Arc<Shared>, leader: Leader) -> Status {
    tokio::select! {
        () = shared.draining.cancelled() => shared.stopping(),
        () = shared.router.superseded(&leader) => status::no_leader(RESEND),
    }
}

/// The leader's answers until it or `end` ends them; `held` lives as long as they do.
fn passed_on<T: Send + 'static>(
    answers: Streaming<v1::CommitStreamResponse>,
    end: impl Future<Output = Status> + Send + 'static,
    held: T,
) -> impl Stream<Item = Result<Bytes, Status>> + Send {
    let state = Some((answers, Box::pin(end), held));
    stream::unfold(state, |state| async move {
        let (mut answers, mut end, held) = state?;
        let answer = tokio::select! {
            biased;
            answer = answers.message() => answer,
            status = &mut end => Err(status),
        };
        match answer {
            Ok(Some(answer)) => {
                let answer = Bytes::from(answer.encode_to_vec());
                Some((Ok(answer), Some((answers, end, held))))
            }
            Ok(None) => None,
            Err(refusal) if routing::is_worth_another_leader(&refusal) => {
                Some((Err(status::no_leader(RESEND)), None))
            }
            Err(refusal) => Some((Err(routing::relay_status(&refusal)), None)),
        }
    })
}
