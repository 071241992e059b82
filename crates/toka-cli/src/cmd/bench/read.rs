//! `toka bench get` and `toka bench list`.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use toka_client::{Include, Read, Selector};
use toka_measure::{Pace, commits, reads};

use super::report::{self, Row};
use super::session::{Session, events, measured, plan};
use crate::cli::{BenchGet, BenchList, Consistency, Format, Global, Stock};
use crate::failure::Failure;
use crate::target::failure;

/// Events that are read again and again.
const EVENTS_MAX: usize = 100_000;

pub(super) async fn get(global: &Global, flags: BenchGet, format: Format) -> Result<()> {
    let read = read(flags.consistency, &flags.stock)?;
    let session = Session::open(global, &flags.nodes).await?;
    fill(&session, &flags.stock).await?;
    let selectors = measured(reads::newest(session.client(), EVENTS_MAX).await)?;
    ensure!(
        !selectors.is_empty(),
        "the vault is empty; say --fill-events"
    );
    if flags.follower {
        return from_follower(session, &flags, &selectors, read, format).await;
    }
    let pace = Pace::start(plan(&flags.load));
    let meter = session.meter(&pace);
    let (client, clients) = (session.client(), flags.load.clients);
    let counted = match flags.batch_events {
        1 => reads::get(client, &selectors, &pace, clients, read).await,
        size => reads::batch_get(client, &selectors, &pace, clients, read, size).await,
    };
    let counted = measured(counted)?;
    let mut summary = counted.summary(&pace);
    summary.cost = measured(meter.read(counted.items).await)?;
    report::rows(&[Row::new("get", summary)], format)?;
    session.close().await?;
    report::outcome(counted.errors, counted.first_error)
}

async fn from_follower(
    session: Session,
    flags: &BenchGet,
    selectors: &Arc<[Selector]>,
    read: Read,
    format: Format,
) -> Result<()> {
    let status = session.client().cluster_status().await.map_err(failure)?;
    let leader = status.leader_id;
    let mut followers = status.nodes.iter().map(|node| &node.node);
    let follower = followers
        .find(|node| node.healthy && Some(node.node_id) != leader)
        .context("the cluster has no follower that answers")?;
    let transport = session.client().transport();
    let node = reads::Node::over(&**transport, &follower.client_endpoint).map_err(failure)?;
    let is_linearizable = read.consistency == toka_client::Consistency::Linearizable;
    let pace = Pace::start(plan(&flags.load));
    let meter = session.meter(&pace);
    let (clients, include) = (flags.load.clients, read.include);
    let counted = reads::get_at(&node, selectors, &pace, clients, include, is_linearizable).await;
    let counted = measured(counted)?;
    let mut summary = counted.summary(&pace);
    summary.cost = measured(meter.read(counted.items).await)?;
    report::rows(&[Row::new("get from a follower", summary)], format)?;
    session.close().await?;
    match counted.first_error {
        None => Ok(()),
        Some(status) => bail!(Failure::Unavailable(format!(
            "{} calls failed; the first: {}",
            counted.errors,
            status.message()
        ))),
    }
}

pub(super) async fn list(global: &Global, flags: BenchList, format: Format) -> Result<()> {
    let read = read(flags.consistency, &flags.stock)?;
    let session = Session::open(global, &flags.nodes).await?;
    fill(&session, &flags.stock).await?;
    let client = session.client();
    let there = length(&session).await?;
    let pace = Pace::start(plan(&flags.load));
    let meter = session.meter(&pace);
    let (clients, size) = (flags.load.clients, flags.page_events);
    let counted = measured(reads::list(client, there, &pace, clients, read, size).await)?;
    let mut summary = counted.summary(&pace);
    summary.cost = measured(meter.read(counted.items).await)?;
    let pages = summary.calls_per_second;
    let row = Row::new("list", summary).with("pages_per_second", pages);
    report::rows(&[row], format)?;
    session.close().await?;
    report::outcome(counted.errors, counted.first_error)
}

fn read(consistency: Consistency, stock: &Stock) -> Result<Read> {
    let consistency = match consistency {
        Consistency::Local => toka_client::Consistency::Local,
        Consistency::Linearizable => toka_client::Consistency::Linearizable,
        Consistency::AtLeast(_) => {
            bail!(Failure::Usage(
                "--consistency: local or linearizable".to_owned()
            ))
        }
    };
    Ok(Read {
        consistency,
        include: Include {
            payload: !stock.no_payload,
            embedding: stock.embedding,
        },
    })
}

/// Commits what is missing of the events that are wanted.
async fn fill(session: &Session, stock: &Stock) -> Result<()> {
    let missing = stock.fill_events.saturating_sub(length(session).await?);
    if missing > 0 {
        measured(commits::fill(session.client(), events(stock.events), missing).await)?;
    }
    Ok(())
}

/// Events that the vault has.
async fn length(session: &Session) -> Result<u64> {
    let status = session.client().cluster_status().await.map_err(failure)?;
    let sequences = status.nodes.iter().map(|node| node.node.sequence);
    Ok(sequences.max().unwrap_or(0))
}
