//! Checking a copy, which came over the network or has lain on the disk, before it becomes this node's ledger.

use std::ops::ControlFlow;
use std::path::Path;
#[cfg(feature = "storage")]
use std::path::PathBuf;
use std::sync::Arc;

use toka_ledger::Digest;
use toka_ledger::engine::{Direction, Engine, Table};
use toka_ledger::history::Frontier;
use toka_ledger::read::{Filter, PAGE_EVENTS_MAX, Query};
use toka_ledger::seam::InlineThreads;
use toka_ledger::store::check_row;
use toka_ledger::{Ledger, Reader, hash};

#[cfg(feature = "storage")]
use super::LEDGER_DIR;
#[cfg(feature = "storage")]
use super::store::finished_number;
use super::{Contents, SnapshotError};
use crate::ledger_host::contents;
use crate::storage::Storage;

/// Reads every row of the copy in `dir` with checksums on, RocksDB's and its own, and compares what it holds
/// with what was announced: last entry, membership, position, state digest, and the history root computed from
/// all headers. The state digest is as it is stored: to compute it, all events would have to be clustered again,
/// which takes as long as applying them did.
pub(crate) fn verify(
    storage: &dyn Storage,
    dir: &Path,
    expected: &Contents,
) -> Result<(), SnapshotError> {
    let engine = storage.open_copy(dir)?;
    check_rows(&*engine)?;
    let found = contents(Arc::clone(&engine))?;
    if found.position != expected.position || found.meta != expected.meta {
        return Err(SnapshotError::Position {
            expected: Box::new(expected.position),
            found: Box::new(found.position),
        });
    }
    let (reader, _) = Ledger::read_only(engine)?;
    let computed = history_root(&reader)?;
    if computed != expected.position.history_root {
        return Err(SnapshotError::HistoryRoot {
            sequence: expected.position.sequence,
            expected: expected.position.history_root,
            computed,
        });
    }
    Ok(())
}

/// Opens the copy in `dir` as a ledger, with all that it keeps in memory: rows may be sound one by one, and yet lack
/// one without which the ledger cannot be opened.
pub(crate) fn open_as_ledger(storage: &dyn Storage, dir: &Path) -> Result<Reader, SnapshotError> {
    let ledger = Ledger::open(storage.open_copy(dir)?, Arc::new(InlineThreads))?;
    let reader = ledger.reader();
    reader.settings()?;
    Ok(reader)
}

/// What is damaged of the complete snapshots in `dir`, which nobody has open: the file or directory, and what is
/// wrong with it.
#[cfg(feature = "storage")]
pub(crate) fn snapshot_problems(
    storage: &dyn Storage,
    dir: &Path,
) -> Result<Vec<(PathBuf, String)>, SnapshotError> {
    let disk = storage.disk();
    let mut found = Vec::new();
    if !disk.exists(dir) {
        return Ok(found);
    }
    let names = disk.list(dir).map_err(SnapshotError::file("list", dir))?;
    for path in names.into_iter().map(|name| dir.join(name)) {
        if finished_number(&path).is_some() {
            found.extend(snapshot_problem(storage, &path)?);
        }
    }
    Ok(found)
}

#[cfg(feature = "storage")]
fn snapshot_problem(
    storage: &dyn Storage,
    snapshot: &Path,
) -> Result<Option<(PathBuf, String)>, SnapshotError> {
    let ledger = snapshot.join(LEDGER_DIR);
    let checked = Contents::read(&*storage.disk(), snapshot).and_then(|contents| {
        verify(storage, &ledger, &contents)?;
        Ok(storage.open_copy(&ledger)?.verify_files()?)
    });
    match checked {
        Ok(()) => Ok(None),
        Err(error) if error.is_newer() => Err(error),
        Err(SnapshotError::Contents { path, source }) => Ok(Some((path, source.to_string()))),
        Err(error) if error.is_damaged_copy() => Ok(Some((ledger, error.to_string()))),
        Err(error) => Err(error),
    }
}

fn check_rows(engine: &dyn Engine) -> Result<(), SnapshotError> {
    let mut found = Ok(());
    engine.verify_rows(&mut |table: Table, key: &[u8], value: &[u8]| {
        found = check_row(table, key, value);
        match found.is_ok() {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    Ok(found?)
}

/// The root of the history's tree, from the headers alone.
fn history_root(reader: &Reader) -> Result<Digest, SnapshotError> {
    let mut frontier = Frontier::default();
    let mut after = Some(0);
    while let Some(from) = after {
        let page = reader.list(&Query {
            after: from,
            until: u64::MAX,
            filter: Filter::default(),
            direction: Direction::Forward,
            limit: PAGE_EVENTS_MAX,
        })?;
        for header in &page.headers {
            let embedding = header
                .embedding
                .map_or(Digest::ZERO, |embedding| embedding.digest);
            let leaf = hash::leaf(header.sequence, header.unix_ms, &header.digest, &embedding);
            frontier.push(leaf, |_| {});
        }
        after = page.next;
    }
    Ok(frontier.root())
}
