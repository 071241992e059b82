//! The membership, and what is wrong with it, as messages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openraft::Raft;
use toka_proto::v1;
use tokio::sync::watch;

use super::InProgress;
use super::plan::View;
use crate::alarms::Alarms;
use crate::membership::effective;
use crate::reach::Reach;
use crate::state_machine::StateMachine;
use crate::type_config::{Leader, Member, TypeConfig};
use crate::vitals::{Vital, Vitals};

/// Says what a stopped node has, and how to go on.
const RECOVER: &str = "toka cluster recover --data DIR";

/// Where the report comes from. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reporter {
    pub(crate) node_id: u64,
    pub(crate) raft: Raft<TypeConfig, StateMachine>,
    pub(crate) reach: Arc<Reach>,
    pub(crate) leader: watch::Receiver<Option<Leader>>,
    pub(crate) in_progress: Arc<InProgress>,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) alarms: Alarms,
    pub(crate) level_known: u32,
}

/// What this node knows of the membership: everything, if it leads.
pub(crate) struct Report {
    view: View,
    change: Option<String>,
    unreachable: BTreeMap<u64, u64>,
    /// A member that can be reached, for the commands in messages.
    endpoint: String,
    leads: bool,
    /// What a leader knows of the members,
    vitals: BTreeMap<u64, Vital>,
    /// what follows from it,
    vital_alarms: Vec<v1::Alarm>,
    /// and what this node knows of itself.
    own_alarms: Vec<v1::Alarm>,
    level_known: u32,
}

impl Reporter {
    pub(crate) fn report(&self) -> Report {
        let stored = effective(&self.raft);
        let leader = self.leader.borrow().clone();
        let mut view = View::of(self.node_id, &stored);
        let unreachable = self.reach.unreachable();
        view.reachable = view
            .nodes
            .keys()
            .copied()
            .filter(|id| !unreachable.contains_key(id))
            .collect();
        let own = view.nodes.get(&self.node_id);
        let endpoint = leader.as_ref().map(|leader| &*leader.member).or(own);
        Report {
            change: self.in_progress.get(),
            unreachable,
            endpoint: endpoint.map_or_else(String::new, |member| member.client_endpoint.clone()),
            leads: leader.is_some_and(|leader| leader.node_id == self.node_id),
            vitals: self.vitals.known(),
            vital_alarms: self.vitals.alarms(),
            own_alarms: self.alarms.raised(),
            level_known: self.level_known,
            view,
        }
    }
}

impl Report {
    /// Whether this node leads, so that nobody knows more.
    pub(crate) fn is_leaders(&self) -> bool {
        self.leads
    }

    /// Puts what was seen of the members in the place of what a leader would know: where there is none,
    /// who answers the call for their states is all that is known.
    pub(crate) fn seen(mut self, answered: BTreeSet<u64>) -> Self {
        self.view.reachable = answered;
        self
    }

    /// What a node that was removed has to say: how the change has ended that has removed it, it was not told.
    pub(crate) fn removed(mut self) -> v1::Membership {
        let last = self.view.configs.pop();
        self.view.configs = last.into_iter().collect();
        let advice = format!(
            "node {} was removed from its cluster, for good, and ends by itself: ask another node",
            self.view.this
        );
        v1::Membership {
            advice: vec![advice],
            ..self.membership()
        }
    }

    /// What the members do and are to do.
    pub(crate) fn membership(&self) -> v1::Membership {
        let view = &self.view;
        let vital = |id: &u64| self.vitals.get(id);
        let own_level = |id: &u64| (self.leads && *id == view.this).then_some(self.level_known);
        let members = view.nodes.iter().map(|(id, member)| v1::Member {
            node_id: *id,
            voter: view.voters().contains(id),
            client_endpoint: member.client_endpoint.clone(),
            raft_endpoint: member.raft_endpoint.clone(),
            // A voter that goes is none of those that stay, and no learner either.
            to_be_promoted: !view.configs.iter().any(|set| set.contains(id))
                && member.joined.is_some_and(|joined| joined.votes),
            replaces_node_id: member.replaces().filter(|old| view.nodes.contains_key(old)),
            unreachable_since_unix_ms: self.unreachable.get(id).copied(),
            round_trip_us: vital(id)
                .map(|vital| u64::try_from(vital.round_trip.as_micros()).unwrap_or(u64::MAX)),
            clock_offset_ms: vital(id).map(|vital| vital.offset_ms),
            feature_level: vital(id)
                .map(|vital| vital.feature_level)
                .or_else(|| own_level(id)),
        });
        v1::Membership {
            members: members.collect(),
            voter_sets: view
                .configs
                .iter()
                .map(|set| v1::VoterSet {
                    node_ids: set.iter().copied().collect(),
                })
                .collect(),
            change_in_progress: self.change.clone().unwrap_or_default(),
            advice: self.advice(),
        }
    }

