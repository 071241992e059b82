//! `toka bench commit`.

use anyhow::Result;
use toka_client::Client;
use toka_measure::Pace;
use toka_measure::commits::{self, Mode};

use super::report::{self, Row};
use super::session::{Session, events, measured, plan};
use crate::cli::{self, BenchCommit, Format, Global};
use crate::target::failure;

pub(super) async fn run(global: &Global, flags: BenchCommit, format: Format) -> Result<()> {
    let session = Session::open(global, &flags.nodes).await?;
    let client = session.client();
    let mode = match flags.mode {
        cli::Mode::Unary => Mode::Unary,
        cli::Mode::Batch => Mode::Batch(flags.batch_events),
        cli::Mode::Stream => Mode::Stream,
    };
    let term = term(client).await?;
    let pace = Pace::start(plan(&flags.load));
    let meter = session.meter(&pace);
    let clients = flags.load.clients;
    let counted = commits::run(client, events(flags.events), &pace, clients, mode).await;
    let counted = measured(counted)?;
    if session.vault().is_some() {
        tokio::time::sleep(flags.settle).await;
    }
    let mut summary = counted.summary(&pace);
    summary.cost = measured(meter.read(counted.items).await)?;
    let per_second = summary.per_second;
    let mut row = Row::new("commit", summary)
        .with("commits_per_second", per_second)
        .with("elections", self::term(client).await?.saturating_sub(term));
    if let Some(vault) = session.vault() {
        let disks = measured(vault.disk_bytes())?;
        let each = |bytes: u64| bytes as f64 / disks.len() as f64 / counted.all_items.max(1) as f64;
        let ledger = disks.iter().map(|disk| disk.ledger).sum();
        let raft_log = disks.iter().map(|disk| disk.raft_log).sum();
        row = row
            .with("ledger_bytes_per_event", each(ledger))
            .with("raft_log_bytes_per_event", each(raft_log));
    }
    report::rows(&[row], format)?;
    session.close().await?;
    report::outcome(counted.errors, counted.first_error)
}

/// The highest term of a node: what it rises by is how often a leader was looked for.
async fn term(client: &Client) -> Result<u64> {
    let status = client.cluster_status().await.map_err(failure)?;
    let terms = status.nodes.iter().map(|node| node.node.term);
    Ok(terms.max().unwrap_or(0))
}
