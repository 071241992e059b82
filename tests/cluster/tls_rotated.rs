//! Certificates that change while nodes run.

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::history;
use toka_tests::load::Load;
use toka_tests::tls::{Authority, Certificates, Files};
use toka_tests::{seed, wait};

const END: &str = "toka_tls_certificate_not_after_seconds";

/// Waits until every node shows the certificate that expires when the year `until` begins.
async fn shows(cluster: &Cluster, until: i32) -> Result<()> {
    let wanted = rcgen::date_time_ymd(until, 1, 1).unix_timestamp();
    wait::until("the new certificate", PATIENCE, async || {
        for id in cluster.running() {
            let end = cluster.node(id).metric(END).await?;
            ensure!(
                i64::try_from(end)? == wanted,
                "node {id}: {end}, not {wanted}"
            );
        }
        Ok(())
    })
    .await
}

/// Waits until every node has logged `count` times that files have changed.
async fn have_changed(cluster: &Cluster, count: usize) -> Result<()> {
    wait::until("the files to be read", PATIENCE, async || {
        for id in cluster.running() {
            let log = cluster.log(id);
            let found = log
                .matches("certificates have changed, and are in use")
                .count();
            ensure!(found >= count, "node {id}: {found} of {count}");
        }
        Ok(())
    })
    .await
}

/// As docs/operations.md says it: first everybody trusts both CAs, then certificates of the new one are shown, and last
/// the old one goes. Every step takes the connections of a node that dies with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_of_the_nodes_is_replaced_under_load_without_a_restart() -> Result<()> {
    let seed = seed::draw();
    cluster::run_prepared(3, &[], async |cluster: &mut Cluster| {
        let certificates = Certificates::set_up(cluster)?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        let load = Load::start(cluster, 8, seed).await?;
        load.acks().more(100, PATIENCE).await?;
        let host = cluster.host().to_string();
        let of_client = certificates.clients.sign("client", &["client.example"])?;
        let (old, new) = (&certificates.nodes, Authority::new("nodes again")?);

        let both = format!("{}{}", old.pem, new.pem);
        certificates.of_client.swap(&of_client, &both)?;
        let of_old = old.sign_until("node", &[&host], 2091)?;
        certificates.of_nodes.swap(&of_old, &both)?;
        shows(cluster, 2091).await?;
        // What is shown to clients, what to nodes, and whom a node trusts.
        have_changed(cluster, 3).await?;
        load.acks().more(100, PATIENCE).await?;

        let of_new = new.sign_until("node", &[&host], 2092)?;
        certificates.of_nodes.swap(&of_new, &both)?;
        shows(cluster, 2092).await?;
        have_changed(cluster, 6).await?;
        let leader = cluster.leader().await?;
        cluster.kill(leader)?;
        load.acks().more(100, PATIENCE).await?;
        cluster.restart(leader).await?;

        let last = new.sign_until("node", &[&host], 2093)?;
        certificates.of_nodes.swap(&last, &new.pem)?;
        certificates.of_client.swap(&of_client, &new.pem)?;
        shows(cluster, 2093).await?;
        let leader = cluster.leader().await?;
        cluster.kill(leader)?;
        load.acks().more(100, PATIENCE).await?;
        cluster.restart(leader).await?;
        let acks = load.stop().await?;
        history::check(cluster, &acks).await?;

        let directory = cluster.directory().join("tls");
        let before = Files::new(&directory, "before", &of_client, &old.pem)?;
        let refused = cluster
            .toka()
            .with_variable("TOKA_CA", &before.ca().display().to_string())
            .run(&["cluster", "status", "--timeout", "3s"])
            .await?;
        ensure!(refused.code == Some(3), "{refused:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_cannot_be_used_leave_the_ones_before_in_use() -> Result<()> {
    cluster::run_prepared(1, &[], async |cluster: &mut Cluster| {
        let certificates = Certificates::set_up(cluster)?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        cluster.toka().ok(&["commit", "tls.before", "1"]).await?;
        let host = cluster.host().to_string();
        let nodes = &certificates.nodes;

        // The certificate of another key.
        let (one, other) = (nodes.sign("node", &[&host])?, nodes.sign("node", &[&host])?);
        let mut mixed = one.clone();
        mixed.key = other.key;
        certificates.of_nodes.swap(&mixed, &nodes.pem)?;
        cluster.has_alarm("certificate", 1, true).await?;
        let failing = cluster.node(1).metric("toka_tls_reload_failures").await?;
        ensure!(failing > 0, "{failing}");
        cluster.toka().ok(&["commit", "tls.meanwhile", "1"]).await?;

        certificates.of_nodes.swap(&one, &nodes.pem)?;
        cluster.has_alarm("certificate", 1, false).await?;
        let failing = cluster.node(1).metric("toka_tls_reload_failures").await?;
        ensure!(failing == 0, "{failing}");
        cluster.toka().ok(&["commit", "tls.after", "1"]).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_makes_a_node_look_at_its_files_and_go_on() -> Result<()> {
    cluster::run_prepared(1, &[], async |cluster: &mut Cluster| {
        let certificates = Certificates::set_up(cluster)?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        let host = cluster.host().to_string();
        let renewed = certificates.nodes.sign_until("node", &[&host], 2091)?;
        certificates
            .of_nodes
            .swap(&renewed, &certificates.nodes.pem)?;
        cluster.process(1)?.signal(Signal::HUP)?;
        cluster
            .logs(1, "SIGHUP: certificates are looked at")
            .await?;
        shows(cluster, 2091).await?;
        let ended = cluster.process(1)?.ended()?;
        ensure!(ended.is_none(), "{ended:?}");
        cluster.toka().ok(&["commit", "tls.after", "1"]).await?;
        Ok(())
    })
    .await
}

/// A subscription is one connection for as long as it lives: it goes on with the certificate that it was made with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_that_is_there_goes_on_when_certificates_change() -> Result<()> {
    cluster::run_prepared(1, &[], async |cluster: &mut Cluster| {
        let certificates = Certificates::set_up(cluster)?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        let client = cluster.client().await?;
        client.cluster_status().await?;
        // Its own certificate and its CA are gone now: it could make no new connection.
        let host = cluster.host().to_string();
        let other = Authority::new("other")?;
        let signed = other.sign_until("node", &[&host], 2091)?;
        certificates.of_nodes.swap(&signed, &other.pem)?;
        shows(cluster, 2091).await?;
        let status = client.cluster_status().await;
        status.context("the connection that is there")?;
        let new = cluster
            .client()
            .await?
            .with_timeout(std::time::Duration::from_secs(3));
        ensure!(new.cluster_status().await.is_err(), "a new connection");
        Ok(())
    })
    .await
}
