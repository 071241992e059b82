//! Writers and a subscriber at work while something happens to the cluster.

use std::time::Duration;

use anyhow::{Result, ensure};
use toka_client::EventHeader;

use crate::cluster::{Cluster, PATIENCE};
use crate::follow::Follower;
use crate::history::{self, Acks};
use crate::load::{Load, Manner, Pace};
use crate::seed;

/// Few, so that nodes have room to do other things on a machine with two cores.
const PACE: Pace = Pace::full(8);
/// Leaves nodes time that read everything they have again and again, and keeps what they have small.
const GENTLE: Pace = Pace {
    writers: 4,
    pause: Duration::from_millis(40),
    manner: Manner::Strict,
};
/// Acknowledgements that show that commits go on.
const SOME: u64 = 50;

/// Writers and a subscriber at work.
#[derive(Debug)]
pub struct Traffic {
    seed: u64,
    /// Writers so far.
    writers: u64,
    pace: Pace,
    load: Load,
    follower: Follower,
}

/// What is left of [`Traffic`] while nobody writes: the subscriber.
#[derive(Debug)]
pub struct Pause {
    seed: u64,
    writers: u64,
    pace: Pace,
    acks: Acks,
    follower: Follower,
}

impl Traffic {
    /// Begins, and waits until there is something in the log.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        Self::start_at(cluster, PACE).await
    }

    /// As [`Traffic::start`], with fewer writers, who take their time.
    pub async fn start_gently(cluster: &Cluster) -> Result<Self> {
        Self::start_at(cluster, GENTLE).await
    }

    /// As [`Traffic::start`], with writers who repeat what is refused for want of room on a disk.
    pub async fn start_patient(cluster: &Cluster) -> Result<Self> {
        let pace = Pace {
            manner: Manner::Patient,
            ..PACE
        };
        Self::start_at(cluster, pace).await
    }

    async fn start_at(cluster: &Cluster, pace: Pace) -> Result<Self> {
        let begin = Pause {
            seed: seed::draw(),
            writers: 0,
            pace,
            acks: Acks::default(),
            follower: Follower::start(&cluster.client().await?).await?,
        };
        let traffic = begin.go_on(cluster).await?;
        traffic.goes_on().await?;
        Ok(traffic)
    }

    /// What was acknowledged, for a test that commits something itself.
    pub fn acks(&self) -> &Acks {
        self.load.acks()
    }

    /// Waits until some more commits are acknowledged.
    pub async fn goes_on(&self) -> Result<()> {
        self.load.acks().more(SOME, PATIENCE).await
    }

    /// Lets the writers end; others go on later. The subscriber stays.
    pub async fn pause(self) -> Result<Pause> {
        let Self {
            seed,
            writers,
            pace,
            load,
            follower,
        } = self;
        Ok(Pause {
            seed,
            writers,
            pace,
            acks: load.stop().await?,
            follower,
        })
    }

    /// Lets the writers pause, checks every node that runs, and lets others go on: the subscriber is the
    /// same.
    pub async fn check_and_go_on(self, cluster: &Cluster) -> Result<Self> {
        let pause = self.pause().await?;
        history::check(cluster, &pause.acks).await?;
        pause.go_on(cluster).await
    }

    /// Ends, and checks every node that runs: nothing acknowledged is lost, doubled or reordered, all
    /// digests are the same, no writer has seen an error, and the subscriber has seen each event once.
    pub async fn check(self, cluster: &Cluster) -> Result<Acks> {
        self.pause().await?.check(cluster).await
    }
}

impl Pause {
    /// What was acknowledged, for a test that commits something itself.
    pub fn acks(&self) -> &Acks {
        &self.acks
    }

    /// Lets other writers begin.
    pub async fn go_on(self, cluster: &Cluster) -> Result<Traffic> {
        let Self {
            seed,
            writers,
            pace,
            acks,
            follower,
        } = self;
        Ok(Traffic {
            seed,
            writers: writers + pace.writers,
            pace,
            load: Load::go_on(acks, writers, cluster, pace, seed).await?,
            follower,
        })
    }

    /// As [`Traffic::check`].
    pub async fn check(self, cluster: &Cluster) -> Result<Acks> {
        let Self { acks, follower, .. } = self;
        let log = history::check(cluster, &acks).await?;
        follower.finish(&log).await?;
        has_intents(&log)?;
        println!(
            "{} events; longest time without an acknowledgement: {:?}",
            log.len(),
            acks.longest_gap()
        );
        Ok(acks)
    }
}

/// Checks that the digests which were compared cover centroids that have moved.
pub fn has_intents(log: &[EventHeader]) -> Result<()> {
    let embedded = log.iter().filter(|header| header.embedding.is_some());
    ensure!(embedded.count() > 0, "no event has an embedding");
    let clustered = log.iter().any(|header| header.micro_cluster.is_some());
    ensure!(clustered, "no event is in a micro-cluster");
    Ok(())
}
