//! Lets things go wrong, some of them at once, and puts them right again after a while.

mod rivals;

use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::host::Host;
use crate::membership::{add, new_member, promote, remove};
use crate::network::{Absence, Link};
use crate::random::Random;

/// Voters at most.
const VOTERS_MAX: usize = 5;
/// Bytes of a disk that is nearly full, of 2^40.
const FULL_BYTES: u64 = 100 << 20;
const ROOM_BYTES: u64 = 1 << 39;

/// What is put right.
#[derive(Clone, Debug)]
enum Repair {
    Links(Vec<(String, String)>),
    Resume(u64),
    Start(u64),
    /// Cuts the power, if it has not been yet, and starts.
    CutAndStart(u64),
    /// No repair: cuts the power of a node that runs. It starts again after so many milliseconds.
    Cut(u64, u64),
    Disk(u64),
    Clock(u64),
    Promote(u64),
}

/// Decides what goes wrong, and when.
pub(crate) struct Nemesis {
    random: Random,
    next_ms: u64,
    repairs: BTreeMap<(u64, u64), Repair>,
    repairs_made: u64,
    /// A change of the membership is being made.
    is_changing: bool,
    names: u64,
    /// How often each kind of fault has been injected.
    pub(crate) counts: BTreeMap<Fault, u64>,
}

impl Nemesis {
    pub(crate) fn new(random: Random) -> Self {
        Self {
            random,
            next_ms: 0,
            repairs: BTreeMap::new(),
            repairs_made: 0,
            is_changing: false,
            names: 100,
            counts: BTreeMap::new(),
        }
    }

    /// A change of the membership is done.
    pub(crate) fn changed(&mut self) {
        self.is_changing = false;
    }

    /// `node_id` has joined as a learner.
    pub(crate) fn promote_later(&mut self, now_ms: u64, node_id: u64) {
        let after = self.random.between(2_000, 6_000);
        self.later(now_ms + after, Repair::Promote(node_id));
    }

    /// `node_id` has ended, and starts again after a while.
    pub(crate) fn start_later(&mut self, now_ms: u64, node_id: u64) {
        let after = self.random.between(50, 4_000);
        self.later(now_ms + after, Repair::Start(node_id));
    }

    fn later(&mut self, at_ms: u64, repair: Repair) {
        self.repairs_made += 1;
        self.repairs.insert((at_ms, self.repairs_made), repair);
    }

    /// Lets go wrong what is due, and puts right what is due.
    pub(crate) fn step(&mut self, cluster: &mut Cluster) {
        let now_ms = cluster.world.now.ms();
        while let Some(entry) = self.repairs.first_entry() {
            if entry.key().0 > now_ms {
                break;
            }
            let repair = entry.remove();
            cluster.world.trace.line(format_args!("repair {repair:?}"));
            self.repair(cluster, repair);
        }
        if now_ms >= self.next_ms {
            self.next_ms = now_ms + self.random.between(100, 2_500);
            if let Some(fault) = self.random.pick(&Fault::ALL)
                && self.inject(cluster, fault)
            {
                *self.counts.entry(fault).or_default() += 1;
            }
        }
    }

    fn repair(&mut self, cluster: &mut Cluster, repair: Repair) {
        match repair {
            Repair::Links(links) => {
                for (from, to) in links {
                    cluster.world.network.set_link(&from, &to, Link::default());
                }
            }
            Repair::Resume(id) => with(cluster, id, Host::resume),
            Repair::Start(id) => with(cluster, id, |host| {
                if !host.is_running() {
                    host.start();
                }
            }),
            Repair::CutAndStart(id) => {
                if cluster.hosts.get(&id).is_some_and(|host| host.is_failing) {
                    self.cut_power(cluster, id, false);
                    with(cluster, id, Host::start);
                }
            }
            Repair::Cut(id, after_ms) => {
                if Self::nodes(cluster).contains(&id) {
                    self.cut_power(cluster, id, false);
                    self.later(cluster.world.now.ms() + after_ms, Repair::Start(id));
                }
            }
            Repair::Disk(id) => with(cluster, id, |host| {
                host.storage.pace.set(0, 1);
                host.storage.disk.set_free(ROOM_BYTES);
            }),
            Repair::Clock(id) => with(cluster, id, |host| host.clock.set_offset(0)),
            // One that has been removed since has nobody to wait for.
            Repair::Promote(id) if !cluster.hosts.contains_key(&id) => {}
            Repair::Promote(id) if self.is_changing => {
                self.promote_later(cluster.world.now.ms(), id);
            }
            Repair::Promote(id) => {
                let (world, changes) = (cluster.world.clone(), cluster.changes.clone());
                self.is_changing = true;
                cluster.clients.spawn(promote(world, changes, id));
            }
        }
    }

