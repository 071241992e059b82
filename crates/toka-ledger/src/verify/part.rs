//! A part of the history, as far as it can be checked without what comes before it.

use std::sync::Arc;

use bytes::Bytes;

use super::event::Examination;
use super::options::{Options, Pace};
use super::report::Problem;
use super::rows::Rows;
use super::sums::{Lookups, Sum};
use crate::core::{Embedding, EventHeader};
use crate::engine::{Engine, Table};
use crate::error::Error;
use crate::store::Settings;

/// Events of a part.
pub(super) const PART_EVENTS: u64 = 256;

/// Tables that are walked from end to end, so that their rows need not be counted again.
const WALKED: [Table; 3] = [Table::Headers, Table::Payloads, Table::Embeddings];

/// What was found out about a part.
pub(super) struct Part {
    /// In their order.
    pub(super) events: Vec<Examined>,
    pub(super) counts: Counts,
}

/// What was found out about an event.
pub(super) struct Examined {
    /// `None`: its header cannot be read.
    pub(super) checked: Option<Checked>,
    pub(super) findings: Vec<Finding>,
}

/// An event whose header could be read.
pub(super) struct Checked {
    pub(super) header: EventHeader,
    /// What the header is stored as.
    pub(super) row: Bytes,
    /// The embedding, if it has one that could be read.
    pub(super) embedding: Option<Embedding>,
}

/// A problem, if it is one.
pub(super) struct Finding {
    pub(super) problem: Problem,
    /// It only follows from it if the header of this event cannot be read.
    pub(super) unless_damaged: Option<u64>,
}

/// What was counted.
pub(super) struct Counts {
    /// Payloads found.
    pub(super) payloads: u64,
    /// Embeddings found.
    pub(super) embeddings: u64,
    /// Payloads and embeddings that were erased.
    pub(super) erased: u64,
    /// Keys and values that were read.
    pub(super) bytes: u64,
    /// Rows that there should be, by [`Table::index`].
    pub(super) rows: [u64; Table::ALL.len()],
    /// Sums of those that are summed up, by [`Table::index`].
    pub(super) sums: [Sum; Table::ALL.len()],
    /// Rows that there are in the tables of [`WALKED`]; `None` where damage hides some.
    walked: [Option<u64>; WALKED.len()],
}

impl Counts {
    pub(super) const fn new() -> Self {
        Self {
            payloads: 0,
            embeddings: 0,
            erased: 0,
            bytes: 0,
            rows: [0; Table::ALL.len()],
            sums: [Sum::ZERO; Table::ALL.len()],
            walked: [Some(0); WALKED.len()],
        }
    }

    /// Adds those of the next part.
    pub(super) fn add(&mut self, next: &Self) {
        self.payloads += next.payloads;
        self.embeddings += next.embeddings;
        self.erased += next.erased;
        self.bytes += next.bytes;
        for (rows, more) in self.rows.iter_mut().zip(next.rows) {
            *rows += more;
        }
        for (sum, more) in self.sums.iter_mut().zip(next.sums) {
            sum.add(more);
        }
        for (rows, more) in self.walked.iter_mut().zip(next.walked) {
            *rows = rows.zip(more).map(|(rows, more)| rows + more);
        }
    }

    /// Rows up to the last event of a table that was walked; the inner `None` where damage hides some.
    pub(super) fn walked(&self, table: Table) -> Option<Option<u64>> {
        let at = WALKED.iter().position(|walked| *walked == table)?;
        Some(self.walked[at])
    }
}

/// Examines parts, any of them in any thread.
pub(super) struct Examiner {
    engine: Arc<dyn Engine>,
    settings: Option<Settings>,
    /// The last event.
    head: u64,
    lookups: Lookups,
    pace: Option<Pace>,
}

impl Examiner {
    pub(super) fn new(
        engine: &Arc<dyn Engine>,
        settings: Option<Settings>,
        head: u64,
        lookups: Lookups,
        options: &Options,
    ) -> Self {
        Self {
            engine: Arc::clone(engine),
            settings,
            head,
            lookups,
            pace: options.pace.clone(),
        }
    }

    /// How many there are.
    pub(super) const fn parts(&self) -> u64 {
        self.head.div_ceil(PART_EVENTS)
    }

    /// Examines the part of this number, from 0 on; `None` if it is to end.
    pub(super) fn part(&self, number: u64) -> Result<Option<Part>, Error> {
        let first = number * PART_EVENTS + 1;
        let sequences = first..=self.head.min(first + PART_EVENTS - 1);
        let engine = &*self.engine;
        let mut headers = Rows::new(engine, Table::Headers, &sequences);
        let settings = self.settings.as_ref();
        let mut examination = Examination::new(engine, settings, &sequences, self.lookups);
        let mut events = Vec::new();
        let mut counts = Counts::new();
        for sequence in sequences {
            let row = headers.at(sequence)?;
            events.push(examination.event(sequence, row, &mut counts)?);
            let bytes = headers.take_bytes() + examination.take_bytes();
            counts.bytes += bytes;
            if !Options::go_on(self.pace.as_ref(), bytes) {
                return Ok(None);
            }
        }
        let (payloads, embeddings) = examination.finish()?;
        counts.walked = [headers.finish()?, payloads, embeddings];
        counts.bytes += headers.take_bytes() + examination.take_bytes();
        Ok(Some(Part { events, counts }))
    }
}
