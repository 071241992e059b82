//! `toka verify`: checks every event of a data directory.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use toka_ledger::dir::{DataDir, Mode};
use toka_ledger::disk::SystemDisk;
use toka_ledger::engine::rocks::{RocksEngine, RocksOptions};
use toka_ledger::verify::{Progress, Report, verify};
use toka_ledger::{Error, Ledger, Reader, VaultBus};

use crate::cli::{Format, Global};
use crate::failure::{Failure, describe};
use crate::output;
use crate::progress;

pub(crate) async fn run(global: &Global, format: Format) -> Result<()> {
    let Some(path) = &global.data else {
        bail!(Failure::Usage(
            "say with --data DIR which data directory to check".to_owned()
        ));
    };
    let report = match DataDir::read(&SystemDisk, path)? {
        None => bail!(Failure::Usage(format!(
            "there is no vault in {}",
            path.display()
        ))),
        Some(Mode::Joining { .. }) => bail!(Failure::Usage(format!(
            "{} is that of a node which has not joined a cluster yet; it holds no vault",
            path.display()
        ))),
        Some(Mode::Embedded) => embedded(path).await?,
        Some(mode @ Mode::Node { .. }) => {
            // A node that runs has more than what can be seen from here.
            let _kept_out = DataDir::open_or_create(Arc::new(SystemDisk), path, mode)
                .context("a node can be verified when it is stopped")?;
            checked(&node_reader(path)?)?
        }
    };
    show(&report, format)?;
    match report.problems_total {
        0 => Ok(()),
        problems => bail!(Failure::Damaged(format!("{problems} problems found"))),
    }
}

/// Opened as usual, which cuts off what a crash has torn; if damage keeps it from being opened, that
/// is looked for without opening it.
async fn embedded(path: &Path) -> Result<Report> {
    let refused = match VaultBus::open(path) {
        Ok(vault) => {
            let report = checked(vault.reader());
            vault.close().await;
            return report;
        }
        Err(error) => error,
    };
    let is_damage = match &refused {
        Error::Corrupt { .. } => true,
        Error::Engine(error) => error.is_corruption(),
        _ => false,
    };
    if !is_damage {
        return Err(refused.into());
    }
    match reader(&path.join("ledger"), true)
        .map_err(Into::into)
        .and_then(|reader| checked(&reader))
    {
        Ok(report) if report.problems_total > 0 => Ok(report),
        _ => bail!(Failure::Damaged(describe(&refused.into()))),
    }
}

/// What a node has that is stopped, without changing anything. What a crash has left in the Raft
/// log alone is not in it yet.
fn node_reader(path: &Path) -> Result<Reader> {
    let pointer = path.join("CURRENT");
    let name = std::fs::read_to_string(&pointer)
        .with_context(|| format!("cannot read {}", pointer.display()))?;
    Ok(reader(&path.join(name.trim()), false)?)
}

/// Reads a store that nobody has open.
fn reader(store: &Path, wal: bool) -> Result<Reader, Error> {
    let options = RocksOptions {
        wal,
        create: false,
        read_only: true,
        ..RocksOptions::default()
    };
    let engine = RocksEngine::open(store, &options)?;
    let (reader, _) = Ledger::read_only(Arc::new(engine))?;
    Ok(reader)
}

fn checked(reader: &Reader) -> Result<Report> {
    let bar = progress::bar(reader.position().sequence, "events");
    let report = verify(reader, &mut |progress: Progress| {
        bar.set_position(progress.checked);
    })?;
    bar.finish_and_clear();
    Ok(report)
}

fn show(report: &Report, format: Format) -> Result<()> {
    if format == Format::Json {
        return output::json(&serde_json::json!({
            "events": report.events,
            "payloads": report.payloads,
            "embeddings": report.embeddings,
            "erased": report.erased,
            "history_root": report.history_root,
            "state_digest": report.state_digest,
            "problems": report.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "problems_total": report.problems_total,
        }));
    }
    for problem in &report.problems {
        output::line(&problem.to_string())?;
    }
    let root = if report.is_intact() {
        format!("; history root {}", report.history_root)
    } else {
        String::new()
    };
    output::line(&format!(
        "{} events checked, {} payloads, {} embeddings, {} erased{root}",
        report.events, report.payloads, report.embeddings, report.erased
    ))
}
