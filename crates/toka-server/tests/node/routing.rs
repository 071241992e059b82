use toka_proto::convert::metadata;
use toka_proto::convert::status::{self, Detail, parse};
use toka_proto::v1;
use toka_proto::v1::commit_stream_response::Outcome;
use tonic::{Code, Request};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_through_a_follower_is_forwarded_and_names_the_leader() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.nodes[cluster.leader()].replica().node_id();
    let mut follower = cluster.vault(cluster.follower());
    let reply = within(follower.commit(one(event("a", "1"))))
        .await
        .expect("committed");
    assert_eq!(named_leader(&reply), leader);
    let reply = reply.into_inner();
    assert_eq!(reply.header.expect("a header").node_id, leader);
    assert_eq!(reply.events[0].sequence, 1);
    assert!(!reply.events[0].deduplicated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_commit_is_answered_with_the_first_event() {
    let cluster = Cluster::start(3).await;
    let mut follower = cluster.vault(cluster.follower());
    let mut leader = cluster.vault(cluster.leader());
    let (first, _) = commit(&mut follower, "a", "1").await;
    let reply = within(leader.commit(one(event("a", "1"))))
        .await
        .expect("committed")
        .into_inner();
    assert_eq!(
        (reply.events[0].sequence, reply.events[0].deduplicated),
        (first, true)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_refuses_a_commit_that_requires_the_leader() {
    let cluster = Cluster::start(3).await;
    let leader = &cluster.nodes[cluster.leader()];
    let mut follower = cluster.vault(cluster.follower());
    let refusal = within(follower.commit(to_leader(one(event("a", "1"))))).await;
    let failure = parse(&refusal.expect_err("refused"));
    assert_eq!(failure.code, Code::FailedPrecondition);
    let Some(Detail::NotLeader {
        leader: Some(named),
    }) = failure.detail
    else {
        panic!("{:?}", failure.detail);
    };
    assert_eq!(named.node_id, leader.replica().node_id());
    assert_eq!(named.endpoint, leader.addresses().client.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_the_vault_comes_through_a_follower_with_its_detail() {
    let cluster = Cluster::start(3).await;
    let mut follower = cluster.vault(cluster.follower());
    let mut request = one(event("a", "1"));
    let condition = v1::precondition::Condition::KindSequence(v1::KindSequence {
        kind: "a".to_owned(),
        sequence: 7,
    });
    request.preconditions = vec![v1::Precondition {
        condition: Some(condition),
    }];
    let refusal = within(follower.commit(request)).await.expect_err("refused");
    assert_eq!(refusal.code(), Code::Aborted);
    assert!(
        matches!(parse(&refusal).detail, Some(Detail::Rejected(_))),
        "{refusal:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_of_a_cursor_in_another_history_is_refused_on_every_way() {
    let cluster = Cluster::start(3).await;
    let cursor = |history_id: u128| {
        let cursor = v1::CursorMove {
            name: "worker".to_owned(),
            from_sequence: 0,
            to_sequence: 1,
            history_id: history_id.to_be_bytes().to_vec().into(),
        };
        v1::Precondition {
            condition: Some(v1::precondition::Condition::CursorMove(cursor)),
        }
    };
    let of_another =
        |detail: Option<Detail>| matches!(detail, Some(Detail::HistoryChanged { expected: 1, .. }));
    for index in 0..3 {
        let mut vault = cluster.vault(index);
        let request = v1::CommitRequest {
            preconditions: vec![cursor(1)],
            ..one(event("a", "1"))
        };
        let refusal = within(vault.commit(request)).await.expect_err("refused");
        assert_eq!(refusal.code(), Code::FailedPrecondition);
        assert!(of_another(parse(&refusal).detail), "{refusal:?}");

        let request = v1::CommitStreamRequest {
            request_number: 1,
            events: vec![event("a", "1")],
            preconditions: vec![cursor(1)],
            ..Default::default()
        };
        let reply = within(vault.commit_stream(futures::stream::iter([request])));
        let (answers, end) = drain(reply.await.expect("opened")).await;
        assert!(end.is_none(), "{end:?}");
        let Some(Outcome::Error(error)) = answers.into_iter().next().and_then(|a| a.outcome) else {
            panic!("accepted")
        };
        let refusal = status::from_commit_error(error);
        assert!(of_another(parse(&refusal).detail), "{refusal:?}");
    }
    // In the vault's own history it moves, also through a follower.
    let mut follower = cluster.vault(cluster.follower());
    let reply = within(follower.commit(one(event("a", "1")))).await;
    let header = reply.expect("committed").into_inner().header;
    let own = header.expect("a header").history_id;
    let own = u128::from_be_bytes(own[..].try_into().expect("16 bytes"));
    let request = v1::CommitRequest {
        preconditions: vec![cursor(own)],
        ..one(event("a", "2"))
    };
    within(follower.commit(request)).await.expect("committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_moved_beyond_the_end_on_no_way() {
    let cluster = Cluster::start(3).await;
    let to = |to_sequence: u64| v1::Precondition {
        condition: Some(v1::precondition::Condition::CursorMove(v1::CursorMove {
            name: "worker".to_owned(),
            to_sequence,
            ..Default::default()
        })),
    };
    let detail = Some(Detail::PositionOutOfRange {
        sequence: 9,
        first: 1,
        last: 1,
    });
    let mut leader = cluster.vault(cluster.leader());
    within(leader.commit(one(event("a", "first"))))
        .await
        .expect("committed");
    for index in 0..3 {
        let mut vault = cluster.vault(index);
        let request = v1::CommitRequest {
            preconditions: vec![to(9)],
            ..one(event("a", "beyond"))
        };
        let refusal = within(vault.commit(request)).await.expect_err("refused");
        assert_eq!(refusal.code(), Code::OutOfRange);
        assert_eq!(parse(&refusal).detail, detail);

        let request = v1::CommitStreamRequest {
            request_number: 1,
            events: vec![event("a", "beyond")],
            preconditions: vec![to(9)],
            ..Default::default()
        };
        let reply = within(vault.commit_stream(futures::stream::iter([request])));
        let (answers, end) = drain(reply.await.expect("opened")).await;
        assert!(end.is_none(), "{end:?}");
        let Some(Outcome::Error(error)) = answers.into_iter().next().and_then(|a| a.outcome) else {
            panic!("accepted")
        };
        let refusal = status::from_commit_error(error);
        assert_eq!(parse(&refusal).detail, detail);
    }
    let request = v1::CommitRequest {
        preconditions: vec![to(2)],
        ..one(event("a", "its own"))
    };
    within(leader.commit(request)).await.expect("committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_moves_a_cursor_to_events_that_it_has_sent_before() {
    let cluster = Cluster::start(1).await;
    let to = |from_sequence: u64, to_sequence: u64| v1::Precondition {
        condition: Some(v1::precondition::Condition::CursorMove(v1::CursorMove {
            name: "worker".to_owned(),
            from_sequence,
            to_sequence,
            ..Default::default()
        })),
    };
    let requests = (1..=8_u64).map(|number| v1::CommitStreamRequest {
        request_number: number,
        events: vec![event("a", &number.to_string())],
        preconditions: vec![to(number - 1, number)],
        ..Default::default()
    });
    let requests: Vec<_> = requests.collect();
    let mut vault = cluster.vault(0);
    let reply = within(vault.commit_stream(futures::stream::iter(requests)));
    let (answers, end) = drain(reply.await.expect("opened")).await;
    assert!(end.is_none(), "{end:?}");
    assert_eq!(answers.len(), 8);
    for answer in answers {
        assert!(
            matches!(answer.outcome, Some(Outcome::Result(_))),
            "{answer:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_for_another_cluster_does_nothing() {
    fn of<T>(message: T, cluster_id: u128) -> Request<T> {
        let mut request = Request::new(message);
        metadata::put_cluster_id(request.metadata_mut(), cluster_id);
        request
    }
    let cluster = Cluster::start(3).await;
    let own = cluster.nodes[0].replica().cluster_id().expect("formed");
    let detail = Detail::OtherCluster {
        expected: 1,
        actual: own,
    };
    for index in 0..3 {
        let removal = v1::RemoveNodeRequest {
            node_id: cluster.nodes[cluster.follower()].replica().node_id(),
            force: true,
        };
        let commit = of(one(event("a", "1")), 1);
        let refusals = [
            within(cluster.vault(index).commit(commit)).await.err(),
            within(cluster.status(index).remove_node(of(removal, 1)))
                .await
                .err(),
            within(
                cluster
                    .status(index)
                    .get_status(of(v1::GetStatusRequest::default(), 1)),
            )
            .await
            .err(),
        ];
        for refusal in refusals {
            let refusal = refusal.expect("refused");
            assert_eq!(refusal.code(), Code::FailedPrecondition);
            assert_eq!(parse(&refusal).detail.as_ref(), Some(&detail));
            assert_eq!(metadata::cluster_id(refusal.metadata()), Ok(Some(own)));
        }
        assert_eq!(cluster.nodes[index].replica().status().members.len(), 3);
    }
    let mut follower = cluster.vault(cluster.follower());
    let reply = within(follower.commit(of(one(event("a", "1")), own))).await;
    let reply = reply.expect("of this cluster").into_inner();
    assert_eq!(reply.events[0].sequence, 1, "nothing was stored before");
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_go_on_through_any_node_when_the_leader_stops() {
    let mut cluster = Cluster::start(3).await;
    let (first, _) = commit(&mut cluster.vault(0), "a", "before").await;
    let leader = cluster.leader();
    let node = cluster.nodes.remove(leader);
    let mut other = cluster.vault(0);
    let (stopped, second) = tokio::join!(
        within(node.shutdown()),
        commit(&mut other, "a", "while it stops")
    );
    stopped.expect("closed");
    assert_eq!(second.0, first + 1);
    assert_eq!(
        commit(&mut cluster.vault(1), "a", "after").await.0,
        first + 2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_leader_a_commit_waits_and_then_says_unavailable() {
    let mut cluster = Cluster::start(3).await;
    let survivor = cluster.nodes.remove(0);
    for node in cluster.nodes.drain(..) {
        node.halt().await;
    }
    cluster.nodes.push(survivor);
    let mut request = Request::new(one(event("a", "1")));
    request.set_timeout(std::time::Duration::from_secs(3));
    let began = std::time::Instant::now();
    let refusal = within(cluster.vault(0).commit(request))
        .await
        .expect_err("nobody leads");
    assert_eq!(refusal.code(), Code::Unavailable, "{refusal:?}");
    assert!(
        began.elapsed() > std::time::Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_reports_the_whole_cluster() {
    let cluster = Cluster::start(3).await;
    let (_, revision) = commit(&mut cluster.vault(0), "a", "1").await;
    for index in 0..3 {
        let mut vault = cluster.vault(index);
        let read = v1::ListRequest {
            read: at_least(revision),
            ..Default::default()
        };
        within(vault.list(read))
            .await
            .expect("the node has caught up");
    }
    for index in 0..3 {
        let reply = within(
            cluster
                .status(index)
                .get_status(v1::GetStatusRequest::default()),
        )
        .await;
        let status = reply.expect("answered").into_inner();
        assert_eq!(status.nodes.len(), 3);
        assert!(
            status.nodes.iter().all(|node| node.healthy),
            "{:?}",
            status.nodes
        );
        let roots: Vec<_> = status.nodes.iter().map(|node| &node.history_root).collect();
        assert!(
            roots
                .iter()
                .all(|root| *root == roots[0] && root.len() == 32)
        );
        assert_eq!(
            status.leader_id,
            cluster.nodes[0].replica().leader().map(|l| l.node_id)
        );
        let alone = v1::GetStatusRequest {
            this_node_only: true,
        };
        let reply = within(cluster.status(index).get_status(alone)).await;
        let alone = reply.expect("answered").into_inner();
        let ids: Vec<_> = alone.nodes.iter().map(|node| node.node_id).collect();
        assert_eq!(ids, [cluster.nodes[index].replica().node_id()]);
        assert_eq!(alone.settings, status.settings);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_takes_a_transfer_of_leadership() {
    let cluster = Cluster::start(3).await;
    let to = cluster.nodes[cluster.follower()].replica().node_id();
    let other = (cluster.leader() + 2) % 3;
    let request = v1::TransferLeadershipRequest {
        to_node_id: Some(to),
    };
    let reply = within(cluster.status(other).transfer_leadership(request)).await;
    assert_eq!(reply.expect("handed over").into_inner().leader_id, to);
}
