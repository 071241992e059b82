//! The official client for Python, over both transports.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use toka_tests::cluster::{self, Cluster};
use toka_tests::command::Toka;
use toka_tests::mcp::Served;
use toka_tests::process::binary;
use toka_tests::python;

const SCRIPT: &str = "clients/mcp_client.py";
const STDIO: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/python-mcp-stdio");
const HTTP: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/python-mcp-http");

async fn interpreter(directory: &'static str) -> Result<PathBuf> {
    let made = move || python::with_package(Path::new(directory), "mcp", "mcp");
    tokio::task::spawn_blocking(made).await?
}

/// What the script has seen, on a vault that was empty before.
async fn drive(python: &Path, arguments: &[&str]) -> Result<Value> {
    let output = tokio::process::Command::new(python)
        .arg(toka_tests::manifest_dir().join(SCRIPT))
        .args(arguments)
        .kill_on_drop(true)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Centres come where they are asked for.
fn check_centres(seen: &Value, intents: usize) -> Result<()> {
    let centres = seen["centres"].as_array();
    let centres = centres.context("no centres were asked for")?;
    let has_centre = |intent: &Value| intent["centre"].as_array().map(Vec::len) == Some(384);
    ensure!(centres.len() == intents, "{seen}");
    ensure!(centres.iter().all(has_centre), "{seen}");
    ensure!(seen["intents"][0]["centre"].is_null(), "{seen}");
    Ok(())
}

fn check(seen: &Value) -> Result<()> {
    let text = "wake me up at seven tomorrow morning";
    for (field, expected) in [
        ("server", json!("toka")),
        ("embedded", json!([true, true, true])),
        ("again", json!(true)),
        ("got", json!({ "text": text })),
        ("found", json!(["play some jazz music in the kitchen"])),
        ("completed", json!("completed")),
        (
            "causes",
            json!([
                "task.result",
                "task.claim",
                "task.claim",
                "task.created",
                "utterance"
            ]),
        ),
        (
            "consequences",
            json!(["task.created", "task.claim", "task.claim", "task.result"]),
        ),
        ("new", json!(["utterance", "utterance"])),
        (
            "later",
            json!([
                "utterance",
                "task.created",
                "task.claim",
                "task.claim",
                "task.result"
            ]),
        ),
        ("malformed", json!("invalid_argument")),
        ("holders", json!(["python", "python", "another"])),
        ("is_released", json!(true)),
        ("numbers_grow", json!(true)),
        ("no_intent", json!("not_found")),
    ] {
        ensure!(
            seen[field] == expected,
            "{field}: {} is not {expected}",
            seen[field]
        );
    }
    let unknown = &seen["unknown"];
    ensure!(unknown["retryable"] == false, "{unknown}");
    let has = |field: &str, value: &str| {
        let list = seen[field].as_array();
        list.is_some_and(|list| list.contains(&json!(value)))
    };
    ensure!(
        has("tools", "search") && has("tools", "complete_task"),
        "{seen}"
    );
    ensure!(has("resources", "toka://intents"), "{seen}");
    ensure!(seen["resource"]["payload"]["text"] == text, "{seen}");
    check_refused_claims(seen)?;
    check_intents(seen)
}

/// Who wants a task that somebody else has is told who that is.
fn check_refused_claims(seen: &Value) -> Result<()> {
    for (field, holder) in [("held", "python"), ("lost", "another")] {
        let refused = &seen[field];
        ensure!(
            refused["code"] == "held" && refused["holder"] == holder,
            "{field}: {refused}"
        );
        ensure!(refused["retryable"] == true, "{field}: {refused}");
    }
    Ok(())
}

/// The same intents are listed, described, and read as resources.
fn check_intents(seen: &Value) -> Result<()> {
    let intents = seen["intents"].as_array().map_or(0, Vec::len);
    ensure!(intents > 0, "{seen}");
    check_centres(seen, intents)?;
    let first = &seen["intents"][0];
    let example = &first["examples"][0]["id"];
    ensure!(example.is_string(), "{first}");
    for described in [&seen["described"]["intent"], &seen["intent_resource"]] {
        for field in ["intent", "events", "last_sequence"] {
            ensure!(described[field] == first[field], "{field}: {described}");
        }
        ensure!(described["examples"][0]["id"] == *example, "{described}");
    }
    let listed = seen["intents_resource"]["intents"].as_array();
    let has_first = |listed: &Vec<Value>| {
        let mut listed = listed.iter();
        listed.any(|intent| intent["intent"] == first["intent"])
    };
    ensure!(listed.is_some_and(has_first), "{seen}");
    let newest = &seen["recent_resource"]["events"][0];
    ensure!(newest["id"] == seen["taken"], "{newest}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn official_client_drives_a_vault_over_stdio() -> Result<()> {
    let python = interpreter(STDIO).await?;
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let (toka, endpoints) = (binary()?, cluster.endpoints().join(","));
        let arguments = ["stdio", &toka.display().to_string(), &endpoints];
        check(&drive(&python, &arguments).await?)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn official_client_drives_a_vault_over_http() -> Result<()> {
    let python = interpreter(HTTP).await?;
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let served = Served::start(&toka, &["--embedder", "hashed"]).await?;
        check(&drive(&python, &["http", &served.url()]).await?)
    })
    .await
}