    /// Sentences about what is allowed and yet hardly meant, or passes by itself.
    fn advice(&self) -> Vec<String> {
        let voters = self.view.voters().len();
        let mut advice = Vec::new();
        if !self.view.is_joint() && voters > 0 && voters.is_multiple_of(2) {
            advice.push(format!(
                "{voters} voters tolerate no more failures than {}: add or remove one",
                voters - 1
            ));
        }
        if self.view.is_joint() && self.view.stuck().is_empty() {
            advice.push(
                "the configuration is joint: a change of the voters is under way, and is finished by \
                 the leader"
                    .to_owned(),
            );
        }
        advice
    }

    /// What needs an operator, as this node knows it: its own alarms, and those that a leader raises.
    pub(crate) fn all_alarms(&self) -> Vec<v1::Alarm> {
        let mut alarms = self.alarms();
        alarms.extend(self.own_alarms.iter().cloned());
        alarms
    }

    /// What needs an operator, as leaders raise it.
    pub(crate) fn alarms(&self) -> Vec<v1::Alarm> {
        let dead = self.unreachable.iter().filter_map(|(id, since_ms)| {
            let member = self.view.nodes.get(id)?;
            Some(self.unreachable_alarm(*id, member, *since_ms))
        });
        let mut alarms: Vec<_> = dead.collect();
        let stuck = self.view.stuck();
        if !stuck.is_empty() {
            alarms.push(self.stuck_alarm(&stuck));
        }
        alarms.extend(self.vital_alarms.iter().cloned());
        alarms
    }

    fn unreachable_alarm(&self, node_id: u64, member: &Member, since_ms: u64) -> v1::Alarm {
        let (what, command) = match self.view.replacement_of(node_id) {
            Some(by) => (
                format!("node {by} takes its place as soon as it has caught up"),
                String::new(),
            ),
            None => (
                "start it again; if its machine or its data are lost, replace it by a new node, with the \
                 settings of TLS and authorization that the others have, or --insecure"
                    .to_owned(),
                format!(
                    "toka serve --data DIR --listen IP:7311 --raft-listen IP:7312 --join {} --replace {node_id}",
                    self.endpoint
                ),
            ),
        };
        v1::Alarm {
            kind: v1::AlarmKind::NodeUnreachable.into(),
            node_id: Some(node_id),
            since_unix_ms: since_ms,
            message: format!(
                "node {node_id} at {} does not answer: {what}",
                member.raft_endpoint
            ),
            command,
        }
    }

