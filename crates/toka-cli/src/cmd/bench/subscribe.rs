//! `toka bench subscribe`.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use toka_client::{Client, Include, Start};
use toka_measure::subscribers::{self, Subscribers};
use toka_measure::{Pace, Summary, commits};

use super::report::{self, Row};
use super::session::{Session, events, measured, plan};
use crate::cli::{BenchSubscribe, Format, Global};
use crate::failure::Failure;
use crate::target::failure;

/// For the last event to reach every subscriber after the last commit.
pub(super) const DELIVERY_LIMIT: Duration = Duration::from_secs(120);

pub(super) async fn run(global: &Global, flags: BenchSubscribe, format: Format) -> Result<()> {
    let session = Session::open(global, &flags.nodes).await?;
    // Payloads tell when their event was due.
    let include = Include {
        payload: true,
        embedding: flags.events.dim > 0,
    };
    match flags.catch_up {
        Some(count) => catch_up(session, &flags, count, include, format).await,
        None => live(session, &flags, include, format).await,
    }
}

async fn live(
    session: Session,
    flags: &BenchSubscribe,
    include: Include,
    format: Format,
) -> Result<()> {
    let mut streams = Vec::new();
    for _ in 0..flags.subscribers {
        // Each with connections of its own, as programs have.
        let client = session.client().separate();
        streams.push(measured(
            subscribers::of_vault(&client, Start::Now, include).await,
        )?);
    }
    let pace = Pace::start(plan(&flags.load));
    let meter = session.meter(&pace);
    let subscribers = Subscribers::start(&pace, streams);
    let (clients, mode) = (flags.load.clients, commits::Mode::Stream);
    let committed = commits::run(session.client(), events(flags.events), &pace, clients, mode);
    let committed = measured(committed.await)?;
    let deliveries = committed.all_items * u64::from(flags.subscribers);
    let delivered = subscribers.finish(deliveries, DELIVERY_LIMIT);
    let delivered = measured(delivered.await)?;
    let mut summary = delivered.summary(&pace);
    summary.cost = measured(meter.read(delivered.items).await)?;
    let rows = [
        Row::new("commit", committed.summary(&pace)),
        Row::new("deliver", summary).with("subscribers", flags.subscribers),
    ];
    report::rows(&rows, format)?;
    session.close().await?;
    report::outcome(
        committed.errors + delivered.errors,
        committed.first_error.or(delivered.first_error),
    )
}

async fn catch_up(
    mut session: Session,
    flags: &BenchSubscribe,
    count: u64,
    include: Include,
    format: Format,
) -> Result<()> {
    let client = session.client().clone();
    let Some(vault) = session.vault_mut() else {
        bail!(Failure::Usage(
            "--catch-up starts a node again, which must be our own: say --local".to_owned()
        ));
    };
    measured(commits::fill(&client, events(flags.events), count).await)?;
    let leader = measured(vault.leader(&client).await)?;
    let follower = vault.ids().into_iter().find(|id| *id != leader);
    let node = follower.unwrap_or(leader);
    // Nothing of what it serves is in its memory then; what the system keeps of its files is.
    vault.terminate(node)?;
    measured(vault.ended(node).await)?;
    vault.start_again(node)?;
    measured(vault.ready(node).await)?;
    let alone = Client::connect([vault.endpoint(node)?]);
    let alone = alone.await.map_err(failure)?;
    let mut streams = Vec::new();
    for _ in 0..flags.subscribers {
        let stream = subscribers::of_vault(&alone, Start::Beginning, include).await;
        streams.push(measured(stream)?);
    }
    let drained = streams
        .into_iter()
        .map(|stream| subscribers::drain(stream, count));
    let times = futures::future::try_join_all(drained)
        .await
        .map_err(failure)?;
    let times: Option<Vec<_>> = times.into_iter().collect();
    let slowest = times.and_then(|times| times.into_iter().max());
    let time = slowest.context("a subscription ended early")?;
    let acknowledged = count * u64::from(flags.subscribers);
    let summary = Summary {
        acknowledged,
        seconds: time.as_secs_f64(),
        per_second: acknowledged as f64 / time.as_secs_f64(),
        ..Summary::default()
    };
    let row = Row::new("catch up", summary).with("subscribers", flags.subscribers);
    report::rows(&[row], format)?;
    session.close().await
}
