//! A node, called as its peers call it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use toka_proto::raft_v1 as pb;
use toka_proto::raft_v1::raft_service_client::RaftServiceClient;

use super::*;
use crate::storage::MemoryStorage;
use crate::transport::MemoryNetwork;
use crate::type_config::Member;

#[tokio::test]
async fn member_that_calls_counts_as_back_at_its_address() {
    let name = "node-1:7312";
    let members = BTreeMap::from([(1, Member::new(name, "node-1:7311"))]);
    let mut config = Config::new(1, PathBuf::from("/vault"), members);
    config.runtime = RuntimeChoice::Current;
    let transport = Arc::new(MemoryNetwork::new().transport(name));
    let storage = Arc::new(MemoryStorage::new());
    let started = Replica::start_with(config, Seams::system(), transport, storage).await;
    let replica = started.expect("the node starts");
    let node = &replica.inner.node;
    node.identity.adopt(9);
    let strangers = Arc::clone(&node.networks.strangers);
    strangers.found(2, 7);
    let own = node.identity.peer(1);
    let from_two = |cluster_id: Bytes| pb::GetVitalsRequest {
        peer: Some(pb::Peer {
            cluster_id,
            from: 2,
            ..own.clone()
        }),
    };
    let mut client = RaftServiceClient::new(replica.peer_service());
    let foreign = client.get_vitals(from_two(vec![7; 16].into())).await;
    foreign.expect_err("of another cluster");
    assert!(strangers.knows(2));
    let answered = client.get_vitals(from_two(own.cluster_id.clone())).await;
    answered.expect("of its own cluster");
    assert!(!strangers.knows(2));
    replica.halt().await.expect("stopped");
}
