//! Reading the vault, from any thread.

mod at_hand;
mod auth;
mod bodies;
mod bounds;
mod cursors;
mod family;
mod filter;
mod group_sums;
mod intents;
pub mod lineage;
mod list;
mod ring;
mod search;
mod several;
mod times;

use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use parking_lot::{RwLock as FairRwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::{Semaphore, watch};

pub use self::auth::{AuthView, Credentials};
pub use self::bodies::Follower;
pub(crate) use self::bodies::{Bodies, Body};
#[doc(hidden)]
pub use self::bounds::Bounds;
use self::bounds::Narrowed;
pub use self::family::{DESCENDANTS_BYTES_MAX, DESCENDANTS_KEPT_BYTES_MAX};
use self::family::{Extent, Families};
pub(crate) use self::filter::Wanted;
use self::group_sums::GroupSums;
pub use self::group_sums::{GROUP_SUM_REVISIONS, GROUP_SUMS_MAX};
pub use self::list::{PAGE_EVENTS_MAX, Page, Query};
pub use self::ring::{RING_EVENTS_MAX, Ring};
pub use self::search::{Found, Hit, SEARCH_EVENTS_MAX, SEARCH_HITS_MAX, SEARCH_PROBES, Search};
use crate::core::{Digest, Embedding, EventHeader};
pub use crate::core::{Filter, Selector};
use crate::engine::{Direction, Engine, Table};
use crate::error::Error;
use crate::intent::Clusterer;
pub use crate::store::history::STATE_DIGEST_EVENTS;
use crate::store::history::{self, STATE_HEIGHT};
use crate::store::meta::Recovered;
pub use crate::store::{Settings, Stored};
use crate::store::{corrupt, embeddings, encode_sequence, lookup, missing, payloads};

/// Pages that are read, and filters that are looked up, for subscriptions at the same time.
const FOLLOW_READS_MAX: usize = 16;

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

/// What the ledger and its readers share.
#[derive(Debug)]
struct Shared {
    engine: RwLock<Arc<dyn Engine>>,
    /// The sender is the ledger's: when it is gone, the vault is closed.
    position: watch::Receiver<Position>,
    recent: Ring,
    /// What the newest events carry.
    bodies: Bodies,
    /// As of the last command that was applied, which may be ahead of the position.
    clusterer: FairRwLock<Clusterer>,
    /// What [`Reader::digest_intents`] said last, and after which event.
    intents_digest: Mutex<Option<(u64, Digest)>>,
    /// Descendants of the events by which was filtered.
    families: Families,
    /// Whose turn it is to read for subscriptions.
    turns: Turns,
    bounds: Narrowed,
    /// What was stored of consumer groups at some revisions.
    group_sums: GroupSums,
    /// Tokens and roles, for the ledger to replace.
    auth: AuthView,
}

/// Reads of subscriptions that are under way at the same time: after a failover, all of a node's subscribers come to
/// it at once. Others wait for their turn.
#[derive(Debug)]
pub(crate) struct Turns {
    /// Pages from storage.
    pub(crate) pages: Arc<Semaphore>,
    /// Look-ups of what is wanted, which those that are live make with every event.
    pub(crate) look_ups: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            pages: Arc::new(Semaphore::new(FOLLOW_READS_MAX)),
            look_ups: Arc::new(Semaphore::new(FOLLOW_READS_MAX)),
        }
    }
}

