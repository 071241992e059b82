//! `toka bench failover`.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use toka_client::Client;
use toka_measure::{Vault, commits, gap};

use super::report::median;
use super::session::{events, measured, start};
use crate::cli::{BenchFailover, Format, Global, Incident};
use crate::output;

/// For the first acknowledgement after the incident.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) async fn run(global: &Global, flags: BenchFailover, format: Format) -> Result<()> {
    let (mut vault, client) = start(global, &flags.own).await?;
    let mut gaps_ms = Vec::new();
    for round in 1..=flags.rounds {
        let gap = Box::pin(self::round(&mut vault, &client, &flags)).await?;
        gaps_ms.push(gap.as_secs_f64() * 1e3);
        if format == Format::Table {
            output::line(&format!("{round}: {:.0} ms", gap.as_secs_f64() * 1e3))?;
        }
    }
    measured(vault.stop().await)?;
    let (median, max) = (
        median(&gaps_ms),
        gaps_ms.iter().copied().fold(0.0, f64::max),
    );
    let incident = match flags.incident {
        Incident::Kill => "kill",
        Incident::Terminate => "terminate",
        Incident::Transfer => "transfer",
    };
    match format {
        Format::Json => output::json(&json!({
            "what": "failover",
            "incident": incident,
            "gaps_ms": gaps_ms,
            "median_ms": median,
            "max_ms": max,
        })),
        Format::Table => output::line(&format!(
            "{incident}: nothing acknowledged for {median:.0} ms (median of {}), {max:.0} ms at most",
            gaps_ms.len()
        )),
    }
}

/// How long nothing was acknowledged around one incident. All nodes are ready before and after it.
async fn round(vault: &mut Vault, client: &Client, flags: &BenchFailover) -> Result<Duration> {
    let leader = measured(vault.leader(client).await)?;
    let (events, committer) = (events(flags.events), client.clone());
    let operation = move |_, number| {
        let client = committer.clone();
        async move {
            let draft = commits::draft(&events, number, Instant::now());
            client.commit(draft).await
        }
    };
    let incident = async {
        match flags.incident {
            Incident::Kill => vault.kill(leader),
            Incident::Terminate => vault.terminate(leader),
            Incident::Transfer => Ok(client.transfer_leadership(None).await.map(drop)?),
        }
    };
    let gap = measured(gap::longest(flags.clients, LIMIT, operation, incident).await)?;
    match flags.incident {
        Incident::Kill => measured(vault.start_again(leader))?,
        Incident::Terminate => {
            measured(vault.ended(leader).await)?;
            measured(vault.start_again(leader))?;
        }
        Incident::Transfer => {}
    }
    measured(vault.all_ready().await)?;
    Ok(gap)
}
