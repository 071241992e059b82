//! Everything that can go wrong, at once and again and again, while clients work and take notes.
//!
//! What goes wrong, to whom and for how long is drawn from a seed. What clients do meanwhile depends on how threads
//! and processes run, so that the same seed gives the same faults and not the same history.

mod churn;
mod clients;
mod fault;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

pub use self::clients::{Clients, GROUP_KIND};
pub use self::fault::{Fault, Kind};
use crate::clock::Clock;
use crate::cluster::{Cluster, PATIENCE};
use crate::process;
use crate::proxy::Proxy;
use crate::seed;
use crate::small_disk::SmallDisk;

/// How long faults last, milliseconds.
const HOLD_MS: std::ops::RangeInclusive<u64> = 1_000..=5_000;
/// Faults at once.
const FAULTS: std::ops::RangeInclusive<usize> = 1..=3;
/// Acknowledgements after each round that show that the cluster has recovered.
const SOME: u64 = 20;

/// What happens to the cluster on purpose while there are faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Errand {
    Nothing,
    RollingRestart,
    Replace,
    RemoveAndAdd,
}

const ERRANDS: [Errand; 6] = [
    Errand::Nothing,
    Errand::Nothing,
    Errand::Nothing,
    Errand::RollingRestart,
    Errand::Replace,
    Errand::RemoveAndAdd,
];

/// What belongs to one node besides its process.
#[derive(Debug)]
struct Place {
    disk: SmallDisk,
    clock: Clock,
    proxy: Proxy,
}

/// The one who does it.
#[derive(Debug)]
pub struct Nemesis {
    rng: StdRng,
    places: BTreeMap<u64, Place>,
    /// Kinds of faults to come, so that each does.
    faults: Vec<Kind>,
    errands: Vec<Errand>,
    done: BTreeMap<String, u64>,
}

impl Nemesis {
    /// Sets up what belongs to the nodes of a cluster whose processes have not been started.
    pub async fn new(cluster: &mut Cluster, seed: u64) -> Result<Self> {
        let mut nemesis = Self {
            rng: seed::rng(seed, 0),
            places: BTreeMap::new(),
            faults: Vec::new(),
            errands: Vec::new(),
            done: BTreeMap::new(),
        };
        for id in cluster.ids() {
            nemesis.settle(cluster, id).await?;
        }
        Ok(nemesis)
    }

    /// Gives node `id` a small disk, a clock and a proxy.
    async fn settle(&mut self, cluster: &mut Cluster, id: u64) -> Result<()> {
        let clock = Clock::new(cluster.directory(), &format!("clock-{id}"))?;
        cluster.set_clock(id, &clock);
        let place = Place {
            disk: SmallDisk::mount(&cluster.node(id).data)?,
            clock,
            proxy: cluster.set_proxy(id).await?,
        };
        self.places.insert(id, place);
        Ok(())
    }

    /// Nodes that are members.
    pub fn members(&self) -> Vec<u64> {
        self.places.keys().copied().collect()
    }

    fn place(&self, id: u64) -> Result<&Place> {
        let place = self.places.get(&id);
        place.with_context(|| format!("node {id} has no place"))
    }

    /// Goes on for so long, and ends with a cluster that is whole. That needs the nemesis as long as it runs.
    pub async fn rage(
        &mut self,
        cluster: &mut Cluster,
        clients: &Clients,
        time: Duration,
    ) -> Result<()> {
        let started = Instant::now();
        for round in 1_u64.. {
            if started.elapsed() >= time {
                break;
            }
            let passed = self.round(cluster, clients, round).await;
            passed.with_context(|| format!("round {round} of the nemesis"))?;
        }
        Ok(())
    }

    /// How often it did what.
    pub fn done(&self) -> &BTreeMap<String, u64> {
        &self.done
    }

    async fn round(&mut self, cluster: &mut Cluster, clients: &Clients, round: u64) -> Result<()> {
        let errand = self.draw_errand();
        let count = self.rng.random_range(FAULTS);
        let mut faults = Vec::new();
        for _ in 0..count {
            let kind = self.draw_kind(errand);
            // One of a kind: to undo one would undo the other.
            if faults.iter().all(|other: &Fault| other.kind() != kind) {
                faults.push(Fault::draw(kind, &self.members(), &mut self.rng));
            }
        }
        // Nodes that were killed are started last, once there is room on their disks.
        faults.sort_by_key(Fault::kind);
        let hold = Duration::from_millis(self.rng.random_range(HOLD_MS));
        println!("round {round}: {errand:?} under {faults:?} for {hold:?}");
        for fault in &faults {
            self.inflict(cluster, fault)?;
            *self.done.entry(format!("{:?}", fault.kind())).or_default() += 1;
        }
        let begun = self.begin(cluster, errand).await?;
        tokio::time::sleep(hold).await;
        cluster.network()?.heal()?;
        for fault in faults.iter().rev() {
            self.undo(cluster, fault)?;
        }
        if errand != Errand::Nothing {
            *self.done.entry(format!("{errand:?}")).or_default() += 1;
        }
        self.finish(cluster, begun).await?;
        clients.know(cluster, &self.members())?;
        cluster.wait_all_running_ready().await?;
        clients.go_on(SOME, PATIENCE).await
    }

    fn draw_errand(&mut self) -> Errand {
        if self.errands.is_empty() {
            self.errands = ERRANDS.to_vec();
            self.errands.shuffle(&mut self.rng);
        }
        self.errands.pop().unwrap_or(Errand::Nothing)
    }

    /// The next kind; one that leaves a majority at work where nodes come and go on purpose.
    fn draw_kind(&mut self, errand: Errand) -> Kind {
        let suits = |kind: &Kind| errand == Errand::Nothing || kind.is_light();
        if !self.faults.iter().any(suits) {
            let mut fresh: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| suits(kind)).collect();
            fresh.shuffle(&mut self.rng);
            self.faults.extend(fresh);
        }
        let at = self.faults.iter().rposition(suits);
        at.map_or(Kind::Delay, |at| self.faults.remove(at))
    }

    async fn rolling_restart(&mut self, cluster: &mut Cluster) -> Result<()> {
        for id in self.members() {
            cluster.terminate(id).await?;
            cluster.restart(id).await?;
        }
        Ok(())
    }

    /// Starts node `id` again if it has ended by itself, which only a full disk may make it do.
    fn revive(&self, cluster: &mut Cluster, id: u64) -> Result<()> {
        if !cluster.running().contains(&id) {
            return Ok(());
        }
        let Some(status) = cluster.process(id)?.ended()? else {
            return Ok(());
        };
        // The end of its log: it may have said so earlier, too.
        let said = process::tail(&cluster.node(id).log);
        ensure!(
            said.contains("the disk is full"),
            "node {id} ended by itself: {status}: {said}"
        );
        drop(cluster.take_process(id)?);
        // Others may still be down: it is not waited for.
        cluster.launch(id)
    }
}
