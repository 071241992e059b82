//! Commits of clients: the events, and what is told of them.

use anyhow::Result;
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::json;
use toka_client::{Error, EventDraft, EventHeader};
use tokio::sync::watch;

use crate::linearizable::{Name, Outcome};

/// Events of one commit.
const BATCH_EVENTS: std::ops::RangeInclusive<u64> = 1..=3;
const KIND: &str = "nemesis";
/// What a consumer group gets,
pub const GROUP_KIND: &str = "nemesis.group";
/// one in so many events of a client.
const EVENTS_PER_GROUP_EVENT: u64 = 8;

/// The names of the events of the next commit of `client`, which has made `events` so far.
pub(super) fn names(client: u64, events: &mut u64, rng: &mut StdRng) -> Vec<Name> {
    let count = rng.random_range(BATCH_EVENTS);
    let first = *events + 1;
    *events += count;
    let name = |number| Name { client, number };
    (first..first + count).map(name).collect()
}

/// The kind of the event of that name.
pub(super) fn kind(name: &Name) -> &'static str {
    match name.number.is_multiple_of(EVENTS_PER_GROUP_EVENT) {
        true => GROUP_KIND,
        false => KIND,
    }
}

/// The event of that name.
pub(super) fn draft(name: &Name) -> EventDraft {
    let draft = EventDraft::new(kind(name)).payload(&json!({ "number": name.number }));
    draft.salt(&name.salt())
}

/// Takes note that one more commit is acknowledged.
pub(super) fn committed(acknowledged: &watch::Sender<u64>, headers: &[EventHeader]) -> Outcome {
    acknowledged.send_modify(|count| *count += 1);
    let places = headers
        .iter()
        .map(|header| (header.sequence, header.digest));
    Outcome::Committed(places.collect())
}

/// What a client of the library may be told while there are faults.
pub(super) fn excused(error: Error) -> Result<()> {
    let passes = error.is_retryable() || matches!(error, Error::LimitReached { .. });
    if passes {
        return Ok(());
    }
    Err(error.into())
}
