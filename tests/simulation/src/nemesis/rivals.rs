//! Elections with two candidates.

use super::{Nemesis, Repair, with};
use crate::cluster::Cluster;
use crate::network::Link;

/// Longer than a follower trusts a leader that it does not hear, and waits before it stands for election.
const SILENCE_MS: (u64, u64) = (700, 1_800);

impl Nemesis {
    /// Lets two followers stand for election at once. They do not reach each other, and all others stand still until
    /// both ask for votes, so that those who can vote get both requests at the same moment. Some of them lose their
    /// power soon after, with what they have not synced.
    pub(super) fn let_two_stand(
        &mut self,
        cluster: &mut Cluster,
        nodes: &[u64],
        leader: Option<u64>,
    ) -> bool {
        let now_ms = cluster.world.now.ms();
        let mut followers: Vec<u64> = nodes.to_vec();
        followers.retain(|id| Some(*id) != leader);
        let Some(first) = self.random.pick(&followers) else {
            return false;
        };
        followers.retain(|id| *id != first);
        let Some(second) = self.random.pick(&followers) else {
            return false;
        };
        let voters: Vec<u64> = nodes
            .iter()
            .copied()
            .filter(|id| *id != first && *id != second)
            .collect();
        if voters.is_empty() {
            return false;
        }
        let name = |id: u64| cluster.hosts[&id].name.clone();
        let (a, b) = (name(first), name(second));
        let links = vec![(a.clone(), b.clone()), (b, a)];
        for (from, to) in &links {
            let network = &cluster.world.network;
            let link = network.link(from, to);
            let link = Link {
                is_blocked: true,
                ..link
            };
            network.set_link(from, to, link);
        }
        let silence_ms = self.random.between(SILENCE_MS.0, SILENCE_MS.1);
        for voter in voters {
            with(cluster, voter, super::Host::pause);
            let resumed_ms = now_ms + silence_ms;
            self.later(resumed_ms, Repair::Resume(voter));
            if self.random.chance(30) {
                let (at_ms, after_ms) = (self.random.between(1, 60), self.random.between(20, 400));
                self.later(resumed_ms + at_ms, Repair::Cut(voter, after_ms));
            }
        }
        let after_ms = self.random.between(100, 3_000);
        self.later(now_ms + silence_ms + after_ms, Repair::Links(links));
        true
    }
}
