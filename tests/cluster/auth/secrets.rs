//! What is secret is shown nowhere.

use anyhow::{Context as _, Result, ensure};
use toka_client::EventDraft;
use toka_tests::cluster::{self, Cluster};
use toka_tests::collector::{Collector, Span};
use toka_tests::command::Toka;
use toka_tests::secured::{Secured, client, code};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The secret part of a token, or the signature of a JWT.
fn secret(token: &str) -> Result<String> {
    let at = token.len().checked_sub(40).context("a long token")?;
    Ok(token[at..].to_owned())
}

async fn metrics(cluster: &Cluster) -> Result<String> {
    let mut connection = tokio::net::TcpStream::connect(cluster.node(1).http).await?;
    let request = b"GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n";
    connection.write_all(request).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_in_no_log_metric_error_or_dump() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let writer = secured.token(cluster, "writer", &["write"]).await?;
        let jwt = secured.jwt(&["reader"])?;
        let forged = format!("{}x", &jwt[..jwt.len() - 1]);
        client(cluster, &[1], &writer.text)
            .await?
            .commit(EventDraft::new("task.new"))
            .await?;
        let list = "toka.vault.v1.VaultService/List";
        let cut = &writer.text[..writer.text.len() - 1];
        for token in [writer.text.as_str(), &jwt, &forged, cut] {
            code(cluster, 1, list, Some(token)).await?;
        }
        let file = secured.file("writer.token");
        std::fs::write(&file, &writer.text)?;
        let path = file.display().to_string();
        let file = path.as_str();
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        // A refusal, one of a token that is cut off, and one of a file that is none.
        let denied = toka.run(&["--token-file", file, "get", "1"]).await?;
        ensure!(denied.code == Some(11), "{denied:?}");
        let environment = toka.clone().with_variable("TOKA_TOKEN", cut);
        let unknown = environment.run(&["get", "1"]).await?;
        ensure!(unknown.code == Some(11), "{unknown:?}");
        let nobody = toka.run(&["get", "1"]).await?;
        ensure!(nobody.code == Some(11), "{nobody:?}");
        let mut dump: Vec<String> = cluster.serve_arguments(1);
        dump.push("--dump-config".to_owned());
        let dump: Vec<&str> = dump.iter().map(String::as_str).collect();
        let dump = Toka::new(cluster.directory()).ok(&dump).await?;
        let context = [
            "--token-file",
            file,
            "context",
            "set",
            "here",
            "127.0.0.1:1",
        ];
        toka.ok(&context).await?;
        let contexts = cluster.directory().join(".config/toka/contexts.toml");
        let contexts = std::fs::read_to_string(contexts)?;
        ensure!(contexts.contains("writer.token"), "{contexts}");

        let places = [
            ("log", cluster.log(1)),
            ("metrics", metrics(cluster).await?),
            ("denied", format!("{denied:?}")),
            ("unknown", format!("{unknown:?}")),
            ("nobody", format!("{nobody:?}")),
            ("dump", format!("{dump:?}")),
            ("contexts", contexts),
        ];
        for token in [&secured.root, &writer.text, &jwt] {
            let secret = secret(token)?;
            for (place, text) in &places {
                ensure!(!text.contains(&secret), "a secret is in: {place}");
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_in_no_span() -> Result<()> {
    const COMMIT: &str = "toka.vault.v1.VaultService/Commit";
    let collector = Collector::start().await?;
    let secured = Secured::new()?;
    let arguments = secured.arguments(&["--otlp-endpoint", collector.endpoint()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(3, &arguments, async |cluster: &mut Cluster| {
        let writer = secured.token(cluster, "writer", &["write"]).await?;
        let jwt = secured.jwt(&["writer"])?;
        for token in [&writer.text, &jwt] {
            for id in cluster.ids() {
                let client = client(cluster, &[id], token).await?;
                client.commit(EventDraft::new("task.new")).await?;
                code(cluster, id, COMMIT, Some(token)).await?;
            }
        }
        let has_all = |spans: &[Span]| {
            let commits = spans.iter().filter(|span| span.name == COMMIT);
            ensure!(commits.count() >= 6, "{} spans", spans.len());
            Ok(format!("{spans:?}"))
        };
        let said = collector.until("spans of the commits", has_all).await?;
        for token in [&secured.root, &writer.text, &jwt] {
            ensure!(!said.contains(&secret(token)?), "a secret is in a span");
        }
        Ok(())
    })
    .await
}
