//! A cluster whose nodes and clients speak TLS.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::command::Toka;
use toka_tests::history;
use toka_tests::load::Load;
use toka_tests::tls::{Certificates, text};
use toka_tests::{request, seed, wait};
use toka_tls::{Connector, Dialer, File, Trust};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower::Service as _;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_with_tls_forms_and_outlives_its_leader_under_load() -> Result<()> {
    let seed = seed::draw();
    cluster::run_prepared(3, &[], async |cluster: &mut Cluster| {
        Certificates::set_up(cluster)?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        let load = Load::start(cluster, 8, seed).await?;
        load.acks().more(200, PATIENCE).await?;
        let leader = cluster.leader().await?;
        cluster.kill(leader)?;
        load.acks().more(200, PATIENCE).await?;
        ensure!(cluster.leader().await? != leader);
        cluster.restart(leader).await?;
        load.acks().more(200, PATIENCE).await?;
        let acks = load.stop().await?;
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}

/// Forwarding, and reads that ask the leader where it is, go from node to node over its port for clients.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follower_forwards_over_tls() -> Result<()> {
    cluster::run_prepared(3, &[], async |cluster: &mut Cluster| {
        Certificates::set_up(cluster)?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        let leader = cluster.leader().await?;
        let follower = cluster.ids().into_iter().find(|id| *id != leader);
        let follower = cluster.node(follower.context("a follower")?);
        let event = request::event("tls.forwarded", &json!({ "by": follower.id }));
        let commit = request::within(PATIENCE, request::commit(vec![event]));
        let committed = follower.vault().commit(commit).await?.into_inner();
        ensure!(committed.events.len() == 1, "{committed:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_joins_over_tls() -> Result<()> {
    cluster::run_prepared(1, &[], async |cluster: &mut Cluster| {
        Certificates::set_up(cluster)?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        cluster.toka().ok(&["commit", "tls.before", "1"]).await?;
        let joined = cluster.join(&[]).await?;
        cluster.wait_ready(joined).await?;
        cluster.has_members(&[1, joined], &[]).await?;
        Ok(())
    })
    .await
}

/// Commands find everything in a context: endpoints with a scheme, and where the files are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn context_keeps_the_tls_of_its_cluster() -> Result<()> {
    cluster::run_prepared(1, &[], async |cluster: &mut Cluster| {
        let certificates = Certificates::set_up(cluster)?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        let toka = Toka::new(cluster.directory());
        let endpoint = format!("https://{}", cluster.node(1).endpoint());
        let (ca, certificate, key) = (
            text(&certificates.of_client.ca())?,
            text(&certificates.of_client.certificate())?,
            text(&certificates.of_client.key())?,
        );
        let set: [&str; 10] = [
            "context",
            "set",
            "secured",
            &endpoint,
            "--ca",
            &ca,
            "--cert",
            &certificate,
            "--key",
            &key,
        ];
        toka.ok(&set).await?;
        toka.ok(&["commit", "tls.context", "1"]).await?;
        let events = toka.json(&["log", "-o", "json"]).await?;
        ensure!(events.len() == 1, "{events:?}");
        Ok(())
    })
    .await
}

/// As a kubelet does it: nothing is shown, and here the certificate is looked at besides.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_is_served_over_tls_to_callers_without_a_certificate() -> Result<()> {
    cluster::run_prepared(1, &["--http-tls"], async |cluster: &mut Cluster| {
        let certificates = Certificates::set_up(cluster)?;
        cluster.launch_all()?;
        let ca = certificates.of_client.ca();
        let http = cluster.node(1).http;
        wait::until("/readyz over TLS", PATIENCE, async || {
            let answer = get(http, &ca, "/readyz").await?;
            ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            Ok(())
        })
        .await?;
        let metrics = get(http, &ca, "/metrics").await?;
        ensure!(metrics.contains("toka_tls_reload_failures 0"), "{metrics}");
        let mut plain = tokio::net::TcpStream::connect(http).await?;
        plain
            .write_all(b"GET /livez HTTP/1.1\r\nHost: node\r\n\r\n")
            .await?;
        let mut answer = Vec::new();
        // The connection may be reset before its end is seen.
        let _ = plain.read_to_end(&mut answer).await;
        ensure!(
            !answer.starts_with(b"HTTP"),
            "it has answered in plain text"
        );
        Ok(())
    })
    .await
}

/// One GET over TLS; the whole answer.
async fn get(address: std::net::SocketAddr, ca: &std::path::Path, path: &str) -> Result<String> {
    let trust = Trust {
        ca: Some(File::new("ca", ca)),
        pair: None,
        is_node: false,
    };
    let dialer = Dialer::new(Arc::new(trust.open()?), "server_name", None)?;
    let mut connector = Connector::new(Some(dialer), PATIENCE, None);
    let uri: tonic::transport::Uri = format!("https://{address}").parse()?;
    let connected = connector.call(uri).await;
    let mut stream = connected.map_err(anyhow::Error::from_boxed)?.into_inner();
    let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8(answer)?)
}
