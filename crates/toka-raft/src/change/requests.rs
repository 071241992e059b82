//! What operators and nodes ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;

use super::plan::View;
use super::{Changes, Parts};
use crate::error::ChangeError;
use crate::limits::{LEARNERS_MAX, VOTERS_MAX};
use crate::transport::{TcpTransport, Traffic};
use crate::type_config::{Joined, Member, StoredMembership};

/// Longest wait for a sign of life of a learner that is to vote: shorter than a client waits for an answer,
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1_500);
/// unless heartbeats are rare: then for two, and so long for the answer.
const ANSWER_MARGIN: Duration = Duration::from_millis(500);

/// A node that asks to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMember {
    /// Its own for this request: with the same one it gets the same id again.
    pub token: u128,
    /// Advertised `host:port` for other nodes.
    pub raft_endpoint: String,
    /// Advertised `host:port` for clients.
    pub client_endpoint: String,
    /// It stays a learner: a read replica.
    pub learner: bool,
    /// The member whose place it takes, and whose role.
    pub replaces: Option<u64>,
    /// The highest feature level that it knows.
    pub feature_level: u32,
}

impl Changes {
    /// Makes a node a learner, under an id that no node has ever had; returns the id. The steward
    /// promotes it.
    pub(crate) async fn add(&self, new: NewMember) -> Result<u64, ChangeError> {
        for endpoint in [&new.raft_endpoint, &new.client_endpoint] {
            TcpTransport::endpoint(endpoint, Traffic::Control)?;
        }
        let what = format!("a node at {} is added", new.raft_endpoint);
        self.make(what, |parts| add(parts, new)).await
    }

    /// Removes a member for good. `force`: also if those that are left could not agree on anything.
    pub(crate) async fn remove(&self, node_id: u64, force: bool) -> Result<(), ChangeError> {
        let what = format!("node {node_id} is removed");
        self.make(what, move |parts| remove(parts, node_id, force))
            .await
    }

    /// Lets a read replica become a voter, once it has caught up.
    pub(crate) async fn promote(&self, node_id: u64) -> Result<(), ChangeError> {
        let what = format!("node {node_id} is to vote");
        self.make(what, move |parts| promote(parts, node_id)).await
    }

    /// Lets the learner `by` take the place of member `node_id`, once it has caught up.
    pub(crate) async fn replace(&self, node_id: u64, by: u64) -> Result<(), ChangeError> {
        if node_id == by {
            return Err(ChangeError::ReplacesItself { node_id });
        }
        let what = format!("node {node_id} is to be replaced by node {by}");
        self.make(what, move |parts| replace(parts, node_id, by))
            .await
    }
}

impl Parts {
    /// A new member is given the log or a snapshot: the log alone must say everything, whoever leads then.
    fn check_base(&self) -> Result<(), ChangeError> {
        let interrupted = |reason: String| ChangeError::Interrupted { reason };
        let purged = self.raft.metrics().borrow_watched().purged;
        let own = self.base.is_outside_log(purged);
        let own = own.map_err(|error| interrupted(error.to_string()))?;
        let known = self.vitals.known();
        if own || known.values().any(|vital| vital.log_lacks_beginning) {
            return Err(interrupted(
                "a snapshot of the restored vault has to be made first, by every member".to_owned(),
            ));
        }
        Ok(())
    }
}

async fn add(parts: Arc<Parts>, new: NewMember) -> Result<u64, ChangeError> {
    parts.check_base()?;
    let (mut observed, mut view) = parts.settled().await?;
    let with_token = view.nodes.iter().find(|(_, member)| {
        member
            .joined
            .is_some_and(|joined| joined.token == new.token)
    });
    if let Some((&node_id, member)) = with_token {
        if member.is_at(&new.raft_endpoint, &new.client_endpoint) {
            return Ok(node_id);
        }
        // It asks because it does not know its id yet, so nobody has heard of it under that one.
        let gone = ChangeMembers::RemoveNodes(BTreeSet::from([node_id]));
        parts.change(&observed, gone).await?;
        (observed, view) = parts.settled().await?;
    }
    if let Some(member) = view.moved() {
        // The new member has to find this one, which could not start there again once it is not alone.
        tracing::info!(node_id = parts.node_id, %member, "this node is known elsewhere, which is changed first");
        parts.move_to(&observed, member).await?;
        (observed, view) = parts.settled().await?;
    }
    let joined = check_new(&view, &new)?;
    check_level(&parts, new.feature_level)?;
    // A change that another leader has not finished may have an id that is not applied here; nobody was
    // told of that one.
    let highest = view.nodes.keys().copied().max().unwrap_or(0);
    let node_id = parts.roster.highest_node_id().max(highest) + 1;
    let member = Member {
        raft_endpoint: new.raft_endpoint,
        client_endpoint: new.client_endpoint,
        joined: Some(joined),
    };
    tracing::info!(node_id, %member, votes = joined.votes, replaces = joined.replaces, "a node joins");
    let added = ChangeMembers::AddNodes(BTreeMap::from([(node_id, member)]));
    parts.change(&observed, added).await?;
    Ok(node_id)
}

