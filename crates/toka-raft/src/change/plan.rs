//! What a leader has to do next so that the membership becomes what was asked for. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::limits::VOTERS_MAX;
use crate::type_config::{Joined, Member, StoredMembership};

/// Entries that a learner may lack and still become a voter. Under load it is never quite up to date; so
/// much is made up for in well under a second.
const PROMOTION_LAG_MAX: u64 = 1_000;

/// What a leader knows when it decides.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// The leader.
    pub(crate) this: u64,
    /// Where it says that it is; empty where nobody has told it.
    pub(crate) advertised: Member,
    /// Sets of voters; more than one while the configuration is joint, the next one last.
    pub(crate) configs: Vec<BTreeSet<u64>>,
    /// All members.
    pub(crate) nodes: BTreeMap<u64, Member>,
    /// Entries that each of the others lacks, where that is known.
    pub(crate) lags: BTreeMap<u64, u64>,
    /// Members that have answered lately, the leader among them.
    pub(crate) reachable: BTreeSet<u64>,
}

/// One change, which can be interrupted anywhere and is found again by [`View::next`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Leave the joint configuration for the set of voters that it leads to.
    LeaveJoint,
    /// Another voter has to lead first.
    HandOver {
        /// That one.
        to: u64,
    },
    /// Learners that have caught up become voters.
    Promote(BTreeSet<u64>),
    /// A learner that has caught up takes a voter's place.
    Swap {
        /// The voter, which goes.
        old: u64,
        /// The learner.
        new: u64,
    },
    /// A member whose place is taken goes.
    Remove(u64),
    /// The only voter is known where it is not, and says where it is.
    Move(Member),
}

impl View {
    /// Of `stored`, without anything about the members' state.
    pub(crate) fn of(this: u64, stored: &StoredMembership) -> Self {
        let membership = stored.membership();
        Self {
            this,
            configs: membership.get_joint_config().clone(),
            nodes: membership
                .nodes()
                .map(|(id, member)| (*id, member.clone()))
                .collect(),
            ..Self::default()
        }
    }

    /// More than one set of voters has to agree.
    pub(crate) fn is_joint(&self) -> bool {
        self.configs.len() > 1
    }

    /// The voters, or those that the joint configuration leads to.
    pub(crate) fn voters(&self) -> BTreeSet<u64> {
        self.configs.last().cloned().unwrap_or_default()
    }

    /// Members that vote in no set.
    pub(crate) fn learners(&self) -> impl Iterator<Item = (u64, &Member)> {
        let votes = |id: &u64| self.configs.iter().any(|set| set.contains(id));
        let learners = self.nodes.iter().filter(move |(id, _)| !votes(id));
        learners.map(|(id, member)| (*id, member))
    }

    /// Voters, and learners that add to their number once they have caught up.
    pub(crate) fn voters_to_be(&self) -> usize {
        let voters = self.voters();
        let added = self.learners().filter(|(_, member)| match member.joined {
            Some(Joined {
                votes: true,
                replaces,
                ..
            }) => replaces.is_none_or(|old| !voters.contains(&old)),
            _ => false,
        });
        voters.len() + added.count()
    }

    /// Who takes the place of member `old`.
    pub(crate) fn replacement_of(&self, old: u64) -> Option<u64> {
        let mut nodes = self.nodes.iter();
        nodes
            .find(|(_, member)| member.replaces() == Some(old))
            .map(|(id, _)| *id)
    }

    /// What to do next; `None`: everything is as it was asked for, or has to wait.
    pub(crate) fn next(&self) -> Option<Step> {
        let voters = self.voters();
        if self.is_joint() {
            return if voters.contains(&self.this) {
                Some(Step::LeaveJoint)
            } else {
                // A leader that is about to go would cut the others off in the middle of it.
                self.heir(&voters).map(|to| Step::HandOver { to })
            };
        }
        if self.has_moved() {
            // Others would not find it before.
            return self.moved().map(Step::Move);
        }
        let replacing = self
            .nodes
            .iter()
            .filter_map(|(id, member)| Some((*id, member.joined?, member.joined?.replaces?)))
            .filter(|(id, _, old)| old != id && self.nodes.contains_key(old));
        for (id, joined, old) in replacing {
            if let Some(step) = self.replace(&voters, id, joined, old) {
                return Some(step);
            }
        }
        self.promote(&voters)
    }

