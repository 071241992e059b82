//! `toka debug bundle`: what it has, and above all what it has not.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::command::{Ran, Toka};
use toka_tests::tls::Certificates;
use toka_tests::wait;

use crate::exit_codes::NOBODY;

/// In every secret and payload that a test plants.
const PLANTED: &str = "pl4nted";
/// Of a log: secrets and payloads in the forms in which programs write them.
const LOG: &str = r#"2026-11-27T18:00:00Z  INFO toka_server: kept first
2026-11-27T18:00:01Z  WARN proxy: refused authorization: Bearer pl4nted-bearer
2026-11-27T18:00:02Z  WARN proxy: url=https://me:pl4nted@example.org/ token=pl4nted-token rest=kept
{"level":"INFO","fields":{"message":"kept json","client_secret":"a \" pl4nted"}}
{"level":"INFO","fields":{"payload":{"text":"pl4nted"}}}
2026-11-27T18:00:03Z  INFO app: connected with the-pl4nted-key
2026-11-27T18:00:04Z  INFO toka_server: kept last
"#;

/// The unpacked archive.
struct Unpacked(TempDir);

impl Unpacked {
    fn of(archive: &Path) -> Result<Self> {
        let directory = TempDir::with_prefix("toka-test-bundle-")?;
        let mut tar = Command::new("tar");
        tar.arg("-xzf").arg(archive).arg("-C").arg(directory.path());
        ensure!(tar.status()?.success(), "tar cannot read the archive");
        Ok(Self(directory))
    }

    fn read(&self, name: &str) -> Result<String> {
        let path = self.0.path().join("toka-debug").join(name);
        std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))
    }

    fn json(&self, name: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.read(name)?)?)
    }

    /// Looks for a planted text in every file and every name.
    fn has_nothing_planted(&self) -> Result<()> {
        let mut open = vec![self.0.path().to_owned()];
        let mut files = 0;
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(&directory)? {
                let path = entry?.path();
                let name = path.to_string_lossy().into_owned();
                ensure!(!name.contains(PLANTED), "{name}");
                if path.is_dir() {
                    open.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path)?;
                ensure!(!text.contains(PLANTED), "{name}: {text}");
                files += 1;
            }
        }
        ensure!(files > 0, "the archive is empty");
        Ok(())
    }
}

