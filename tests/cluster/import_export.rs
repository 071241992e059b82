//! Events leave one vault and enter another; damage on the way is found.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::command::Toka;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::timeout;

/// What must be the same wherever an event is stored.
fn identities(events: &[Value]) -> Result<Vec<&str>> {
    let digests = events.iter().map(|event| event["digest"].as_str());
    digests.map(|digest| digest.context("no digest")).collect()
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
    let home = TempDir::with_prefix("toka-test-import-")?;
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

/// Far more lines than it can have imported when it is interrupted; what it has acknowledged is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_import_has_an_exit_code_of_its_own() -> Result<()> {
    let home = TempDir::with_prefix("toka-test-import-")?;
    let (vault, input) = (home.path().join("vault"), home.path().join("input.jsonl"));
    let lines: Vec<String> = (0..10_000)
        .map(|number| json!({"kind": "one", "payload": number}).to_string() + "\n")
        .collect();
    std::fs::write(&input, lines.concat())?;
    let path = |path: &Path| path.to_str().context("a path in UTF-8").map(str::to_owned);
    let (vault, input) = (path(&vault)?, path(&input)?);
    let toka = Toka::new(home.path());
    let import = [
        "--data", &vault, "import", &input, "--rate", "1", "-o", "json",
    ];
    let mut child = toka.spawn(&import)?;
    let mut answers = BufReader::new(child.stdout.take().context("it is piped")?).lines();
    let answer = timeout(PATIENCE, answers.next_line()).await??;
    let answer: Value = serde_json::from_str(&answer.context("it has ended")?)?;
    ensure!(answer["sequence"] == json!(1), "{answer}");
    let pid = i32::try_from(child.id().context("it has ended")?)?;
    kill_process(Pid::from_raw(pid).context("a process id")?, Signal::INT)?;
    let status = timeout(PATIENCE, child.wait()).await??;
    ensure!(status.code() == Some(130), "{status}");
    let stored = toka.json(&["--data", &vault, "log", "-o", "json"]).await?;
    ensure!(stored.first().context("nothing is stored")?["id"] == answer["id"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_finds_a_flipped_byte() -> Result<()> {
    let home = TempDir::with_prefix("toka-test-import-")?;
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

    // So damaged that it cannot be opened.
    let manifest = std::fs::read_dir(vault.join("ledger"))?
        .map(|entry| Ok(entry?.path()))
        .find(|path: &Result<PathBuf>| {
            path.as_ref()
                .is_ok_and(|path| path.to_string_lossy().contains("MANIFEST"))
        })
        .context("no manifest")??;
    let mut bytes = std::fs::read(&manifest)?;
    bytes[20] ^= 1;
    std::fs::write(&manifest, bytes)?;
    let ran = toka.run(&["--data", data, "verify"]).await?;
    ensure!(ran.code == Some(6), "{ran:?}");
    ensure!(ran.stderr.contains("damaged"), "{ran:?}");
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
