use crate::harness::{Cluster, Options, eventually, names};

#[tokio::test(flavor = "multi_thread")]
async fn follower_that_was_down_past_the_purge_point_catches_up_by_snapshot() {
    let mut cluster = Cluster::started(Options::purging()).await;
    let follower = cluster.follower().await;
    cluster.commit_many(names("before", 5)).await;
    let had = cluster
        .replica(follower)
        .status()
        .last_log_index
        .expect("entries");
    cluster.node(follower).kill().await;
    cluster.commit_many(names("while", 60)).await;
    for other in [1, 2, 3].into_iter().filter(|id| *id != follower) {
        let purged = || {
            let purged = cluster.replica(other).status().purged_index;
            purged.filter(|purged| *purged > had)
        };
        eventually("purge past the follower's log", purged).await;
    }
    cluster.node(follower).start().await.expect("started");
    let last = cluster.commit_many(names("after", 5)).await;
    assert_eq!(cluster.converged(last).await.sequence, 70);
    let snapshot = cluster
        .replica(follower)
        .status()
        .snapshot_index
        .expect("a snapshot");
    assert!(snapshot > had, "{snapshot} covers more than {had}");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_restarts_from_an_installed_snapshot() {
    let mut cluster = Cluster::started(Options::purging()).await;
    let follower = cluster.follower().await;
    let had = cluster
        .replica(follower)
        .status()
        .last_log_index
        .expect("entries");
    cluster.node(follower).kill().await;
    cluster.commit_many(names("while", 60)).await;
    let leader = cluster.leader().await;
    let purged = || {
        let purged = cluster.replica(leader).status().purged_index;
        purged.filter(|purged| *purged > had)
    };
    eventually("purge", purged).await;
    cluster.node(follower).start().await.expect("started");
    let last = cluster.commit_many(names("more", 5)).await;
    cluster.converged(last).await;
    cluster.node(follower).kill().await;
    cluster.node(follower).start().await.expect("started");
    let last = cluster.commit_many(names("after", 5)).await;
    assert_eq!(cluster.converged(last).await.sequence, 70);
    let ledgers = std::fs::read_dir(&cluster.nodes[&follower].dir)
        .expect("readable")
        .filter(|entry| {
            let name = entry.as_ref().expect("an entry").file_name();
            name.to_string_lossy().starts_with("ledger-")
        })
        .count();
    assert_eq!(ledgers, 1, "the replaced ledger is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn purging_cluster_survives_a_restart_of_all() {
    let mut cluster = Cluster::started(Options::purging()).await;
    let last = cluster.commit_many(names("before", 60)).await;
    let leader = cluster.leader().await;
    eventually("purge", || cluster.replica(leader).status().purged_index).await;
    for id in [1, 2, 3] {
        cluster.node(id).kill().await;
    }
    cluster.start_all().await;
    cluster.ready().await;
    assert_eq!(cluster.converged(last).await.sequence, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn leftovers_of_a_transfer_are_removed_at_start() {
    let mut cluster = Cluster::started(Options::default()).await;
    cluster.node(2).kill().await;
    let dir = cluster.nodes[&2].dir.clone();
    let leftovers = [
        dir.join("snapshots/snapshot-9.tmp/ledger"),
        dir.join("ledger-9.tmp"),
    ];
    for leftover in &leftovers {
        std::fs::create_dir_all(leftover).expect("created");
        std::fs::write(leftover.join("000001.sst"), b"half").expect("written");
    }
    cluster.node(2).start().await.expect("started");
    assert!(leftovers.iter().all(|leftover| !leftover.exists()));
}
