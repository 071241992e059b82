//! `toka bench embedded`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use toka_ledger::VaultBus;
use toka_ledger::engine::rocks::{RocksEngine, RocksOptions};
use toka_ledger::engine::{Durability, Engine};
use toka_measure::usage::Usage;
use toka_measure::{Counted, Events, Meter, Pace, Plan, Summary, Turn, commits, load};

use super::recording::{Recorded, Recording};
use super::report::{self, Row};
use super::session::{events, measured, plan};
use crate::cli::{BenchEmbedded, EmbeddedMode, Format};

/// The first number of events that growth is reported at.
const GROWTH_FIRST: u64 = 10_000;
/// Growing may take so long.
const GROWTH_LIMIT: Duration = Duration::from_secs(24 * 3600);

pub(super) async fn run(flags: BenchEmbedded, format: Format) -> Result<()> {
    let parent = flags.directory.clone().unwrap_or_else(std::env::temp_dir);
    let directory = TempDir::with_prefix_in("toka-bench-", &parent)
        .with_context(|| format!("cannot write to {}", parent.display()))?;
    match flags.grow_to {
        Some(most) => grow(directory.path(), &flags, most, format).await,
        None => compare(directory.path(), &flags, format).await,
    }
}

/// Commits, and then writes the batches that came of it to bare RocksDB, with the same options.
async fn compare(directory: &Path, flags: &BenchEmbedded, format: Format) -> Result<()> {
    let engine = RocksEngine::open(&directory.join("vault"), &RocksOptions::default())?;
    let recording = Arc::new(Recording::new(engine));
    let vault = VaultBus::builder().open_engine(Arc::clone(&recording) as Arc<dyn Engine>)?;
    let size = match flags.mode {
        EmbeddedMode::Unary => 1,
        EmbeddedMode::Batch => flags.batch_events.into(),
    };
    let pace = Pace::start(plan(&flags.load));
    // The vault and what commits to it are one process.
    let meter = Meter::start(vec![std::process::id()], Some(directory), &pace);
    let events = events(flags.events);
    let counted = committers(&vault, events, &pace, flags.load.clients, (0, size)).await?;
    let mut summary = counted.summary(&pace);
    summary.cost = measured(meter.read(counted.items).await)?;
    vault.close().await;
    if let Some(error) = counted.first_error {
        return Err(error.into());
    }
    let recorded = recording.take();
    let (groups, written) = (recorded.batches.len() as u64, recorded.events());
    let path = directory.join("bare");
    let time = tokio::task::spawn_blocking(move || bare(&path, recorded)).await??;
    let per_second = written as f64 / time.as_secs_f64().max(1e-9);
    let share = summary.per_second / per_second.max(1e-9);
    let bare = Summary {
        acknowledged: written,
        calls: groups,
        seconds: time.as_secs_f64(),
        per_second,
        calls_per_second: groups as f64 / time.as_secs_f64().max(1e-9),
        ..Summary::default()
    };
    let rows = [
        Row::new("embedded vault", summary).with("share_of_bare_percent", share * 100.0),
        Row::new("bare RocksDB", bare)
            .with("events_per_write", written as f64 / groups.max(1) as f64),
    ];
    report::rows(&rows, format)
}

fn bare(path: &Path, recorded: Recorded) -> Result<Duration> {
    let engine = RocksEngine::open(path, &RocksOptions::default())?;
    let begin = Instant::now();
    for batch in recorded.batches {
        engine.write(batch, Durability::Synced)?;
    }
    Ok(begin.elapsed())
}

/// Commits in batches until there are `most` events; a row for each tenfold.
async fn grow(directory: &Path, flags: &BenchEmbedded, most: u64, format: Format) -> Result<()> {
    let vault = VaultBus::open(directory.join("vault"))?;
    let (events, size) = (events(flags.events), u64::from(flags.batch_events));
    let (mut done, mut until, mut rows) = (0, GROWTH_FIRST.min(most), Vec::new());
    while done < most {
        let pace = Pace::start(Plan {
            operations_max: Some((until - done).div_ceil(size)),
            ..Plan::closed(Duration::ZERO, GROWTH_LIMIT)
        });
        let counted = committers(&vault, events, &pace, flags.load.clients, (done, size)).await?;
        if let Some(error) = counted.first_error {
            bail!(error);
        }
        let memory = measured(Usage::of(std::process::id()))?.resident_bytes;
        done += counted.items;
        rows.push(
            Row::new(format!("up to {done} events"), counted.summary(&pace))
                .with("resident_bytes", memory),
        );
        until = (until * 10).min(most);
    }
    report::rows(&rows, format)?;
    vault.close().await;
    Ok(())
}

/// `clients` of them commit, each `size` events at once, numbered from `first` on.
async fn committers(
    vault: &VaultBus,
    events: Events,
    pace: &Arc<Pace>,
    clients: u32,
    (first, size): (u64, u64),
) -> Result<Counted<toka_ledger::Error>> {
    let vault = vault.clone();
    let operation = move |_, turn: Turn| {
        let vault = vault.clone();
        async move {
            let first = first + turn.number * size;
            let numbers = first..first + size;
            let drafts = numbers.map(|number| commits::draft(&events, number, turn.due));
            vault.commit_batch(drafts).await.map(|_| size)
        }
    };
    measured(load::closed(pace, clients, operation).await)
}
