//! What else answers at the ports of a node: health checks, and gRPC-web for browsers.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use prost::Message as _;
use serde_json::json;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::{request, wait};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// One HTTP/1.1 exchange: status line and headers, and the body.
async fn exchange(address: SocketAddr, head: &str, body: &[u8]) -> Result<(String, Vec<u8>)> {
    let mut connection = tokio::net::TcpStream::connect(address).await?;
    let head = format!(
        "{head} HTTP/1.1\r\nHost: node\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: application/grpc-web+proto\r\nX-Grpc-Web: 1\r\nOrigin: http://page\r\n\r\n",
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
            let path = "POST /toka.vault.v1.VaultService/Commit";
            let (head, body) = exchange(address, path, &frame(&commit.encode_to_vec())).await?;
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
