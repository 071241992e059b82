//! What else answers at the ports of a node: health checks, and gRPC-web for browsers.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use prost::Message as _;
use serde_json::json;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::request;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_without_a_leader_lives_and_is_not_ready() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let survivor = cluster.followers().await?[0];
        let http = cluster.node(survivor).http;
        let (ready, _) = exchange(http, "GET /readyz", &[]).await?;
        ensure!(ready.starts_with("HTTP/1.1 200"), "{ready}");
        for id in cluster.ids().into_iter().filter(|id| *id != survivor) {
            cluster.kill(id)?;
        }
        toka_tests::wait::until("not ready", PATIENCE, async || {
            let (ready, _) = exchange(http, "GET /readyz", &[]).await?;
            ensure!(ready.starts_with("HTTP/1.1 503"), "{ready}");
            Ok(())
        })
        .await?;
        let (live, _) = exchange(http, "GET /livez", &[]).await?;
        ensure!(live.starts_with("HTTP/1.1 200"), "{live}");
        let status = cluster.status(survivor).await?;
        let reachable = status.nodes.iter().filter(|node| node.node.healthy).count();
        ensure!(reachable <= 1, "{status:?}");
        Ok(())
    })
    .await
}