/// What a new member does not know it could not apply.
fn check_level(parts: &Parts, known: u32) -> Result<(), ChangeError> {
    let settings = parts.reader.settings();
    let settings = settings.map_err(|error| ChangeError::Interrupted {
        reason: error.to_string(),
    })?;
    let level = settings.map_or(0, |settings| settings.feature_level);
    if known < level {
        return Err(ChangeError::FeatureLevel { known, level });
    }
    Ok(())
}

/// Whether a node may be added, and as what.
fn check_new(view: &View, new: &NewMember) -> Result<Joined, ChangeError> {
    if let Some(known) = view.nodes.get(&view.this).filter(|_| view.has_moved()) {
        return Err(ChangeError::Elsewhere {
            node_id: view.this,
            known: known.to_string(),
            advertised: view.advertised.to_string(),
        });
    }
    let votes = match new.replaces {
        None => !new.learner,
        Some(old) => votes_in_place_of(view, old)?,
    };
    for (&node_id, member) in &view.nodes {
        if new.replaces == Some(node_id) {
            continue;
        }
        let taken = [
            (&member.raft_endpoint, &new.raft_endpoint),
            (&member.client_endpoint, &new.client_endpoint),
        ];
        if let Some((_, endpoint)) = taken.into_iter().find(|(theirs, ours)| theirs == ours) {
            return Err(ChangeError::EndpointTaken {
                endpoint: endpoint.clone(),
                node_id,
            });
        }
    }
    let learners = view.learners().count();
    if learners >= LEARNERS_MAX {
        return Err(ChangeError::TooManyLearners { learners });
    }
    if votes && new.replaces.is_none() {
        check_room(view)?;
    }
    Ok(Joined {
        token: new.token,
        votes,
        replaces: new.replaces,
    })
}

fn check_room(view: &View) -> Result<(), ChangeError> {
    match view.voters_to_be() {
        voters if voters >= VOTERS_MAX => Err(ChangeError::TooManyVoters { voters }),
        _ => Ok(()),
    }
}

/// Whether who takes the place of `old` votes.
fn votes_in_place_of(view: &View, old: u64) -> Result<bool, ChangeError> {
    let member = view
        .nodes
        .get(&old)
        .ok_or(ChangeError::UnknownNode { node_id: old })?;
    if let Some(by) = view.replacement_of(old) {
        return Err(ChangeError::ReplacedAlready { node_id: old, by });
    }
    Ok(view.voters().contains(&old) || member.joined.is_some_and(|joined| joined.votes))
}

async fn remove(parts: Arc<Parts>, node_id: u64, force: bool) -> Result<(), ChangeError> {
    let (observed, view) = parts.settled().await?;
    if !view.nodes.contains_key(&node_id) {
        return if parts.roster.has_removed(node_id) {
            Ok(())
        } else {
            Err(ChangeError::UnknownNode { node_id })
        };
    }
    if !view.voters().contains(&node_id) {
        let gone = ChangeMembers::RemoveNodes(BTreeSet::from([node_id]));
        return parts.change(&observed, gone).await;
    }
    // Whatever is forced, somebody has to be left.
    check_removal(&view, node_id, true)?;
    if !force {
        let is_enough = |reachable| {
            let view = View {
                reachable,
                ..view.clone()
            };
            check_removal(&view, node_id, force)
        };
        parts.answer_now(is_enough).await?;
    }
    if node_id == parts.node_id {
        return Err(parts.handed_over(None).await);
    }
    tracing::info!(node_id, force, "a node is removed");
    let gone = ChangeMembers::RemoveVoters(BTreeSet::from([node_id]));
    parts.change(&observed, gone).await
}

