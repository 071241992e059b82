//! What the voters say of a copy of a ledger.
//!
//! Each is compared with the copy where both are at the same place, as for divergence: after a 256th event, as of
//! the last entry, and in what decides where the next events go. One that is contradicted counts only if a majority
//! agrees with it at that place or a later one: who agrees about an older state says nothing of a newer one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join, join_all};
use toka_ledger::Digest;
use toka_ledger::read::{Position, STATE_DIGEST_EVENTS};
use toka_proto::{raft_v1 as pb, v1};
use tokio::time::timeout;

use super::Repair;
use crate::network::raft_client;
use crate::replica::compare::{Answer, Comparison, Own, Subject, comparisons};
use crate::snapshot::{PullError, SnapshotDir, SnapshotError, open_as_ledger};
use crate::transport::Traffic;
use crate::type_config::{Member, Membership};
use crate::wire::{self, State};

const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// What a copy is compared by.
pub(super) struct Compared {
    membership: Membership,
    position: Position,
    /// What decides where the events after one go.
    intents: Option<(u64, Digest)>,
    /// What is stored of consumer groups and credentials as of a revision.
    groups: (u64, Digest),
    /// After some events, the newest one first.
    states: Vec<(u64, State)>,
}

/// A state of the copy, and that of a voter after the same event.
struct Kept {
    sequence: u64,
    own: State,
    theirs: State,
}

impl Repair<'_> {
    /// Reads from a copy what it is compared by; for that it must be one that can be opened.
    pub(super) async fn compared(&self, snapshot: &SnapshotDir) -> Result<Compared, PullError> {
        let contents = snapshot.contents();
        let position = contents.position;
        let membership = contents.meta.last_membership.membership().clone();
        let (storage, dir) = (Arc::clone(self.storage), snapshot.ledger());
        let read = move || -> Result<_, SnapshotError> {
            let reader = open_as_ledger(&*storage, &dir)?;
            reader.digest_intents();
            let mut states = Vec::new();
            for sequence in kept(position.sequence) {
                let state = reader.state_digest_at(sequence)?;
                states.extend(state.map(|state| (sequence, state)));
            }
            Ok((reader.intents_digest(), reader.groups_digest()?, states))
        };
        let (intents, groups, states) = self.blocking.run(read).await?;
        Ok(Compared {
            membership,
            position,
            intents,
            groups,
            states,
        })
    }

    /// Why the copy of node `from` is not to be had, if voters contradict it and no majority agrees with it.
    pub(super) async fn contradiction(&self, from: u64, compared: &Compared) -> Option<String> {
        let membership = &compared.membership;
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let this = self.identity.node_id();
        let asked = membership.nodes().filter_map(|(&id, member)| {
            let is_asked = id != from && id != this && voters.contains(&id);
            is_asked.then(|| self.compare(id, member, compared))
        });
        let comparisons: Vec<Comparison> = join_all(asked).await.into_iter().flatten().collect();
        let (nodes, after) = contradicting(&comparisons, voters.contains(&from), voters.len())?;
        Some(format!(
            "its state after event {after} differs from that of nodes {nodes:?}, and no majority tells who is \
             wrong: find out with `toka verify` on the data of each of them, stopped, and start only those that \
             are sound"
        ))
    }

    /// Compares the copy with voter `id` in all that is known of both.
    async fn compare(&self, id: u64, member: &Member, compared: &Compared) -> Vec<Comparison> {
        let endpoint = &member.raft_endpoint;
        let kept = self.ask_kept(id, endpoint, &compared.states);
        let (kept, status) = join(kept, self.ask_status(id, endpoint)).await;
        let own = Own {
            kept: kept.as_ref().map(|kept| (kept.sequence, kept.own)),
            position: compared.position,
            intents: compared.intents,
            groups: vec![compared.groups],
        };
        let (status, group_sums) = status.unzip();
        let answer = Answer {
            kept: kept.map(|kept| kept.theirs),
            status,
            group_sums: group_sums.unwrap_or_default(),
        };
        comparisons(&own, &[(id, answer)])
    }

    /// A voter that is behind is asked for older states.
    async fn ask_kept(&self, id: u64, endpoint: &str, states: &[(u64, State)]) -> Option<Kept> {
        let mut client = raft_client(self.channels, endpoint, Traffic::Control).ok()?;
        for (sequence, own) in states {
            let request = pb::GetStateDigestRequest {
                peer: Some(self.identity.peer(id)),
                sequence: *sequence,
            };
            let answer = timeout(ASK_TIMEOUT, client.get_state_digest(request)).await;
            let answer = answer.ok()?.ok()?.into_inner();
            if let Some(theirs) = wire::state(&answer.history_root, &answer.state_digest) {
                return Some(Kept {
                    sequence: *sequence,
                    own: *own,
                    theirs,
                });
            }
        }
        None
    }

    async fn ask_status(
        &self,
        id: u64,
        endpoint: &str,
    ) -> Option<(v1::NodeStatus, Vec<v1::GroupsDigest>)> {
        let mut client = raft_client(self.channels, endpoint, Traffic::Control).ok()?;
        let peer = Some(self.identity.peer(id));
        let request = pb::GetNodeStatusRequest { peer };
        let answer = timeout(ASK_TIMEOUT, client.get_node_status(request)).await;
        let answer = answer.ok()?.ok()?.into_inner();
        Some((answer.node?, answer.group_sums))
    }
}

/// After which events states are compared, of those up to `sequence` after which they are kept: the last one, and
/// ever fewer before that.
fn kept(sequence: u64) -> impl Iterator<Item = u64> {
    let last = sequence / STATE_DIGEST_EVENTS;
    let steps = (0..u64::BITS).map(|doublings| (1_u64 << doublings) - 1);
    let kept = steps.map_while(move |back| last.checked_sub(back));
    kept.filter(|number| *number > 0)
        .map(|number| number * STATE_DIGEST_EVENTS)
}

