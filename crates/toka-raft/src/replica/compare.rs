//! What nodes say of their states, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};

use toka_ledger::Digest;
use toka_ledger::read::Position;
use toka_proto::v1;

use crate::wire::{State, digest, state};

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// What is kept after an event.
    Kept,
    /// All that is applied.
    Applied,
    /// What decides where the next events go.
    Intents,
    /// What is stored of consumer groups and credentials.
    Groups,
}

/// What this node knows of itself, or of a copy.
#[derive(Debug)]
pub(super) struct Own {
    /// The state that is kept after the event that is asked for, if one is.
    pub(super) kept: Option<(u64, State)>,
    pub(super) position: Position,
    /// What decides where the events after one go.
    pub(super) intents: Option<(u64, Digest)>,
    /// What is stored of consumer groups, as of one or several revisions.
    pub(super) groups: Vec<(u64, Digest)>,
}

/// What another voter has answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// The state that is kept after the event that was asked for.
    pub(super) kept: Option<State>,
    pub(super) status: Option<v1::NodeStatus>,
    /// What it had stored of consumer groups at some revisions.
    pub(super) group_sums: Vec<v1::GroupsDigest>,
}

impl Answer {
    /// What it has stored of consumer groups and credentials as of a revision, if that is known.
    fn groups_at(&self, revision: u64) -> Option<State> {
        let now = self.status.as_ref();
        let now = now.and_then(|status| status.groups_digest.as_ref());
        let mut all = self.group_sums.iter().chain(now);
        let groups = all.find(|groups| groups.revision == revision)?;
        Some((Digest::ZERO, digest(&groups.digest)?))
    }
}

/// The state of this node, or of a copy, after an event, and those of the other voters of whom the same one is known.
#[derive(Clone, Debug)]
pub(super) struct Comparison {
    pub(super) subject: Subject,
    pub(super) sequence: u64,
    pub(super) own: State,
    pub(super) others: BTreeMap<u64, State>,
}

/// What a comparison says of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody of whom the state is known differs.
    Same,
    /// A majority of the voters agrees on another state.
    Wrong,
    /// These differ, and this node is right, or nobody knows who is.
    Others(Vec<u64>),
}

/// All comparisons that the answers allow.
pub(super) fn comparisons(own: &Own, answers: &[(u64, Answer)]) -> Vec<Comparison> {
    let others = |of: &dyn Fn(&Answer) -> Option<State>| -> BTreeMap<u64, State> {
        let known = answers
            .iter()
            .filter_map(|(id, answer)| Some((*id, of(answer)?)));
        known.collect()
    };
    let position = &own.position;
    let mut comparisons = vec![Comparison {
        subject: Subject::Applied,
        sequence: position.sequence,
        own: (position.history_root, position.state_digest),
        others: others(&|answer| {
            let status = answer.status.as_ref()?;
            let is_same = status.revision == position.revision;
            is_same.then(|| state(&status.history_root, &status.state_digest))?
        }),
    }];
    comparisons.extend(own.kept.map(|(sequence, kept)| Comparison {
        subject: Subject::Kept,
        sequence,
        own: kept,
        others: others(&|answer| answer.kept),
    }));
    comparisons.extend(own.intents.map(|(sequence, intents)| Comparison {
        subject: Subject::Intents,
        sequence,
        own: (Digest::ZERO, intents),
        others: others(&|answer| {
            let intents = answer.status.as_ref()?.intents_digest.as_ref()?;
            let is_same = intents.sequence == sequence;
            is_same.then(|| Some((Digest::ZERO, digest(&intents.digest)?)))?
        }),
    }));
    // Where most others are known, and of those the newest: nodes under load are seldom at the same revision.
    let groups = own.groups.iter().max_by_key(|(revision, _)| {
        let known = answers.iter();
        let known = known.filter(|(_, answer)| answer.groups_at(*revision).is_some());
        (known.count(), *revision)
    });
    comparisons.extend(groups.map(|(revision, groups)| Comparison {
        subject: Subject::Groups,
        sequence: position.sequence,
        own: (Digest::ZERO, *groups),
        others: others(&|answer| answer.groups_at(*revision)),
    }));
    comparisons
}