/// Reads a vault; cheap to clone, for any thread.
///
/// Calls block for as long as the disk takes: asynchronous callers use `spawn_blocking`, but for those that end in
/// `_at_hand`, which read what is in memory. Each call sees at least everything up to the [`Reader::position`] of before.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    pub(crate) fn new(
        engine: Arc<dyn Engine>,
        position: watch::Receiver<Position>,
        clusterer: Clusterer,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                engine: RwLock::new(engine),
                position,
                recent: Ring::new(),
                bodies: Bodies::default(),
                clusterer: FairRwLock::new(clusterer),
                intents_digest: Mutex::new(None),
                families: Families::default(),
                turns: Turns::default(),
                bounds: Narrowed::default(),
                group_sums: GroupSums::default(),
                auth: AuthView::default(),
            }),
        }
    }

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
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Corrupt`].
    pub fn settings(&self) -> Result<Option<Settings>, Error> {
        lookup::settings(&*self.engine())
    }

    /// Where the vault was recovered after its cluster had lost its quorum; `None` if it never was.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Corrupt`].
    pub fn recovered(&self) -> Result<Option<Recovered>, Error> {
        lookup::recovered(&*self.engine())
    }

    /// The event named by `selector`; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Corrupt`].
    pub fn header(&self, selector: &Selector) -> Result<Option<Arc<EventHeader>>, Error> {
        Ok(self.headers(slice::from_ref(selector))?.pop().flatten())
    }

    /// The events named by `selectors`, in the same order; `None` for each that is not there.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Corrupt`].
    pub fn headers(&self, selectors: &[Selector]) -> Result<Vec<Option<Arc<EventHeader>>>, Error> {
        let (head, engine) = (self.position().sequence, self.engine());
        let digests: Vec<_> = selectors
            .iter()
            .filter_map(|selector| match selector {
                Selector::Digest(digest) => Some(*digest),
                Selector::Id(_) | Selector::Sequence(_) => None,
            })
            .collect();
        let mut by_digest = lookup::events(&*engine, &digests)?.into_iter();
        // 0 is no event's sequence, and neither are those not yet published.
        let sequences: Vec<_> = selectors
            .iter()
            .map(|selector| match selector {
                Selector::Id(id) => id.sequence(),
                Selector::Sequence(sequence) => *sequence,
                Selector::Digest(_) => by_digest.next().flatten().unwrap_or(0),
            })
            .map(|sequence| if sequence <= head { sequence } else { 0 })
            .collect();
        let found = lookup::headers(&*engine, &sequences)?;
        let is_wanted = |selector: &Selector, header: &EventHeader| match selector {
            Selector::Id(id) => header.id == *id,
            Selector::Sequence(_) => true,
            Selector::Digest(digest) => header.digest == *digest,
        };
        Ok(selectors
            .iter()
            .zip(found)
            .map(|(selector, header)| header.filter(|header| is_wanted(selector, header)))
            .collect())
    }

    /// The payload of an event.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Corrupt`].
    pub fn payload(&self, header: &EventHeader) -> Result<Stored<Bytes>, Error> {
        let sequence = header.payload_sequence;
        let key = encode_sequence(sequence);
        let row = self.engine().get(Table::Payloads, &key)?;
        let row = row.ok_or_else(|| missing(Table::Payloads, &key))?;
        payloads::decode(sequence, row).map_err(corrupt(Table::Payloads, &key))
    }

    /// The embedding of an event; `None` if it came without one.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Corrupt`].
    pub fn embedding(&self, header: &EventHeader) -> Result<Option<Stored<Embedding>>, Error> {
        if header.embedding.is_none() {
            return Ok(None);
        }
        let key = encode_sequence(header.sequence);
        let row = self.engine().get(Table::Embeddings, &key)?;
        let row = row.ok_or_else(|| missing(Table::Embeddings, &key))?;
        embeddings::decode(header.sequence, row)
            .map(Some)
            .map_err(corrupt(Table::Embeddings, &key))
    }

    /// A page of the history: the events that match, up to the position as of the call. Bounded
    /// also in how much is looked at, so that a page may be short, or empty, and yet have a next.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::DescendantsLimit`] where the filter is by descendants: there is no such
    /// event, or it has more than [`DESCENDANTS_BYTES_MAX`] hold. [`Error::Engine`], [`Error::Corrupt`].
    pub fn list(&self, query: &Query) -> Result<Page, Error> {
        self.list_while(query, &|| true)
    }

    /// As [`Reader::list`], and ends the page early, though maybe without having come any further, once
    /// `go_on` says no. It is asked every few hundred rows.
    ///
    /// # Errors
    /// As [`Reader::list`].
    pub fn list_while(&self, query: &Query, go_on: &dyn Fn() -> bool) -> Result<Page, Error> {
        let (head, engine) = (self.position().sequence, self.engine());
        let until = query.until.min(head);
        let rows_max = self.bounds().scan_rows;
        let extent = Extent {
            until,
            enough: list::enough(query, rows_max),
        };
        let wanted = self.wanted_in(&query.filter, extent, go_on)?;
        list::list(&*engine, until, query, &wanted, rows_max, go_on)
    }

    /// History root and state digest right after the event at `sequence`; `None` if it is not a
    /// multiple of 256, is 0, or is not reached yet.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Corrupt`].
    pub fn state_digest_at(&self, sequence: u64) -> Result<Option<(Digest, Digest)>, Error> {
        let head = self.position().sequence;
        if sequence == 0 || sequence > head || !sequence.is_multiple_of(STATE_DIGEST_EVENTS) {
            return Ok(None);
        }
        let engine = self.engine();
        let frontier = crate::history::frontier_at(sequence, |height, from, count| {
            subtrees(&*engine, height, from, count)
        })?;
        let key = history::key(STATE_HEIGHT, (sequence >> STATE_HEIGHT) - 1);
        let row = engine.get(Table::History, &key)?;
        let row = row.ok_or_else(|| missing(Table::History, &key))?;
        let last = history::decode(STATE_HEIGHT, row).map_err(corrupt(Table::History, &key))?;
        let state_digest = last
            .state_digest
            .expect("rows of that height are decoded with one");
        Ok(Some((frontier.root(), state_digest)))
    }

    /// The engine to read from. Take the position first: the engine holds at least that much.
    pub(crate) fn engine(&self) -> Arc<dyn Engine> {
        Arc::clone(
            &self
                .shared
                .engine
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    pub(crate) fn set_engine(&self, engine: Arc<dyn Engine>) {
        *self
            .shared
            .engine
            .write()
            .unwrap_or_else(PoisonError::into_inner) = engine;
    }

    /// What the newest events carry, for the ledger to fill.
    pub(crate) fn bodies(&self) -> &Bodies {
        &self.shared.bodies
    }

    /// The place of [`Reader::intents_digest`].
    fn last_intents_digest(&self) -> MutexGuard<'_, Option<(u64, Digest)>> {
        let last = &self.shared.intents_digest;
        last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The intents, for reading. Never held while storage is read.
    pub(crate) fn clusterer(&self) -> RwLockReadGuard<'_, Clusterer> {
        self.shared.clusterer.read()
    }

    /// The intents, for the ledger to change.
    pub(crate) fn clusterer_mut(&self) -> RwLockWriteGuard<'_, Clusterer> {
        self.shared.clusterer.write()
    }

    /// The descendants of the events by which was filtered.
    fn families(&self) -> &Families {
        &self.shared.families
    }

    /// Whose turn it is to read for subscriptions.
    pub(crate) fn turns(&self) -> &Turns {
        &self.shared.turns
    }

    pub(crate) fn bounds(&self) -> Bounds {
        self.shared.bounds.get()
    }

    /// Narrows what all readers of this vault keep and look at, before anything is read; for tests.
    #[doc(hidden)]
    pub fn narrow(&self, bounds: Bounds) {
        self.shared.bounds.set(bounds);
        self.shared.recent.narrow(bounds.ring_events);
    }

    /// What was stored of consumer groups at some revisions, for the ledger to add to.
    pub(crate) fn new_group_sums(&self) -> &GroupSums {
        &self.shared.group_sums
    }

    /// Tokens and roles.
    pub(crate) fn auth(&self) -> &AuthView {
        &self.shared.auth
    }

    /// The newest headers. They are pushed before their position is published.
    pub(crate) fn ring(&self) -> &Ring {
        &self.shared.recent
    }
}

/// The roots of `count` stored subtrees from index `from`.
fn subtrees(engine: &dyn Engine, height: u8, from: u64, count: u64) -> Result<Vec<Digest>, Error> {
    let (lower, upper) = (
        history::key(height, from),
        history::key(height, from + count),
    );
    let mut roots = Vec::new();
    for row in engine.scan(Table::History, &lower, Some(&upper), Direction::Forward) {
        let (key, value) = row?;
        if key[..] != history::key(height, from + roots.len() as u64) {
            break;
        }
        let subtree = history::decode(height, value).map_err(corrupt(Table::History, &key))?;
        roots.push(subtree.root);
    }
    if roots.len() as u64 == count {
        Ok(roots)
    } else {
        Err(missing(
            Table::History,
            &history::key(height, from + roots.len() as u64),
        ))
    }
}
