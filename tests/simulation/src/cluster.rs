//! One run: a cluster, its clients, and what goes wrong.

mod crew;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use toka_ledger::Digest;
use toka_ledger::read::Query;
use toka_raft::config::{Compaction, RuntimeChoice};
use toka_raft::{Config, FatalError, Member, Replica};
use tokio::runtime::Runtime;

use crate::hand::Workload;
use crate::host::{Directory, Failure, Host, World, client_endpoint, raft_endpoint, runtime, step};
use crate::interpose;
use crate::membership::{Changed, Changes};
use crate::nemesis::Nemesis;
use crate::network::{Absence, Network};
use crate::oracle::Oracle;
use crate::outside::Now;
use crate::random::Random;
use crate::rights::{self, Rights};
use crate::trace::Trace;

/// A cluster that nothing happens to is ready after so long.
const FORMING_MS: u64 = 30_000;
/// Once everything is right again, everything is done after so long.
const HEALING_MS: u64 = 120_000;
/// What wardens and streamers draw is drawn apart from everything else.
const WARDENS_SEED: u64 = 0x7761_7264_656e_7321;

/// Of openraft, where debug assertions are on: a demoted leader's task that would end in the next moment
/// (docs/openraft.md, section 8, point 9).
const HARMLESS_PANIC: &str = "read_log_entries received reversed range";

/// The first panic of any task.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// What a run has come to.
pub(crate) struct Summary {
    pub(crate) violation: Option<String>,
    pub(crate) trace: String,
    /// Figures, in words.
    pub(crate) figures: String,
}

/// A cluster with its surroundings.
pub(crate) struct Cluster {
    pub(crate) world: World,
    pub(crate) hosts: BTreeMap<u64, Host>,
    pub(crate) clients: Runtime,
    pub(crate) changes: Changes,
    /// Who is to go by the change that is being made.
    pub(crate) leaving: Option<u64>,
    /// Whether who is being added stays a learner.
    pub(crate) learner: bool,
    compaction: Compaction,
    /// Nodes have servers, and clients come over the network; else they ask the replicas.
    has_servers: bool,
    random: Random,
    /// Of the wardens and the streamers.
    apart: Random,
    workload: Arc<Workload>,
}

/// Runs one seed on this thread, which must be a new one of a new process.
pub(crate) fn run(seed: u64, trace: Option<&Path>) -> std::io::Result<Summary> {
    interpose::enter(seed);
    let trace = Trace::new(trace)?;
    trace.subscribe();
    std::panic::set_hook(Box::new(|info| {
        let what = info.to_string();
        if !what.contains(HARMLESS_PANIC) {
            let mut first = PANIC.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| format!("a task panicked: {what}"));
        }
    }));
    let mut random = Random::new(seed);
    let apart = Random::new(seed ^ WARDENS_SEED);
    let mut cluster = Cluster::new(&mut random, apart, &trace);
    let mut nemesis = Nemesis::new(random.fork());
    let chaos_ms = random.between(15_000, 40_000);
    let result = cluster.live(&mut nemesis, chaos_ms);
    Ok(cluster.summary(&nemesis, result.err()))
}

impl Cluster {
    fn new(random: &mut Random, apart: Random, trace: &Trace) -> Self {
        let world = World {
            now: Now::default(),
            network: Network::new(random.fork(), trace.clone()),
            oracle: Oracle::default(),
            rights: Rights::default(),
            trace: trace.clone(),
            directory: Directory::default(),
        };
        let compaction = Compaction {
            snapshot_log_entries: random.between(8, 80),
            keep_log_entries: random.between(0, 30),
            flush_interval: Duration::from_millis(random.between(100, 3_000)),
            ..Compaction::default()
        };
        let mut cluster = Self {
            world,
            hosts: BTreeMap::new(),
            clients: runtime(random),
            changes: Changes::default(),
            leaving: None,
            learner: false,
            compaction,
            has_servers: random.chance(50),
            random: random.fork(),
            apart,
            workload: Arc::default(),
        };
        let count = if random.chance(75) { 3 } else { 5 };
        let name = |id: u64| format!("node-{id}");
        let member = |id| {
            let name = name(id);
            (
                id,
                Member::new(raft_endpoint(&name), client_endpoint(&name)),
            )
        };
        let members: BTreeMap<u64, Member> = (1..=count).map(member).collect();
        for id in 1..=count {
            let config = Config::new(id, PathBuf::new(), members.clone());
            cluster.add_host(config, &name(id)).start();
        }
        cluster
    }

