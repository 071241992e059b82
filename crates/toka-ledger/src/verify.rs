//! Checks a whole vault: everything that can be recomputed is, and every index is compared with
//! the headers in both directions.
//!
//! Rows of damaged headers, payloads and embeddings name their event. A problem is told once, where
//! it is: what only follows from it (a root over a header that cannot be read) is not told again.

mod chain;
mod clusters;
mod groups;
mod indexes;
mod journal;
mod meta;
mod report;
mod rows;
mod walk;

pub use self::report::{PROBLEMS_MAX, Problem, Progress, Report};
use crate::engine::EngineError;
use crate::error::Error;
use crate::read::Reader;

/// Checks everything up to the vault's present position; commits may go on meanwhile.
///
/// Storage is read once past its caches, then once more in order. `progress` is told from time to
/// time. Whatever is wrong with the data is in the report.
///
/// # Errors
/// [`Error::Engine`] where storage cannot be read for another reason than damage.
pub fn verify(reader: &Reader, progress: &mut dyn FnMut(Progress)) -> Result<Report, Error> {
    let position = reader.position();
    let engine = reader.engine();
    let mut report = Report::default();
    // Finds damage in blocks that memory still has sound copies of.
    if let Err(error) = engine.verify_checksums() {
        report.damage(error)?;
    }
    let walked = walk::walk(&*engine, &position, &mut report, progress)?;
    indexes::check_extra_rows(&*engine, &walked, &mut report)?;
    Ok(report)
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
        });
        Ok(())
    }
}
