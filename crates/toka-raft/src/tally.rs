//! What a node counts and times, for metrics.

use std::time::Duration;

use toka_ledger::Outcome;
use toka_ledger::disk::Space;
use tokio::time::Instant;

use crate::error::CommitError;
use crate::meters::{Counter, Gauge, Histogram, LATENCY_BOUNDS, LONG_BOUNDS};

/// Why a command has no outcome that nobody waits for any more.
const ABANDONED: &str = "abandoned";

/// What a node has counted since it was started.
#[derive(Debug)]
pub struct Tally {
    /// From when a command is queued until it has an outcome; of this node while it leads.
    pub commit: Histogram,
    /// Of that, until its entry is handed to Raft;
    pub queue: Histogram,
    /// from then until this node begins to apply it, when a quorum has it on disk and so has this node, and what was
    /// committed before is applied.
    pub replicate: Histogram,
    /// Entries that are applied together: how long that took.
    pub apply: Histogram,
    /// Commits that were answered with their headers, found as applied before or not.
    pub committed: Counter,
    /// Events of those.
    pub committed_events: Counter,
    /// Commands that the vault refused.
    pub rejected: Counter,
    failed: [Counter; CommitError::REASONS.len()],
    abandoned: Counter,
    /// Entries that were applied.
    pub applied_entries: Counter,
    /// Changes of the leader that the node knows of, to one and not to none.
    pub leader_changes: Counter,
    /// Snapshots that were made: how long that took.
    pub snapshots_made: Histogram,
    /// Snapshots of other nodes that took the place of the ledger.
    pub snapshots_installed: Counter,
    /// Bytes that are free on the disk of the data directory,
    pub disk_free_bytes: Gauge,
    /// that it has,
    pub disk_bytes: Gauge,
    /// and that are kept free; all three 0 until they were measured.
    pub disk_reserve_bytes: Gauge,
}

impl Default for Tally {
    fn default() -> Self {
        let latency = || Histogram::new(LATENCY_BOUNDS);
        Self {
            commit: latency(),
            queue: latency(),
            replicate: latency(),
            apply: latency(),
            committed: Counter::default(),
            committed_events: Counter::default(),
            rejected: Counter::default(),
            failed: Default::default(),
            abandoned: Counter::default(),
            applied_entries: Counter::default(),
            leader_changes: Counter::default(),
            snapshots_made: Histogram::new(LONG_BOUNDS),
            snapshots_installed: Counter::default(),
            disk_free_bytes: Gauge::default(),
            disk_bytes: Gauge::default(),
            disk_reserve_bytes: Gauge::default(),
        }
    }
}

impl Tally {
    /// Commands without an outcome, by [`CommitError::reason`]; `abandoned` are those for which their callers would not
    /// wait any longer.
    pub fn failed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.failed.iter().map(Counter::get);
        let failed = CommitError::REASONS.into_iter().zip(counts);
        failed.chain([(ABANDONED, self.abandoned.get())])
    }

    /// Commands that are proposed together, from now on.
    pub(crate) fn begin(&self) -> Waiting<'_> {
        Waiting {
            tally: self,
            began: Instant::now(),
            is_answered: false,
        }
    }

    /// What has become of commands that were proposed together, `took` after they were queued.
    fn answered(&self, answer: &Result<Vec<Outcome>, CommitError>, took: Duration) {
        let outcomes = match answer {
            Ok(outcomes) => outcomes,
            Err(error) => {
                let reason = error.reason();
                let place = CommitError::REASONS.iter().position(|it| *it == reason);
                if let Some(count) = place.and_then(|place| self.failed.get(place)) {
                    count.increment();
                }
                return;
            }
        };
        self.commit.record(took);
        for outcome in outcomes {
            match outcome {
                Outcome::Committed { headers, .. } => {
                    self.committed.increment();
                    self.committed_events
                        .add(u64::try_from(headers.len()).unwrap_or(u64::MAX));
                }
                Outcome::Rejected { .. } => self.rejected.increment(),
                _ => {}
            }
        }
    }

    /// What there is on the disk, and what of it is kept free.
    pub(crate) fn disk(&self, space: Space, reserve_bytes: u64) {
        self.disk_free_bytes.set(space.free_bytes);
        self.disk_bytes.set(space.total_bytes);
        self.disk_reserve_bytes.set(reserve_bytes);
    }
}

/// Commands that wait for their outcomes. Dropped before there are any, their caller has given up: without a quorum that is
/// how nearly every commit ends.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    tally: &'a Tally,
    began: Instant,
    is_answered: bool,
}

impl Waiting<'_> {
    /// What has become of them.
    pub(crate) fn answered(mut self, answer: &Result<Vec<Outcome>, CommitError>) {
        self.is_answered = true;
        self.tally.answered(answer, self.began.elapsed());
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.tally.abandoned.increment();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_for_what_they_are() {
        let tally = Tally::default();
        let took = Duration::from_millis(3);
        let committed = Outcome::Committed {
            revision: 1,
            headers: Vec::new(),
        };
        tally.answered(&Ok(vec![committed.clone(), committed]), took);
        tally.answered(&Err(CommitError::Unknown), took);
        assert_eq!(tally.committed.get(), 2);
        assert_eq!(tally.commit.distribution().count, 1, "one answer");
        let failed: Vec<_> = tally.failed().filter(|(_, count)| *count > 0).collect();
        assert_eq!(failed, [("unknown", 1)]);
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_counted_once() {
        let tally = Tally::default();
        drop(tally.begin());
        tally.begin().answered(&Err(CommitError::Stopped));
        let failed: Vec<_> = tally.failed().filter(|(_, count)| *count > 0).collect();
        assert_eq!(failed, [("stopped", 1), ("abandoned", 1)]);
    }
}
