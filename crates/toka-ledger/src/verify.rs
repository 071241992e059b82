//! Checks a whole vault: everything that can be recomputed is, and every index is compared with
//! the headers in both directions.
//!
//! Rows of damaged headers, payloads and embeddings name their event. A problem is told once, where
//! it is: what only follows from it (a root over a header that cannot be read) is not told again.
//!
//! The two chains and the clustering go from event to event, in one thread. What can be said of an
//! event without those before it is found out ahead of that, by a bounded number of threads that take
//! turns with parts of the history, while another one sums up the rows of the indexes. Only if these are not those
//! that the headers ask for is everything gone through again, with a look for each row of these indexes. The report is
//! the same with any number of threads.

mod ahead;
mod chain;
mod clusters;
mod event;
mod groups;
mod indexes;
mod journal;
mod meta;
mod options;
mod part;
mod report;
mod rows;
mod summing;
mod sums;
mod walk;

use std::sync::Arc;

use self::ahead::Ahead;
use self::indexes::Compared;
pub use self::options::{Blocks, Ended, Options, Pace, THREADS_MAX};
pub use self::report::{PROBLEMS_MAX, Problem, Progress, Report};
use self::summing::Indexes;
use self::sums::{Lookups, SumKey};
use crate::engine::{Engine, EngineError};
use crate::error::Error;
use crate::read::{Position, Reader};

/// Checks everything up to the vault's present position; commits may go on meanwhile.
///
/// Storage is read once past its caches, then once more in order, and a third time where something is wrong with it, to
/// name that. `progress` is told from time to time, and begins again with each time. Whatever is wrong with the data is
/// in the report. In one thread: [`verify_with`] takes more.
///
/// # Errors
/// [`Error::Engine`] where storage cannot be read for another reason than damage.
pub fn verify(reader: &Reader, progress: &mut dyn FnMut(Progress)) -> Result<Report, Error> {
    let report = verify_with(reader, &Options::default(), progress)?;
    Ok(report.expect("without a pace nobody ends it"))
}

/// As [`verify`], as `options` say; `None` if the pace has ended it.
///
/// In memory are at most two parts of the history for each thread, of 256 events without their payloads, and
/// one payload for each.
///
/// # Errors
/// As [`verify`].
///
/// # Panics
/// If one of the threads does.
pub fn verify_with(
    reader: &Reader,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Option<Report>, Error> {
    let mut report = Report::default();
    let verified = check(reader, options, &mut report, progress);
    if matches!(verified, Ok(true)) {
        return Ok(Some(report));
    }
    if let Some(ended) = &options.ended {
        ended(&report);
    }
    verified.map(|_| None)
}

/// Whether everything was checked.
fn check(
    reader: &Reader,
    options: &Options,
    report: &mut Report,
    progress: &mut dyn FnMut(Progress),
) -> Result<bool, Error> {
    let position = reader.position();
    let engine = reader.engine();
    // Finds damage in blocks that memory still has sound copies of.
    if options.blocks == Blocks::Reread
        && let Err(error) = engine.verify_checksums()
    {
        report.damage(error)?;
    }
    // Beside the walk, which then finds in memory what both of them read.
    let files = (options.blocks == Blocks::WholeFiles).then(|| whole_files(&engine, options));
    let before = report.clone();
    let summed = Lookups::Summed(SumKey::draw(&*options.entropy));
    let mut compared = pass(&engine, &position, summed, options, report, progress)?;
    if let Compared::Differs(tables) = compared {
        // Whatever is wrong is found once more, and named.
        let first = std::mem::replace(report, before);
        let each = Lookups::EachRow(tables);
        let again = pass(&engine, &position, each, options, report, progress);
        match again {
            // What only the first look has met was wrong all the same.
            Ok(Compared::Told) => report.add_untold(first),
            // Who is told what was found until then has to know of that too.
            _ => report.add_problems(first),
        }
        compared = again?;
    }
    if compared == Compared::Ended {
        return Ok(false);
    }
    for checked in files.into_iter().flatten() {
        if let Err(error) = checked {
            report.damage(error)?;
        }
    }
    Ok(true)
}

/// Goes through everything once.
fn pass(
    engine: &Arc<dyn Engine>,
    position: &Position,
    lookups: Lookups,
    options: &Options,
    report: &mut Report,
    progress: &mut dyn FnMut(Progress),
) -> Result<Compared, Error> {
    let summing = match lookups {
        Lookups::Summed(key) => Some(Indexes::start(engine, position.sequence, key, options)),
        Lookups::EachRow(_) => None,
    };
    let walked = walk::walk(engine, position, lookups, options, report, progress)?;
    let Some(walked) = walked else {
        return Ok(Compared::Ended);
    };
    if let Some(indexes) = summing {
        let compared = summing::compare(indexes, &walked, report)?;
        if compared != Compared::Told {
            return Ok(compared);
        }
    }
    indexes::check_extra_rows(engine, walked, lookups, options, report)
}

/// The one result of [`Engine::verify_files`].
fn whole_files(engine: &Arc<dyn Engine>, options: &Options) -> Ahead<Result<(), EngineError>> {
    let engine = Arc::clone(engine);
    Ahead::start(options, 1, move |_| engine.verify_files())
}

impl Report {
    /// Notes damage that storage found itself, without an event; passes other errors on.
    fn damage(&mut self, error: EngineError) -> Result<(), Error> {
        let table = match &error {
            EngineError::Corruption { table, .. } => *table,
            _ => return Err(error.into()),
        };
        self.problem(Problem {
            sequence: None,
            id: None,
            table,
            detail: error.to_string(),
            is_unreadable: true,
        });
        Ok(())
    }
}