/// Makes a bundle, and returns its path and what was said.
async fn bundle(toka: &Toka, home: &Path, arguments: &[&str]) -> Result<(PathBuf, Ran)> {
    let archive = home.join("bundle.tar.gz");
    let file = archive.display().to_string();
    let words = [&["debug", "bundle", &file, "--timeout", "5s"], arguments].concat();
    let ran = toka.ok(&words).await?;
    Ok((archive, ran))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bundle_has_all_of_a_report_and_nothing_of_a_secret() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let home = cluster.directory().to_owned();
        let toka = Toka::with_endpoints(&home, &cluster.endpoints())
            .with_variable("AWS_SECRET_ACCESS_KEY", "the-pl4nted-key");
        let payload = r#"{"text":"pl4nted payload"}"#;
        toka.ok(&["commit", "secret.kind", payload, "-a", "who=pl4nted"])
            .await?;
        let log = home.join("app.log");
        std::fs::write(&log, LOG)?;
        let config = home.join("toka.toml");
        let http = cluster.node(1).http;
        let settings =
            format!("node_id = 1\ndata = \"/x\"\nhttp_listen = \"{http}\" # pl4nted comment\n");
        std::fs::write(&config, settings)?;
        let log = log.display().to_string();
        let node_log = cluster.node(2).log.display().to_string();
        let config = config.display().to_string();
        let flags = ["--log", &log, "--log", &node_log, "--config", &config];
        let (archive, ran) = bundle(&toka, &home, &flags).await?;
        ensure!(!ran.stdout.contains("missing"), "{ran:?}");

        let unpacked = Unpacked::of(&archive)?;
        unpacked.has_nothing_planted()?;
        let status = unpacked.json("cluster/status.json")?;
        let nodes = status["nodes"].as_array().context("nodes")?;
        ensure!(nodes.len() == 3, "{status}");
        for id in 1..=3 {
            let seen = unpacked.json(&format!("cluster/seen-by-node-{id}.json"))?;
            ensure!(seen["cluster_id"] == status["cluster_id"], "{seen}");
        }
        unpacked.json("cluster/alarms.json")?;
        ensure!(unpacked.json("versions.json")?["toka"].is_string());
        let settings = unpacked.read("configuration.toml")?;
        ensure!(settings.contains("request_timeout"), "{settings}");
        let variables = unpacked.read("environment.txt")?;
        ensure!(
            variables
                .lines()
                .any(|name| name == "AWS_SECRET_ACCESS_KEY"),
            "{variables}"
        );
        let page = format!("metrics/{}.txt", http.to_string().replace(':', "_"));
        let metrics = unpacked.read(&page)?;
        ensure!(metrics.contains("toka_raft_term"), "{metrics}");
        let lines = unpacked.read("logs/1-app.log")?;
        for kept in ["kept first", "kept json", "rest=kept", "kept last"] {
            ensure!(lines.contains(kept), "{kept}: {lines}");
        }
        ensure!(!unpacked.read("logs/2-node-2.log")?.is_empty());

        // What is there is not overwritten.
        let file = archive.display().to_string();
        let again = toka.run(&["debug", "bundle", &file]).await?;
        ensure!(again.code == Some(2), "{again:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_that_are_served_over_tls_are_in_it() -> Result<()> {
    cluster::run_prepared(1, &["--http-tls"], async |cluster: &mut Cluster| {
        Certificates::set_up(cluster)?;
        cluster.launch_all()?;
        let toka = cluster.toka();
        wait::until("a leader", PATIENCE, async || {
            toka.ok(&["commit", "tls.bundle", "1"]).await.map(drop)
        })
        .await?;
        let http = cluster.node(1).http.to_string();
        let place = format!("https://{http}");
        let (archive, ran) = bundle(&toka, cluster.directory(), &["--metrics", &place]).await?;
        ensure!(!ran.stdout.contains("missing: metrics"), "{ran:?}");
        let page = format!("metrics/{}.txt", http.replace(':', "_"));
        let metrics = Unpacked::of(&archive)?.read(&page)?;
        ensure!(metrics.contains("toka_raft_term"), "{metrics}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bundle_of_a_cluster_that_is_down_says_what_is_missing() -> Result<()> {
    let home = TempDir::with_prefix("toka-test-bundle-")?;
    let toka = Toka::with_endpoints(home.path(), &[NOBODY.to_owned()]);
    let config = home.path().join("toka.toml");
    std::fs::write(&config, "node_id = 1\napi_token = \"pl4nted\"\n")?;
    let config = config.display().to_string();
    let flags = [
        "--config",
        &config,
        "--metrics",
        NOBODY,
        "--log",
        "/no/such/log",
        "-o",
        "json",
    ];
    let (archive, ran) = bundle(&toka, home.path(), &flags).await?;
    let said = ran.json()?;
    let missing = said[0]["missing"].as_array().context("missing")?;
    let names: Vec<_> = missing.iter().map(|one| one["name"].as_str()).collect();
    let metrics = format!("metrics/{}.txt", NOBODY.replace(':', "_"));
    let expected = [
        "configuration.toml",
        "cluster/status.json",
        &metrics,
        "logs/1-log",
    ];
    ensure!(names == expected.map(Some), "{names:?}");
    ensure!(!ran.stdout.contains(PLANTED), "{ran:?}");
    let unpacked = Unpacked::of(&archive)?;
    unpacked.has_nothing_planted()?;
    ensure!(unpacked.json("contents.json")?["missing"] == said[0]["missing"]);
    ensure!(unpacked.json("versions.json")?["toka"].is_string());
    Ok(())
}
