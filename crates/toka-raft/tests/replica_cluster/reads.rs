use std::time::Duration;

use toka_raft::{Consistency, ReadError};
use tokio::time::Instant;

use crate::harness::{Cluster, Options, deadline, linearizable, names, revision};

#[tokio::test(flavor = "multi_thread")]
async fn linearizable_read_on_a_follower_sees_the_latest_acknowledged_commit() {
    let cluster = Cluster::started(Options::default()).await;
    let follower = cluster.follower().await;
    for name in names("event", 30) {
        let acknowledged = revision(&cluster.commit(&name).await);
        let seen = linearizable(cluster.replica(follower)).await;
        assert!(
            seen.revision >= acknowledged,
            "{seen:?} after revision {acknowledged}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn read_your_writes_on_every_node() {
    let cluster = Cluster::started(Options::default()).await;
    let written = cluster.commit_many(names("event", 10)).await;
    for replica in cluster.running() {
        let barrier = replica.read_barrier(Consistency::AtLeast(written), deadline());
        assert!(barrier.await.expect("served").revision >= written);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revision_that_nobody_has_is_out_of_range() {
    let cluster = Cluster::started(Options::default()).await;
    let last = cluster.commit_many(names("event", 3)).await;
    let follower = cluster.follower().await;
    let barrier = cluster
        .replica(follower)
        .read_barrier(Consistency::AtLeast(last + 1), deadline());
    match barrier.await {
        Err(ReadError::OutOfRange { revision, position }) => {
            assert_eq!((revision, position.revision), (last + 1, last));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node_without_a_quorum_refuses_linearizable_reads_and_serves_local_ones() {
    let mut cluster = Cluster::started(Options::default()).await;
    let last = cluster.commit_many(names("event", 3)).await;
    cluster.converged(last).await;
    for id in [1, 2] {
        cluster.node(id).kill().await;
    }
    let alone = cluster.replica(3);
    let soon = Instant::now() + Duration::from_millis(500);
    let refused = alone.read_barrier(Consistency::Linearizable, soon).await;
    assert!(
        matches!(refused, Err(ReadError::Behind { position } | ReadError::NoLeader { position })
            if position.revision == last),
        "{refused:?}"
    );
    let local = alone
        .read_barrier(Consistency::Local, soon)
        .await
        .expect("served");
    assert_eq!(local.revision, last);
}