/// Whether the others can do without a voter.
fn check_removal(view: &View, node_id: u64, force: bool) -> Result<(), ChangeError> {
    let mut left = view.voters();
    left.remove(&node_id);
    if left.is_empty() {
        return Err(ChangeError::LastVoter { node_id });
    }
    let unreachable: Vec<_> = left.difference(&view.reachable).copied().collect();
    let (voters, reachable) = (left.len(), left.len() - unreachable.len());
    if reachable * 2 <= voters && !force {
        return Err(ChangeError::NoQuorum {
            node_id,
            voters,
            reachable,
            unreachable,
        });
    }
    Ok(())
}

async fn promote(parts: Arc<Parts>, node_id: u64) -> Result<(), ChangeError> {
    let (observed, view) = parts.settled().await?;
    let Some(joined) = learner(&view, node_id)?.and_then(|member| member.joined) else {
        return Ok(());
    };
    answers(&parts, node_id, joined.votes).await?;
    if joined.votes {
        return Ok(());
    }
    check_room(&view)?;
    let votes = Joined {
        votes: true,
        ..joined
    };
    set_joined(&parts, &observed, &view, node_id, votes).await
}

async fn replace(parts: Arc<Parts>, old: u64, by: u64) -> Result<(), ChangeError> {
    let (observed, view) = parts.settled().await?;
    let is_asked_for = view.nodes.get(&by).and_then(Member::replaces) == Some(old);
    if is_asked_for && view.voters().contains(&by) {
        // It is done, or nearly.
        return Ok(());
    }
    let Some(joined) = learner(&view, by)?.and_then(|member| member.joined) else {
        return Err(ChangeError::NotALearner { node_id: by });
    };
    if is_asked_for && !view.nodes.contains_key(&old) {
        return Ok(());
    }
    answers(&parts, by, is_asked_for).await?;
    if is_asked_for {
        return Ok(());
    }
    let replaces = Joined {
        votes: votes_in_place_of(&view, old)?,
        replaces: Some(old),
        ..joined
    };
    set_joined(&parts, &observed, &view, by, replaces).await
}

/// Makes sure that a node answers which is asked to catch up: nobody would be told that it never does. `is_recorded`: the
/// same was asked for before.
async fn answers(parts: &Parts, node_id: u64, is_recorded: bool) -> Result<(), ChangeError> {
    let is_there = |reachable: BTreeSet<u64>| match reachable.contains(&node_id) {
        true => Ok(()),
        false => Err(silent(node_id, is_recorded)),
    };
    let time = answer_timeout(parts.hand_over.election.heartbeat);
    parts.answer_in(time, is_there).await
}

fn silent(node_id: u64, is_recorded: bool) -> ChangeError {
    if is_recorded {
        ChangeError::Awaited { node_id }
    } else {
        ChangeError::Unreachable { node_id }
    }
}

/// A member that is well answers what is sent to it within this, where it is sent something at every `heartbeat`.
fn answer_timeout(heartbeat: Duration) -> Duration {
    ANSWER_TIMEOUT.max(2 * heartbeat + ANSWER_MARGIN)
}

/// The member `node_id`, if it is a learner.
fn learner(view: &View, node_id: u64) -> Result<Option<&Member>, ChangeError> {
    let member = view.nodes.get(&node_id);
    let member = member.ok_or(ChangeError::UnknownNode { node_id })?;
    Ok((!view.voters().contains(&node_id)).then_some(member))
}

