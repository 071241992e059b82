//! `toka` as a user runs it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use toka_tests::cluster::{self, Cluster};
use toka_tests::command::{Ran, Toka};

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value[field]
        .as_str()
        .with_context(|| format!("no {field} in {value}"))
}

/// What must be the same wherever an event is stored.
fn identities(events: &[Value]) -> Result<Vec<&str>> {
    events.iter().map(|event| text(event, "digest")).collect()
}

fn directory() -> Result<TempDir> {
    Ok(TempDir::with_prefix("toka-test-cli-")?)
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
        ensure!(toka.json(&watch).await? == log, "watch and log differ");
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

        let up = cluster.followers().await?[0];
        toka.ok(&["cluster", "transfer", "--to", &up.to_string()])
            .await?;
        ensure!(cluster.leader().await? == up, "another node leads");
        Ok(())
    })
    .await
}

/// Lines as another program writes them: references, embeddings, and a payload that is not JSON.
const IMPORT: &str = r#"{"ref":"a","kind":"talk.start","payload":{"topic":"weather","b":[1,2.5,null]}}
{"ref":"b","parents":["a"],"kind":"talk.say","payload":"hello","embedding":[0.1,0.2,-0.3],"source":"bob"}

{"ref":"c","parents":["a","b"],"kind":"talk.say","payload":-17,"embedding":[3,-4,0],"salt":"00ff"}
{"kind":"blob","payload_base64":"/wABAg==","content_type":"application/octet-stream","attributes":{"session":"s1"}}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cluster_exports_an_embedded_vault_imports() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let lines = toka.run_on(&["import", "-", "-o", "json"], IMPORT).await?;
        ensure!(lines.code == Some(0), "{lines:?}");
        let lines = lines.json()?;
        let (summary, answers) = lines.split_last().context("a summary")?;
        ensure!(
            summary["events"] == json!(4) && summary["stored"] == json!(4),
            "{summary}"
        );
        let references: Vec<_> = answers.iter().map(|answer| &answer["ref"]).collect();
        ensure!(references == [&json!("a"), &json!("b"), &json!("c"), &Value::Null]);
        let repeat = toka
            .run_on(&["import", "-", "-o", "json"], IMPORT)
            .await?
            .json()?;
        let repeat = repeat.last().context("a summary")?;
        ensure!(
            repeat["stored"] == json!(0) && repeat["deduplicated"] == json!(4),
            "{repeat}"
        );

        let exported = cluster.directory().join("exported.jsonl");
        let exported = exported.to_str().context("a path in UTF-8")?;
        toka.ok(&["export", exported]).await?;
        let vault = cluster.directory().join("vault");
        let vault = vault.to_str().context("a path in UTF-8")?;
        toka.ok(&["--data", vault, "import", exported]).await?;
        let here = toka.json(&["log", "-o", "json"]).await?;
        let there = toka.json(&["--data", vault, "log", "-o", "json"]).await?;
        ensure!(
            identities(&here)? == identities(&there)?,
            "other events: {here:?} {there:?}"
        );
        for (one, other) in here.iter().zip(&there) {
            for field in [
                "sequence",
                "kind",
                "payload",
                "payload_base64",
                "attributes",
                "source",
            ] {
                ensure!(one[field] == other[field], "{field}: {one} {other}");
            }
        }
        // Embeddings too come out as they went in.
        let again = toka.ok(&["--data", vault, "export"]).await?.stdout;
        ensure!(again == std::fs::read_to_string(exported)?, "{again}");
        let verified = toka
            .json(&["--data", vault, "verify", "-o", "json"])
            .await?;
        ensure!(verified[0]["events"] == json!(4) && verified[0]["problems"] == json!([]));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn import_names_the_line_that_is_wrong() -> Result<()> {
    let home = directory()?;
    let vault = home.path().join("vault");
    let vault = vault.to_str().context("a path in UTF-8")?;
    let toka = Toka::new(home.path());
    let input = "{\"kind\":\"good\"}\n{\"kind\":\"bad\",\"parents\":[\"nobody\"]}\n";
    let ran = toka.run_on(&["--data", vault, "import"], input).await?;
    ensure!(
        ran.code != Some(0) && ran.stderr.contains("line 2"),
        "{ran:?}"
    );
    ensure!(ran.stderr.contains("nobody"), "{ran:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_finds_a_flipped_byte() -> Result<()> {
    let home = directory()?;
    let vault = home.path().join("vault");
    let data = vault.to_str().context("a path in UTF-8")?;
    let toka = Toka::new(home.path());
    toka.ok(&["--data", data, "commit", "first", "1"]).await?;
    // Random digits stay as they are when the storage compresses them.
    let needle: String = (0..400).map(|_| rand::random_range('!'..='~')).collect();
    let file = home.path().join("payload");
    std::fs::write(&file, &needle)?;
    let file = file.to_str().context("a path in UTF-8")?;
    toka.ok(&["--data", data, "commit", "second", "--raw", "--file", file])
        .await?;
    toka.ok(&["--data", data, "verify"]).await?;

    let (path, at) = find(&vault, &needle.as_bytes()[100..140])?.context("it is stored nowhere")?;
    let mut bytes = std::fs::read(&path)?;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes)?;
    println!("flipped byte {at} of {}", path.display());
    let ran = toka.run(&["--data", data, "verify"]).await?;
    ensure!(ran.code == Some(6), "{ran:?}");
    let said = format!("{}{}", ran.stdout, ran.stderr);
    ensure!(said.contains('2') || said.contains("damaged"), "{said}");
    Ok(())
}

