//! Who is refused where TLS is spoken, and what is said then.

use anyhow::{Context as _, Result, ensure};
use toka_client::{Client, Error, Tls};
use toka_tests::cluster::{self, Cluster};
use toka_tests::command::{Ran, Toka};
use toka_tests::tls::{Authority, Certificates, Files, text};
use tokio::time::Duration;

/// Long enough for several tries on a busy machine.
const TIMEOUT: &str = "3s";

/// A user with nothing in the environment who asks for the cluster's state.
async fn status(cluster: &Cluster, endpoint: &str, tls: &Tls) -> Result<Ran> {
    let files = [
        ("--ca", &tls.ca),
        ("--cert", &tls.certificate),
        ("--key", &tls.key),
    ];
    let mut words = [
        "cluster",
        "status",
        "--endpoint",
        endpoint,
        "--timeout",
        TIMEOUT,
    ]
    .map(str::to_owned)
    .to_vec();
    for (flag, path) in files {
        if let Some(path) = path {
            words.extend([flag.to_owned(), text(path)?]);
        }
    }
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    Toka::new(cluster.directory()).run(&words).await
}

fn refused(ran: &Ran, reason: &str) -> Result<()> {
    ensure!(ran.code == Some(3), "{ran:?}");
    ensure!(ran.stderr.contains(reason), "not {reason:?}: {ran:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_cannot_prove_who_they_are_are_refused_and_told_why() -> Result<()> {
    cluster::run_prepared(1, &[], async |cluster: &mut Cluster| {
        let certificates = Certificates::set_up(cluster)?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        let endpoint = cluster.node(1).endpoint();
        let sound = certificates.of_client.client();
        let ran = status(cluster, &endpoint, &sound).await?;
        ensure!(ran.code == Some(0), "{ran:?}");

        let nothing = Tls {
            certificate: None,
            key: None,
            ..sound.clone()
        };
        let ran = status(cluster, &endpoint, &nothing).await?;
        refused(&ran, "demands a certificate")?;

        let directory = cluster.directory().join("tls");
        let nodes_ca = &certificates.nodes.pem;
        let foreign = Authority::new("foreign")?.sign("client", &["client.example"])?;
        let foreign = Files::new(&directory, "foreign", &foreign, nodes_ca)?;
        let ran = status(cluster, &endpoint, &foreign.client()).await?;
        refused(&ran, "refused the connection, or the caller's certificate")?;

        let expired = certificates
            .clients
            .sign_until("client", &["a.example"], 2001)?;
        let expired = Files::new(&directory, "expired", &expired, nodes_ca)?;
        let ran = status(cluster, &endpoint, &expired.client()).await?;
        refused(&ran, "the caller's certificate has expired")?;
        cluster.logs(1, "a caller is refused").await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_refuses_a_server_whose_ca_it_does_not_know() -> Result<()> {
    cluster::run_prepared(1, &[], async |cluster: &mut Cluster| {
        let certificates = Certificates::set_up(cluster)?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        let other = cluster.directory().join("other-ca.crt");
        std::fs::write(&other, Authority::new("other")?.pem)?;
        let foreign = Tls {
            ca: Some(other),
            ..certificates.of_client.client()
        };
        let ran = status(cluster, &cluster.node(1).endpoint(), &foreign).await?;
        refused(&ran, "is not signed by a CA that is trusted")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_text_and_tls_do_not_meet_and_say_so() -> Result<()> {
    cluster::run_prepared(1, &[], async |cluster: &mut Cluster| {
        let certificates = Certificates::set_up(cluster)?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        let endpoint = cluster.node(1).endpoint();
        let ran = status(cluster, &endpoint, &Tls::default()).await?;
        refused(&ran, "the node speaks TLS")?;

        let mut plain = cluster.prepare_beside(1)?;
        plain.launch_all()?;
        plain.wait_all_ready().await?;
        let tls = certificates.of_client.client();
        let ran = status(&plain, &plain.node(1).endpoint(), &tls).await?;
        refused(&ran, "it answers in plain text")
    })
    .await
}

/// A client that was given one node with TLS does not take the plain text of another one that it was given too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_with_tls_never_falls_back_to_plain_text() -> Result<()> {
    cluster::run_prepared(1, &[], async |cluster: &mut Cluster| {
        // Of a plain cluster: the certificates are the client's alone.
        let authority = Authority::new("nobody")?;
        let signed = authority.sign("client", &["client.example"])?;
        let files = Files::new(cluster.directory(), "tls", &signed, &authority.pem)?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        let endpoint = cluster.node(1).endpoint();
        let client = Client::builder()
            .timeout(Duration::from_secs(3))
            .tls(files.client())
            .connect([endpoint.clone()])
            .await?;
        let answered = client.cluster_status().await;
        let error = answered.err().map(|error| error.to_string());
        let said = error.unwrap_or_default();
        ensure!(said.contains("it answers in plain text"), "{said:?}");
        let mixed = Client::builder()
            .tls(files.client())
            .connect([format!("http://{endpoint}")])
            .await;
        ensure!(matches!(mixed, Err(Error::Endpoint { .. })), "{mixed:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn port_of_nodes_refuses_a_clients_certificate() -> Result<()> {
    cluster::run_prepared(1, &[], async |cluster: &mut Cluster| {
        let certificates = Certificates::set_up(cluster)?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        let raft = cluster.node(1).raft.to_string();
        let ran = status(cluster, &raft, &certificates.of_client.client()).await?;
        refused(&ran, "refused the connection, or the caller's certificate")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_with_a_foreign_certificate_is_refused_and_the_others_go_on() -> Result<()> {
    cluster::run_prepared(3, &[], async |cluster: &mut Cluster| {
        let certificates = Certificates::set_up(cluster)?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        cluster.toka().ok(&["commit", "tls.before", "1"]).await?;

        cluster.led_by_another_than(3).await?;
        cluster.kill(3)?;
        let host = cluster.host().to_string();
        let signed = Authority::new("foreign")?.sign("node", &[&host])?;
        let directory = cluster.directory().join("tls");
        let foreign = Files::new(&directory, "foreign", &signed, &certificates.nodes.pem)?;
        let mut arguments = cluster.serve_arguments(3);
        arguments.extend([
            "--raft-tls-cert".to_owned(),
            text(&foreign.certificate())?,
            "--raft-tls-key".to_owned(),
            text(&foreign.key())?,
        ]);
        cluster.launch_as(3, &arguments)?;
        // It is told at one of their ports, and refused at its own by them.
        cluster.logs(1, "listener=\"raft_listen\"").await?;
        cluster
            .logs(
                1,
                "the caller's certificate is not signed by a CA that is trusted",
            )
            .await?;
        for number in 0..5 {
            let payload = number.to_string();
            let commit: [&str; 3] = ["commit", "tls.without", &payload];
            cluster.toka().ok(&commit).await?;
        }
        cluster.kill(3)?;
        cluster.restart(3).await?;
        toka_tests::history::same_log(cluster, 6).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_with_another_name_is_no_node_where_names_are_given() -> Result<()> {
    cluster::run_prepared(3, &[], async |cluster: &mut Cluster| {
        let certificates = Certificates::set_up(cluster)?;
        let host = cluster.host().to_string();
        let named = certificates.nodes.sign("node", &[&host, "a.nodes.vault"])?;
        certificates
            .of_nodes
            .swap(&named, &certificates.nodes.pem)?;
        let names = ["--raft-tls-names".to_owned(), "*.nodes.vault".to_owned()];
        cluster.set_tls(&certificates.of_client.client(), &names)?;
        let other = certificates
            .nodes
            .sign("node", &[&host, "a.clients.vault"])?;
        let directory = cluster.directory().join("tls");
        let other = Files::new(&directory, "other", &other, &certificates.nodes.pem)?;
        let mut arguments = cluster.serve_arguments(3);
        arguments.extend([
            "--raft-tls-cert".to_owned(),
            text(&other.certificate())?,
            "--raft-tls-key".to_owned(),
            text(&other.key())?,
        ]);
        // All three must be there to form a cluster.
        cluster.launch(1)?;
        cluster.launch(2)?;
        cluster.launch_as(3, &arguments)?;
        cluster
            .logs(1, "no name in the caller's certificate is one of a node")
            .await?;
        cluster.kill(3)?;
        cluster.launch(3)?;
        cluster.wait_all_ready().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_does_not_listen_to_others_without_protection_unless_it_is_told_to() -> Result<()> {
    cluster::run_prepared(1, &[], async |cluster: &mut Cluster| {
        let data = text(&cluster.directory().join("exposed"))?;
        let base: [&str; 5] = ["serve", "--node-id", "1", "--data", &data];
        let advertised = [
            "--advertise-client",
            "127.0.0.1:1",
            "--advertise-raft",
            "127.0.0.1:2",
        ];
        let exposed = ["--listen", "0.0.0.0:0", "--raft-listen", "0.0.0.0:0"];
        let all = [&base[..], &advertised, &exposed].concat();
        let toka = Toka::new(cluster.directory());
        let ran = toka.run(&all).await?;
        ensure!(ran.code == Some(2), "{ran:?}");
        for part in [
            "listen: 0.0.0.0:0",
            "TLS and authentication",
            "--insecure",
            "tls_cert",
        ] {
            ensure!(ran.stderr.contains(part), "{part}: {ran:?}");
        }
        // It stops before it has made anything.
        ensure!(!std::path::Path::new(&data).exists());
        let dump = ["--dump-config", "--insecure"];
        toka.ok(&[&all[..], &dump].concat()).await?;

        // TLS without authentication needs the flag too.
        Certificates::set_up(cluster)?;
        let mut arguments = cluster.serve_arguments(1);
        let listen = arguments.iter().position(|flag| flag == "--listen");
        let listen = listen.context("no --listen")?;
        arguments[listen + 1] = "0.0.0.0:0".to_owned();
        let words: Vec<_> = arguments.iter().map(String::as_str).collect();
        let ran = toka.run(&words).await?;
        ensure!(ran.code == Some(2), "{ran:?}");
        ensure!(ran.stderr.contains("without authentication"), "{ran:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_neither_dumped_nor_logged() -> Result<()> {
    cluster::run_prepared(1, &[], async |cluster: &mut Cluster| {
        let certificates = Certificates::set_up(cluster)?;
        let key = std::fs::read_to_string(certificates.of_nodes.key())?;
        let lines = key.lines().filter(|line| !line.starts_with("--"));
        let secrets: Vec<_> = lines.filter(|line| line.len() >= 16).collect();
        ensure!(!secrets.is_empty());
        let shows = |text: &str| secrets.iter().any(|secret| text.contains(secret));

        let mut dump = cluster.serve_arguments(1);
        dump.push("--dump-config".to_owned());
        let words: Vec<_> = dump.iter().map(String::as_str).collect();
        let dumped = Toka::new(cluster.directory()).ok(&words).await?;
        ensure!(dumped.stdout.contains("tls_key = "), "{dumped:?}");
        ensure!(!shows(&dumped.stdout), "{dumped:?}");

        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        cluster.toka().ok(&["commit", "tls.secret", "1"]).await?;
        // A key in the place of the certificate, and one that is cut off.
        let mut broken = certificates
            .nodes
            .sign("node", &[&cluster.host().to_string()])?;
        broken.certificate = key.clone();
        broken.key = key[..key.len() / 2].to_owned();
        certificates
            .of_nodes
            .swap(&broken, &certificates.nodes.pem)?;
        cluster
            .logs(1, "cannot be used; those from before are used on")
            .await?;
        cluster.terminate(1).await?;
        let said = cluster.refuses_to_start(1).await?;
        ensure!(said.contains("tls_cert: there is no certificate"), "{said}");
        ensure!(!shows(&cluster.log(1)), "a key is in the log");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_with_an_expired_certificate_is_not_used() -> Result<()> {
    cluster::run_prepared(1, &[], async |cluster: &mut Cluster| {
        let certificates = Certificates::set_up(cluster)?;
        let host = cluster.host().to_string();
        let expired = certificates.nodes.sign_until("node", &[&host], 2001)?;
        certificates
            .of_nodes
            .swap(&expired, &certificates.nodes.pem)?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        let endpoint = cluster.node(1).endpoint();
        let ran = status(cluster, &endpoint, &certificates.of_client.client()).await?;
        refused(&ran, "its certificate has expired")?;
        cluster.logs(1, "alarm=\"certificate\"").await?;

        // Renewed, it is used without a restart, and nothing is left to do.
        let renewed = certificates.nodes.sign("node", &[&host])?;
        certificates
            .of_nodes
            .swap(&renewed, &certificates.nodes.pem)?;
        cluster.has_alarm("certificate", 1, false).await?;
        Ok(())
    })
    .await
}
