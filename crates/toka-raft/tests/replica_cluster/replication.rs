use std::time::Duration;

use toka_ledger::{Outcome, Selector};
use toka_raft::config::Election;

use crate::harness::{Cluster, Options, event, eventually, leader_of, names, revision};

#[tokio::test(flavor = "multi_thread")]
async fn commits_through_the_leader_reach_all_nodes() {
    let cluster = Cluster::started(Options::default()).await;
    let last = cluster.commit_many(names("event", 50)).await;
    let position = cluster.converged(last).await;
    assert_eq!((position.revision, position.sequence), (last, 50));
}

#[tokio::test(flavor = "multi_thread")]
async fn follower_refuses_a_commit_and_names_the_leader() {
    let cluster = Cluster::started(Options::default()).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let refused = cluster
        .replica(follower)
        .commit(event("x"))
        .await
        .expect_err("refused");
    let named = leader_of(&refused).expect("the leader is named");
    assert_eq!(named.node_id, leader);
    assert_eq!(
        named.member.client_endpoint,
        format!("client-of-{leader}:1")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_commit_is_applied_once() {
    let cluster = Cluster::started(Options::default()).await;
    cluster.commit("same").await;
    let last = revision(&cluster.commit("same").await);
    assert_eq!(cluster.converged(last).await.sequence, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_commits_all_get_their_own_outcome() {
    let cluster = Cluster::started(Options::default()).await;
    let leader = cluster.leader().await;
    let replica = cluster.replica(leader);
    let commits = (0..500).map(|n| replica.commit(event(&format!("concurrent-{n}"))));
    let outcomes = futures::future::join_all(commits).await;
    let mut revisions: Vec<u64> = outcomes
        .iter()
        .map(|outcome| revision(outcome.as_ref().expect("committed")))
        .collect();
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), 500);
    assert_eq!(cluster.converged(revisions[499]).await.sequence, 500);
    let applied = replica.status().applied_index.expect("applied");
    assert!(
        applied < 400,
        "500 commits took {applied} entries: they were not gathered"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_follower_catches_up() {
    let mut cluster = Cluster::started(Options::default()).await;
    let follower = cluster.follower().await;
    cluster.commit_many(names("before", 10)).await;
    cluster.node(follower).kill().await;
    cluster.commit_many(names("while", 10)).await;
    cluster.node(follower).start().await.expect("started");
    let last = cluster.commit_many(names("after", 10)).await;
    assert_eq!(cluster.converged(last).await.sequence, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_leader_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::started(Options::default()).await;
    let leader = cluster.leader().await;
    cluster.commit_many(names("before", 20)).await;
    cluster.node(leader).kill().await;
    let last = cluster.commit_many(names("after", 20)).await;
    assert_ne!(cluster.leader().await, leader);
    assert_eq!(cluster.converged(last).await.sequence, 40);
    cluster.node(leader).start().await.expect("started");
    assert_eq!(cluster.converged(last).await.sequence, 40);
}

/// Silence alone would take longer than anything is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn leader_whose_process_has_ended_is_replaced_before_its_lease_has_run_out() {
    let mut cluster = Cluster::new(Options::default()).await;
    for id in [1, 2, 3] {
        cluster.node(id).config().election = Election {
            heartbeat: Duration::from_millis(100),
            timeout_min: Duration::from_secs(40),
            timeout_max: Duration::from_secs(50),
        };
    }
    cluster.start_all().await;
    cluster.ready().await;
    let leader = cluster.leader().await;
    cluster.commit("before").await;
    cluster.node(leader).kill().await;
    let last = revision(&cluster.commit("after").await);
    assert_ne!(cluster.leader().await, leader);
    assert_eq!(cluster.converged(last).await.sequence, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_that_was_killed_as_a_whole_comes_back() {
    let mut cluster = Cluster::started(Options::default()).await;
    let last = cluster.commit_many(names("before", 20)).await;
    for id in [1, 2, 3] {
        cluster.node(id).kill().await;
    }
    cluster.start_all().await;
    cluster.ready().await;
    assert_eq!(cluster.converged(last).await.sequence, 20);
    let last = cluster.commit_many(names("after", 5)).await;
    assert_eq!(cluster.converged(last).await.sequence, 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_moves_to_the_node_that_was_named() {
    let cluster = Cluster::started(Options::default()).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    cluster.commit_many(names("before", 5)).await;
    let moved = cluster
        .replica(leader)
        .transfer_leadership(Some(follower))
        .await;
    assert_eq!(moved, Ok(follower));
    assert_eq!(cluster.leader().await, follower);
    let last = cluster.commit_many(names("after", 5)).await;
    assert_eq!(cluster.converged(last).await.sequence, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_that_is_stopped_hands_over() {
    let mut cluster = Cluster::started(Options::default()).await;
    let leader = cluster.leader().await;
    let term = cluster.replica(leader).term();
    cluster.commit("before").await;
    cluster.node(leader).stop().await;
    let next = cluster.leader().await;
    assert_ne!(next, leader);
    assert_eq!(
        cluster.replica(next).term(),
        term + 1,
        "the first election succeeded"
    );
    cluster.commit("after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_is_a_cluster_too() {
    let mut cluster = Cluster::with_ids(&[7], Options::default()).await;
    cluster.start_all().await;
    cluster.ready().await;
    let last = cluster.commit_many(names("event", 5)).await;
    cluster.node(7).kill().await;
    cluster.node(7).start().await.expect("started");
    cluster.ready().await;
    assert_eq!(cluster.converged(last).await.sequence, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn state_digests_are_equal_at_the_same_sequence() {
    let cluster = Cluster::started(Options::default()).await;
    let leader = cluster.leader().await;
    let replica = cluster.replica(leader);
    let commits = (0..300).map(|n| replica.commit(event(&format!("digest-{n}"))));
    let outcomes = futures::future::join_all(commits).await;
    let last = outcomes
        .iter()
        .map(|o| revision(o.as_ref().expect("committed")))
        .max();
    cluster.converged(last.expect("some")).await;
    let digests = eventually("digests", || {
        let read = |replica: &toka_raft::Replica| replica.reader().state_digest_at(256).ok()?;
        cluster.running().map(read).collect::<Option<Vec<_>>>()
    });
    let digests = digests.await;
    assert!(digests.iter().all(|digest| *digest == digests[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_that_is_stopped_under_load_loses_nothing_it_acknowledged() {
    let mut cluster = Cluster::started(Options::default()).await;
    let leader = cluster.leader().await;
    let replica = cluster.replica(leader).clone();
    let writers: Vec<_> = (0..32)
        .map(|writer| {
            let replica = replica.clone();
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for n in 0.. {
                    match replica.commit(event(&format!("load-{writer}-{n}"))).await {
                        Ok(Outcome::Committed { headers, .. }) => {
                            acknowledged.push(headers[0].digest);
                        }
                        Ok(other) => panic!("{other:?}"),
                        Err(_) => break,
                    }
                }
                acknowledged
            })
        })
        .collect();
    drop(replica);
    eventually("load", || {
        let sequence = cluster.replica(leader).reader().position().sequence;
        (sequence > 200).then_some(())
    })
    .await;
    cluster.node(leader).stop().await;
    let last = cluster.commit_many(names("after", 1)).await;
    cluster.converged(last).await;
    for writer in writers {
        for digest in writer.await.expect("the writer ends") {
            for replica in cluster.running() {
                let found = replica.reader().header(&Selector::Digest(digest));
                assert!(
                    found.expect("readable").is_some(),
                    "{digest} was acknowledged"
                );
            }
        }
    }
}
