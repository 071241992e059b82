use toka_raft::log_store::LogError;
use toka_raft::{FatalError, Member, StartError};

use crate::harness::{Cluster, Options, event, eventually, failure, names, revision};

fn start_error(error: &FatalError) -> &StartError {
    match error {
        FatalError::Start(error) => error,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_formed_before_every_member_is_there() {
    let mut cluster = Cluster::new(Options::default()).await;
    cluster.node(1).start().await.expect("started");
    cluster.node(2).start().await.expect("started");
    // Once the two have heard of each other there is nothing else they could wait for.
    assert!(!cluster.replica(1).is_ready());
    assert_eq!(cluster.replica(1).cluster_id(), None);
    cluster.node(3).start().await.expect("started");
    cluster.ready().await;
    let ids: Vec<_> = cluster
        .running()
        .map(toka_raft::Replica::cluster_id)
        .collect();
    assert!(
        ids[0].is_some() && ids.iter().all(|id| *id == ids[0]),
        "{ids:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn forming_survives_a_restart_of_the_first_node() {
    let mut cluster = Cluster::new(Options::default()).await;
    cluster.start_all().await;
    // At an arbitrary moment of the forming.
    cluster.node(1).kill().await;
    cluster.node(1).start().await.expect("started");
    cluster.ready().await;
    let last = cluster.commit_many(names("event", 3)).await;
    assert_eq!(cluster.converged(last).await.sequence, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn forming_survives_a_restart_after_any_node_has_its_cluster_id() {
    for killed in [1, 2, 3] {
        let mut cluster = Cluster::new(Options::default()).await;
        cluster.start_all().await;
        let adopted = || cluster.replica(killed).cluster_id();
        eventually("cluster id", adopted).await;
        cluster.node(killed).kill().await;
        cluster.node(killed).start().await.expect("started");
        cluster.ready().await;
        cluster.commit("event").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wiped_volume_is_refused() {
    let mut cluster = Cluster::started(Options::default()).await;
    cluster.commit_many(names("event", 3)).await;
    // The first node, which forms clusters: it must not form a second one.
    cluster.node(1).kill().await;
    cluster.node(1).wipe();
    cluster.node(1).start().await.expect("started");
    let error = failure(cluster.replica(1)).await;
    assert!(
        matches!(
            start_error(&error),
            StartError::WipedVolume { node_id: 1, .. }
        ),
        "{error}"
    );
    assert!(
        error.to_string().contains("cannot return under its old id"),
        "{error}"
    );
    cluster.node(1).abandon().await;
    cluster.commit("after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn different_initial_members_are_refused() {
    let mut cluster = Cluster::new(Options::default()).await;
    let other = Member::new("127.0.0.1:1", "");
    cluster.node(2).config().initial_members.insert(4, other);
    cluster.start_all().await;
    let error = failure(cluster.replica(1)).await;
    assert!(
        matches!(
            start_error(&error),
            StartError::MembersDiffer {
                node_id: 1,
                peer: 2,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn node_of_another_cluster_is_refused() {
    let mut ours = Cluster::started(Options::default()).await;
    let mut theirs = Cluster::started(Options::default()).await;
    ours.commit("ours").await;
    theirs.commit("theirs").await;
    ours.node(3).kill().await;
    // Node 3 of the other cluster comes up at the address of ours.
    theirs.node(3).kill().await;
    let foreign = theirs.nodes[&3].dir.clone();
    let stolen = ours.nodes[&3].dir.clone();
    std::fs::rename(&stolen, ours.root().join("aside")).expect("moved");
    std::fs::rename(&foreign, &stolen).expect("moved");
    // It says that it is where its own cluster knows it, or it would not even start.
    let advertised = theirs.node(3).config().advertised.clone();
    ours.node(3).config().advertised = advertised;
    ours.node(3).start().await.expect("started");
    let before = ours.replica(3).reader().position();
    let leader = ours.leader_among(&[1, 2]).await;
    let more = ours.replica(leader).commit(event("more")).await;
    let last = revision(&more.expect("the other two are a quorum"));
    assert!(ours.replica(leader).reader().position().revision >= last);
    assert_eq!(
        ours.replica(3).reader().position(),
        before,
        "it took nothing from our cluster"
    );
    assert_ne!(ours.replica(3).cluster_id(), ours.replica(1).cluster_id());
}

#[tokio::test(flavor = "multi_thread")]
async fn data_directory_that_lost_its_log_is_refused() {
    let mut cluster = Cluster::started(Options::default()).await;
    cluster.commit("event").await;
    cluster.node(2).kill().await;
    let raft = cluster.nodes[&2].dir.join("raft");
    std::fs::remove_dir_all(&raft).expect("removed");
    for is_there in [false, true] {
        if is_there {
            std::fs::create_dir(&raft).expect("created");
        }
        let error = cluster.node(2).start().await.expect_err("refused");
        let is_missing = matches!(error, StartError::Log(LogError::Missing { .. }));
        assert!(is_missing, "{error}");
    }
}