    /// Puts everything right at once, and lets nothing go wrong any more.
    pub(crate) fn heal(&mut self, cluster: &mut Cluster) {
        self.repairs
            .retain(|_, repair| matches!(repair, Repair::Promote(_)));
        cluster.world.network.heal();
        let ids: Vec<u64> = cluster.hosts.keys().copied().collect();
        for id in ids {
            if cluster.hosts.get(&id).is_some_and(|host| host.is_failing) {
                self.cut_power(cluster, id, false);
            }
            with(cluster, id, |host| {
                host.resume();
                host.clock.set_offset(0);
                host.storage.pace.set(0, 1);
                host.storage.disk.set_free(ROOM_BYTES);
                if !host.is_running() {
                    host.start();
                }
            });
        }
    }

    /// As [`Nemesis::step`], of what is still to be put right after [`Nemesis::heal`].
    pub(crate) fn finish(&mut self, cluster: &mut Cluster) {
        self.next_ms = u64::MAX;
        self.step(cluster);
    }

    pub(crate) fn is_done(&self) -> bool {
        self.repairs.is_empty() && !self.is_changing
    }

    fn cut_power(&mut self, cluster: &mut Cluster, id: u64, keeps_some: bool) {
        let mut random = self.random.fork();
        let absence = match random.chance(50) {
            true => Absence::Silent,
            false => Absence::Refuses,
        };
        with(cluster, id, |host| {
            host.crash(absence, || keeps_some && random.chance(50));
        });
    }

    /// Nodes that run and are not about to fail or go.
    fn nodes(cluster: &Cluster) -> Vec<u64> {
        let sound = cluster.hosts.values().filter(|host| {
            host.is_running() && !host.is_paused() && !host.is_failing && !host.is_leaving
        });
        sound.map(|host| host.node_id).collect()
    }

    /// Whether the fault could be injected.
    fn inject(&mut self, cluster: &mut Cluster, fault: Fault) -> bool {
        let now_ms = cluster.world.now.ms();
        let nodes = Self::nodes(cluster);
        let Some(id) = self.random.pick(&nodes) else {
            return false;
        };
        // Those that lead are hit more often than the others.
        let leader = cluster.world.directory.leader().map(|node| node.node_id);
        let leader = leader.filter(|leader| nodes.contains(leader));
        let id = match leader {
            Some(leader) if self.random.chance(30) => leader,
            _ => id,
        };
        cluster
            .world
            .trace
            .line(format_args!("fault {fault:?} at node {id}"));
        match fault {
            Fault::Cut
            | Fault::OneWay
            | Fault::Isolate
            | Fault::Split
            | Fault::Partial
            | Fault::SlowLinks
            | Fault::Loss
            | Fault::Reset => self.disturb_network(cluster, fault, id),
            Fault::Pause => {
                with(cluster, id, Host::pause);
                let after = self.random.between(100, 5_000);
                self.later(now_ms + after, Repair::Resume(id));
                true
            }
            Fault::PowerCut | Fault::TornPowerCut => {
                self.cut_power(cluster, id, fault == Fault::TornPowerCut);
                self.start_later(now_ms, id);
                true
            }
            Fault::PowerCutAll => {
                for id in nodes {
                    self.cut_power(cluster, id, true);
                    self.start_later(now_ms, id);
                }
                true
            }
            Fault::Kill => {
                with(cluster, id, |host| host.crash(Absence::Refuses, || true));
                self.start_later(now_ms, id);
                true
            }
            Fault::Restart => {
                with(cluster, id, |host| host.stop());
                true
            }
            Fault::PowerCutInWrite | Fault::FailedSync => {
                let after = self.random.between(0, 40);
                with(cluster, id, |host| {
                    host.is_failing = true;
                    match fault {
                        Fault::FailedSync => host.storage.disk.fail_next_sync(),
                        _ => host.storage.disk.fail_after(after),
                    }
                });
                let after = self.random.between(20, 3_000);
                self.later(now_ms + after, Repair::CutAndStart(id));
                true
            }
            Fault::SlowDisk | Fault::FullDisk => {
                let high = self.random.between(20, 1_500);
                with(cluster, id, |host| match fault {
                    Fault::SlowDisk => host.storage.pace.set(high / 4, high),
                    _ => host.storage.disk.set_free(FULL_BYTES),
                });
                let after = self.random.between(1_000, 8_000);
                self.later(now_ms + after, Repair::Disk(id));
                true
            }
            Fault::ClockJump => {
                let ms = self.random.between(100, 20_000) as i64;
                let ms = if self.random.chance(50) { ms } else { -ms };
                with(cluster, id, |host| host.clock.set_offset(ms));
                let after = self.random.between(1_000, 10_000);
                self.later(now_ms + after, Repair::Clock(id));
                true
            }
            Fault::Transfer => {
                let Some(leader) = cluster.world.directory.leader() else {
                    return false;
                };
                let replica = leader.replica.clone();
                let to = self.random.chance(50).then_some(id);
                leader
                    .handle
                    .spawn(async move { replica.transfer_leadership(to).await });
                true
            }
            Fault::Rivals => self.let_two_stand(cluster, &nodes, leader),
            Fault::Add | Fault::AddLearner | Fault::Remove | Fault::Replace => {
                self.change_membership(cluster, fault, id)
            }
        }
    }

