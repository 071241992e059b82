//! A data directory that nobody uses.

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};
use toka_ledger::dir::{DataDir, Mode};
use toka_ledger::disk::SystemDisk;
use toka_ledger::engine::rocks::{RocksEngine, RocksOptions};
use toka_ledger::verify::{Blocks, Options, Progress, Report, verify_with};
use toka_ledger::{Error, Ledger, Reader, VaultBus};
use toka_raft::stopped::StoppedNode;
use toka_server::StartError;

use super::Checked;
use crate::failure::{Failure, describe, of_directory};
use crate::progress;

/// Memory for blocks of tables, bytes: look-ups in an index find most of what they need in it.
const CACHE_BYTES: usize = 256 << 20;

/// Checks the data directory at `path`.
pub(super) async fn check(path: &Path, threads: Option<u16>) -> Result<Checked> {
    let threads = threads.map_or_else(
        || thread::available_parallelism().map_or(1, NonZero::get),
        usize::from,
    );
    match DataDir::read(&SystemDisk, path) {
        Ok(None) => bail!(Failure::Usage(format!(
            "there is no vault in {}",
            path.display()
        ))),
        Ok(Some(Mode::Joining { .. })) => bail!(Failure::Usage(format!(
            "{} is that of a node which has not joined a cluster yet; it holds no vault",
            path.display()
        ))),
        Ok(Some(Mode::Embedded)) => embedded(path, threads).await,
        Ok(Some(mode @ Mode::Node { .. })) => node(path, mode, threads),
        // It says whose the rest is, so nothing else is looked at.
        Err(error @ Error::Corrupt { .. }) => Ok(only(error.to_string())),
        Err(error) => Err(of_directory(error)),
    }
}

/// One problem, beside which nothing could be checked.
fn only(problem: String) -> Checked {
    Checked {
        report: None,
        files: vec![problem],
        node_id: None,
    }
}

/// Opened as usual, which cuts off what a crash has torn; if damage keeps it from being opened, that
/// is looked for without opening it.
async fn embedded(path: &Path, threads: usize) -> Result<Checked> {
    let refused = match VaultBus::open(path) {
        Ok(vault) => {
            let report = rows(vault.reader(), threads);
            vault.close().await;
            return Ok(Checked {
                report: Some(report?),
                files: Vec::new(),
                node_id: None,
            });
        }
        Err(error) => error,
    };
    if !refused.is_damage() {
        return Err(of_directory(refused));
    }
    let looked_at = reader(&path.join("ledger"), true)
        .map_err(Into::into)
        .and_then(|reader| rows(&reader, threads));
    let report = looked_at.ok().filter(|report| report.problems_total > 0);
    Ok(match report {
        Some(report) => Checked {
            report: Some(report),
            files: Vec::new(),
            node_id: None,
        },
        None => bail!(Failure::Damaged(describe(&refused.into()))),
    })
}

/// What a node has that is stopped, without changing anything. What a crash has left in the Raft
/// log alone is not in its ledger yet.
fn node(path: &Path, mode: Mode, threads: usize) -> Result<Checked> {
    // A node that runs has more than what can be seen from here.
    let data_dir = DataDir::open_or_create(Arc::new(SystemDisk), path, mode);
    let data_dir = data_dir
        .map_err(of_directory)
        .context("a node that runs is verified with --endpoint, and not with --data")?;
    let node = StoppedNode::open(&data_dir).map_err(StartError::from)?;
    let (found, ledger) = thread::scope(|scope| {
        // The log and the snapshots, beside the ledger.
        let found = scope.spawn(|| node.check_files());
        let ledger = node.ledger().map(|ledger| node_ledger(ledger, threads));
        (found.join(), ledger)
    });
    let ledger = ledger.transpose()?;
    let found = found.map_err(|_| anyhow!("the thread that reads the files has panicked"))?;
    let found = found.map_err(StartError::from)?;
    let mut files: Vec<String> = found.iter().map(ToString::to_string).collect();
    let report = match ledger {
        Some(Ok(report)) => Some(report),
        Some(Err(problem)) => {
            files.push(problem);
            None
        }
        None if files.is_empty() => bail!(Failure::Usage(format!(
            "{} is that of a node which was never started; it holds no vault",
            path.display()
        ))),
        None => None,
    };
    Ok(Checked {
        report,
        files,
        node_id: None,
    })
}

/// What is wrong with the rows of the ledger in `dir`, or with that as a whole, if it cannot be opened.
fn node_ledger(dir: &Path, threads: usize) -> Result<Result<Report, String>> {
    match reader(dir, false) {
        Ok(reader) => rows(&reader, threads).map(Ok),
        Err(error) if error.is_damage() => Ok(Err(format!(
            "{}: {}",
            dir.display(),
            describe(&error.into())
        ))),
        Err(error) => Err(error.into()),
    }
}

/// Reads a store that nobody has open.
fn reader(store: &Path, wal: bool) -> Result<Reader, Error> {
    let options = RocksOptions {
        wal,
        create: false,
        read_only: true,
        block_cache_bytes: CACHE_BYTES,
        ..RocksOptions::default()
    };
    let engine = RocksEngine::open(store, &options)?;
    let (reader, _) = Ledger::read_only(Arc::new(engine))?;
    Ok(reader)
}

fn rows(reader: &Reader, threads: usize) -> Result<Report> {
    let bar = progress::bar(reader.position().sequence, "events");
    let options = Options {
        blocks: Blocks::WholeFiles,
        ..Options::parallel(threads)
    };
    let report = verify_with(reader, &options, &mut |progress: Progress| {
        bar.set_position(progress.checked);
    });
    bar.finish_and_clear();
    report?.context("nobody has ended it")
}
