//! What happens in the demo, in order.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::check::{check_acks, check_equal, check_list};
use super::cluster::Cluster;
use super::event::Event;
use super::import::{Finished, Import, failover_gap};
use super::progress::Progress;
use super::report::Report;
use super::toka::{Bench, Toka};
use super::watch::Watch;

/// The load that measures the commit rate.
const BENCH_FLAGS: &[&str] = &[
    "--clients",
    "64",
    "--duration",
    "5s",
    "--payload-bytes",
    "256",
];
/// Events per second of the load that runs while the leader dies. Far below what a cluster can do, so
/// that a silence comes from the failover, and fine enough to time it: 4 ms.
const PACED_RATE: u32 = 250;
/// What embeds the utterances: no model, no download.
const EMBEDDER: &str = "hashed";
/// Intents that are shown.
const INTENTS: usize = 12;

/// The events to import.
pub(crate) struct Input {
    /// At full speed through one node.
    pub(crate) bulk: Vec<Event>,
    pub(crate) bulk_name: &'static str,
    /// At [`PACED_RATE`], through all nodes.
    pub(crate) paced: Vec<Event>,
}

/// What the steps of the demo work on.
struct Demo<'a> {
    toka: &'a Toka,
    directory: &'a Path,
    input: &'a Input,
    progress: &'a Progress,
    cluster: Cluster<'a>,
    watch: Watch,
    /// The node that `watch` follows.
    watched: u64,
}

/// The paced load and the death of the leader.
struct Failover {
    load: Finished,
    killed: u64,
    gap: Duration,
}

/// Runs the demo with all data under `directory`.
pub(crate) fn run(
    toka: &Toka,
    directory: &Path,
    input: &Input,
    progress: &Progress,
) -> Result<Report> {
    progress.say("starting three nodes");
    let cluster = Cluster::start(toka, directory)?;
    let leader = cluster.leader()?;
    progress.say(&format!(
        "ready: node {leader} leads; clients: {}",
        cluster.endpoints()
    ));
    // A follower takes the import and forwards it; the other one is followed.
    let mut followers = cluster.ids().into_iter().filter(|id| *id != leader);
    let (Some(entrance), Some(watched)) = (followers.next(), followers.next()) else {
        bail!("a cluster of three has two followers");
    };
    let watch = Watch::start(toka, directory, &cluster.endpoint(watched))?;
    let mut demo = Demo {
        toka,
        directory,
        input,
        progress,
        cluster,
        watch,
        watched,
    };
    let bulk = demo.bulk_import(entrance)?;
    let failover = demo.paced_load()?;
    progress.say(&format!("restarting node {}", failover.killed));
    demo.cluster.restart(failover.killed)?;
    progress.say("measuring the commit rate with all three nodes for five seconds");
    let bench = toka.bench(&demo.cluster.endpoints(), BENCH_FLAGS)?;
    demo.finish(&bulk, failover, bench)
}

impl Demo<'_> {
    /// Imports at full speed through one node.
    fn bulk_import(&self, entrance: u64) -> Result<Finished> {
        let events = &self.input.bulk;
        self.progress.say(&format!(
            "importing the {} ({} events) through node {entrance}, following on node {}",
            self.input.bulk_name,
            events.len(),
            self.watched
        ));
        let endpoint = self.cluster.endpoint(entrance);
        let bulk =
            Import::start(self.toka, self.directory, "bulk", &endpoint, events, &[])?.finish()?;
        self.progress.say(&format!(
            "imported {} events in {:.2} s",
            bulk.acks.len(),
            bulk.seconds
        ));
        Ok(bulk)
    }

    /// Runs the paced load, and kills the leader when half of it is acknowledged.
    fn paced_load(&mut self) -> Result<Failover> {
        let events = &self.input.paced;
        self.progress.say(&format!(
            "running a load of {PACED_RATE} events per second through all nodes ({} utterances, \
             embedded by the built-in model)",
            events.len()
        ));
        let endpoints = self.cluster.endpoints();
        let rate = PACED_RATE.to_string();
        let flags = ["--rate", &rate, "--embedder", EMBEDDER];
        let mut load = Import::start(
            self.toka,
            self.directory,
            "paced",
            &endpoints,
            events,
            &flags,
        )?;
        load.wait_acks(events.len() / 2)?;
        let killed = self.cluster.leader()?;
        self.watch_another_than(killed)?;
        let pid = self
            .cluster
            .pid(killed)
            .context("the leader is not running")?;
        let killed_at = Instant::now();
        self.cluster.kill(killed)?;
        self.progress.say(&format!(
            "killed the leader, node {killed} (process {pid}), with SIGKILL"
        ));
        let load = load
            .finish()
            .context("the load through the death of the leader")?;
        let Some(gap) = failover_gap(&load.acks, killed_at) else {
            bail!("no event was acknowledged after the leader's death");
        };
        let leader = self.cluster.leader()?;
        self.progress.say(&format!(
            "all {} events of the load are acknowledged; node {leader} leads",
            load.acks.len()
        ));
        Ok(Failover { load, killed, gap })
    }

    /// Leadership may have moved to the followed node by itself: its death would end the subscription.
    fn watch_another_than(&mut self, dying: u64) -> Result<()> {
        if self.watched == dying {
            let ids = self.cluster.ids();
            self.watched = *ids
                .iter()
                .find(|id| **id != dying)
                .context("a cluster of three has other nodes")?;
            self.progress.say(&format!(
                "leadership has moved; following node {} instead, from the beginning",
                self.watched
            ));
            let endpoint = self.cluster.endpoint(self.watched);
            self.watch = Watch::start(self.toka, self.directory, &endpoint)?;
        }
        Ok(())
    }

    /// Waits until the nodes are equal, checks everything and stops them.
    fn finish(mut self, bulk: &Finished, failover: Failover, bench: Bench) -> Result<Report> {
        self.progress
            .say("waiting until all three nodes are at the same position");
        let nodes = self.cluster.converge()?;
        let last_sequence = nodes
            .iter()
            .filter_map(|node| node.sequence)
            .max()
            .context("the nodes name no sequence")?;
        let watched = self.watch.finish(last_sequence)?;
        self.progress
            .say("reading every node's own history and checking it against every acknowledgement");
        let mut events = Vec::new();
        for node in &nodes {
            let name = format!("node {}", node.node_id);
            let endpoint = self.cluster.endpoint(node.node_id);
            let entries = self.toka.log(&endpoint, last_sequence)?;
            check_list(&name, &entries, last_sequence)?;
            check_acks(&name, &entries, &self.input.bulk, &bulk.acks)?;
            check_acks(&name, &entries, &self.input.paced, &failover.load.acks)?;
            check_equal("the subscription", &watched, &name, &entries)?;
            events.push(entries.len());
        }
        let intents = self.toka.intents(&self.cluster.endpoints())?;
        if intents.is_empty() {
            bail!("no intents were found among the utterances");
        }
        self.progress.say("stopping the nodes");
        self.cluster.stop(self.progress);
        Ok(Report {
            nodes,
            events,
            acknowledged: bulk.acks.len() + failover.load.acks.len(),
            killed: failover.killed,
            gap: failover.gap,
            bulk_rate: bulk.acks.len() as f64 / bulk.seconds,
            intents_found: intents.len(),
            intents: intents.into_iter().take(INTENTS).collect(),
            bench,
        })
    }
}
