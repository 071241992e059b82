//! Everything that can go wrong, at once and again and again, while clients work and take notes.
//!
//! What goes wrong, to whom and for how long is drawn from a seed. What clients do meanwhile depends on how threads
//! and processes run, so that the same seed gives the same faults and not the same history.

mod churn;
mod clients;
mod commits;
mod credentials;
mod deck;
mod errand;
mod fault;
mod inflict;
mod streams;
mod tally;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use rand::rngs::StdRng;

pub use self::clients::Clients;
pub use self::commits::GROUP_KIND;
use self::credentials::Granted;
use self::deck::{Deck, Hand};
pub use self::errand::Errand;
pub use self::fault::{Fault, Kind};
use self::inflict::hold;
pub use self::tally::{Count, Tally};
use crate::clock::Clock;
use crate::cluster::{Cluster, PATIENCE};
use crate::process;
use crate::proxy::Proxy;
use crate::seed;
use crate::small_disk::SmallDisk;

/// How long faults last, milliseconds: nodes look once a second how much room they have.
const HOLD_MS: std::ops::RangeInclusive<u64> = 2_500..=5_000;
/// Acknowledgements after each round that show that the cluster has recovered.
const SOME: u64 = 20;
/// So much longer than it was told to it goes on at most, until everything has happened and had an effect.
const LONGER_MAX: Duration = Duration::from_secs(240);

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
    deck: Deck,
    tally: Tally,
    /// What was acknowledged of tokens and roles, by each errand.
    granted: Vec<Granted>,
}

impl Nemesis {
    /// Sets up what belongs to the nodes of a cluster whose processes have not been started.
    pub async fn new(cluster: &mut Cluster, seed: u64) -> Result<Self> {
        let mut nemesis = Self {
            rng: seed::rng(seed, 0),
            places: BTreeMap::new(),
            deck: Deck::default(),
            tally: Tally::default(),
            granted: Vec::new(),
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

    /// Goes on for so long, and until everything has happened once and had an effect; ends with a cluster that is
    /// whole. That needs the nemesis as long as it runs.
    ///
    /// # Errors
    /// The cluster does not recover; or something never has an effect.
    pub async fn rage(
        &mut self,
        cluster: &mut Cluster,
        clients: &Clients,
        time: Duration,
    ) -> Result<()> {
        let started = Instant::now();
        for round in 1_u64.. {
            let missing = self.tally.missing();
            if started.elapsed() >= time && missing.is_empty() {
                break;
            }
            ensure!(
                started.elapsed() < time + LONGER_MAX,
                "after {round} rounds and {:?} without effect: {missing:?}",
                started.elapsed()
            );
            let passed = self.round(cluster, clients, round).await;
            passed.with_context(|| format!("round {round} of the nemesis"))?;
        }
        Ok(())
    }

    /// What it has done.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    async fn round(&mut self, cluster: &mut Cluster, clients: &Clients, round: u64) -> Result<()> {
        let Hand { errand, kinds } = self.deck.deal(&self.tally, &mut self.rng);
        let errand = match errand {
            errand if errand.changes_members() && !churn::has_room(cluster) => Errand::Nothing,
            errand => errand,
        };
        let members = self.members();
        let mut faults: Vec<Fault> = Vec::new();
        for kind in kinds {
            faults.push(Fault::draw(kind, &members, &mut self.rng));
        }
        // Nodes that were killed are started last, once there is room on their disks.
        faults.sort_by_key(Fault::kind);
        let time = Duration::from_millis(self.rng.random_range(HOLD_MS));
        println!("round {round}: {errand:?} under {faults:?} for {time:?}");
        let mut inflicted = Vec::new();
        for fault in faults {
            inflicted.push(self.inflict(cluster, fault).await?);
        }
        let begun = self.begin(cluster, errand).await?;
        let clock_noticed = hold(cluster, &inflicted, time).await;
        let mut effects = Vec::new();
        for one in &inflicted {
            let effect = self.effect(cluster, one, clock_noticed)?;
            effects.push((one.fault.kind(), effect));
        }
        cluster.network()?.heal()?;
        for one in inflicted.iter().rev() {
            self.undo(cluster, &one.fault)?;
        }
        self.finish(cluster, begun).await?;
        clients.know(cluster, &self.members())?;
        cluster.wait_all_running_ready().await?;
        clients.go_on(SOME, PATIENCE).await?;
        println!("round {round}: {effects:?}");
        self.tally.note(errand, &effects);
        Ok(())
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
