//! Taking a copy of another node's ledger, if no other voter contradicts it.
//!
//! A copy in which every row is as it was written can still hold another state than the cluster's. So those who
//! vote are asked for theirs, and one that is contradicted counts only if a majority agrees with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use toka_ledger::Ledger;
use toka_ledger::command::FEATURE_LEVEL;
use toka_ledger::read::STATE_DIGEST_EVENTS;
use toka_proto::raft_v1 as pb;
use tokio::time::{Instant, sleep, timeout};

use super::Repair;
use crate::error::StartError;
use crate::network::{is_removed, raft_client};
use crate::snapshot::{Asked, Pull, PullError, SnapshotDir, SnapshotError};
use crate::transport::Traffic;
use crate::type_config::{Member, Membership};
use crate::wire::{self, State};

const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Between two log lines that say that it has not worked yet.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// What a copy is compared by.
struct Compared {
    membership: Membership,
    /// After some events, the newest one first.
    states: Vec<(u64, State)>,
}

/// What is wrong with the last copies.
#[derive(Default)]
struct Doubts {
    damaged: BTreeSet<u64>,
    contradicted: BTreeMap<u64, Compared>,
}

/// What a voter answers.
enum Answer {
    Nothing,
    /// It has not come so far.
    NotYet,
    State(State),
}

/// What a voter says of a copy.
enum Opinion {
    None,
    Agrees,
    /// With the state after this event.
    Contradicts(u64),
}