/// Where below `directory` a file contains `needle`.
fn find(directory: &Path, needle: &[u8]) -> Result<Option<(PathBuf, usize)>> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = find(&path, needle)? {
                return Ok(Some(found));
            }
            continue;
        }
        let bytes = std::fs::read(&path)?;
        if let Some(at) = bytes
            .windows(needle.len())
            .position(|window| window == needle)
        {
            return Ok(Some((path, at)));
        }
    }
    Ok(None)
}

/// An address of loopback at which nobody listens.
const NOBODY: &str = "127.255.255.250:1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_tell_failures_apart() -> Result<()> {
    let home = directory()?;
    let vault = home.path().join("vault");
    let data = vault.to_str().context("a path in UTF-8")?;
    let toka = Toka::new(home.path());
    let code = |ran: &Ran, expected| {
        ensure!(ran.code == Some(expected), "{ran:?}");
        ensure!(ran.stdout.is_empty(), "on standard output: {ran:?}");
        ensure!(!ran.stderr.is_empty(), "nothing is said: {ran:?}");
        Ok(())
    };

    let ran = toka
        .run(&["get", "1", "--endpoint", NOBODY, "--timeout", "2s"])
        .await?;
    code(&ran, 3)?;
    ensure!(
        ran.stderr.contains("toka dev") && ran.stderr.contains(NOBODY),
        "{ran:?}"
    );

    code(&toka.run(&["commit"]).await?, 2)?;
    code(
        &toka
            .run(&["get", "neither id nor digest", "--data", data])
            .await?,
        1,
    )?;
    toka.ok(&["--data", data, "commit", "first", "1"]).await?;
    let absent = "07".repeat(32);
    for selector in ["2", absent.as_str()] {
        code(&toka.run(&["--data", data, "get", selector]).await?, 4)?;
    }
    code(
        &toka
            .run(&["--data", data, "commit", "child", "--parent", &absent])
            .await?,
        5,
    )?;
    code(&toka.run(&["--data", data, "commit", "", "1"]).await?, 5)?;
    let stale = [
        "--data",
        data,
        "commit",
        "first",
        "2",
        "--kind-sequence",
        "first=9",
    ];
    code(&toka.run(&stale).await?, 5)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_are_the_same_against_a_cluster() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        toka.ok(&["commit", "first", "1"]).await?;
        let absent = "07".repeat(32);
        for (arguments, expected) in [
            (vec!["get", "2"], 4),
            (vec!["get", &absent], 4),
            (vec!["commit", "child", "--parent", &absent], 5),
            (vec!["commit", "", "1"], 5),
            (
                vec!["commit", "first", "2", "--kind-sequence", "first=9"],
                5,
            ),
            (vec!["commit", "mine", "--no-child", "1=mine"], 0),
            (
                vec!["commit", "mine", "--parent", "1", "--no-child", "1=mine"],
                0,
            ),
            (
                vec!["commit", "mine", "--parent", "1", "--no-child", "1=mine"],
                5,
            ),
        ] {
            let ran = toka.run(&arguments).await?;
            ensure!(
                ran.code == Some(expected),
                "{arguments:?} instead of {expected}: {ran:?}"
            );
        }
        cluster.kill(1)?;
        let ran = toka.run(&["get", "1", "--timeout", "2s"]).await?;
        ensure!(ran.code == Some(3), "{ran:?}");
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
async fn data_directories_are_not_mixed_up() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = Toka::new(cluster.directory());
        let node = cluster.node(1).data.display().to_string();
        let ran = toka.run(&["--data", &node, "log"]).await?;
        ensure!(
            ran.code == Some(1) && ran.stderr.contains("toka serve"),
            "{ran:?}"
        );
        let ran = toka
            .run(&["--data", &cluster.directory().display().to_string(), "log"])
            .await?;
        ensure!(
            ran.code == Some(1) && ran.stderr.contains("holds no vault"),
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
    let home = directory()?;
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
