//! How the members are, as their leader knows it: it asks each of them every second.
//!
//! Invariants: empty on a node that does not lead; nothing here is agreed upon, it only says what to alarm
//! on, when not to propose, and when to hand over.

mod clock;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use toka_proto::v1;

pub(crate) use self::clock::{CLOCK_TOLERANCE_MS, Reading, StampClock, median, offset_ms};

/// What a member has said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vital {
    /// How far its clock is ahead of this node's, milliseconds.
    pub(crate) offset_ms: i64,
    /// How long it took to answer.
    pub(crate) round_trip: Duration,
    /// The highest feature level that it knows.
    pub(crate) feature_level: u32,
    /// Its disk is so full that it takes nothing from the log.
    pub(crate) takes_no_log: bool,
    /// Its log lacks what its vault had before.
    pub(crate) log_lacks_beginning: bool,
}

/// How the members are. Empty on a node that does not lead.
#[derive(Debug, Default)]
pub(crate) struct Vitals(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Of members that have answered this leader's last question.
    known: BTreeMap<u64, Vital>,
    alarms: Vec<v1::Alarm>,
    /// Voters that take nothing from the log, where no majority is left that does.
    disks_full: Vec<u64>,
}

impl Vitals {
    /// What members have said when they were asked last; none of those that did not answer.
    pub(crate) fn known(&self) -> BTreeMap<u64, Vital> {
        self.lock().known.clone()
    }

    /// What an operator has to do about members.
    pub(crate) fn alarms(&self) -> Vec<v1::Alarm> {
        self.lock().alarms.clone()
    }

    /// Voters whose disks are so full that no majority could take a commit.
    pub(crate) fn disks_full(&self) -> Option<Vec<u64>> {
        let full = self.lock().disks_full.clone();
        (!full.is_empty()).then_some(full)
    }

    /// What a round of questions has come to.
    pub(crate) fn set(
        &self,
        known: BTreeMap<u64, Vital>,
        alarms: Vec<v1::Alarm>,
        disks_full: Vec<u64>,
    ) {
        *self.lock() = State {
            known,
            alarms,
            disks_full,
        };
    }

    /// This node does not lead (any more).
    pub(crate) fn clear(&self) {
        *self.lock() = State::default();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Voters that take nothing, if what is left of a set of voters in `configs` is no majority.
pub(crate) fn disks_full(configs: &[BTreeSet<u64>], takes_no_log: &BTreeSet<u64>) -> Vec<u64> {
    let short = configs.iter().filter_map(|voters| {
        let full: Vec<u64> = voters.intersection(takes_no_log).copied().collect();
        let majority = voters.len() / 2 + 1;
        (voters.len() - full.len() < majority).then_some(full)
    });
    short
        .flatten()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disks_matter_when_no_majority_is_left() {
        let set = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<u64>>();
        let three = [set(&[1, 2, 3])];
        assert!(disks_full(&three, &set(&[])).is_empty());
        assert!(disks_full(&three, &set(&[3])).is_empty());
        assert_eq!(disks_full(&three, &set(&[2, 3, 9])), [2, 3]);
        let joint = [set(&[1, 2, 3]), set(&[1, 4])];
        assert_eq!(disks_full(&joint, &set(&[4])), [4]);
    }
}
