//! What else answers at the ports of a node: health checks, and gRPC-web for browsers.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use prost::Message as _;
use serde_json::json;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::{request, wait};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const COMMIT: &str = "POST /toka.vault.v1.VaultService/Commit";

/// One HTTP/1.1 exchange with a page of the node's own: status line and headers, and the body.
async fn exchange(address: SocketAddr, head: &str, body: &[u8]) -> Result<(String, Vec<u8>)> {
    let host = address.to_string();
    let origin = format!("http://{host}");
    exchange_at(address, (&host, &origin), head, body).await
}

/// As [`exchange`], where the browser calls the node by the name `host` for a page at `origin`.
async fn exchange_at(
    address: SocketAddr,
    (host, origin): (&str, &str),
    head: &str,
    body: &[u8],
) -> Result<(String, Vec<u8>)> {
    let mut connection = tokio::net::TcpStream::connect(address).await?;
    let head = format!(
        "{head} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: application/grpc-web+proto\r\nX-Grpc-Web: 1\r\nOrigin: {origin}\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(body).await?;
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, connection.read_to_end(&mut answer)).await??;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.context("no end of the headers")?;
    let head = String::from_utf8(answer[..end].to_vec())?;
    Ok((head, answer[end + 4..].to_vec()))
}

/// A length-prefixed message, as gRPC and gRPC-web frame it.
fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("small");
    [&[0], &length.to_be_bytes()[..], message].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browser_commits_to_any_node() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        for id in cluster.ids() {
            let commit = request::commit(vec![request::event("web", &json!({"node": id}))]);
            let address = cluster.node(id).client;
            let message = frame(&commit.encode_to_vec());
            let (head, body) = exchange(address, COMMIT, &message).await?;
            ensure!(head.starts_with("HTTP/1.1 200"), "node {id}: {head}");
            ensure!(
                head.contains("application/grpc-web+proto"),
                "node {id}: {head}"
            );
            let text = String::from_utf8_lossy(&body).into_owned();
            ensure!(text.contains("grpc-status:0"), "node {id}: {text}");
            ensure!(
                text.contains("toka-leader-id") || head.contains("toka-leader-id"),
                "{text}"
            );
        }
        let sequence = cluster.converged(3).await?[0].node.sequence;
        ensure!(sequence == 3, "{sequence} events");
        Ok(())
    })
    .await
}

/// A page from elsewhere says where it is from; or it has let a name of its own lead to the node, and is of that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_from_elsewhere_commits_nothing_unless_it_is_allowed_to() -> Result<()> {
    let allowed = ["--allowed-host", "vault.example"];
    cluster::run(1, &allowed, async |cluster: &mut Cluster| {
        let address = cluster.node(1).client;
        let own = address.to_string();
        let commits = async |host: &str, origin: &str| -> Result<(String, String)> {
            let event = request::event("web", &json!({ "of": origin, "at": host }));
            let message = frame(&request::commit(vec![event]).encode_to_vec());
            let (head, body) = exchange_at(address, (host, origin), COMMIT, &message).await?;
            Ok((head, String::from_utf8_lossy(&body).into_owned()))
        };
        for (host, origin) in [
            ("evil.example", "http://evil.example"),
            (own.as_str(), "http://evil.example"),
            (own.as_str(), "null"),
        ] {
            let (head, said) = commits(host, origin).await?;
            ensure!(head.starts_with("HTTP/1.1 403"), "{origin}: {head}");
            ensure!(said.contains("allowed_hosts"), "{origin}: {said}");
            ensure!(head.contains("grpc-status: 7"), "{origin}: {head}");
        }
        // As an Ingress lets a browser in, and a page that calls the node itself.
        for host in ["vault.example", own.as_str()] {
            let (head, said) = commits(host, "https://vault.example").await?;
            ensure!(head.starts_with("HTTP/1.1 200"), "{host}: {head}");
            ensure!(said.contains("grpc-status:0"), "{host}: {said}");
        }
        let sequence = cluster.converged(2).await?[0].node.sequence;
        ensure!(sequence == 2, "{sequence} events");
        Ok(())
    })
    .await
}

async fn becomes(http: SocketAddr, status: &str) -> Result<()> {
    wait::until(status, PATIENCE, async || {
        let (ready, body) = exchange(http, "GET /readyz", &[]).await?;
        let body = String::from_utf8_lossy(&body);
        ensure!(
            ready.starts_with(&format!("HTTP/1.1 {status}")),
            "{ready}: {body}"
        );
        Ok(())
    })
    .await
}

/// Whoever is left over, the leader or a follower, lives, but says that it cannot serve.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_without_a_quorum_is_not_ready_until_it_is_back() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        for is_leader in [true, false] {
            let survivor = match is_leader {
                true => cluster.leader().await?,
                false => cluster.followers().await?[0],
            };
            let http = cluster.node(survivor).http;
            let others: Vec<_> = cluster
                .ids()
                .into_iter()
                .filter(|id| *id != survivor)
                .collect();
            becomes(http, "200").await?;
            for id in &others {
                cluster.kill(*id)?;
            }
            becomes(http, "503")
                .await
                .with_context(|| format!("leader: {is_leader}"))?;
            let (live, _) = exchange(http, "GET /livez", &[]).await?;
            ensure!(live.starts_with("HTTP/1.1 200"), "{live}");
            let status = cluster.status(survivor).await?;
            ensure!(status.leader_id.is_none(), "a leader is named: {status:?}");
            ensure!(
                status.nodes.iter().all(|node| !node.node.healthy),
                "healthy: {status:?}"
            );
            for id in &others {
                cluster.launch(*id)?;
            }
            cluster.wait_all_ready().await?;
        }
        Ok(())
    })
    .await
}