impl Repair<'_> {
    /// Asks one node after the other, for as long as it takes, or until one says that it is of no use.
    pub(super) async fn take(
        &self,
        members: &BTreeMap<u64, Member>,
        purged: Option<u64>,
    ) -> Result<SnapshotDir, StartError> {
        let pull = Pull {
            identity: Arc::clone(&self.identity),
            store: Arc::clone(self.snapshots),
            storage: Arc::clone(self.storage),
            blocking: self.blocking,
            headroom: self.headroom.clone(),
            level_known: self.level_known,
        };
        let mut pause = RETRY_MIN;
        let mut complained: Option<Instant> = None;
        let mut doubts = Doubts::default();
        loop {
            let mut failures = Vec::new();
            let headroom = self.headroom.clone();
            // Before they are asked: each would make a copy, for nothing.
            let has_room = self.blocking.run(move || headroom.check_again()).await;
            if let Err(error) = &has_room {
                failures.push(format!("this node: {error}"));
            }
            for (&from, member) in members.iter().filter(|_| has_room.is_ok()) {
                match self
                    .consider(&pull, from, member, purged, &mut doubts)
                    .await?
                {
                    Ok(snapshot) => return Ok(snapshot),
                    Err(reason) => failures.push(format!("node {from}: {reason}")),
                }
            }
            if complained.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
                complained = Some(Instant::now());
                let reasons = failures.join("; ");
                tracing::warn!(
                    reasons,
                    "the damaged ledger is not repaired yet: no node has given a copy; they are asked again"
                );
            }
            sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// The copy of node `from`, or why it is not to be had now.
    async fn consider(
        &self,
        pull: &Pull,
        from: u64,
        member: &Member,
        purged: Option<u64>,
        doubts: &mut Doubts,
    ) -> Result<Result<SnapshotDir, String>, StartError> {
        // What was contradicted is not fetched again before that is over.
        if let Some(compared) = doubts.contradicted.get(&from)
            && let Some(reason) = self.contradiction(from, compared).await
        {
            return Ok(Err(reason));
        }
        doubts.contradicted.remove(&from);
        let asked = Asked {
            purged,
            last_was_damaged: doubts.damaged.remove(&from),
        };
        let (snapshot, compared) = match self.take_from(pull, from, member, asked).await {
            Ok(taken) => taken,
            Err(error) => {
                self.check_final(&error)?;
                if error.is_damage() {
                    doubts.damaged.insert(from);
                }
                return Ok(Err(error.to_string()));
            }
        };
        let contradiction = self.contradiction(from, &compared).await;
        Ok(match contradiction {
            None => Ok(snapshot),
            Some(reason) => {
                doubts.contradicted.insert(from, compared);
                Err(reason)
            }
        })
    }

    async fn take_from(
        &self,
        pull: &Pull,
        from: u64,
        member: &Member,
        asked: Asked,
    ) -> Result<(SnapshotDir, Compared), PullError> {
        let client = raft_client(self.channels, &member.raft_endpoint, Traffic::Snapshot);
        let client = client.map_err(|error| SnapshotError::transfer(error.to_string()))?;
        let taken = match pull.take(client, from, asked).await {
            Ok(snapshot) => self.compared(&snapshot).await.map(|by| (snapshot, by)),
            Err(error) => Err(error),
        };
        if let Err(PullError::Snapshot(error)) = &taken {
            tracing::warn!(from, %error, "the copy of another node was not taken");
        }
        taken
    }

    /// A refusal that will be the same the next time, and is the same on every node.
    fn check_final(&self, error: &PullError) -> Result<(), StartError> {
        if let PullError::Refused(status) = error
            && is_removed(status)
        {
            let node_id = self.identity.node_id();
            return Err(StartError::Removed { node_id });
        }
        if let Some(level) = error.feature_level() {
            return Err(StartError::FeatureLevel {
                level,
                build: FEATURE_LEVEL,
                known: self.level_known,
            });
        }
        Ok(())
    }

    async fn compared(&self, snapshot: &SnapshotDir) -> Result<Compared, PullError> {
        let contents = snapshot.contents();
        let sequence = contents.position.sequence;
        let membership = contents.meta.last_membership.membership().clone();
        let (storage, dir) = (Arc::clone(self.storage), snapshot.ledger());
        let read = move || -> Result<Vec<(u64, State)>, SnapshotError> {
            let (reader, _) = Ledger::read_only(storage.open_copy(&dir)?)?;
            let mut states = Vec::new();
            for sequence in kept(sequence) {
                let state = reader.state_digest_at(sequence)?;
                states.extend(state.map(|state| (sequence, state)));
            }
            Ok(states)
        };
        let states = self.blocking.run(read).await?;
        Ok(Compared { membership, states })
    }

    /// Why the copy of node `from` is not to be had, if voters contradict it and no majority agrees with it.
    async fn contradiction(&self, from: u64, compared: &Compared) -> Option<String> {
        let Compared { membership, states } = compared;
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let this = self.identity.node_id();
        let asked = membership.nodes().filter_map(|(&id, member)| {
            let is_asked = id != from && id != this && voters.contains(&id);
            is_asked.then_some(async move { (id, self.opinion(id, member, states).await) })
        });
        let mut agree = usize::from(voters.contains(&from));
        let (mut nodes, mut after) = (Vec::new(), 0_u64);
        for (id, opinion) in join_all(asked).await {
            match opinion {
                Opinion::None => {}
                Opinion::Agrees => agree += 1,
                Opinion::Contradicts(sequence) => {
                    nodes.push(id);
                    after = after.max(sequence);
                }
            }
        }
        is_refused(agree, nodes.len(), voters.len()).then(|| {
            format!(
                "its state after event {after} differs from that of nodes {nodes:?}, and no majority tells who is \
                 wrong: find out with `toka verify` on the data of each of them, stopped, and start only those that \
                 are sound"
            )
        })
    }

    /// A voter that is behind is asked for older states.
    async fn opinion(&self, id: u64, member: &Member, states: &[(u64, State)]) -> Opinion {
        for (sequence, state) in states {
            match self.ask(id, &member.raft_endpoint, *sequence).await {
                Answer::Nothing => return Opinion::None,
                Answer::NotYet => {}
                Answer::State(theirs) if theirs == *state => return Opinion::Agrees,
                Answer::State(_) => return Opinion::Contradicts(*sequence),
            }
        }
        Opinion::None
    }

    async fn ask(&self, id: u64, endpoint: &str, sequence: u64) -> Answer {
        let Ok(mut client) = raft_client(self.channels, endpoint, Traffic::Control) else {
            return Answer::Nothing;
        };
        let request = pb::GetStateDigestRequest {
            peer: Some(self.identity.peer(id)),
            sequence,
        };
        let answer = timeout(ASK_TIMEOUT, client.get_state_digest(request)).await;
        let Ok(Ok(answer)) = answer else {
            return Answer::Nothing;
        };
        let answer = answer.into_inner();
        wire::state(&answer.history_root, &answer.state_digest)
            .map_or(Answer::NotYet, Answer::State)
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

/// Whether a copy is not to be had with which so many of `voters` agree, its giver among them, and which so many
/// contradict.
fn is_refused(agree: usize, contradict: usize, voters: usize) -> bool {
    contradict > 0 && agree <= voters / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_contradicts_is_enough_unless_a_majority_agrees() {
        assert!(!is_refused(1, 0, 3), "nobody else answers");
        assert!(is_refused(1, 1, 3));
        assert!(is_refused(2, 2, 5));
        assert!(!is_refused(3, 1, 5));
        assert!(!is_refused(0, 0, 1), "a learner gives it, alone");
        assert!(is_refused(0, 1, 1), "it differs from the only voter");
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