/// Who contradicts a copy, and after which event, where no majority of `voters` outvotes them. Its giver may be one of
/// these.
fn contradicting(
    comparisons: &[Comparison],
    giver_votes: bool,
    voters: usize,
) -> Option<(BTreeSet<u64>, u64)> {
    let who = |comparison: &Comparison, agrees: bool| -> Vec<u64> {
        let others = comparison.others.iter();
        let chosen = others.filter(|(_, state)| (**state == comparison.own) == agrees);
        chosen.map(|(id, _)| *id).collect()
    };
    let (mut nodes, mut after) = (BTreeSet::new(), 0);
    for contradicted in comparisons {
        let contradict = who(contradicted, false);
        let confirming = comparisons
            .iter()
            .filter(|agreed| confirms(agreed, contradicted));
        let agree: BTreeSet<u64> = confirming.flat_map(|agreed| who(agreed, true)).collect();
        if !contradict.is_empty() && agree.len() + usize::from(giver_votes) <= voters / 2 {
            nodes.extend(contradict);
            after = after.max(contradicted.sequence);
        }
    }
    (!nodes.is_empty()).then_some((nodes, after))
}

/// Whether who agrees in the one thing says that the copy is right in the other: it is the same, or follows from it.
/// State digests are a chain, of which each link covers all before it, but centroids only from time to time.
fn confirms(agreed: &Comparison, contradicted: &Comparison) -> bool {
    match (agreed.subject, contradicted.subject) {
        (Subject::Applied, Subject::Applied | Subject::Kept)
        | (Subject::Intents, Subject::Intents)
        | (Subject::Groups, Subject::Groups) => true,
        (Subject::Kept, Subject::Kept) => agreed.sequence >= contradicted.sequence,
        (Subject::Kept, Subject::Applied)
        | (Subject::Intents | Subject::Groups, Subject::Applied | Subject::Kept)
        | (Subject::Applied | Subject::Kept | Subject::Groups, Subject::Intents)
        | (Subject::Applied | Subject::Kept | Subject::Intents, Subject::Groups) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COPY: Digest = Digest([1; 32]);
    const OTHER: Digest = Digest([2; 32]);

    /// What voters `others` say, of which those that do not `agree` have another state.
    fn says(subject: Subject, sequence: u64, others: &[u64], agree: bool) -> Comparison {
        let theirs = if agree { COPY } else { OTHER };
        Comparison {
            subject,
            sequence,
            own: (COPY, COPY),
            others: others.iter().map(|id| (*id, (COPY, theirs))).collect(),
        }
    }

    fn refused(comparisons: &[Comparison], voters: usize) -> Option<(Vec<u64>, u64)> {
        let found = contradicting(comparisons, true, voters);
        found.map(|(nodes, after)| (nodes.into_iter().collect(), after))
    }

    #[test]
    fn one_that_contradicts_is_enough_unless_a_majority_agrees() {
        let kept = |others: &[u64], agree| says(Subject::Kept, 512, others, agree);
        assert_eq!(refused(&[], 3), None, "nobody else answers");
        assert_eq!(refused(&[kept(&[2], false)], 3), Some((vec![2], 512)));
        let split = [kept(&[2], true), kept(&[3, 4], false)];
        assert_eq!(refused(&split, 5), Some((vec![3, 4], 512)));
        assert_eq!(refused(&[kept(&[2, 3], true), kept(&[4], false)], 5), None);
        let by_learner = contradicting(&[kept(&[1], false)], false, 1);
        assert!(by_learner.is_some(), "it differs from the only voter");
    }

    #[test]
    fn who_agrees_about_an_older_state_does_not_confirm_a_newer_one() {
        let contradicted = says(Subject::Kept, 512, &[4], false);
        let with = |agreed| refused(&[contradicted.clone(), agreed], 5).is_some();
        assert!(with(says(Subject::Kept, 256, &[2, 3], true)));
        assert!(!with(says(Subject::Kept, 512, &[2, 3], true)));
        assert!(!with(says(Subject::Kept, 768, &[2, 3], true)));
        assert!(!with(says(Subject::Applied, 600, &[2, 3], true)));
        assert!(with(says(Subject::Intents, 600, &[2, 3], true)));
    }

    #[test]
    fn what_is_applied_counts_where_no_state_is_kept_yet() {
        let applied = says(Subject::Applied, 300, &[2], false);
        let kept = says(Subject::Kept, 256, &[3, 4], true);
        assert_eq!(refused(&[applied, kept], 5), Some((vec![2], 300)));
        let applied = says(Subject::Applied, 40, &[2], false);
        assert_eq!(refused(&[applied], 3), Some((vec![2], 40)));
    }

    #[test]
    fn centroids_are_confirmed_by_centroids_only() {
        let intents = says(Subject::Intents, 40, &[2], false);
        let applied = says(Subject::Applied, 40, &[3, 4], true);
        let found = refused(&[intents.clone(), applied], 5);
        assert_eq!(found, Some((vec![2], 40)));
        let confirmed = says(Subject::Intents, 40, &[3, 4], true);
        assert_eq!(refused(&[intents, confirmed], 5), None);
    }

    #[test]
    fn states_are_compared_ever_farther_back() {
        let kept = |sequence| kept(sequence).collect::<Vec<_>>();
        assert_eq!(kept(0), [] as [u64; 0]);
        assert_eq!(kept(255), [] as [u64; 0]);
        assert_eq!(kept(256), [256]);
        assert_eq!(kept(2_600), [2_560, 2_304, 1_792, 768]);
        assert_eq!(kept(u64::MAX).len(), 56);
    }
}