async fn set_joined(
    parts: &Parts,
    observed: &StoredMembership,
    view: &View,
    node_id: u64,
    joined: Joined,
) -> Result<(), ChangeError> {
    let Some(member) = view.nodes.get(&node_id) else {
        return Err(ChangeError::UnknownNode { node_id });
    };
    // The addresses stay, which is what makes this safe: nobody is mistaken for another node.
    let member = Member {
        joined: Some(joined),
        ..member.clone()
    };
    let set = ChangeMembers::SetNodes(BTreeMap::from([(node_id, member)]));
    parts.change(observed, set).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(voters: &[u64], learners: &[u64]) -> View {
        let member = |id: &u64| {
            (
                *id,
                Member::new(format!("raft-{id}:1"), format!("client-{id}:1")),
            )
        };
        View {
            this: 1,
            configs: vec![voters.iter().copied().collect()],
            nodes: voters.iter().chain(learners).map(member).collect(),
            reachable: voters.iter().copied().collect(),
            ..View::default()
        }
    }

    fn new(id: u64) -> NewMember {
        NewMember {
            feature_level: toka_ledger::command::FEATURE_LEVEL,
            token: 9,
            raft_endpoint: format!("raft-{id}:1"),
            client_endpoint: format!("client-{id}:1"),
            learner: false,
            replaces: None,
        }
    }

    #[test]
    fn address_of_a_member_is_refused_unless_it_is_replaced() {
        let view = view(&[1, 2, 3], &[]);
        let refused = check_new(&view, &new(3)).expect_err("taken");
        assert!(
            matches!(refused, ChangeError::EndpointTaken { node_id: 3, .. }),
            "{refused}"
        );
        assert!(refused.to_string().contains("--replace 3"), "{refused}");
        let replacing = NewMember {
            replaces: Some(3),
            ..new(3)
        };
        assert!(check_new(&view, &replacing).expect("allowed").votes);
    }

    #[test]
    fn member_that_is_well_answers_in_time_however_rare_heartbeats_are() {
        for heartbeat in [100, 1_500, 4_000].map(Duration::from_millis) {
            assert!(answer_timeout(heartbeat) > 2 * heartbeat, "{heartbeat:?}");
        }
        assert_eq!(
            answer_timeout(Duration::from_millis(100)),
            ANSWER_TIMEOUT,
            "a client waits for it"
        );
    }

    #[test]
    fn what_was_asked_for_before_is_not_said_to_be_undone() {
        let said = |is_recorded| silent(4, is_recorded).to_string();
        assert!(said(false).contains("nothing is changed"));
        assert!(!said(true).contains("nothing is changed"));
        assert!(said(true).contains("stays asked for"));
    }

    #[test]
    fn nobody_joins_an_only_voter_that_is_not_where_it_is_known() {
        let mut alone = view(&[1], &[2]);
        alone.advertised = Member::new("raft-2:1", "client-1:1");
        let refused = check_new(&alone, &new(3)).expect_err("it would not find node 1");
        assert!(
            matches!(refused, ChangeError::Elsewhere { node_id: 1, .. }),
            "{refused}"
        );
        alone.advertised = Member::new("raft-1:1", "client-1:1");
        check_new(&alone, &new(3)).expect("it is where it is known");
    }

    #[test]
    fn limits_are_named() {
        let full = view(&[1, 2, 3, 4, 5, 6, 7], &[]);
        let refused = check_new(&full, &new(8)).expect_err("full");
        assert_eq!(refused, ChangeError::TooManyVoters { voters: 7 });
        assert!(
            refused.to_string().contains("at most 7 are allowed"),
            "{refused}"
        );
        let learner = NewMember {
            learner: true,
            ..new(8)
        };
        assert!(!check_new(&full, &learner).expect("a read replica").votes);
        let replacing = NewMember {
            replaces: Some(7),
            ..new(8)
        };
        assert!(check_new(&full, &replacing).expect("nobody is added").votes);
        let learners: Vec<u64> = (8..24).collect();
        let full = view(&[1], &learners);
        let refused = check_new(&full, &new(30)).expect_err("full");
        assert_eq!(refused, ChangeError::TooManyLearners { learners: 16 });
    }

    #[test]
    fn removal_leaves_a_quorum_or_is_forced() {
        let mut three = view(&[1, 2, 3], &[]);
        assert_eq!(check_removal(&three, 3, false), Ok(()));
        three.reachable.remove(&3);
        assert_eq!(check_removal(&three, 3, false), Ok(()), "the dead one goes");
        let refused = check_removal(&three, 2, false).expect_err("1 of 2 is no majority");
        assert!(
            matches!(
                refused,
                ChangeError::NoQuorum {
                    voters: 2,
                    reachable: 1,
                    ..
                }
            ),
            "{refused}"
        );
        assert_eq!(check_removal(&three, 2, true), Ok(()));
        let alone = view(&[1], &[2]);
        let last = ChangeError::LastVoter { node_id: 1 };
        assert_eq!(check_removal(&alone, 1, true), Err(last));
    }

    #[test]
    fn one_node_takes_the_place_of_one() {
        let mut view = view(&[1, 2, 3], &[4]);
        let joined = Joined {
            token: 1,
            votes: true,
            replaces: Some(3),
        };
        let waiting = view.nodes.get_mut(&4).expect("there");
        waiting.joined = Some(joined);
        let replacing = |old| NewMember {
            replaces: Some(old),
            ..new(5)
        };
        let twice = ChangeError::ReplacedAlready { node_id: 3, by: 4 };
        assert_eq!(check_new(&view, &replacing(3)), Err(twice));
        let unknown = ChangeError::UnknownNode { node_id: 9 };
        assert_eq!(check_new(&view, &replacing(9)), Err(unknown));
        assert!(check_new(&view, &replacing(2)).is_ok());
    }
}
