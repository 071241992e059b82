//! What a follower receives of the log.

use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, stream};
use openraft::raft::AppendEntriesRequest;
use toka_proto::raft_v1 as pb;
use tokio::sync::watch;
use tonic::{Status, Streaming};

use super::status;
use crate::contact::Contact;
use crate::identity::Identity;
use crate::room::Room;
use crate::type_config::TypeConfig;
use crate::wire;

/// Why a stream was ended.
pub(super) type Refused = Arc<Mutex<Option<Status>>>;

/// A follower's half of a stream of appends: messages are checked on their way to openraft, and the
/// first bad one ends the stream, with its reason in `refusal`.
pub(super) fn checked_appends(
    identity: Arc<Identity>,
    contact: Arc<Contact>,
    room: watch::Receiver<Room>,
    requests: Streaming<pb::AppendEntriesRequest>,
    refusal: Refused,
) -> impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + 'static {
    stream::unfold((requests, refusal), move |(mut requests, refusal)| {
        let (identity, contact) = (Arc::clone(&identity), Arc::clone(&contact));
        let room = room.clone();
        async move {
            // A broken connection ends the stream too; the sender knows by itself.
            let message = requests.message().await.ok().flatten()?;
            // Only now: the next message may have been a long time in coming.
            let room = *room.borrow();
            let checked = identity
                .check(message.peer.as_ref())
                .map_err(status::mismatch)
                .and_then(|_| {
                    wire::append_from(message.append).map_err(|bad| status::garbled(&bad))
                });
            match checked {
                Ok(request) if room.is_spent() && !request.entries.is_empty() => {
                    contact.heard(request.vote.leader_id.term);
                    *refusal.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some(status::unavailable("the disk of this node is nearly full"));
                    None
                }
                Ok(request) => {
                    contact.heard(request.vote.leader_id.term);
                    Some((request, (requests, refusal)))
                }
                Err(bad) => {
                    *refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(bad);
                    None
                }
            }
        }
    })
}
