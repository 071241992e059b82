//! Nodes come and go.

use futures::FutureExt as _;
use futures::future::join_all;
use toka_raft::ChangeError;

use crate::harness::{Cluster, Options, eventually, names, new_member, ready};

fn ids(cluster: &Cluster, of: u64) -> Vec<u64> {
    let members = cluster.replica(of).status().members;
    members.iter().map(|member| member.node_id).collect()
}

fn voters(cluster: &Cluster, of: u64) -> Vec<u64> {
    let members = cluster.replica(of).status().members;
    let voters = members.iter().filter(|member| member.is_voter);
    voters.map(|member| member.node_id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_ascend_and_a_token_keeps_its_own() {
    let mut cluster = Cluster::started(Options::default()).await;
    let leader = cluster.leader().await;
    let add = |token: u128| {
        let new = new_member(token, &format!("127.0.0.1:{token}"), true);
        cluster.replica(leader).add_node(new)
    };
    assert_eq!(add(1).await, Ok(4));
    assert_eq!(add(1).await, Ok(4));
    // All at once: one after the other, each with an id of its own.
    let mut added: Vec<_> = join_all([add(2), add(3), add(2)]).await;
    added.sort_by_key(|id| id.as_ref().ok().copied());
    assert!(
        added == [Ok(5), Ok(5), Ok(6)] || added == [Ok(5), Ok(6), Ok(6)],
        "{added:?}"
    );

    // The highest one is not free again when its node is gone, nor after all have forgotten it.
    let remove = |id| cluster.replica(leader).remove_node(id, false);
    assert_eq!(remove(6).await, Ok(()));
    assert_eq!(remove(6).await, Ok(()), "it is done");
    assert_eq!(
        remove(7).await,
        Err(ChangeError::UnknownNode { node_id: 7 })
    );
    for id in [1, 2, 3] {
        cluster.node(id).kill().await;
    }
    cluster.start_all().await;
    let leader = cluster.leader().await;
    let new = new_member(9, "127.0.0.1:9", true);
    assert_eq!(cluster.replica(leader).add_node(new).await, Ok(7));
    assert_eq!(ids(&cluster, leader), [1, 2, 3, 4, 5, 7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_brings_the_members_and_the_ids_that_were_used() {
    let options = Options::purging();
    let mut cluster = Cluster::started(options).await;
    let leader = cluster.leader().await;
    let new = new_member(1, "127.0.0.1:1", true);
    assert_eq!(cluster.replica(leader).add_node(new).await, Ok(4));
    let removed = cluster.replica(leader).remove_node(4, false).await;
    assert_eq!(removed, Ok(()));
    cluster.commit_many(names("event", 60)).await;
    let purged = || {
        cluster
            .replica(leader)
            .status()
            .purged_index
            .filter(|index| *index > 30)
    };
    eventually("a log without those entries", purged).await;

    let joined = cluster.join(2, false, options).await;
    assert_eq!(joined, 5);
    ready(cluster.replica(joined)).await.expect("ready");
    let votes = || voters(&cluster, joined).contains(&joined).then_some(());
    eventually("a vote", votes).await;
    let last = cluster.commit_many(names("later", 3)).await;
    cluster.converged(last).await;

    // It leads, and knows that 4 was used.
    cluster
        .replica(leader)
        .transfer_leadership(Some(joined))
        .await
        .expect("handed over");
    let removed = cluster.replica(joined).remove_node(4, false).await;
    assert_eq!(removed, Ok(()));
    let new = new_member(3, "127.0.0.1:3", true);
    assert_eq!(cluster.replica(joined).add_node(new).await, Ok(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn change_goes_on_without_its_caller() {
    let cluster = Cluster::started(Options::default()).await;
    let leader = cluster.leader().await;
    let follower = cluster.follower().await;
    let gone = cluster
        .replica(leader)
        .remove_node(follower, false)
        .now_or_never();
    assert_eq!(gone, None, "it takes more than a moment");
    let is_removed = || (!ids(&cluster, leader).contains(&follower)).then_some(());
    eventually("a removal", is_removed).await;
    let error = crate::harness::failure(cluster.replica(follower)).await;
    assert!(
        matches!(error, toka_raft::FatalError::Removed { node_id } if node_id == follower),
        "{error}"
    );
}
