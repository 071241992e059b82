use super::*;

/// A member that votes and answers, at an ordinal.
fn member(node_id: u64, ordinal: u64) -> (v1::Member, bool) {
    let member = v1::Member {
        node_id,
        voter: true,
        client_endpoint: format!("vault-{ordinal}.pods:7311"),
        ..v1::Member::default()
    };
    (member, true)
}

fn learner(node_id: u64, ordinal: u64) -> (v1::Member, bool) {
    let (mut member, answers) = member(node_id, ordinal);
    member.voter = false;
    (member, answers)
}

fn silent(node_id: u64, ordinal: u64) -> (v1::Member, bool) {
    (member(node_id, ordinal).0, false)
}

fn cluster(members: &[(v1::Member, bool)]) -> ClusterStatus {
    let header = v1::ResponseHeader {
        cluster_id: vec![7; 16].into(),
        history_id: vec![7; 16].into(),
        ..v1::ResponseHeader::default()
    };
    let nodes = members.iter().map(|(member, answers)| v1::NodeStatus {
        node_id: member.node_id,
        healthy: *answers,
        ..v1::NodeStatus::default()
    });
    let voters = members.iter().filter(|(member, _)| member.voter);
    let voters = v1::VoterSet {
        node_ids: voters.map(|(member, _)| member.node_id).collect(),
    };
    let message = v1::GetStatusResponse {
        header: Some(header),
        leader_id: Some(1),
        nodes: nodes.collect(),
        membership: Some(v1::Membership {
            members: members.iter().map(|(member, _)| member.clone()).collect(),
            voter_sets: vec![voters],
            ..v1::Membership::default()
        }),
        ..v1::GetStatusResponse::default()
    };
    message.try_into().expect("valid")
}

fn wanted(replicas: u64) -> Wanted {
    Wanted {
        names: Members::new("vault-{ordinal}.pods:7311").expect("it has a place for the ordinal"),
        replicas,
        waits: true,
    }
}

fn next(replicas: u64, members: &[(v1::Member, bool)]) -> Step {
    step(&cluster(members), &wanted(replicas))
}

fn removes(replicas: u64, members: &[(v1::Member, bool)]) -> Option<u64> {
    match next(replicas, members) {
        Step::Remove { node_id, .. } => Some(node_id),
        Step::Wait(_) | Step::Done => None,
    }
}

fn waits_for(replicas: u64, members: &[(v1::Member, bool)]) -> String {
    match next(replicas, members) {
        Step::Wait(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn highest_ordinal_goes_first_whatever_its_node_id() {
    let five = [
        member(1, 0),
        member(2, 1),
        member(9, 2),
        member(5, 3),
        member(4, 4),
    ];
    assert_eq!(removes(3, &five), Some(4));
    assert_eq!(removes(3, &five[..4]), Some(5));
    assert_eq!(next(3, &five[..3]), Step::Done);
    assert_eq!(removes(1, &five[..3]), Some(9));
}

#[test]
fn nothing_is_removed_unless_most_of_those_that_stay_answer() {
    let sick = [
        member(1, 0),
        silent(2, 1),
        silent(3, 2),
        member(4, 3),
        member(5, 4),
    ];
    let reason = waits_for(3, &sick);
    assert!(
        reason.contains("node 5 is to be removed") && reason.contains("only 1"),
        "{reason}"
    );
    let mut better = sick;
    better[1] = member(2, 1);
    assert_eq!(removes(3, &better), Some(5));
}

#[test]
fn both_nodes_of_an_ordinal_that_goes_are_removed() {
    let replaced = [
        member(1, 0),
        member(2, 1),
        member(3, 2),
        silent(4, 3),
        learner(6, 3),
    ];
    assert_eq!(removes(3, &replaced), Some(6));
    assert_eq!(removes(3, &replaced[..4]), Some(4));
}

#[test]
fn each_ordinal_has_to_have_one_member_that_votes_and_answers() {
    let two = [member(1, 0), member(2, 1)];
    for (third, said) in [
        (None, "has not joined"),
        (Some(learner(3, 2)), "does not vote yet"),
        (Some(silent(3, 2)), "does not answer"),
    ] {
        let members: Vec<_> = two.iter().cloned().chain(third).collect();
        let reason = waits_for(3, &members);
        assert!(reason.contains("vault-2.pods:7311"), "{reason}");
        assert!(reason.contains(said), "{reason}");
    }
    let [one, two] = two;
    let reason = waits_for(3, &[one, two, silent(3, 2), learner(4, 2)]);
    assert!(reason.contains("node 4"), "{reason}");
    assert!(reason.contains("the place of node 3"), "{reason}");
}

#[test]
fn without_waiting_it_is_done_when_nothing_is_too_much() {
    let status = cluster(&[member(1, 0)]);
    let wanted = Wanted {
        waits: false,
        ..wanted(3)
    };
    assert_eq!(step(&status, &wanted), Step::Done);
}

#[test]
fn members_elsewhere_are_left_as_they_are() {
    let mut elsewhere = member(4, 0).0;
    elsewhere.client_endpoint = "replica.example:7311".to_owned();
    let members = [member(1, 0), (elsewhere, true)];
    assert_eq!(next(1, &members), Step::Done);
}

#[test]
fn nothing_is_done_without_a_leader_or_during_a_change() {
    let mut status = cluster(&[member(1, 0), member(2, 1)]);
    status.membership.voter_sets.push(v1::VoterSet::default());
    assert!(matches!(step(&status, &wanted(1)), Step::Wait(_)));
    status.leader_id = None;
    assert!(matches!(step(&status, &wanted(1)), Step::Wait(_)));
}

#[test]
fn member_without_a_place_for_the_ordinal_is_a_usage_error() {
    let refused = Members::new("vault-0:7311").expect_err("no ordinal");
    assert!(matches!(refused, Failure::Usage(_)), "{refused}");
}
