//! What goes wrong.

use std::time::Duration;

use anyhow::Result;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rustix::process::Signal;

use super::Nemesis;
use crate::cluster::Cluster;
use crate::proxy::Quality;

/// Delays in each direction, milliseconds; elections time out after more.
const DELAY_MS: std::ops::RangeInclusive<u64> = 20..=200;
/// Bandwidths, kilobits a second.
const KILOBITS_PER_S: std::ops::RangeInclusive<u32> = 200..=2_000;
/// Free bytes that are left: less than the nodes' reserve, and less than half of it.
const LEFT_BYTES: [u64; 2] = [60 << 20, 30 << 20];
const OFFSETS: [&str; 6] = ["+365d", "-365d", "+2h", "-2h", "+3s", "-3s"];

/// Kinds of faults, in the order in which they are inflicted; they are undone in the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL of one node to all of them.
    Kill,
    /// SIGSTOP of one node or two, and SIGCONT.
    Pause,
    /// Nothing gets through between some nodes and the others.
    Symmetric,
    /// Nothing gets through from some nodes to the others.
    Asymmetric,
    /// Nothing gets through between some pairs of nodes.
    Partial,
    /// Between all nodes packets get lost.
    Loss,
    /// Everything to one node's proxy comes late, and its answers.
    Delay,
    /// Little gets through to one node at a time.
    Bandwidth,
    /// One node's disk is full, or nearly.
    FullDisk,
    /// One node's clock is wrong.
    Clock,
}

impl Kind {
    /// All.
    pub const ALL: [Self; 10] = [
        Self::Kill,
        Self::Pause,
        Self::Symmetric,
        Self::Asymmetric,
        Self::Partial,
        Self::Loss,
        Self::Delay,
        Self::Bandwidth,
        Self::FullDisk,
        Self::Clock,
    ];

    /// Whether a healthy majority can go on working all the time.
    pub(super) const fn is_light(self) -> bool {
        matches!(self, Self::Loss | Self::Delay | Self::Clock)
    }
}

/// Something that goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// [`Kind::Kill`] of these.
    Kill(Vec<u64>),
    /// [`Kind::Pause`] of these.
    Pause(Vec<u64>),
    /// From the first of each pair to the second nothing gets through.
    Cut(Kind, Vec<(u64, u64)>),
    /// From the first of each pair to the second some packets get lost.
    Loss(Vec<(u64, u64)>),
    /// [`Kind::Delay`] of one.
    Delay(u64, Duration),
    /// [`Kind::Bandwidth`] of one, kilobits a second.
    Bandwidth(u64, u32),
    /// [`Kind::FullDisk`] of one, bytes that are left.
    FullDisk(u64, u64),
    /// [`Kind::Clock`] of one.
    Clock(u64, &'static str),
}

impl Fault {
    /// One of this kind, to some of `members`.
    pub(super) fn draw(kind: Kind, members: &[u64], rng: &mut StdRng) -> Self {
        let mut ids = members.to_vec();
        ids.shuffle(rng);
        let one = ids[0];
        match kind {
            Kind::Kill => {
                ids.truncate(rng.random_range(1..=members.len()));
                Self::Kill(ids)
            }
            Kind::Pause => {
                ids.truncate(rng.random_range(1..=2));
                Self::Pause(ids)
            }
            Kind::Symmetric | Kind::Asymmetric => {
                let (some, others) = ids.split_at(rng.random_range(1..members.len()));
                let mut pairs = Vec::new();
                for from in some {
                    pairs.extend(others.iter().map(|to| (*from, *to)));
                }
                Self::Cut(kind, closed(kind, pairs))
            }
            Kind::Partial => {
                let mut pairs = pairs(members);
                pairs.shuffle(rng);
                pairs.truncate(rng.random_range(1..=members.len()));
                Self::Cut(kind, closed(kind, pairs))
            }
            Kind::Loss => Self::Loss(pairs(members)),
            Kind::Delay => Self::Delay(one, Duration::from_millis(rng.random_range(DELAY_MS))),
            Kind::Bandwidth => Self::Bandwidth(one, rng.random_range(KILOBITS_PER_S)),
            Kind::FullDisk => {
                let left = *LEFT_BYTES.choose(rng).expect("there are some");
                Self::FullDisk(one, left)
            }
            Kind::Clock => Self::Clock(one, OFFSETS.choose(rng).expect("there are some")),
        }
    }