    /// The leader's entry as it has to be, where it is the only voter and not where it is known. Nobody else decides
    /// about an address: with another voter two nodes might be found at one, and vote twice.
    pub(crate) fn moved(&self) -> Option<Member> {
        let ours = &self.advertised;
        let known = self.nodes.get(&self.this)?;
        let is_taken = self.nodes.iter().any(|(id, other)| {
            *id != self.this
                && (other.raft_endpoint == ours.raft_endpoint
                    || other.client_endpoint == ours.client_endpoint)
        });
        (self.has_moved() && !is_taken).then(|| Member {
            joined: known.joined,
            ..ours.clone()
        })
    }

    /// Whether the leader is the only voter and not where it is known.
    pub(crate) fn has_moved(&self) -> bool {
        let ours = &self.advertised;
        let is_only_voter = !self.is_joint() && self.voters() == BTreeSet::from([self.this]);
        let known = self.nodes.get(&self.this);
        is_only_voter
            && !ours.raft_endpoint.is_empty()
            && known.is_some_and(|known| !known.is_at(&ours.raft_endpoint, &ours.client_endpoint))
    }

    fn replace(&self, voters: &BTreeSet<u64>, id: u64, joined: Joined, old: u64) -> Option<Step> {
        let is_voter = voters.contains(&id);
        if !is_voter && !self.is_caught_up(id) {
            return None;
        }
        if old == self.this {
            let others: BTreeSet<_> = voters.iter().copied().filter(|id| *id != old).collect();
            return match self.heir(&others) {
                Some(to) => Some(Step::HandOver { to }),
                // The only voter is replaced: there have to be two for a moment.
                None if others.is_empty() && joined.votes => {
                    Some(Step::Promote(BTreeSet::from([id])))
                }
                None => None,
            };
        }
        match (voters.contains(&old), is_voter) {
            (true, false) => joined.votes.then_some(Step::Swap { old, new: id }),
            (true, true) | (false, _) => Some(Step::Remove(old)),
        }
    }

    fn promote(&self, voters: &BTreeSet<u64>) -> Option<Step> {
        let room = VOTERS_MAX.saturating_sub(voters.len());
        let ready = self.learners().filter(|(id, member)| {
            let waits = |joined: Joined| {
                joined.votes
                    && joined
                        .replaces
                        .is_none_or(|old| !self.nodes.contains_key(&old))
            };
            member.joined.is_some_and(waits) && self.is_caught_up(*id)
        });
        let ready: BTreeSet<_> = ready.map(|(id, _)| id).take(room).collect();
        (!ready.is_empty()).then_some(Step::Promote(ready))
    }

    /// A voter that is dead when it becomes one may cost the cluster its quorum.
    fn is_caught_up(&self, id: u64) -> bool {
        self.reachable.contains(&id)
            && self
                .lags
                .get(&id)
                .is_some_and(|lag| *lag <= PROMOTION_LAG_MAX)
    }

    /// Who of `candidates` is to lead next.
    fn heir(&self, candidates: &BTreeSet<u64>) -> Option<u64> {
        let lag = |id: &u64| self.lags.get(id).copied().unwrap_or(u64::MAX);
        let reachable = candidates.intersection(&self.reachable).copied();
        reachable.filter(|id| *id != self.this).min_by_key(lag)
    }

    /// Sets of voters of which no majority is reachable, with those of each that are not.
    pub(crate) fn stuck(&self) -> Vec<(BTreeSet<u64>, BTreeSet<u64>)> {
        let sets = self.configs.iter().map(|set| {
            let missing: BTreeSet<_> = set.difference(&self.reachable).copied().collect();
            (set.clone(), missing)
        });
        sets.filter(|(set, missing)| (set.len() - missing.len()) * 2 <= set.len())
            .collect()
    }
}

#[cfg(test)]
mod tests;
