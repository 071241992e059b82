//! Reading the vault, from any thread.

mod list;

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use tokio::sync::watch;

pub use self::list::{Filter, PAGE_EVENTS_MAX, Page, Query};
use crate::core::{CursorName, Digest, Embedding, EventHeader, EventId};
use crate::engine::Engine;
use crate::error::Error;
use crate::feed::Ring;
pub use crate::store::{Settings, Stored};

/// Where a vault is in its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Commands applied, also those that made no event.
    pub revision: u64,
    /// Sequence of the last event; 0 if there is none.
    pub sequence: u64,
    /// The vault's time, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// Root of the Merkle tree over all events.
    pub history_root: Digest,
    /// Last link of the chain over everything that was applied.
    pub state_digest: Digest,
}

/// How an event is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// By its id, of which all 128 bits must match.
    Id(EventId),
    /// By its place in the order.
    Sequence(u64),
    /// By its identity.
    Digest(Digest),
}

/// What the ledger and its readers share.
#[derive(Debug)]
pub(crate) struct Shared {
    engine: RwLock<Arc<dyn Engine>>,
    /// The sender is the ledger's: when it is gone, the vault is closed.
    position: watch::Receiver<Position>,
    /// Recent headers for subscriptions; the ledger pushes before it publishes the position.
    ring: Ring,
}

/// Reads a vault; cheap to clone, for any thread.
///
/// Calls block for as long as the disk takes: asynchronous callers use `spawn_blocking`.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    /// Where the vault is. Everything up to it can be read.
    #[must_use]
    pub fn position(&self) -> Position {
        *self.shared.position.borrow()
    }

    /// Follows the position. Its `changed` fails when the vault is closed.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Position> {
        self.shared.position.clone()
    }

    /// The vault's settings; `None` before its first command.
    pub fn settings(&self) -> Result<Option<Settings>, Error> {
        unimplemented!()
    }

    /// The event named by `selector`.
    pub fn header(&self, selector: &Selector) -> Result<Option<Arc<EventHeader>>, Error> {
        unimplemented!()
    }

    /// The events named by `selectors`, in the same order.
    pub fn headers(
        &self,
        selectors: &[Selector],
    ) -> Result<Vec<Option<Arc<EventHeader>>>, Error> {
        unimplemented!()
    }

    /// The payload of an event.
    pub fn payload(&self, header: &EventHeader) -> Result<Stored<Bytes>, Error> {
        unimplemented!()
    }

    /// The embedding of an event; `None` if it came without one.
    pub fn embedding(&self, header: &EventHeader) -> Result<Option<Stored<Embedding>>, Error> {
        unimplemented!()
    }

    /// A page of the history.
    pub fn list(&self, query: &Query) -> Result<Page, Error> {
        unimplemented!()
    }

    /// Where a cursor is.
    pub fn cursor(&self, name: &CursorName) -> Result<Option<u64>, Error> {
        unimplemented!()
    }

    /// History root and state digest right after the event at `sequence`, a multiple of 256.
    pub fn state_digest_at(&self, sequence: u64) -> Result<Option<(Digest, Digest)>, Error> {
        unimplemented!()
    }

    /// The engine to read from. Take the position first: the engine holds at least that.
    pub(crate) fn engine(&self) -> Arc<dyn Engine> {
        Arc::clone(&self.shared.engine.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Recent headers.
    pub(crate) fn ring(&self) -> &Ring {
        &self.shared.ring
    }
}
