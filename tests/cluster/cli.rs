//! `toka` as a user runs it.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use toka_tests::cluster::{self, Cluster};
use toka_tests::command::Toka;

use crate::exit_codes::NOBODY;

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value[field]
        .as_str()
        .with_context(|| format!("no {field} in {value}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_commits_reads_and_watches_through_any_node() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let follower = cluster.followers().await?[0];
        let endpoint = [cluster.node(follower).endpoint()];
        let toka = Toka::with_endpoints(cluster.directory(), &endpoint);
        let commit = [
            "commit",
            "auth.login",
            r#"{"user_id":"alice"}"#,
            "-a",
            "trace=7",
        ];
        let first = toka.ok(&commit).await?;
        ensure!(first.stdout.starts_with("stored"), "{first:?}");
        let again = toka.ok(&commit).await?;
        ensure!(again.stdout.starts_with("already stored"), "{again:?}");
        let stored = toka.json(&[&commit[..], &["-o", "json"]].concat()).await?;
        let [stored] = &stored[..] else {
            anyhow::bail!("one line: {stored:?}")
        };
        ensure!(stored["deduplicated"] == json!(true) && stored["sequence"] == json!(1));
        let (id, digest) = (text(stored, "id")?, text(stored, "digest")?);
        ensure!(
            first.stdout.contains(id) && first.stdout.contains(digest),
            "{first:?}"
        );

        for selector in [id, "1", digest] {
            let event = toka.json(&["get", selector, "-o", "json"]).await?;
            let event = event.first().context("one line")?;
            ensure!(event["id"] == stored["id"], "{selector}: {event}");
            ensure!(
                event["payload"] == json!({"user_id": "alice"}),
                "{selector}: {event}"
            );
            ensure!(
                event["attributes"] == json!({"trace": "7"}),
                "{selector}: {event}"
            );
            let shown = toka.ok(&["get", selector, "-o", "table"]).await?;
            ensure!(shown.stdout.contains("auth.login") && shown.stdout.contains("alice"));
        }

        let payload = r#"{"why":"caused"}"#;
        let child = [
            "commit",
            "update",
            "-",
            "--parent",
            id,
            "--embedding",
            "[0.6,0.8]",
        ];
        let ran = toka.run_on(&child, payload).await?;
        ensure!(ran.code == Some(0), "{ran:?}");
        toka.ok(&["commit", "other", "--parent", "2", "--unique"])
            .await?;
        toka.ok(&["commit", "other", "--parent", "2", "--unique"])
            .await?;

        let log = toka.json(&["log", "-o", "json"]).await?;
        let sequences: Vec<_> = log.iter().map(|event| event["sequence"].as_u64()).collect();
        ensure!(
            sequences == [Some(1), Some(2), Some(3), Some(4)],
            "{sequences:?}"
        );
        ensure!(log[1]["parents"] == json!([id]), "{}", log[1]);
        ensure!(log[1]["payload"] == json!({"why": "caused"}), "{}", log[1]);
        ensure!(
            log[2]["digest"] != log[3]["digest"],
            "--unique stores a repeat"
        );
        let some = toka
            .json(&[
                "log",
                "--kind",
                "other",
                "-n",
                "1",
                "--reverse",
                "-o",
                "json",
            ])
            .await?;
        ensure!(
            some.len() == 1 && some[0]["sequence"] == json!(4),
            "{some:?}"
        );
        let some = toka
            .json(&["log", "--attribute", "trace=7", "-o", "json"])
            .await?;
        ensure!(
            some.len() == 1 && some[0]["sequence"] == json!(1),
            "{some:?}"
        );
        let table = toka.ok(&["log", "-o", "table"]).await?.stdout;
        ensure!(
            table.contains("auth.login") && table.contains("caused"),
            "{table}"
        );

        let watch = ["watch", "--from", "beginning", "--until", "4", "-o", "json"];
        let mut watched = toka.json(&watch).await?;
        let status = toka.json(&["cluster", "status", "-o", "json"]).await?;
        for event in &mut watched {
            // A position that is stored needs its history.
            let history = event.as_object_mut().context("an event")?;
            let history = history.remove("history_id").context("history_id")?;
            ensure!(
                history == status[0]["history_id"],
                "{history} of {status:?}"
            );
        }
        ensure!(watched == log, "watch and log differ");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_names_every_node() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let (leader, down) = (cluster.leader().await?, cluster.followers().await?[0]);
        toka.ok(&["commit", "any"]).await?;
        cluster.converged(1).await?;
        cluster.kill(down)?;
        let status = toka.json(&["cluster", "status", "-o", "json"]).await?;
        let [status] = &status[..] else {
            anyhow::bail!("one line: {status:?}")
        };
        ensure!(status["leader_id"] == json!(leader), "{status}");
        let nodes = status["nodes"].as_array().context("nodes")?;
        ensure!(nodes.len() == 3, "{status}");
        for node in nodes {
            let id = node["node_id"].as_u64().context("node_id")?;
            ensure!(node["healthy"] == json!(id != down), "{node}");
            ensure!(
                node["endpoint"] == json!(cluster.node(id).endpoint()),
                "{node}"
            );
            if id != down {
                ensure!(node["sequence"] == json!(1), "{node}");
            }
        }
        let table = toka.ok(&["cluster", "status", "-o", "table"]).await?.stdout;
        ensure!(
            cluster
                .endpoints()
                .iter()
                .all(|endpoint| table.contains(endpoint)),
            "{table}"
        );

        // A pipe is no terminal: a row is a line, however long it gets.
        let head = table.lines().position(|line| line.contains("HEALTH"));
        let rows = table.lines().skip(head.context("no head")? + 1).take(3);
        let rows: Vec<_> = rows.collect();
        for (id, row) in cluster.ids().iter().zip(&rows) {
            let is_whole = row.trim_start().starts_with(&id.to_string())
                && row.contains(&cluster.node(*id).endpoint());
            ensure!(is_whole, "{table}");
        }
        ensure!(rows.len() == 3, "{table}");
        let wide = ["cluster", "status", "--wide", "-o", "table"];
        let wide = toka.ok(&wide).await?.stdout;
        ensure!(wide.contains("HISTORY ROOT"), "{wide}");

        let to_down = ["cluster", "transfer", "--to", &down.to_string()];
        let refused = toka.run(&to_down).await?;
        ensure!(refused.code == Some(5), "{refused:?}");
        let why = format!("node {down} cannot be reached");
        ensure!(refused.stderr.contains(&why), "{refused:?}");

        let up = cluster.followers().await?[0];
        toka.ok(&["cluster", "transfer", "--to", &up.to_string()])
            .await?;
        ensure!(cluster.leader().await? == up, "another node leads");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contexts_name_clusters() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = Toka::new(cluster.directory());
        toka.ok(&["context", "set", "here", &cluster.endpoints().join(",")])
            .await?;
        toka.ok(&["context", "set", "nowhere", NOBODY]).await?;
        toka.ok(&["context", "use", "here"]).await?;
        toka.ok(&["commit", "any", "1"]).await?;
        let ran = toka
            .run(&["get", "1", "--context", "nowhere", "--timeout", "1s"])
            .await?;
        ensure!(
            ran.code == Some(3) && ran.stderr.contains(NOBODY),
            "{ran:?}"
        );
        let listed = toka.ok(&["context", "list"]).await?.stdout;
        ensure!(
            listed.contains("here") && listed.contains("nowhere"),
            "{listed}"
        );
        toka.ok(&["context", "remove", "nowhere"]).await?;
        let ran = toka.run(&["get", "1", "--context", "nowhere"]).await?;
        ensure!(
            ran.code == Some(1) && ran.stderr.contains("nowhere"),
            "{ran:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn benchmark_reports_what_was_acknowledged() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        for mode in ["unary", "stream"] {
            let bench = [
                "bench",
                "commit",
                "--clients",
                "16",
                "--duration",
                "1s",
                "--warm-up",
                "0s",
                "--dim",
                "8",
                "--mode",
                mode,
                "-o",
                "json",
            ];
            let report = toka.json(&bench).await?;
            let report = report.last().context("a report")?;
            ensure!(
                report["acknowledged"].as_u64() > Some(0),
                "{mode}: {report}"
            );
            for field in ["commits_per_second", "p50_ms", "p99_ms"] {
                ensure!(report[field].as_f64() > Some(0.0), "{mode}: {report}");
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shell_is_served() -> Result<()> {
    let home = TempDir::with_prefix("toka-test-cli-")?;
    let toka = Toka::new(home.path());
    for shell in ["bash", "zsh", "fish"] {
        let script = toka.ok(&["completions", shell]).await?.stdout;
        ensure!(script.contains("toka"), "{shell}: {script}");
    }
    ensure!(toka.ok(&["man"]).await?.stdout.contains("toka"));
    let pages = home.path().join("man");
    toka.ok(&["man", pages.to_str().context("a path in UTF-8")?])
        .await?;
    ensure!(
        pages.join("toka-commit.1").exists(),
        "no page for `toka commit`"
    );
    Ok(())
}

/// What is printed is a file that means the same: a node starts from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_starts_from_its_dumped_settings() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        cluster.terminate(1).await?;
        let toka = Toka::new(cluster.directory());
        let arguments = cluster.serve_arguments(1);
        let mut dump: Vec<_> = arguments.iter().map(String::as_str).collect();
        dump.push("--dump-config");
        let dumped = toka.ok(&dump).await?.stdout;
        let path = cluster.directory().join("toka.toml");
        std::fs::write(&path, &dumped)?;
        let path = path.to_str().context("a path in UTF-8")?;
        let from_file = ["serve", "--config", path];
        let again = toka
            .ok(&[&from_file[..], &["--dump-config"]].concat())
            .await?;
        ensure!(again.stdout == dumped, "{dumped} is not {again:?}");
        cluster.launch_as(1, &from_file.map(str::to_owned))?;
        cluster.wait_ready(1).await
    })
    .await
}
