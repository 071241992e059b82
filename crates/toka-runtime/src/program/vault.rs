//! The vault that a command is about.

use std::sync::Arc;

use toka_agents::Store;
use toka_client::Client;
use toka_ledger::VaultBus;
use toka_ledger::fork::Limits;

use super::ProgramError;
use super::flags::Vault as Flags;
use crate::what_if::{Scenario, fork_embedded, fork_remote};

/// A vault that is open.
pub(super) enum Vault {
    Cluster(Client),
    Embedded(VaultBus),
}

impl Vault {
    pub(super) async fn open(flags: &Flags) -> Result<Self, ProgramError> {
        if let Some(data) = &flags.data {
            return Ok(Self::Embedded(embedded(data)?));
        }
        let client = flags.client()?.connect(flags.endpoint.clone()).await?;
        Ok(Self::Cluster(client))
    }

    /// For agents.
    pub(super) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Cluster(client) => Arc::new(client.clone()),
            Self::Embedded(vault) => Arc::new(vault.clone()),
        }
    }

    pub(super) async fn fork(
        self,
        flags: &Flags,
        at: u64,
        limits: Limits,
    ) -> Result<Scenario, ProgramError> {
        Ok(match self {
            Self::Cluster(client) => {
                let (builder, endpoints) = (flags.client()?, flags.endpoint.clone());
                fork_remote(builder, endpoints, client, at, limits).await?
            }
            Self::Embedded(vault) => fork_embedded(vault, at, limits).await?,
        })
    }
}

#[cfg(feature = "storage")]
fn embedded(data: &std::path::Path) -> Result<VaultBus, ProgramError> {
    Ok(VaultBus::open(data)?)
}

#[cfg(not(feature = "storage"))]
fn embedded(_: &std::path::Path) -> Result<VaultBus, ProgramError> {
    Err(ProgramError::NoStorage)
}
