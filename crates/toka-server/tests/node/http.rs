use std::net::SocketAddr;

use prost::Message;
use toka_proto::v1;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::support::*;

/// A hand-made request over HTTP/1; the whole reply.
async fn http1(address: SocketAddr, head: &str, body: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let head = format!(
        "{head}\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(body).await.expect("sent");
    let mut reply = Vec::new();
    within(stream.read_to_end(&mut reply))
        .await
        .expect("received");
    reply
}

async fn get(address: SocketAddr, path: &str) -> String {
    let reply = http1(address, &format!("GET {path} HTTP/1.1"), b"").await;
    String::from_utf8(reply).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_cluster_has_not_formed_lives_and_is_not_ready() {
    let cluster = Cluster::start_some(3, 1, |_| ()).await;
    let http = cluster.nodes[0].addresses().http;
    assert!(get(http, "/livez").await.starts_with("HTTP/1.1 200"));
    let ready = get(http, "/readyz").await;
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.contains("forming"),
        "{ready}"
    );
    let refusal = within(cluster.vault(0).commit(one(event("a", "1"))))
        .await
        .expect_err("early");
    assert_eq!(refusal.code(), tonic::Code::Unavailable);
    assert!(refusal.message().contains("has not formed"), "{refusal:?}");
    let status = within(
        cluster
            .status(0)
            .get_status(v1::GetStatusRequest::default()),
    )
    .await;
    let nodes = status.expect("answered").into_inner().nodes;
    assert!(
        nodes.iter().any(|node| node.node_id == 1 && !node.healthy),
        "{nodes:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ready_node_says_so_and_has_metrics() {
    let cluster = Cluster::start(1).await;
    commit(&mut cluster.vault(0), "a", "1").await;
    let http = cluster.nodes[0].addresses().http;
    assert!(get(http, "/readyz").await.starts_with("HTTP/1.1 200"));
    let metrics = get(http, "/metrics").await;
    for line in [
        "toka_ready 1",
        "toka_sequence 1",
        "toka_raft_is_leader 1",
        "role=\"leader\"",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_follows_readiness() {
    let cluster = Cluster::start(1).await;
    let mut health = HealthClient::new(cluster.channel(0));
    for service in [
        "",
        "toka.vault.v1.VaultService",
        "toka.vault.v1.ClusterService",
    ] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        // The first message tells the state, the next ones its changes.
        let watch = within(health.watch(request)).await.expect("watched");
        let mut states = watch.into_inner();
        loop {
            let state = within(states.message())
                .await
                .expect("no error")
                .expect("a state");
            if state.status() == ServingStatus::Serving {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_the_services_for_clients_and_no_others() {
    let cluster = Cluster::start(1).await;
    let mut reflection = ServerReflectionClient::new(cluster.channel(0));
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let reply = within(reflection.server_reflection_info(futures::stream::iter([request]))).await;
    let (mut answers, _) = drain(reply.expect("answered")).await;
    let Some(MessageResponse::ListServicesResponse(list)) = answers.remove(0).message_response
    else {
        panic!("not a list");
    };
    let names: Vec<&str> = list
        .service
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert!(names.contains(&"toka.vault.v1.VaultService"), "{names:?}");
    assert!(names.contains(&"grpc.health.v1.Health"), "{names:?}");
    assert!(
        !names.iter().any(|name| name.starts_with("toka.raft")),
        "{names:?}"
    );
}

/// A call by gRPC-web, as a browser makes it; the whole reply.
async fn web_call(address: SocketAddr, path: &str, message: &impl Message) -> String {
    let message = message.encode_to_vec();
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).expect("short").to_be_bytes());
    body.extend(message);
    let head = format!(
        "POST {path} HTTP/1.1\r\nContent-Type: application/grpc-web+proto\r\nX-Grpc-Web: 1"
    );
    let reply = http1(address, &head, &body).await;
    String::from_utf8_lossy(&reply).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_is_served_and_reads_what_there_is() {
    let cluster = Cluster::start(1).await;
    commit(&mut cluster.vault(0), "shown", "1").await;
    let http = cluster.nodes[0].addresses().http;
    let page = get(http, "/console/").await;
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(page.contains("content-security-policy: "), "{page}");
    let path = "/console/api/toka.vault.v1.VaultService/List";
    let list = web_call(http, path, &v1::ListRequest::default()).await;
    assert!(list.starts_with("HTTP/1.1 200"), "{list}");
    assert!(
        list.contains("grpc-status:0") && list.contains("shown"),
        "{list}"
    );
    let metrics = get(http, "/metrics").await;
    let counted = "toka_grpc_calls_total{method=\"toka.vault.v1.VaultService/List\",code=\"OK\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_changes_nothing() {
    let cluster = Cluster::start(1).await;
    let http = cluster.nodes[0].addresses().http;
    let path = "/console/api/toka.vault.v1.VaultService/Commit";
    let reply = web_call(http, path, &one(event("written", "1"))).await;
    assert!(reply.starts_with("HTTP/1.1 403"), "{reply}");
    assert!(reply.contains("the console only reads"), "{reply}");
    assert_eq!(cluster.nodes[0].replica().reader().position().sequence, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_told_so_has_no_console() {
    let cluster = Cluster::start_some(1, 1, |config| config.console = Some(false)).await;
    cluster.wait_until_ready().await;
    let http = cluster.nodes[0].addresses().http;
    for path in ["/console", "/console/", "/console/console.js"] {
        let page = get(http, path).await;
        assert!(page.starts_with("HTTP/1.1 404"), "{path}: {page}");
    }
    let path = "/console/api/toka.vault.v1.VaultService/List";
    let list = web_call(http, path, &v1::ListRequest::default()).await;
    assert!(list.starts_with("HTTP/1.1 404"), "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_web_call_over_http_1_is_answered() {
    let cluster = Cluster::start(1).await;
    let path = "/toka.vault.v1.VaultService/Commit";
    let commit = one(event("web", "1"));
    let text = web_call(cluster.nodes[0].addresses().client, path, &commit).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(text.contains("toka-leader-id: 1"), "{text}");
    assert!(text.contains("grpc-status:0"), "{text}");
}
