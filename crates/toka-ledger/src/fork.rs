//! Forks: a vault that goes on from an event of another one, beside it.
//!
//! Nothing is copied up front: what was there is read through the base, and what is new is in memory, with a limit,
//! and gone with the fork. The base is never written to, and its later events are not seen.
//!
//! ```
//! use toka_ledger::fork::Fork;
//! use toka_ledger::VaultBus;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), toka_ledger::Error> {
//! let vault = VaultBus::builder().open_in_memory()?;
//! let task = vault.event("task").payload("paint").commit().await?;
//! vault.event("done").payload("blue").parent(&task).commit().await?;
//!
//! // What if it had been red?
//! let fork = Fork::at(vault.reader(), task.sequence)?;
//! fork.vault().event("done").payload("red").parent(&task).commit().await?;
//!
//! let difference = fork.difference()?;
//! assert_eq!((difference.fork_only.len(), difference.base_only.len()), (1, 1));
//! fork.commit_to(&vault).await?;
//! assert_eq!(vault.position().sequence, 3);
//! # Ok(())
//! # }
//! ```
//!
//! Invariants: in a fork at an event everything is to the bit what it was in the base right behind that event
//! ([`Timeline`] says how, and what it costs), but for the revision and consumer groups; the fork's sequences go on
//! from there, without a gap.

mod cut;
mod difference;
mod engine;
mod merge;
mod timeline;

use std::sync::{Arc, Mutex};

pub use self::difference::{Both, DIFFERENCE_EVENTS_MAX, Difference};
use self::engine::ForkEngine;
pub use self::merge::Merge;
pub use self::timeline::{MOMENTS_MAX, Moment, Timeline};
use crate::bus::VaultBus;
use crate::command::Precondition;
use crate::core::EventHeader;
use crate::engine::Engine;
use crate::error::Error;
use crate::prepare::EventDraft;
use crate::read::Reader;

/// What a fork may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that are written to it, in memory; 256 MiB by default. Rows that are replaced count again. A commit beyond
    /// it fails with [`EngineError::ForkFull`](crate::engine::EngineError::ForkFull), and is the last one: what was committed
    /// before can still be read, compared and committed to a vault.
    pub bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_max: 256 << 20,
        }
    }
}

/// A vault that goes on from a moment of another one.
#[derive(Debug)]
pub struct Fork {
    base: Reader,
    sequence: u64,
    vault: VaultBus,
    engine: Arc<ForkEngine>,
    /// What commits of the fork asked of events that it shares with the base.
    asked: Mutex<Vec<Precondition>>,
}

impl Fork {
    /// Forks the vault that `base` reads right behind the event at `sequence`; 0: before the first one.
    ///
    /// # Errors
    /// As [`Timeline::at`].
    pub fn at(base: &Reader, sequence: u64) -> Result<Self, Error> {
        let timeline = Timeline::new(base.clone());
        timeline.fork(Moment::Behind(sequence), Limits::default())
    }

    /// The fork as a vault, with everything that an embedded one has. What is committed here without
    /// [`Fork::commit_batch_if`] goes into [`Fork::commit_to`] without its preconditions.
    #[must_use]
    pub const fn vault(&self) -> &VaultBus {
        &self.vault
    }

    /// The last event that the fork shares with its base.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Bytes that were written to the fork ([`Limits::bytes_max`]).
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.engine.written_bytes()
    }

    /// Commits events to the fork, together or not at all, where the preconditions hold. Those that are about events
    /// which the base has too are kept for [`Fork::commit_to`].
    ///
    /// # Errors
    /// As [`VaultBus::commit_batch_if`].
    pub async fn commit_batch_if(
        &self,
        events: impl IntoIterator<Item = EventDraft>,
        preconditions: Vec<Precondition>,
    ) -> Result<Vec<EventHeader>, Error> {
        let asked = self.shared(&preconditions)?;
        let headers = self.vault.commit_batch_if(events, preconditions).await?;
        self.keep(asked);
        Ok(headers)
    }
}

impl Timeline {
    /// Forks the vault at a moment.
    ///
    /// # Errors
    /// As [`Timeline::at`].
    pub fn fork(&self, moment: Moment, limits: Limits) -> Result<Fork, Error> {
        let reached = self.reach(moment)?;
        let sequence = reached.sequence;
        let engine = Arc::new(ForkEngine::forked(
            reached.base,
            sequence,
            reached.rows,
            limits.bytes_max,
        ));
        let vault = VaultBus::builder()
            .seams(self.seams().clone())
            .open_engine(Arc::clone(&engine) as Arc<dyn Engine>)?;
        Ok(Fork {
            base: self.base().clone(),
            sequence,
            vault,
            engine,
            asked: Mutex::new(Vec::new()),
        })
    }
}
