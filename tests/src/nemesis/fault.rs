//! What goes wrong.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

/// Delays in each direction, milliseconds; elections time out after more.
const DELAY_MS: std::ops::RangeInclusive<u64> = 20..=200;
/// Bandwidths, kilobits a second: less than what nodes and clients send to one node.
const KILOBITS_PER_S: std::ops::RangeInclusive<u32> = 50..=200;
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
    /// Nothing gets through between the clients and some nodes.
    Clients,
    /// Clients' requests do not get to some nodes, or these nodes' answers not to the clients.
    ClientsOneWay,
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
    pub const ALL: [Self; 12] = [
        Self::Kill,
        Self::Pause,
        Self::Symmetric,
        Self::Asymmetric,
        Self::Partial,
        Self::Clients,
        Self::ClientsOneWay,
        Self::Loss,
        Self::Delay,
        Self::Bandwidth,
        Self::FullDisk,
        Self::Clock,
    ];

    /// Whether some nodes do not reach others.
    pub(super) const fn is_partition(self) -> bool {
        matches!(self, Self::Symmetric | Self::Asymmetric | Self::Partial)
    }

    /// Whether nodes may end.
    pub(super) const fn is_heavy(self) -> bool {
        matches!(self, Self::Kill | Self::FullDisk)
    }

    /// Whether it is not at the same time as `other`: what one of them loses could not be told from what the other
    /// does.
    pub(super) fn excludes(self, other: Self) -> bool {
        let cuts_clients = |kind| matches!(kind, Self::Clients | Self::ClientsOneWay);
        self == other
            || (self.is_partition() && other.is_partition())
            || (cuts_clients(self) && cuts_clients(other))
    }

    /// What is counted to see that it does something.
    #[must_use]
    pub const fn does(self) -> &'static str {
        match self {
            Self::Kill => "processes killed",
            Self::Pause => "processes stopped",
            Self::Symmetric | Self::Asymmetric | Self::Partial | Self::Loss => {
                "packets between nodes lost"
            }
            Self::Clients | Self::ClientsOneWay => "packets between clients and nodes lost",
            Self::Delay => "pieces of messages that came late",
            Self::Bandwidth => "packets that had to wait or were lost",
            Self::FullDisk => "alarms of a full disk",
            Self::Clock => "wrong clocks alarmed on",
        }
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
    /// These do not hear clients, and clients do not hear those.
    Clients(Kind, Vec<u64>, Vec<u64>),
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
            Kind::Clients => {
                ids.truncate(rng.random_range(1..members.len()));
                Self::Clients(kind, ids.clone(), ids)
            }
            Kind::ClientsOneWay => {
                ids.truncate(rng.random_range(1..members.len()));
                if rng.random() {
                    Self::Clients(kind, ids, Vec::new())
                } else {
                    Self::Clients(kind, Vec::new(), ids)
                }
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
            Self::Cut(kind, _) | Self::Clients(kind, ..) => *kind,
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

    #[test]
    fn clients_are_cut_off_from_some_nodes_both_ways_or_one_way() {
        let members = [1, 2, 3, 4, 5];
        let mut rng = seed::rng(1, 0);
        for kind in [Kind::Clients, Kind::ClientsOneWay] {
            let fault = Fault::draw(kind, &members, &mut rng);
            let Fault::Clients(_, deaf, mute) = &fault else {
                panic!("{kind:?} cuts clients off");
            };
            assert_eq!(fault.kind(), kind);
            assert!(deaf.len() < members.len() && mute.len() < members.len());
            assert_eq!(deaf == mute, kind == Kind::Clients, "{fault:?}");
        }
    }
}
