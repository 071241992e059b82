//! A vault as it was at any of its events.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cut::is_lasting;
use super::engine::ForkEngine;
use crate::apply::Ledger;
use crate::engine::memory::MemoryEngine;
use crate::engine::{Batch, Direction, Durability, Engine, Table};
use crate::error::Error;
use crate::read::Reader;
use crate::restore::moment::{Manner, repeat_as};
use crate::seam::Seams;

/// Moments that a timeline keeps.
pub const MOMENTS_MAX: usize = 8;

/// A moment of a vault's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Right behind the event at this sequence, with the cursors that moved together with it; 0: before the first
    /// event. Labels given and cursors saved between it and the next event are not there.
    Behind(u64),
    /// The vault as it is now, with all that has changed behind its last event.
    Now,
}

/// Goes to moments of a vault, which stays as it is and may go on.
///
/// What lasts (headers, payloads, embeddings, indexes, roots) is read through, of the moment's events only. What the
/// vault has overwritten since (the state of the intents, settings, cursors) is made again by applying the history up
/// to the moment, from the nearest kept moment before it or from the beginning, and compared with the history's
/// roots and state digests on the way. That costs what committing those events has cost without syncing: reading
/// them, and finding the place of each embedding again. In memory it takes the rows of the micro-clusters, of the
/// cursors and of the journal. The [`MOMENTS_MAX`] moments last gone to are kept, so that going on from one is cheap.
///
/// Consumer groups are in no history: they are as they are now, without leases, up to the moment.
///
/// Calls block, for minutes where the history is long: they belong on a blocking thread.
#[derive(Debug)]
pub struct Timeline {
    base: Reader,
    seams: Seams,
    /// The one last gone to last.
    kept: Mutex<Vec<Kept>>,
}

/// What is not lasting of a moment.
#[derive(Debug)]
struct Kept {
    sequence: u64,
    /// With what changed behind the event: nothing is to be repeated behind it.
    has_changes: bool,
    rows: MemoryEngine,
}

/// A moment, for a vault to go on from.
pub(super) struct Reached {
    pub(super) base: Arc<dyn Engine>,
    pub(super) sequence: u64,
    pub(super) rows: MemoryEngine,
}

impl Timeline {
    /// The timeline of the vault that `base` reads.
    #[must_use]
    pub fn new(base: Reader) -> Self {
        Self::with_seams(base, Seams::system())
    }

    /// The timeline of the vault that `base` reads; the seams are those of its forks, too.
    #[must_use]
    pub const fn with_seams(base: Reader, seams: Seams) -> Self {
        Self {
            base,
            seams,
            kept: Mutex::new(Vec::new()),
        }
    }

    /// The timeline of a vault that nobody writes to while this is made, such as a copy: its present moment is not
    /// made again, but taken as it is, with what changed behind its last event.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Engine`].
    pub fn of_still(base: Reader, seams: Seams) -> Result<Self, Error> {
        let (rows, engine) = (MemoryEngine::new(), base.engine());
        let mut batch = Batch::new();
        for table in Table::ALL.into_iter().filter(|table| !is_lasting(*table)) {
            for row in engine.scan(table, &[], None, Direction::Forward) {
                let (key, value) = row?;
                batch.put(table, key, value);
            }
        }
        rows.write(batch, Durability::Synced)?;
        let sequence = base.position().sequence;
        let timeline = Self::with_seams(base, seams);
        timeline.keep(Kept {
            sequence,
            has_changes: true,
            rows,
        });
        Ok(timeline)
    }

    /// The vault that this is the timeline of.
    #[must_use]
    pub const fn base(&self) -> &Reader {
        &self.base
    }

    pub(super) const fn seams(&self) -> &Seams {
        &self.seams
    }

    /// Reads the vault as it was: events, intents with their centroids, cursors, settings. The revision counts one
    /// for each event, and none for commands that changed nothing.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] behind the last event; [`Error::Erased`] for an event before it whose payload or
    /// embedding is gone; [`Error::Corrupt`], [`Error::Engine`].
    pub fn at(&self, moment: Moment) -> Result<Reader, Error> {
        let reached = self.reach(moment)?;
        // It is not written to; its limit does not matter.
        let engine = ForkEngine::forked(reached.base, reached.sequence, reached.rows, 0);
        let threads = Arc::clone(&self.seams.threads);
        Ok(Ledger::open(Arc::new(engine), threads)?.reader())
    }

    pub(super) fn reach(&self, moment: Moment) -> Result<Reached, Error> {
        let (sequence, manner) = match moment {
            Moment::Behind(sequence) => (sequence, Manner::Repeated),
            Moment::Now => (self.base.position().sequence, Manner::RepeatedWithChanges),
        };
        let base = self.base.engine();
        let begin = self.nearest(sequence);
        // There is nothing to repeat, nor anything left to change, where all of it is there.
        let is_whole = begin.has_changes;
        let manner = if is_whole { Manner::Repeated } else { manner };
        let engine = ForkEngine::repeating(Arc::clone(&base), begin.sequence, begin.rows);
        let engine = Arc::new(engine);
        let repeated: Arc<dyn Engine> = Arc::clone(&engine) as Arc<dyn Engine>;
        let threads = &self.seams.threads;
        repeat_as(
            &repeated,
            &self.base,
            sequence,
            manner,
            threads,
            &mut |_| {},
        )?;
        let rows = engine.rows();
        if manner == Manner::Repeated && !is_whole {
            self.keep(Kept {
                sequence,
                has_changes: false,
                rows: engine.rows(),
            });
        }
        Ok(Reached {
            base,
            sequence,
            rows,
        })
    }

    /// The nearest kept moment up to `sequence` to begin from; an empty vault if there is none.
    fn nearest(&self, sequence: u64) -> Kept {
        let kept = self.lock();
        let usable = kept.iter().filter(|kept| match kept.has_changes {
            true => kept.sequence == sequence,
            false => kept.sequence <= sequence,
        });
        let nearest = usable.max_by_key(|kept| (kept.sequence, kept.has_changes));
        Kept {
            sequence: nearest.map_or(0, |kept| kept.sequence),
            has_changes: nearest.is_some_and(|kept| kept.has_changes),
            rows: nearest.map_or_else(MemoryEngine::new, |kept| kept.rows.crash_image()),
        }
    }

    fn keep(&self, moment: Kept) {
        let mut kept = self.lock();
        kept.retain(|kept| kept.sequence != moment.sequence);
        kept.push(moment);
        if kept.len() > MOMENTS_MAX {
            kept.remove(0);
        }
    }

    // Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