/// What a comparison says of this node, which may vote, one of `voters` then.
pub(super) fn judge(comparison: &Comparison, votes: bool, voters: usize) -> Verdict {
    let Comparison { own, others, .. } = comparison;
    let differing: Vec<u64> = others
        .iter()
        .filter(|(_, state)| *state != own)
        .map(|(id, _)| *id)
        .collect();
    if differing.is_empty() {
        return Verdict::Same;
    }
    let majority = voters / 2 + 1;
    let agree = |wanted: &State| others.values().filter(|state| *state == wanted).count();
    let own_count = agree(own) + usize::from(votes);
    let is_contradicted = others
        .values()
        .any(|state| state != own && agree(state) >= majority);
    match own_count < majority && is_contradicted {
        true => Verdict::Wrong,
        false => Verdict::Others(differing),
    }
}

/// Which voters differed when they were compared last, in what, and after which event.
#[derive(Debug, Default)]
pub(super) struct Differing(BTreeMap<(u64, Subject), u64>);

impl Differing {
    /// Forgets all but `voters`.
    pub(super) fn keep(&mut self, voters: &BTreeSet<u64>) {
        self.0.retain(|(id, _), _| voters.contains(id));
    }

    /// Takes note of a comparison. Of those who are not in it nothing new is known.
    pub(super) fn note(&mut self, comparison: &Comparison) {
        for (id, state) in &comparison.others {
            let key = (*id, comparison.subject);
            if *state == comparison.own {
                self.0.remove(&key);
            } else {
                self.0.insert(key, comparison.sequence);
            }
        }
    }