    fn add_host(&mut self, mut config: Config, name: &str) -> &mut Host {
        config.runtime = RuntimeChoice::Current;
        config.compaction = self.compaction;
        let id = config.node_id;
        let mut host = Host::new(config, name, &self.world, self.random.fork());
        host.has_server = self.has_servers;
        self.hosts.entry(id).or_insert(host)
    }

    fn live(&mut self, nemesis: &mut Nemesis, chaos_ms: u64) -> Result<(), String> {
        let until = self.world.now.ms() + FORMING_MS;
        while self.world.directory.ready().len() < self.hosts.len() {
            self.tick(nemesis)?;
            self.not_later_than(until, "the cluster has not formed")?;
        }
        self.start_clients();
        let until = self.world.now.ms() + chaos_ms;
        while self.world.now.ms() < until {
            nemesis.step(self);
            self.tick(nemesis)?;
        }
        self.world.trace.line(format_args!("healing"));
        nemesis.heal(self);
        self.workload.is_ending.store(true, Ordering::Relaxed);
        let until = self.world.now.ms() + HEALING_MS;
        while !(nemesis.is_done() && self.is_done()) {
            nemesis.finish(self);
            self.tick(nemesis)?;
            self.not_later_than(until, "the cluster does not recover")?;
        }
        self.check_histories()
    }

    /// Lets a millisecond pass.
    fn tick(&mut self, nemesis: &mut Nemesis) -> Result<(), String> {
        let now_ms = self.world.now.ms() + 1;
        self.world.now.set(now_ms);
        self.world.trace.set_now(now_ms);
        interpose::set_now(now_ms);
        self.world.network.deliver(now_ms);
        for host in self.hosts.values() {
            host.step();
        }
        step(&self.clients);
        for changed in self.changes.take() {
            self.changed(nemesis, changed);
        }
        self.tend(nemesis)?;
        let panic = PANIC.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let damage = self.world.trace.damage();
        let damage = damage.map(|damage| format!("nothing was damaged, but:{damage}"));
        match self.world.oracle.violation().or(panic).or(damage) {
            Some(violation) => Err(violation),
            None => Ok(()),
        }
    }

    fn changed(&mut self, nemesis: &mut Nemesis, changed: Changed) {
        self.world.trace.line(format_args!("{changed:?}"));
        nemesis.changed();
        match changed {
            Changed::Added {
                node_id,
                name,
                token,
                cluster_id,
            } => {
                let config = Config::new(node_id, PathBuf::new(), BTreeMap::new());
                let is_learner = self.learner;
                let host = self.add_host(config, &name);
                if !host.is_running() {
                    host.join(token, cluster_id);
                    host.start();
                }
                if is_learner {
                    nemesis.promote_later(self.world.now.ms(), node_id);
                }
            }
            Changed::Removed => {}
            Changed::Nothing => {
                if let Some(host) = self.leaving.and_then(|id| self.hosts.get_mut(&id)) {
                    host.is_leaving = false;
                }
            }
        }
        self.leaving = None;
    }

    /// Looks after nodes that have ended by themselves.
    fn tend(&mut self, nemesis: &mut Nemesis) -> Result<(), String> {
        let mut gone = Vec::new();
        let now_ms = self.world.now.ms();
        for (id, host) in &mut self.hosts {
            let failure = match host.failure() {
                Some(failure) if host.is_running() => failure,
                _ => continue,
            };
            match failure {
                Failure::Stopped => {
                    host.crash(Absence::Refuses, || true);
                    nemesis.start_later(now_ms, *id);
                }
                Failure::Fatal(FatalError::Removed { .. }) if host.is_leaving => gone.push(*id),
                Failure::Start(reason) if host.is_leaving && reason.contains("removed") => {
                    gone.push(*id);
                }
                _ if host.is_failing => {
                    host.crash(Absence::Refuses, || false);
                    nemesis.start_later(now_ms, *id);
                }
                Failure::Start(reason) => {
                    return Err(format!("node {id} does not start: {reason}"));
                }
                Failure::Fatal(error) => return Err(format!("node {id} has failed: {error}")),
            }
        }
        for id in gone {
            if let Some(mut host) = self.hosts.remove(&id) {
                host.crash(Absence::Refuses, || true);
            }
        }
        Ok(())
    }

    /// Nodes that are to stay.
    fn replicas(&self) -> Vec<Option<Replica>> {
        let staying = self.hosts.values().filter(|host| !host.is_leaving);
        let replica = |host: &Host| {
            let running = self.world.directory.get(host.node_id)?;
            running.is_ready.then_some(running.replica)
        };
        staying.map(replica).collect()
    }

