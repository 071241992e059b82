//! Toka Vault.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use toka_client::{Client, Consistency, Include, Read, Selector, Start};
use toka_measure::commits::{self, Mode};
use toka_measure::subscribers::{self, Deliveries};
use toka_measure::{Events, Meter, Pace, Vault, gap, reads};

use crate::calls::{Calls, FAILOVER_CLIENTS, FAILOVER_LIMIT};

const NODES: u64 = 3;

pub(crate) struct Store {
    vault: Vault,
    client: Client,
}

impl Store {
    pub(crate) async fn start(program: &Path, parent: &Path) -> Result<Self> {
        let vault = Vault::start(program, NODES, parent, &[]).await?;
        let client = vault.client().await?;
        vault.leader(&client).await?;
        Ok(Self { vault, client })
    }

    pub(crate) fn meter(&self, pace: &Arc<Pace>) -> Meter {
        self.vault.meter(pace)
    }

    pub(crate) async fn unary(
        &self,
        events: Events,
        pace: &Arc<Pace>,
        clients: u32,
    ) -> Result<Calls> {
        self.commit(events, pace, clients, Mode::Unary).await
    }

    pub(crate) async fn stream(
        &self,
        events: Events,
        pace: &Arc<Pace>,
        in_flight: u32,
    ) -> Result<Calls> {
        self.commit(events, pace, in_flight, Mode::Stream).await
    }

    async fn commit(
        &self,
        events: Events,
        pace: &Arc<Pace>,
        clients: u32,
        mode: Mode,
    ) -> Result<Calls> {
        let counted = commits::run(&self.client, events, pace, clients, mode).await?;
        Ok(counted.map_error(|error| error.to_string()))
    }

    /// Commits what is missing of `stock` events, and names the newest ones, as many as other stores are asked for.
    pub(crate) async fn stock(&self, events: Events, stock: u64) -> Result<Arc<[Selector]>> {
        let status = self.client.cluster_status().await?;
        let sequences = status.nodes.iter().map(|node| node.node.sequence);
        let missing = stock.saturating_sub(sequences.max().unwrap_or(0));
        if missing > 0 {
            commits::fill(&self.client, events, missing).await?;
        }
        Ok(reads::newest(&self.client, usize::try_from(stock)?).await?)
    }

    /// Gets with payload and embedding, `size` of them with a call.
    pub(crate) async fn get(
        &self,
        selectors: &Arc<[Selector]>,
        pace: &Arc<Pace>,
        clients: u32,
        size: u32,
    ) -> Result<Calls> {
        let read = Read {
            consistency: Consistency::Local,
            include: Include::all(),
        };
        let counted = match size {
            1 => reads::get(&self.client, selectors, pace, clients, read).await?,
            _ => reads::batch_get(&self.client, selectors, pace, clients, read, size).await?,
        };
        Ok(counted.map_error(|error| error.to_string()))
    }

    /// Linearizable gets from a follower.
    pub(crate) async fn follower_get(
        &self,
        selectors: &Arc<[Selector]>,
        pace: &Arc<Pace>,
        clients: u32,
    ) -> Result<Calls> {
        let leader = self.vault.leader(&self.client).await?;
        let follower = self.vault.ids().into_iter().find(|id| *id != leader);
        let node = self
            .vault
            .node(follower.context("there are three nodes")?)?;
        let include = Include::all();
        let counted = reads::get_at(&node, selectors, pace, clients, include, true).await?;
        Ok(counted.map_error(|status| status.message().to_owned()))
    }

    pub(crate) async fn subscribe(&self) -> Result<Deliveries<String>> {
        let client = self.vault.client().await?;
        let deliveries = subscribers::of_vault(&client, Start::Now, Include::all()).await?;
        Ok(deliveries.map_err(|error| error.to_string()).boxed())
    }

    pub(crate) async fn failover(&mut self, events: Events) -> Result<Duration> {
        self.vault.all_ready().await?;
        let leader = self.vault.leader(&self.client).await?;
        let client = self.client.clone();
        let operation = move |_, number| {
            let client = client.clone();
            async move {
                let draft = commits::draft(&events, number, Instant::now());
                client.commit(draft).await
            }
        };
        let vault = &mut self.vault;
        let kill = async { vault.kill(leader) };
        let gap = gap::longest(FAILOVER_CLIENTS, FAILOVER_LIMIT, operation, kill).await?;
        self.vault.start_again(leader)?;
        self.vault.all_ready().await?;
        Ok(gap)
    }
}
