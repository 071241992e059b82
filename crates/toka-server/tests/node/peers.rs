use std::time::Duration;

use futures::{StreamExt, stream};
use toka_proto::raft_v1 as pb;
use toka_proto::raft_v1::raft_service_client::RaftServiceClient;
use toka_proto::v1;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use crate::support::*;

const PROOF_TIMEOUT: Duration = Duration::from_millis(500);

/// A node that soon wants to know that a connection is a peer's.
async fn alone() -> Cluster {
    let change = |config: &mut toka_server::Config| {
        config.connections.peer_proof_timeout = PROOF_TIMEOUT;
    };
    let cluster = Cluster::start_some(1, 1, change).await;
    cluster.wait_until_ready().await;
    cluster
}

/// One connection, as other nodes open it.
async fn connect(cluster: &Cluster) -> RaftServiceClient<Channel> {
    let endpoint = format!("http://{}", cluster.nodes[0].addresses().raft);
    let endpoint = Endpoint::from_shared(endpoint).expect("an address");
    RaftServiceClient::new(within(endpoint.connect()).await.expect("connected"))
}

/// Who sends, of the node's own cluster.
async fn own(cluster: &Cluster) -> pb::Peer {
    let asked = v1::GetStatusRequest {
        this_node_only: true,
    };
    let status = within(cluster.status(0).get_status(asked)).await;
    let header = status.expect("answered").into_inner().header;
    pb::Peer {
        cluster_id: header.expect("every reply has one").cluster_id,
        from: 1,
        to: 1,
        protocol: 1,
    }
}

/// A stream that says who sends it, if anything, and then nothing.
async fn append(
    raft: &RaftServiceClient<Channel>,
    peer: Option<pb::Peer>,
) -> Streaming<pb::AppendEntriesResponse> {
    let first = peer.map(|peer| pb::AppendEntriesRequest {
        peer: Some(peer),
        append: None,
    });
    let requests = stream::iter(first).chain(stream::pending());
    let opened = within(raft.clone().append_entries(requests)).await;
    opened.expect("it begins").into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_another_cluster_keep_no_connection() {
    let cluster = alone().await;
    let raft = connect(&cluster).await;
    let mut silent = append(&raft, None).await;
    let foreign = pb::Peer {
        cluster_id: vec![7; 16].into(),
        ..own(&cluster).await
    };
    let mut stream = append(&raft, Some(foreign.clone())).await;
    within(stream.message()).await.expect_err("refused");
    let vitals = pb::GetVitalsRequest {
        peer: Some(foreign),
    };
    let vitals = within(raft.clone().get_vitals(vitals)).await;
    vitals.expect_err("refused");
    let end = within(silent.message()).await;
    end.expect_err("the connection is cut");
}

/// Waits for longer than a stranger's connection lasts.
async fn goes_on(stream: &mut Streaming<pb::AppendEntriesResponse>) {
    let ended = tokio::time::timeout(4 * PROOF_TIMEOUT, stream.message()).await;
    assert!(ended.is_err(), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_of_a_peer_stays_when_it_has_nothing_to_say() {
    let cluster = alone().await;
    let own = own(&cluster).await;
    let raft = connect(&cluster).await;
    let vitals = pb::GetVitalsRequest {
        peer: Some(own.clone()),
    };
    within(raft.clone().get_vitals(vitals))
        .await
        .expect("answered");
    goes_on(&mut append(&raft, None).await).await;

    // A stream's first message says as much, whatever becomes of it.
    let raft = connect(&cluster).await;
    let mut silent = append(&raft, None).await;
    let mut stream = append(&raft, Some(own)).await;
    within(stream.message())
        .await
        .expect_err("there is nothing in it");
    goes_on(&mut silent).await;
}