    /// Whether everything that was begun has ended, and all nodes are equal.
    fn is_done(&self) -> bool {
        let workload = &self.workload;
        if workload.busy.load(Ordering::Relaxed) + workload.consuming.load(Ordering::Relaxed) > 0 {
            return false;
        }
        let floor = self.world.oracle.floor();
        let places = self.workload.subscribers.lock();
        let places = places.unwrap_or_else(PoisonError::into_inner);
        if places.iter().any(|place| *place < floor.sequence) {
            return false;
        }
        let mut positions = self.replicas().into_iter().map(|replica| {
            let replica = replica?;
            Some(replica.reader().position())
        });
        let Some(Some(first)) = positions.next() else {
            return false;
        };
        first.revision >= floor.revision && positions.all(|other| other == Some(first))
    }

    fn not_later_than(&self, until_ms: u64, what: &str) -> Result<(), String> {
        if self.world.now.ms() < until_ms {
            return Ok(());
        }
        let mut text = what.to_owned();
        let busy = self.workload.busy.load(Ordering::Relaxed);
        let consuming = self.workload.consuming.load(Ordering::Relaxed);
        let _ = write!(
            text,
            ": {busy} clients and {consuming} consumers and wardens wait; {:?}",
            self.world.oracle.floor()
        );
        for host in self.hosts.values() {
            let running = self.world.directory.get(host.node_id);
            let running = running.map(|running| {
                let status = running.replica.status();
                let position = status.position;
                (
                    running.is_ready,
                    status.role,
                    status.term,
                    status.leader.map(|leader| leader.node_id),
                    status.last_log_index,
                    status.applied_index,
                    status.purged_index,
                    position.revision,
                )
            });
            let _ = write!(
                text,
                "\n  {} leaving {} files {} {running:?}",
                host.name,
                host.is_leaving,
                host.files()
            );
        }
        Err(text)
    }

    /// Reads the whole history of every node.
    fn check_histories(&self) -> Result<(), String> {
        let acknowledged = self.world.oracle.acknowledged();
        let staying: Vec<Replica> = self.replicas().into_iter().flatten().collect();
        rights::check(&self.world.rights, &staying)?;
        for replica in &staying {
            let history = history(replica)?;
            let id = replica.node_id();
            let lost = acknowledged
                .iter()
                .find(|(sequence, digest)| history.get(sequence) != Some(digest));
            if let Some((sequence, _)) = lost {
                return Err(format!(
                    "event {sequence} was acknowledged, and node {id} has not got it"
                ));
            }
            let expected = replica.reader().position().sequence;
            if history.len() as u64 != expected || !history.keys().copied().eq(1..=expected) {
                return Err(format!(
                    "node {id} lists {} events, of {expected}",
                    history.len()
                ));
            }
            let known =
                |(sequence, digest): (&u64, &Digest)| self.world.oracle.is(*sequence, *digest);
            if !history.iter().all(known) {
                return Err(format!("node {id} has another history"));
            }
        }
        Ok(())
    }

    fn summary(&self, nemesis: &Nemesis, violation: Option<String>) -> Summary {
        if let Some(violation) = &violation {
            self.world.trace.line(format_args!("VIOLATION {violation}"));
        }
        let (trace, lines) = self.world.trace.finish();
        let workload = &self.workload;
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let mut figures = format!(
            "ms={} lines={lines} messages={} commits={} attempts={} reads={} delivered={} consumed={} credentials={} checks={}",
            self.world.now.ms(),
            self.world.network.messages(),
            get(&workload.commits),
            get(&workload.attempts),
            get(&workload.reads),
            get(&workload.delivered),
            get(&workload.consumed),
            get(&workload.credentials),
            self.world.oracle.checks(),
        );
        for (fault, count) in &nemesis.counts {
            let _ = write!(figures, " {fault:?}={count}");
        }
        Summary {
            violation,
            trace,
            figures,
        }
    }
}

/// All events of a node, by sequence.
fn history(replica: &Replica) -> Result<BTreeMap<u64, Digest>, String> {
    let mut events = BTreeMap::new();
    let mut after = 0;
    loop {
        let query = Query {
            after,
            ..Query::default()
        };
        let page = replica.reader().list(&query);
        let page = page.map_err(|error| format!("node {}: {error}", replica.node_id()))?;
        let listed = page.headers.iter();
        events.extend(listed.map(|header| (header.sequence, header.digest)));
        match page.next {
            Some(next) => after = next,
            None => return Ok(events),
        }
    }
}
