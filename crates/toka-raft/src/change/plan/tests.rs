use super::*;

fn set(ids: &[u64]) -> BTreeSet<u64> {
    ids.iter().copied().collect()
}

/// Everybody is reachable and has everything.
fn view(this: u64, configs: &[&[u64]], learners: &[(u64, Joined)]) -> View {
    let voters = configs.iter().flat_map(|set| set.iter().copied());
    let mut nodes: BTreeMap<_, _> = voters.map(|id| (id, Member::default())).collect();
    for (id, joined) in learners {
        let member = Member {
            joined: Some(*joined),
            ..Member::default()
        };
        nodes.insert(*id, member);
    }
    View {
        this,
        advertised: Member::default(),
        configs: configs.iter().map(|ids| set(ids)).collect(),
        lags: nodes.keys().map(|id| (*id, 0)).collect(),
        reachable: nodes.keys().copied().collect(),
        nodes,
    }
}

const VOTES: Joined = Joined {
    token: 1,
    votes: true,
    replaces: None,
};
const LEARNS: Joined = Joined {
    votes: false,
    ..VOTES
};

fn replaces(old: u64) -> Joined {
    Joined {
        replaces: Some(old),
        ..VOTES
    }
}

#[test]
fn learner_becomes_a_voter_once_it_has_caught_up() {
    let mut view = view(1, &[&[1]], &[(2, VOTES), (3, VOTES), (4, LEARNS)]);
    assert_eq!(view.next(), Some(Step::Promote(set(&[2, 3]))));
    view.lags.insert(2, PROMOTION_LAG_MAX + 1);
    view.lags.remove(&3);
    assert_eq!(
        view.next(),
        None,
        "one is behind, of the other nothing is known"
    );
}

#[test]
fn learner_that_does_not_answer_is_not_promoted() {
    let mut view = view(1, &[&[1]], &[(2, VOTES)]);
    view.reachable.remove(&2);
    assert_eq!(view.next(), None);
}

#[test]
fn no_more_voters_than_allowed() {
    let view = view(1, &[&[1, 2, 3, 4, 5, 6]], &[(7, VOTES), (8, VOTES)]);
    assert_eq!(view.next(), Some(Step::Promote(set(&[7]))));
    assert_eq!(view.voters_to_be(), 8);
}

#[test]
fn joint_configuration_is_left_before_anything_else() {
    let view = view(1, &[&[1, 2], &[1, 2, 3]], &[(4, VOTES)]);
    assert_eq!(view.next(), Some(Step::LeaveJoint));
}

#[test]
fn leader_that_is_going_hands_over_first() {
    let mut view = view(1, &[&[1, 2, 3], &[2, 3]], &[]);
    view.lags.insert(2, 9);
    assert_eq!(view.next(), Some(Step::HandOver { to: 3 }));
    view.reachable = set(&[1]);
    assert_eq!(view.next(), None, "nobody can take over");
}

#[test]
fn dead_voter_is_swapped_for_the_learner_that_replaces_it() {
    let mut view = view(1, &[&[1, 2, 3]], &[(4, replaces(3))]);
    view.reachable.remove(&3);
    assert_eq!(view.voters_to_be(), 3);
    assert_eq!(view.next(), Some(Step::Swap { old: 3, new: 4 }));
    view.lags.insert(4, PROMOTION_LAG_MAX + 1);
    assert_eq!(view.next(), None, "it has to catch up first");
}

#[test]
fn leader_is_replaced_by_way_of_another_leader() {
    let view = view(1, &[&[1, 2, 3]], &[(4, replaces(1))]);
    assert!(matches!(view.next(), Some(Step::HandOver { to: 2 | 3 })));
}

#[test]
fn only_voter_is_replaced_in_three_steps() {
    let mut alone = view(1, &[&[1]], &[(2, replaces(1))]);
    assert_eq!(alone.next(), Some(Step::Promote(set(&[2]))));
    alone.configs = vec![set(&[1, 2])];
    assert_eq!(alone.next(), Some(Step::HandOver { to: 2 }));
    alone.this = 2;
    assert_eq!(alone.next(), Some(Step::Remove(1)));
}

#[test]
fn learner_is_replaced_by_a_learner() {
    let learns = Joined {
        votes: false,
        ..replaces(2)
    };
    let mut view = view(1, &[&[1]], &[(2, LEARNS), (3, learns)]);
    assert_eq!(view.next(), Some(Step::Remove(2)));
    view.nodes.remove(&2);
    assert_eq!(view.next(), None);
}

#[test]
fn voter_that_replaced_somebody_long_ago_is_left_alone() {
    let view = view(1, &[&[1, 4]], &[(4, replaces(3))]);
    assert_eq!(view.next(), None);
}

#[test]
fn sets_without_a_reachable_majority_are_named() {
    let mut view = view(1, &[&[1], &[1, 2]], &[]);
    assert_eq!(view.stuck(), []);
    view.reachable.remove(&2);
    assert_eq!(view.stuck(), [(set(&[1, 2]), set(&[2]))]);
}

#[test]
fn only_voter_says_where_it_is_before_anything_else() {
    let mut alone = view(1, &[&[1]], &[(2, VOTES)]);
    let learner = alone.nodes.get_mut(&2).expect("a member");
    learner.raft_endpoint = "raft-2:1".to_owned();
    learner.client_endpoint = "client-2:1".to_owned();
    let here = Member::new("raft-1:1", "client-1:1");
    alone.advertised = here.clone();
    assert_eq!(alone.next(), Some(Step::Move(here.clone())));
    alone.nodes.insert(1, here.clone());
    assert_eq!(alone.next(), Some(Step::Promote(set(&[2]))));

    alone.advertised = Member::new("raft-2:1", "elsewhere:1");
    assert_eq!(alone.moved(), None, "another member is there");
    assert_eq!(alone.next(), None, "who is promoted would not find it");
    let mut two = view(1, &[&[1, 2]], &[]);
    two.advertised = here;
    assert_eq!(two.next(), None, "it would not start");
}

#[test]
fn who_moves_keeps_how_it_joined() {
    let mut alone = view(3, &[&[3]], &[]);
    let own = alone.nodes.get_mut(&3).expect("a member");
    own.joined = Some(VOTES);
    alone.advertised = Member::new("raft-3:1", "client-3:1");
    let joined = alone.moved().and_then(|member| member.joined);
    assert_eq!(joined, Some(VOTES));
}