    /// For the operator, if somebody differs.
    pub(super) fn message(&self) -> Option<String> {
        let sequence = self.0.values().max()?;
        let nodes: BTreeSet<u64> = self.0.keys().map(|(id, _)| *id).collect();
        Some(format!(
            "after event {sequence} the state of nodes {nodes:?} differs from that of this one, and if it goes on no \
             majority tells who is wrong: find out with `toka verify` on the data of each of them, stopped, and \
             replace the one that is damaged"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(byte: u8) -> bytes::Bytes {
        bytes::Bytes::copy_from_slice(&[byte; 32])
    }

    fn kept(own: u8, answers: &[u8]) -> Comparison {
        let state = |byte: u8| (Digest([1; 32]), Digest([byte; 32]));
        Comparison {
            subject: Subject::Kept,
            sequence: 256,
            own: state(own),
            others: (2..).zip(answers.iter().map(|&byte| state(byte))).collect(),
        }
    }

    fn verdict(own: u8, votes: bool, answers: &[u8], voters: usize) -> Verdict {
        judge(&kept(own, answers), votes, voters)
    }

    #[test]
    fn majority_decides_who_is_wrong() {
        assert_eq!(verdict(1, true, &[1, 1], 3), Verdict::Same);
        assert_eq!(verdict(1, true, &[], 3), Verdict::Same);
        assert_eq!(verdict(1, true, &[2, 2], 3), Verdict::Wrong);
        assert_eq!(verdict(1, true, &[1, 2], 3), Verdict::Others(vec![3]));
        assert_eq!(verdict(1, true, &[2, 2, 2, 1], 5), Verdict::Wrong);
        // A learner counts for nothing, and is told all the same.
        assert_eq!(verdict(1, false, &[2, 2], 3), Verdict::Wrong);
        assert_eq!(verdict(1, false, &[2], 1), Verdict::Wrong);
    }

    #[test]
    fn without_a_majority_nobody_stops() {
        assert_eq!(verdict(1, true, &[2], 2), Verdict::Others(vec![2]));
        assert_eq!(verdict(1, true, &[2], 3), Verdict::Others(vec![2]));
        assert_eq!(verdict(1, true, &[2, 3], 3), Verdict::Others(vec![2, 3]));
        assert_eq!(verdict(1, false, &[2], 3), Verdict::Others(vec![2]));
    }

    #[test]
    fn only_states_of_the_same_place_are_compared() {
        let groups = |revision| v1::GroupsDigest {
            revision,
            digest: bytes(5),
        };
        let status = |revision, at| v1::NodeStatus {
            revision,
            history_root: bytes(1),
            state_digest: bytes(2),
            intents_digest: Some(v1::IntentsDigest {
                sequence: at,
                digest: bytes(3),
            }),
            groups_digest: Some(groups(revision)),
            ..v1::NodeStatus::default()
        };
        let answer = |status| Answer {
            kept: None,
            status,
            group_sums: Vec::new(),
        };
        let answers = [
            (2, answer(Some(status(9, 7)))),
            (3, answer(Some(status(8, 7)))),
            (4, answer(Some(status(9, 6)))),
            (5, answer(None)),
        ];
        let own = Own {
            kept: None,
            position: Position {
                revision: 9,
                sequence: 7,
                unix_ms: 0,
                history_root: Digest([1; 32]),
                state_digest: Digest([2; 32]),
            },
            intents: Some((7, Digest([4; 32]))),
            groups: vec![(8, Digest([6; 32]))],
        };
        let compared = comparisons(&own, &answers);
        let who = |index: usize| compared[index].others.keys().copied().collect::<Vec<_>>();
        assert_eq!((who(0), who(1)), (vec![2, 4], vec![2, 3]));
        assert_eq!(who(2), vec![3]);
        assert_eq!(judge(&compared[0], true, 5), Verdict::Same);
        assert_eq!(judge(&compared[1], true, 3), Verdict::Wrong);
        assert_eq!(judge(&compared[2], true, 3), Verdict::Others(vec![3]));
    }

    #[test]
    fn groups_are_compared_where_most_of_the_others_are_known() {
        let answer = |revisions: &[(u64, u8)]| Answer {
            kept: None,
            status: None,
            group_sums: revisions
                .iter()
                .map(|&(revision, byte)| v1::GroupsDigest {
                    revision,
                    digest: bytes(byte),
                })
                .collect(),
        };
        let own = Own {
            kept: None,
            position: Position {
                revision: 900,
                sequence: 7,
                unix_ms: 0,
                history_root: Digest([1; 32]),
                state_digest: Digest([2; 32]),
            },
            intents: None,
            groups: [(900, 9), (768, 7), (512, 5), (256, 2)]
                .map(|(revision, byte)| (revision, Digest([byte; 32])))
                .to_vec(),
        };
        let answers = [
            (2, answer(&[(768, 7), (512, 5), (256, 2)])),
            (3, answer(&[(512, 6), (256, 2)])),
        ];
        let compared = comparisons(&own, &answers);
        let groups = compared.last().expect("there are groups");
        assert_eq!(groups.subject, Subject::Groups);
        assert_eq!(groups.own.1, Digest([5; 32]));
        assert_eq!(judge(groups, true, 3), Verdict::Others(vec![3]));
    }

    #[test]
    fn who_differed_does_so_until_it_is_compared_again_or_leaves() {
        let mut differing = Differing::default();
        assert_eq!(differing.message(), None);
        differing.note(&kept(1, &[1, 2]));
        let message = differing.message().expect("node 3 differs");
        assert!(message.contains("nodes {3}"), "{message}");
        differing.note(&kept(1, &[1]));
        assert!(differing.message().is_some(), "node 3 has not answered");
        differing.note(&kept(1, &[1, 1]));
        assert_eq!(differing.message(), None);
        differing.note(&kept(1, &[2]));
        differing.keep(&BTreeSet::from([1, 3]));
        assert_eq!(differing.message(), None);
    }
}