    /// Which kind it is of.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Kill(_) => Kind::Kill,
            Self::Pause(_) => Kind::Pause,
            Self::Cut(kind, _) => *kind,
            Self::Loss(_) => Kind::Loss,
            Self::Delay(..) => Kind::Delay,
            Self::Bandwidth(..) => Kind::Bandwidth,
            Self::FullDisk(..) => Kind::FullDisk,
            Self::Clock(..) => Kind::Clock,
        }
    }
}

/// Each node with each other, in both directions.
fn pairs(members: &[u64]) -> Vec<(u64, u64)> {
    let each = members.iter().flat_map(|from| {
        let others = members.iter().filter(move |to| *to != from);
        others.map(move |to| (*from, *to))
    });
    each.collect()
}

/// With the other direction of each pair too, unless it is about one.
fn closed(kind: Kind, mut pairs: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    if kind != Kind::Asymmetric {
        let back: Vec<_> = pairs.iter().map(|(from, to)| (*to, *from)).collect();
        pairs.extend(back);
    }
    pairs
}

impl Nemesis {
    /// Lets it go wrong.
    pub(super) fn inflict(&self, cluster: &mut Cluster, fault: &Fault) -> Result<()> {
        match fault {
            Fault::Kill(ids) => ids.iter().try_for_each(|id| cluster.kill(*id)),
            Fault::Pause(ids) => signal(cluster, ids, Signal::STOP),
            Fault::Cut(_, pairs) => {
                let network = cluster.network()?;
                pairs
                    .iter()
                    .try_for_each(|(from, to)| network.cut(*from, *to))
            }
            Fault::Loss(pairs) => {
                let network = cluster.network()?;
                let mut pairs = pairs.iter();
                pairs.try_for_each(|(from, to)| network.lose_some(*from, *to))
            }
            Fault::Delay(id, delay) => {
                self.place(*id)?.proxy.set(Quality {
                    delay: *delay,
                    ..Quality::default()
                });
                Ok(())
            }
            Fault::Bandwidth(id, rate) => cluster.network()?.limit(*id, Some(*rate)),
            Fault::FullDisk(id, left) => self.place(*id)?.disk.fill(*left),
            Fault::Clock(id, offset) => self.place(*id)?.clock.set(offset),
        }
    }

    /// Makes it good again; cuts and losses end with [`crate::netns::Network::heal`].
    pub(super) fn undo(&self, cluster: &mut Cluster, fault: &Fault) -> Result<()> {
        match fault {
            Fault::Kill(ids) => {
                // One that does not come up waits for the others.
                for id in ids.iter().filter(|id| self.places.contains_key(id)) {
                    if !cluster.running().contains(id) {
                        cluster.launch(*id)?;
                    }
                }
                Ok(())
            }
            Fault::Pause(ids) => signal(cluster, ids, Signal::CONT),
            Fault::Cut(..) | Fault::Loss(_) => Ok(()),
            Fault::Delay(id, _) => {
                self.place(*id)?.proxy.set(Quality::default());
                Ok(())
            }
            Fault::Bandwidth(id, _) => cluster.network()?.limit(*id, None),
            Fault::FullDisk(id, _) => {
                self.place(*id)?.disk.make_room()?;
                self.revive(cluster, *id)
            }
            Fault::Clock(id, _) => self.place(*id)?.clock.set("+0"),
        }
    }
}

/// Sends a signal to those of `ids` that run.
fn signal(cluster: &mut Cluster, ids: &[u64], signal: Signal) -> Result<()> {
    let running = cluster.running();
    for id in ids.iter().filter(|id| running.contains(id)) {
        cluster.process(*id)?.signal(signal)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed;

    #[test]
    fn same_seed_draws_the_same_faults() {
        let members = [1, 2, 3, 4, 5];
        let draw = |seed| {
            let mut rng = seed::rng(seed, 0);
            let faults = Kind::ALL.map(|kind| Fault::draw(kind, &members, &mut rng));
            format!("{faults:?}")
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn one_way_is_cut_one_way_and_the_others_both_ways() {
        let members = [1, 2, 3, 4, 5];
        let mut rng = seed::rng(1, 0);
        for kind in [Kind::Symmetric, Kind::Asymmetric, Kind::Partial] {
            let Fault::Cut(_, pairs) = Fault::draw(kind, &members, &mut rng) else {
                panic!("{kind:?} is a cut");
            };
            let both = pairs.iter().all(|(from, to)| pairs.contains(&(*to, *from)));
            assert_eq!(both, kind != Kind::Asymmetric, "{kind:?}: {pairs:?}");
        }
    }
}
