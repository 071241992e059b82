//! The cluster that is measured, and what is done to it.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use toka_client::Client;
use toka_ledger::seam::Seams;
use toka_measure::{Error, Events, Meter, Pace, Plan, Vault};

use crate::cli::{EventShape, Global, LoadShape, Nodes, OwnNodes};
use crate::failure::Failure;
use crate::target::{Endpoints, Remote, endpoints, failure};

/// A cluster that runs already, or one of our own.
pub(super) struct Session {
    client: Client,
    reached: Endpoints,
    vault: Option<Vault>,
}

impl Session {
    pub(super) async fn open(global: &Global, nodes: &Nodes) -> Result<Self> {
        if nodes.local {
            let (vault, client) = start(global, &nodes.own).await?;
            return Ok(Self {
                client,
                reached: Endpoints::in_plain_text(vault.endpoints()),
                vault: Some(vault),
            });
        }
        ensure!(
            global.data.is_none(),
            Failure::Usage("this measures a cluster; leave --data out".to_owned())
        );
        let reached = endpoints(global)?;
        let remote = Remote::connect(reached.clone(), global.timeout).await?;
        Ok(Self {
            client: remote.client().clone(),
            reached,
            vault: None,
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// How its nodes are reached.
    pub(super) fn reached(&self) -> &Endpoints {
        &self.reached
    }

    /// The cluster, if it is our own.
    pub(super) fn vault(&self) -> Option<&Vault> {
        self.vault.as_ref()
    }

    /// The same, to stop and start its nodes.
    pub(super) fn vault_mut(&mut self) -> Option<&mut Vault> {
        self.vault.as_mut()
    }

    /// Measures what its nodes spend, where they are known.
    pub(super) fn meter(&self, pace: &Arc<Pace>) -> Meter {
        match &self.vault {
            Some(vault) => vault.meter(pace),
            None => Meter::start(Vec::new(), None, pace),
        }
    }

    /// Stops what was started.
    pub(super) async fn close(self) -> Result<()> {
        match self.vault {
            Some(vault) => measured(vault.stop().await),
            None => Ok(()),
        }
    }
}

/// Starts a cluster of this program, and waits for its leader.
pub(super) async fn start(global: &Global, own: &OwnNodes) -> Result<(Vault, Client)> {
    ensure!(
        global.endpoint.is_empty() && global.data.is_none(),
        Failure::Usage(
            "this starts a cluster of its own; leave --endpoint and --data out".to_owned()
        )
    );
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let parent = own.directory.clone().unwrap_or_else(std::env::temp_dir);
    std::fs::create_dir_all(&parent)
        .with_context(|| format!("cannot create {}", parent.display()))?;
    let vault = Vault::start(&program, own.nodes, &parent, &own.node_argument).await;
    let vault = measured(vault)?;
    let client = Client::builder()
        .timeout(global.timeout)
        .connect(vault.endpoints())
        .await
        .map_err(failure)?;
    measured(vault.leader(&client).await)?;
    Ok((vault, client))
}

/// An error of a measurement as commands tell them.
pub(super) fn measured<T>(result: Result<T, Error>) -> Result<T> {
    result.map_err(|error| match error {
        Error::Client(error) => failure(error),
        error => error.into(),
    })
}

/// Events that no other run makes.
pub(super) fn events(shape: EventShape) -> Events {
    let mut run = [0; 8];
    Seams::system().entropy.fill(&mut run);
    Events {
        run: u64::from_be_bytes(run),
        payload_bytes: shape.payload_bytes as usize,
        dimension: shape.dim,
    }
}

/// When the calls of a load are due.
pub(super) fn plan(load: &LoadShape) -> Plan {
    let plan = Plan::closed(load.warm_up, load.duration);
    match load.rate {
        Some(rate) => plan.at_rate(rate.into()),
        None => plan,
    }
}
