//! Summing up the indexes, beside the walk through the history.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::ahead::Ahead;
use super::indexes::{Age, Ages, Compared, is_suspect, owner};
use super::options::Options;
use super::report::Report;
use super::sums::{RowSums, SUMMED, Sum, SumKey, Tables};
use super::walk::Walked;
use crate::engine::{Engine, Table};
use crate::error::Error;

/// What an index comes to.
pub(super) enum Summed {
    /// Number of its rows up to the last checked event, and their sum.
    Rows(u64, Sum),
    /// One belongs to no event for sure, or damage hides some, which is in the report.
    Unsure(Report),
    /// It is to end.
    Ended,
}

/// The tables of [`SUMMED`], in that order. With more threads than one another one goes through them at once; else that is
/// done when they are taken. Dropped before, it ends.
pub(super) struct Indexes {
    is_over: Arc<AtomicBool>,
    found: Ahead<Result<Vec<Summed>, Error>>,
}

impl Indexes {
    /// Begins with what they have up to the event at `head`.
    pub(super) fn start(
        engine: &Arc<dyn Engine>,
        head: u64,
        key: SumKey,
        options: &Options,
    ) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (engine, pace) = (Arc::clone(engine), options.pace.clone());
        let ends = Arc::clone(&is_over);
        let go_on =
            move |bytes: u64| !ends.load(Ordering::Relaxed) && Options::go_on(pace.as_ref(), bytes);
        let found: Ahead<Result<Vec<Summed>, Error>> = Ahead::start(options, 1, move |_| {
            let summed = SUMMED.map(|table| Summing::new(&*engine, table, head, key).run(&go_on));
            summed.into_iter().collect()
        });
        Self { is_over, found }
    }

    /// Waits for them.
    pub(super) fn take(mut self) -> Result<Vec<Summed>, Error> {
        self.found.next().expect("there is one job")
    }
}

impl Drop for Indexes {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// Compares what the indexes have with what the headers ask for.
pub(super) fn compare(
    indexes: Indexes,
    walked: &Walked,
    report: &mut Report,
) -> Result<Compared, Error> {
    if is_suspect(walked, report) {
        return Ok(Compared::Differs(Tables::all()));
    }
    let mut differing = Tables::NONE;
    for (table, found) in SUMMED.into_iter().zip(indexes.take()?) {
        let at = table.index();
        match found {
            Summed::Rows(rows, sum)
                if (rows, sum) == (walked.counts.rows[at], walked.counts.sums[at]) => {}
            Summed::Unsure(found) if !found.is_intact() => {
                differing = differing.with(table);
                report.add_problems(found);
            }
            Summed::Rows(..) | Summed::Unsure(_) => {
                differing = differing.with(table);
                report.row(table, "its rows are not those that the headers ask for");
            }
            Summed::Ended => return Ok(Compared::Ended),
        }
    }
    Ok(match differing {
        Tables::NONE => Compared::Told,
        _ => Compared::Differs(differing),
    })
}

/// One of them on its way.
struct Summing<'e> {
    engine: &'e dyn Engine,
    table: Table,
    ages: Ages<'e>,
    row_sums: RowSums,
    rows: u64,
    sum: Sum,
}

impl<'e> Summing<'e> {
    fn new(engine: &'e dyn Engine, table: Table, head: u64, key: SumKey) -> Self {
        Self {
            engine,
            table,
            ages: Ages::new(engine, head),
            row_sums: RowSums::new(key),
            rows: 0,
            sum: Sum::ZERO,
        }
    }

    fn run(mut self, go_on: &dyn Fn(u64) -> bool) -> Result<Summed, Error> {
        let (engine, table) = (self.engine, self.table);
        let mut end: Option<Result<Summed, Error>> = None;
        let visited = engine.visit(table, &[], &mut |key: &[u8], value: &[u8]| {
            end = match self.row(key, value) {
                Ok(false) => Some(Ok(Summed::Unsure(Report::default()))),
                Ok(true) if go_on((key.len() + value.len()) as u64) => None,
                Ok(true) => Some(Ok(Summed::Ended)),
                Err(error) => Some(Err(error)),
            };
            match end.is_none() {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        if let Some(end) = end {
            return end;
        }
        if let Err(error) = visited {
            let mut report = Report::default();
            report.damage(error)?;
            return Ok(Summed::Unsure(report));
        }
        Ok(Summed::Rows(self.rows, self.sum))
    }

    /// Adds a row, if it is of a checked event; `false` if it belongs to no event for sure.
    fn row(&mut self, key: &[u8], value: &[u8]) -> Result<bool, Error> {
        let age = match sequence_in(self.table, key, value) {
            // Whether the rest of it is as it should be is what the sum tells.
            Some(sequence) if sequence <= self.ages.head() => Age::Checked,
            _ => match owner(self.table, key, value) {
                Ok(sequence) => self.ages.of(sequence)?,
                Err(_) => Age::Unknown,
            },
        };
        if age == Age::Checked {
            self.rows += 1;
            self.sum.add(self.row_sums.of(key, value));
        }
        Ok(age != Age::Unknown)
    }
}

/// Where a row has its sequence.
fn sequence_in(table: Table, key: &[u8], value: &[u8]) -> Option<u64> {
    match table {
        Table::Events | Table::PayloadDigests => {
            value.last_chunk::<8>().map(|at| u64::from_le_bytes(*at))
        }
        _ => key.last_chunk::<8>().map(|at| u64::from_be_bytes(*at)),
    }
}
