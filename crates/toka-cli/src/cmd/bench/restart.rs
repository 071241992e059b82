//! `toka bench restart`.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use toka_measure::{Vault, commits};

use super::report::median;
use super::session::{events, measured, start};
use crate::cli::{BenchRestart, Format, Global};
use crate::output;

/// How often a node that starts is asked.
const POLL: Duration = Duration::from_millis(2);

pub(super) async fn run(global: &Global, flags: BenchRestart, format: Format) -> Result<()> {
    let (mut vault, client) = start(global, &flags.own).await?;
    measured(commits::fill(&client, events(flags.events), flags.fill_events).await)?;
    let (mut serving_ms, mut ready_ms) = (Vec::new(), Vec::new());
    for _ in 0..flags.rounds {
        measured(vault.all_ready().await)?;
        let leader = measured(vault.leader(&client).await)?;
        let follower = vault.ids().into_iter().find(|id| *id != leader);
        let node = follower.unwrap_or(leader);
        let (serving, ready) = round(&mut vault, node, flags.kill).await?;
        serving_ms.push(serving.as_secs_f64() * 1e3);
        ready_ms.push(ready.as_secs_f64() * 1e3);
    }
    measured(vault.stop().await)?;
    let (serving, ready) = (median(&serving_ms), median(&ready_ms));
    match format {
        Format::Json => output::json(&json!({
            "what": "restart",
            "events": flags.fill_events,
            "serving_ms": serving_ms,
            "serving_median_ms": serving,
            "ready_ms": ready_ms,
            "ready_median_ms": ready,
        })),
        Format::Table => output::line(&format!(
            "a node with {} events serves reads {serving:.0} ms after its start, and is ready (in quorum, all applied) \
             after {ready:.0} ms; medians of {}",
            flags.fill_events, flags.rounds
        )),
    }
}

/// Stops a node, starts it again, and says after how long it answers reads, and after how long it is ready.
async fn round(vault: &mut Vault, node: u64, kill: bool) -> Result<(Duration, Duration)> {
    if kill {
        measured(vault.kill(node))?;
    } else {
        measured(vault.terminate(node))?;
        measured(vault.ended(node).await)?;
    }
    let asked = measured(vault.node(node))?;
    let begin = Instant::now();
    measured(vault.start_again(node))?;
    while !asked.serves().await {
        measured(vault.check(node))?;
        tokio::time::sleep(POLL).await;
    }
    let serving = begin.elapsed();
    measured(vault.ready(node).await)?;
    Ok((serving, begin.elapsed()))
}
