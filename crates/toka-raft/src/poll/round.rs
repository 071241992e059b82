//! What the members have answered when they were asked, and what it says about this node's clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::type_config::StoredMembership;
use crate::vitals::{CLOCK_TOLERANCE_MS, Reading, Vital, median};

/// What a round says about this node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    /// It is ahead of the median.
    Ahead {
        by_ms: u64,
    },
    /// It is behind the median of all voters.
    Behind {
        by_ms: u64,
    },
}

/// What the members have answered in one round.
pub(super) struct Round {
    pub(super) term: u64,
    pub(super) this: u64,
    /// This node's clock before anybody was asked.
    pub(super) began: Reading,
    pub(super) stored: Arc<StoredMembership>,
    pub(super) known: BTreeMap<u64, Vital>,
}

impl Round {
    /// Whether more than half of each set of voters are counted.
    fn is_majority(&self, is_counted: impl Fn(u64) -> bool) -> bool {
        let configs = self.stored.membership().get_joint_config();
        configs.iter().all(|voters| {
            let counted = voters.iter().filter(|id| is_counted(**id));
            counted.count() > voters.len() / 2
        })
    }

    /// Distance of a member's clock from this node's, if it has answered, milliseconds.
    pub(super) fn offset_ms(&self, id: u64) -> Option<i64> {
        let is_this = (id == self.this).then_some(0);
        is_this.or_else(|| self.known.get(&id).map(|vital| vital.offset_ms))
    }

    /// Whether a majority of each set of voters has answered, this node among them.
    pub(super) fn is_quorum(&self) -> bool {
        self.is_majority(|id| self.offset_ms(id).is_some())
    }

    /// Whether this clock is not ahead of the median, whatever the others may still answer.
    pub(super) fn is_certainly_right(&self) -> bool {
        let tolerance = i64::try_from(CLOCK_TOLERANCE_MS).unwrap_or(i64::MAX);
        self.is_majority(|id| {
            self.offset_ms(id)
                .is_some_and(|offset_ms| offset_ms >= -tolerance)
        })
    }

    /// What to think of this clock, once everybody has answered who does; nothing if those are no quorum.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        if !self.is_quorum() {
            return None;
        }
        let ahead_ms = self.off_by_ms(0);
        let by_ms = ahead_ms.unsigned_abs();
        let mut voters = self.stored.membership().voter_ids();
        Some(if by_ms <= CLOCK_TOLERANCE_MS {
            Verdict::Right
        } else if ahead_ms > 0 {
            Verdict::Ahead { by_ms }
        } else if voters.all(|id| self.offset_ms(id).is_some()) {
            Verdict::Behind { by_ms }
        } else {
            Verdict::Right
        })
    }

    /// The median of the voters' clocks, as the distance from this node's, milliseconds.
    fn median_ms(&self) -> i64 {
        let voters = self.stored.membership().voter_ids();
        median(voters.filter_map(|id| self.offset_ms(id)).collect()).unwrap_or(0)
    }

    /// How far a clock with this distance from this node's is ahead of the median, milliseconds.
    pub(super) fn off_by_ms(&self, offset_ms: i64) -> i64 {
        offset_ms.saturating_sub(self.median_ms())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use openraft::Membership;
    use toka_ledger::seam::Seams;

    use super::*;
    use crate::type_config::Member;
    use crate::vitals::StampClock;

    const YEAR_MS: i64 = 365 * 24 * 3_600 * 1_000;

    /// A round of node 1 among `configs`, in which others have answered with these distances.
    fn round(configs: &[&[u64]], answers: &[(u64, i64)]) -> Round {
        let configs: Vec<BTreeSet<u64>> = configs
            .iter()
            .map(|ids| ids.iter().copied().collect())
            .collect();
        let nodes: BTreeMap<u64, Member> = configs
            .iter()
            .flatten()
            .map(|id| (*id, Member::default()))
            .collect();
        let membership = Membership::new(configs, nodes).expect("valid");
        let vital = |offset_ms| Vital {
            offset_ms,
            round_trip: Duration::ZERO,
            feature_level: 0,
            takes_no_log: false,
            log_lacks_beginning: false,
        };
        Round {
            term: 1,
            this: 1,
            began: StampClock::new(Seams::system().clock).read(),
            stored: Arc::new(StoredMembership::new(None, membership)),
            known: answers.iter().map(|(id, ms)| (*id, vital(*ms))).collect(),
        }
    }

    #[test]
    fn quorum_is_not_enough_to_be_certain_while_another_answer_could_turn_the_median() {
        let five: &[&[u64]] = &[&[1, 2, 3, 4, 5]];
        // Two clocks are a year ahead, this one and that of node 2.
        let first = round(five, &[(2, 0), (3, -YEAR_MS)]);
        assert!(first.is_quorum());
        assert!(!first.is_certainly_right());
        let all = round(five, &[(2, 0), (3, -YEAR_MS), (4, -YEAR_MS), (5, -YEAR_MS)]);
        let by_ms = YEAR_MS.unsigned_abs();
        assert_eq!(all.verdict(), Some(Verdict::Ahead { by_ms }));
        let right = round(five, &[(2, 900), (3, -900)]);
        assert!(right.is_certainly_right());
        let four = round(&[&[1, 2, 3, 4]], &[(2, 0)]);
        assert!(!four.is_quorum() && !four.is_certainly_right());
    }

    #[test]
    fn each_set_of_voters_has_to_agree() {
        let joint: &[&[u64]] = &[&[1, 2, 3], &[1, 4, 5]];
        assert!(!round(joint, &[(2, 0), (4, -YEAR_MS)]).is_certainly_right());
        assert!(round(joint, &[(2, 0), (4, 0)]).is_certainly_right());
        assert_eq!(round(joint, &[(2, 0), (3, 0)]).verdict(), None);
    }

    #[test]
    fn clock_that_is_behind_leads_only_where_not_all_have_answered() {
        let three: &[&[u64]] = &[&[1, 2, 3]];
        let by_ms = YEAR_MS.unsigned_abs();
        let all = round(three, &[(2, YEAR_MS), (3, YEAR_MS)]);
        assert_eq!(all.verdict(), Some(Verdict::Behind { by_ms }));
        assert!(all.is_certainly_right(), "it stamps nothing that is ahead");
        let some = round(three, &[(2, YEAR_MS)]);
        assert_eq!(some.verdict(), Some(Verdict::Right));
        let alone = round(three, &[]);
        assert_eq!(alone.verdict(), None);
    }
}
