//! Checking a ledger that was put together from a backup.

use std::path::Path;
use std::sync::Arc;

use toka_ledger::engine::Engine;
use toka_ledger::read::{Position, Settings};
use toka_ledger::verify::{self, Report};
use toka_ledger::{Ledger, Reader};
use toka_raft::{DiskStorage, Storage};

use crate::create::{Progress, Step};
use crate::error::Error;
use crate::manifest::Manifest;

/// Opens the ledger in `dir` for reading.
pub(crate) fn open(dir: &Path) -> Result<(Arc<dyn Engine>, Reader), Error> {
    let engine = DiskStorage::default().open_copy(dir)?;
    let (reader, _) = Ledger::read_only(Arc::clone(&engine))?;
    Ok((engine, reader))
}

/// Compares the ledger in `dir` with what its manifest says, then checks every event of it.
pub(crate) fn check(
    dir: &Path,
    manifest: &Manifest,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, Error> {
    manifest.check_level()?;
    let what = || format!("backup {:?}", manifest.name);
    let (_, reader) = open(dir).map_err(|error| match error {
        error @ Error::Ledger(toka_ledger::Error::FeatureLevel { .. }) => error,
        Error::Ledger(source) => Error::damaged(
            what(),
            format!("its ledger cannot be opened: {}", describe(&source)),
        ),
        error => error,
    })?;
    let (expected, found) = (manifest.position(), reader.position());
    if found != expected {
        let reason = format!(
            "it is to be at {}, and its files are at {}",
            at(&expected),
            at(&found)
        );
        return Err(Error::damaged(what(), reason));
    }
    check_history(&what(), reader.settings()?.as_ref(), manifest)?;
    sound(&what(), &reader, progress)
}

/// Checks every event of a ledger.
pub(crate) fn sound(
    what: &str,
    reader: &Reader,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, Error> {
    let mut tell = |done, total| {
        progress(Progress {
            step: Step::Check,
            done,
            total,
        });
    };
    // Everything is read for damage before the first event is checked.
    tell(0, reader.position().sequence);
    let report = verify::verify(reader, &mut |now| tell(now.checked, now.total))?;
    if let Some(problem) = report.problems.first() {
        let reason = format!(
            "its ledger has {} problems, first: {problem}",
            report.problems_total
        );
        return Err(Error::damaged(what, reason));
    }
    Ok(report)
}

/// Files of another vault, put together with this one's manifest.
fn check_history(
    what: &str,
    settings: Option<&Settings>,
    manifest: &Manifest,
) -> Result<(), Error> {
    let history = settings.map(|settings| settings.history_id_in(manifest.cluster_id));
    if history == Some(manifest.history_id) {
        return Ok(());
    }
    let theirs = history.map_or_else(|| "none".to_owned(), |id| format!("{id:032x}"));
    let reason = format!(
        "it is to be of history {:032x}, and its files are of {theirs}: they are another vault's",
        manifest.history_id
    );
    Err(Error::damaged(what, reason))
}

fn at(position: &Position) -> String {
    format!(
        "revision {}, sequence {}, state digest {}",
        position.revision, position.sequence, position.state_digest
    )
}

/// An error with its causes.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