    /// Without a majority of each set nothing can be committed, a change of the membership included.
    fn stuck_alarm(&self, stuck: &[(BTreeSet<u64>, BTreeSet<u64>)]) -> v1::Alarm {
        let list = |ids: &BTreeSet<u64>| {
            let ids: Vec<_> = ids.iter().map(u64::to_string).collect();
            ids.join(", ")
        };
        let needs = stuck.iter().map(|(set, missing)| {
            let majority = set.len() / 2 + 1;
            let more = majority.saturating_sub(set.len() - missing.len());
            format!(
                "{more} of nodes {} must come back with their data, so that {majority} of {} voters \
                 ({}) can agree",
                list(missing),
                set.len(),
                list(set)
            )
        });
        let needs: Vec<_> = needs.collect();
        let needs = needs.join("; and ");
        let answer = stuck.iter().map(|(set, missing)| {
            let there = set.len() - missing.len();
            format!("{there} of {} voters answer", set.len())
        });
        let answer: Vec<_> = answer.collect();
        let answer = answer.join(" and ");
        let (kind, message, command) = if self.view.is_joint() {
            let message = format!(
                "the configuration is joint, and the change that has made it so cannot be finished, as only {answer}: \
                 {needs}; the rest follows by itself. Only if they are lost for good: `toka cluster recover`"
            );
            (v1::AlarmKind::JointConfiguration, message, "")
        } else {
            let message = format!(
                "there is no quorum, as only {answer}: {needs}; the rest follows by itself. Only if they are lost for good, stop \
                 those that are left and begin a new cluster from the one that has most, with `toka cluster \
                 recover`: without further options it says what a node has, and changes nothing"
            );
            (v1::AlarmKind::NoQuorum, message, RECOVER)
        };
        v1::Alarm {
            kind: kind.into(),
            node_id: None,
            since_unix_ms: 0,
            message,
            command: command.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::type_config::Joined;

    fn report(configs: &[&[u64]], unreachable: &[u64]) -> Report {
        let configs: Vec<BTreeSet<u64>> = configs
            .iter()
            .map(|set| set.iter().copied().collect())
            .collect();
        let ids: BTreeSet<u64> = configs.iter().flatten().copied().collect();
        let view = View {
            this: 1,
            nodes: ids.iter().map(|id| (*id, Member::default())).collect(),
            reachable: ids
                .iter()
                .copied()
                .filter(|id| !unreachable.contains(id))
                .collect(),
            configs,
            ..View::default()
        };
        Report {
            level_known: 1,
            view,
            change: None,
            unreachable: unreachable.iter().map(|id| (*id, 7)).collect(),
            endpoint: "a:7311".to_owned(),
            leads: true,
            vitals: BTreeMap::new(),
            vital_alarms: Vec::new(),
            own_alarms: Vec::new(),
        }
    }

    #[test]
    fn alarm_of_a_dead_node_has_the_command_that_replaces_it() {
        let mut report = report(&[&[1, 2, 3]], &[3]);
        let alarms = report.alarms();
        assert_eq!(alarms.len(), 1);
        assert_eq!(alarms[0].kind(), v1::AlarmKind::NodeUnreachable);
        let (id, since) = (alarms[0].node_id, alarms[0].since_unix_ms);
        assert_eq!((id, since), (Some(3), 7));
        let command = "toka serve --data DIR --listen IP:7311 --raft-listen IP:7312 --join a:7311 --replace 3";
        assert_eq!(alarms[0].command, command);

        let joined = Joined {
            token: 1,
            votes: true,
            replaces: Some(3),
        };
        let member = Member {
            joined: Some(joined),
            ..Member::default()
        };
        report.view.nodes.insert(4, member);
        let alarms = report.alarms();
        assert!(alarms[0].command.is_empty());
        let message = &alarms[0].message;
        assert!(message.contains("node 4 takes its place"), "{message}");
    }

    #[test]
    fn way_out_of_a_joint_configuration_is_named() {
        let alarms = report(&[&[1], &[1, 2]], &[2]).alarms();
        let joint = alarms.last().expect("an alarm");
        assert_eq!(joint.kind(), v1::AlarmKind::JointConfiguration);
        let way_out = "1 of nodes 2 must come back with their data, so that 2 of 2 voters (1, 2)";
        assert!(joint.message.contains(way_out), "{}", joint.message);
        let passing = report(&[&[1, 2, 3], &[1, 2, 4]], &[3]);
        assert_eq!(passing.alarms().len(), 1, "the dead node's");
        assert!(passing.membership().advice[0].contains("is joint"));
    }

    #[test]
    fn voter_that_is_being_removed_is_not_to_be_promoted() {
        let joined = Joined {
            token: 1,
            votes: true,
            replaces: None,
        };
        let mut report = report(&[&[1, 2, 3], &[1, 3]], &[3]);
        for id in [2, 4] {
            let member = Member {
                joined: Some(joined),
                ..Member::default()
            };
            report.view.nodes.insert(id, member);
        }
        let members = report.membership().members;
        let promoted = members.iter().filter(|member| member.to_be_promoted);
        let promoted: Vec<_> = promoted.map(|member| member.node_id).collect();
        assert_eq!(promoted, [4], "the learner, and not node 2, which goes");
    }

    #[test]
    fn node_that_was_removed_says_that_and_of_no_joint_configuration() {
        let membership = report(&[&[1, 2, 3], &[2, 3]], &[2, 3]).removed();
        assert_eq!(membership.voter_sets.len(), 1);
        assert_eq!(membership.voter_sets[0].node_ids, [2, 3]);
        assert_eq!(membership.advice.len(), 1, "{:?}", membership.advice);
        assert!(membership.advice[0].contains("node 1 was removed"));
    }

    #[test]
    fn way_out_of_a_lost_quorum_is_named() {
        let alarms = report(&[&[1, 2, 3]], &[2, 3]).alarms();
        let lost = alarms.last().expect("an alarm");
        assert_eq!(lost.kind(), v1::AlarmKind::NoQuorum);
        let way_out = "1 of nodes 2, 3 must come back with their data, so that 2 of 3 voters (1, 2, 3) can agree";
        assert!(lost.message.contains(way_out), "{}", lost.message);
        let said = "only 1 of 3 voters answer";
        assert!(lost.message.contains(said), "{}", lost.message);
        assert!(lost.message.contains("lost for good"), "{}", lost.message);
        assert_eq!(lost.command, "toka cluster recover --data DIR");
    }

    #[test]
    fn even_number_of_voters_is_mentioned() {
        let advice = report(&[&[1, 2]], &[]).membership().advice;
        assert!(advice[0].starts_with("2 voters tolerate no more failures than 1"));
        let none = report(&[&[1, 2, 3]], &[]).membership().advice;
        assert_eq!(none, Vec::<String>::new());
    }
}
