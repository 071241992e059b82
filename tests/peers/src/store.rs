//! What is compared.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;
use toka_measure::subscribers::Deliveries;
use toka_measure::{Events, Meter, Pace};

use crate::calls::Calls;
use crate::{etcd, jetstream, vault};

/// A store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum System {
    /// Toka Vault.
    Toka,
    /// etcd.
    Etcd,
    /// NATS JetStream that syncs before it acknowledges.
    Jetstream,
    /// NATS JetStream as it is by default: synced every two minutes.
    JetstreamUnsynced,
}

impl System {
    pub(crate) const ALL: [Self; 4] = [
        Self::Toka,
        Self::Etcd,
        Self::Jetstream,
        Self::JetstreamUnsynced,
    ];
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Toka => "Toka Vault",
            Self::Etcd => "etcd",
            Self::Jetstream => "JetStream",
            Self::JetstreamUnsynced => "JetStream, unsynced",
        })
    }
}

/// The programs of their nodes.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) toka: PathBuf,
    pub(crate) etcd: PathBuf,
    pub(crate) nats: PathBuf,
}

/// Three nodes of a store, which end when it is dropped.
pub(crate) enum Store {
    Toka(vault::Store),
    Etcd(etcd::Store),
    Jetstream(jetstream::Store),
}

impl Store {
    /// Starts empty nodes with data below `parent`, and waits until they can be written to.
    pub(crate) async fn start(system: System, programs: &Programs, parent: &Path) -> Result<Self> {
        Ok(match system {
            System::Toka => Self::Toka(vault::Store::start(&programs.toka, parent).await?),
            System::Etcd => Self::Etcd(etcd::Store::start(&programs.etcd, parent).await?),
            System::Jetstream => {
                Self::Jetstream(jetstream::Store::start(&programs.nats, parent, true).await?)
            }
            System::JetstreamUnsynced => {
                Self::Jetstream(jetstream::Store::start(&programs.nats, parent, false).await?)
            }
        })
    }

    /// Measures what the nodes spend on a load, all stores' in the same way.
    pub(crate) fn meter(&self, pace: &Arc<Pace>) -> Meter {
        match self {
            Self::Toka(store) => store.meter(pace),
            Self::Etcd(store) => store.meter(pace),
            Self::Jetstream(store) => store.meter(pace),
        }
    }

    /// Stores events, a call each.
    pub(crate) async fn unary(
        &self,
        events: Events,
        pace: &Arc<Pace>,
        clients: u32,
    ) -> Result<Calls> {
        match self {
            Self::Toka(store) => store.unary(events, pace, clients).await,
            Self::Etcd(store) => store.unary(events, pace, clients).await,
            Self::Jetstream(store) => store.unary(events, pace, clients).await,
        }
    }

    /// Stores events with so many on their way at once, as the store's own client does that best.
    pub(crate) async fn stream(
        &self,
        events: Events,
        pace: &Arc<Pace>,
        in_flight: u32,
    ) -> Result<Calls> {
        match self {
            Self::Toka(store) => store.stream(events, pace, in_flight).await,
            // Its client has no stream of puts; calls on one connection are on their way at once just so.
            Self::Etcd(store) => store.unary(events, pace, in_flight).await,
            Self::Jetstream(store) => store.stream(events, pace, in_flight).await,
        }
    }

    /// Subscribers from now on, with connections of their own.
    pub(crate) async fn subscribe(&self, count: u32) -> Result<Vec<Deliveries<String>>> {
        let mut streams = Vec::new();
        for _ in 0..count {
            streams.push(match self {
                Self::Toka(store) => store.subscribe().await?,
                Self::Etcd(store) => store.subscribe().await?,
                Self::Jetstream(store) => store.subscribe().await?,
            });
        }
        Ok(streams)
    }

    /// Kills the leader, says how long nothing was acknowledged, and brings the node back.
    pub(crate) async fn failover(&mut self, events: Events) -> Result<Duration> {
        match self {
            Self::Toka(store) => store.failover(events).await,
            Self::Etcd(store) => store.failover(events).await,
            Self::Jetstream(store) => store.failover(events).await,
        }
    }
}