    fn change_membership(&mut self, cluster: &mut Cluster, fault: Fault, id: u64) -> bool {
        let staying = cluster.hosts.values().filter(|host| !host.is_leaving);
        let count = staying.count();
        let fits = match fault {
            Fault::Remove => count > 3,
            Fault::Replace => true,
            _ => count < VOTERS_MAX,
        };
        if self.is_changing || !fits {
            return false;
        }
        self.is_changing = true;
        let (world, changes) = (cluster.world.clone(), cluster.changes.clone());
        if fault == Fault::Remove {
            with(cluster, id, |host| host.is_leaving = true);
            cluster.leaving = Some(id);
            cluster.clients.spawn(remove(world, changes, id));
            return true;
        }
        self.names += 1;
        let name = format!("node-{}", self.names);
        let token = u128::from(self.random.next());
        let is_learner = fault == Fault::AddLearner;
        let replaces = (fault == Fault::Replace).then_some(id);
        if replaces.is_some() {
            with(cluster, id, |host| host.is_leaving = true);
            cluster.leaving = replaces;
        }
        cluster.learner = is_learner;
        let new = new_member(&name, token, is_learner, replaces);
        cluster.clients.spawn(add(world, changes, name, new));
        true
    }

    fn disturb_network(&mut self, cluster: &mut Cluster, fault: Fault, id: u64) -> bool {
        let names: Vec<String> = cluster
            .hosts
            .values()
            .map(|host| host.name.clone())
            .collect();
        let name = cluster.hosts[&id].name.clone();
        let others: Vec<String> = names
            .iter()
            .filter(|other| **other != name)
            .cloned()
            .collect();
        let Some(other) = self.random.pick(&others) else {
            return false;
        };
        let both = |a: &str, b: &str| {
            let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
            [pair(a, b), pair(b, a)]
        };
        let all = || names.iter().flat_map(|a| others_of(&names, a));
        let links: Vec<(String, String)> = match fault {
            Fault::Cut | Fault::Reset => both(&name, &other).to_vec(),
            Fault::OneWay => vec![(name.clone(), other.clone())],
            Fault::Isolate | Fault::SlowLinks => {
                others.iter().flat_map(|other| both(&name, other)).collect()
            }
            Fault::Split => {
                let side: Vec<bool> = names.iter().map(|_| self.random.chance(50)).collect();
                let side = |name: &str| names.iter().position(|n| n == name).map(|n| side[n]);
                all().filter(|(a, b)| side(a) != side(b)).collect()
            }
            Fault::Partial => all().filter(|_| self.random.chance(40)).collect(),
            _ => all().collect(),
        };
        let slow = self.random.between(20, 600);
        let loss = self.random.between(2, 30);
        let breaks = fault == Fault::Cut || fault == Fault::Reset || self.random.chance(30);
        for (from, to) in &links {
            let network = &cluster.world.network;
            let link = network.link(from, to);
            let link = match fault {
                Fault::SlowLinks => Link {
                    latency_ms: (slow / 3, slow),
                    ..link
                },
                Fault::Loss => Link { loss, ..link },
                Fault::Reset => link,
                _ => Link {
                    is_blocked: true,
                    ..link
                },
            };
            network.set_link(from, to, link);
            if breaks && fault != Fault::SlowLinks && fault != Fault::Loss {
                network.reset(from, to);
            }
        }
        let after = self.random.between(200, 7_000);
        self.later(cluster.world.now.ms() + after, Repair::Links(links));
        true
    }
}

fn others_of<'a>(names: &'a [String], a: &'a str) -> impl Iterator<Item = (String, String)> + 'a {
    let others = names.iter().filter(move |b| *b != a);
    others.map(move |b| (a.to_owned(), b.clone()))
}

fn with(cluster: &mut Cluster, id: u64, change: impl FnOnce(&mut Host)) {
    if let Some(host) = cluster.hosts.get_mut(&id) {
        change(host);
    }
}
