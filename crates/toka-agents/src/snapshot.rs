//! States that are kept as events, so that an agent with a long history starts fast.

use serde::Serialize;
use serde::de::DeserializeOwned;
use toka_ledger::core::limits::PAYLOAD_BYTES_MAX;
use toka_ledger::{EventDraft, EventHeader, Filter};

use crate::blob::Blob;
use crate::event::Event;
use crate::record::{SNAPSHOT, SNAPSHOT_OF, Snapshot};
use crate::store::{Range, Store, StoreError};

/// Largest state that is kept, bytes of MessagePack: with room for the rest of the payload. An agent with a larger one is
/// folded from the beginning each time.
pub const STATE_BYTES_MAX: usize = PAYLOAD_BYTES_MAX - 1024;
/// Snapshots that are looked at for one that can be used, of the newest and again of the newest before the wanted event;
/// after them the state is folded from the beginning.
const LOOKED_AT_MAX: usize = 32;

/// A snapshot of the state after `last`, if the state can be written and is not too large.
pub(crate) fn draft<S: Serialize>(
    agent: &str,
    version: u32,
    last: &EventHeader,
    state: &S,
) -> Option<EventDraft> {
    let state = rmp_serde::to_vec_named(state).ok()?;
    if state.len() > STATE_BYTES_MAX {
        return None;
    }
    let snapshot = Snapshot {
        agent: agent.to_owned(),
        version,
        position: last.sequence,
        state: Blob(state),
    };
    let draft = EventDraft::new(SNAPSHOT).payload(&snapshot).parent(last);
    Some(draft.attribute(SNAPSHOT_OF, agent))
}

/// The state of the newest snapshot that can be used, and the last event in it, which is at most `until`.
pub(crate) async fn newest<S: DeserializeOwned>(
    store: &dyn Store,
    agent: &str,
    version: u32,
    until: u64,
) -> Result<Option<(u64, S)>, StoreError> {
    let mut range = Range {
        filter: Filter {
            kind_prefixes: vec![SNAPSHOT.to_owned()],
            attributes: vec![(SNAPSHOT_OF.to_owned(), agent.to_owned())],
            ..Filter::default()
        },
        newest_first: true,
        limit: LOOKED_AT_MAX,
        ..Range::default()
    };
    // One of the event at `until` itself comes after that; where all of the newest ones are of later events, the past is
    // wanted, and those before it are looked at.
    for before in [None, Some(until)] {
        range.until = before;
        let page = store.list(range.clone()).await?;
        let mut found = page.events.iter().filter_map(|event| {
            let read = read(event, agent, version, until);
            if read.is_none() {
                tracing::debug!(agent, sequence = event.sequence(), "snapshot is not used");
            }
            read
        });
        let found = found.next();
        if found.is_some() || page.next.is_none() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The state in a snapshot, if it is one of that agent and version, of its own parent, and not too new.
fn read<S: DeserializeOwned>(
    event: &Event,
    agent: &str,
    version: u32,
    until: u64,
) -> Option<(u64, S)> {
    let snapshot: Snapshot = event.payload_as().ok()?;
    let is_of_parent = match &event.header.parents[..] {
        [parent] => parent.id.sequence() == snapshot.position,
        _ => false,
    };
    let is_usable = event.kind() == SNAPSHOT
        && snapshot.agent == agent
        && snapshot.version == version
        && snapshot.position <= until
        && is_of_parent;
    if !is_usable {
        return None;
    }
    let state = rmp_serde::from_slice(&snapshot.state.0).ok()?;
    Some((snapshot.position, state))
}
