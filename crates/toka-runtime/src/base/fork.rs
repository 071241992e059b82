//! A fork over a vault elsewhere.

use std::sync::Arc;

use toka_client::Client;
use toka_ledger::EventHeader;
use toka_ledger::fork::{Difference, Fork, Limits, Moment, Timeline};
use toka_ledger::seam::Seams;

use super::{Base, BaseError, Mirror, MirrorLimits};

/// A fork whose base is a [`Mirror`]: nothing reaches the vault elsewhere before [`RemoteFork::commit_to`].
///
/// Cursors, labels and groups of that vault are not in it; an agent that runs in it begins where its cursor is put.
#[derive(Debug)]
pub struct RemoteFork {
    mirror: Mirror,
    fork: Fork,
}

impl RemoteFork {
    /// Forks the vault right behind the event at `sequence`. Blocks until the history up to there has come; tells
    /// `progress` of each sequence that it has come to.
    ///
    /// # Errors
    /// [`BaseError::Missing`] if the vault ends before; as [`Mirror::catch_up`].
    pub fn at(
        base: Arc<dyn Base>,
        sequence: u64,
        limits: (MirrorLimits, Limits),
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, BaseError> {
        if base.about()?.sequence < sequence {
            return Err(BaseError::Missing { sequence });
        }
        let mirror = Mirror::new(base, limits.0)?;
        mirror.catch_up(sequence, progress)?;
        let timeline = Timeline::of_still(mirror.reader().clone(), Seams::system())?;
        let fork = timeline.fork(Moment::Behind(sequence), limits.1)?;
        Ok(Self { mirror, fork })
    }

    /// The fork.
    #[must_use]
    pub const fn fork(&self) -> &Fork {
        &self.fork
    }

    /// The vault that it is a fork of, as far as that has come here.
    #[must_use]
    pub const fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// Compares the fork with the vault as that is now: what it has behind the fork comes over the network. Blocks.
    ///
    /// # Errors
    /// As [`Mirror::catch_up`].
    pub fn difference(&self) -> Result<Difference, BaseError> {
        let head = self.mirror.base().about()?.sequence;
        self.mirror.catch_up(head, &mut |_| {})?;
        Ok(self.fork.difference()?)
    }

    /// Commits what the fork has and the vault has not, in one atomic commit; see [`Fork::commit_to`]. Returns the
    /// headers there, in the fork's order; none if there is nothing new.
    ///
    /// # Errors
    /// [`BaseError::Client`] with [`toka_client::Error::Rejected`] and all violations, where something that the fork's
    /// commits asked for does not hold any more; those of [`Fork::merge`].
    pub async fn commit_to(&self, client: &Client) -> Result<Vec<EventHeader>, BaseError> {
        let merge = self.fork.merge()?;
        if merge.events.is_empty() {
            return Ok(Vec::new());
        }
        let committed = client.commit_batch(merge.events, merge.preconditions);
        Ok(committed.await?.headers)
    }
}
