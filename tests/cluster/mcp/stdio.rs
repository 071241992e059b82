//! The official client for Rust, over standard input and output.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rmcp::model::{CallToolRequestParams, ErrorCode, ReadResourceRequestParams};
use rmcp::service::RunningService;
use rmcp::{RoleClient, ServiceError, serve_client};
use serde_json::{Value, json};
use toka_tests::cluster::{self, Cluster};
use toka_tests::command::Toka;
use tokio::process::Child;

/// Longest that a server takes to end when its client has gone.
const END_MAX: Duration = Duration::from_secs(30);
/// Events that do not fit into one answer together.
const LARGE_EVENTS: usize = 60;
const LARGE_BYTES: usize = 7 << 10;
/// More than the largest answer has, bytes.
const ANSWER_BYTES_MAX: usize = 300 << 10;

type Running = RunningService<RoleClient, ()>;

async fn start(toka: &Toka, arguments: &[&str]) -> Result<(Child, Running)> {
    let mut child = toka.converse(&[&["mcp"][..], arguments].concat())?;
    let stdout = child.stdout.take().context("standard output is a pipe")?;
    let stdin = child.stdin.take().context("standard input is a pipe")?;
    let client = serve_client((), (stdout, stdin)).await?;
    Ok((child, client))
}

/// What a tool answers, or the error that it ends with.
async fn call(client: &Running, tool: &'static str, arguments: Value) -> Result<Value> {
    let arguments = arguments.as_object().cloned().unwrap_or_default();
    let call = CallToolRequestParams::new(tool).with_arguments(arguments);
    let result = client.call_tool(call).await?;
    let answer = result.structured_content.context("an answer")?;
    let is_error = answer.get("error").is_some();
    ensure!(result.is_error.unwrap_or(false) == is_error, "{answer}");
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_ends_when_its_client_goes_and_says_nothing_but_the_protocol() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let (mut child, client) = start(&toka, &[]).await?;
        let committed = call(&client, "commit_event", json!({ "kind": "greeting" })).await?;
        ensure!(committed["event"]["sequence"] == 1, "{committed}");
        client.cancel().await?;
        let ended = tokio::time::timeout(END_MAX, child.wait()).await??;
        ensure!(ended.success(), "{ended}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_are_cut_and_go_on_where_they_were_cut() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let (_child, client) = start(&toka, &[]).await?;
        for number in 0..LARGE_EVENTS {
            let payload = json!({ "number": number, "text": "x".repeat(LARGE_BYTES) });
            let event = json!({ "kind": "large", "payload": payload });
            call(&client, "commit_event", event).await?;
        }
        let (mut after, mut seen, mut answers) = (0, Vec::new(), 0);
        loop {
            let wanted = json!({ "after": after, "limit": 100 });
            let answer = call(&client, "read_new", wanted).await?;
            ensure!(answer.to_string().len() < ANSWER_BYTES_MAX, "too large");
            answers += 1;
            let events = answer["events"].as_array().context("events")?;
            seen.extend(
                events
                    .iter()
                    .map(|event| event["payload"]["number"].as_u64()),
            );
            after = answer["next"].as_u64().context("next")?;
            if answer["more"] == false {
                break;
            }
        }
        let all: Vec<_> = (0..LARGE_EVENTS as u64).map(Some).collect();
        ensure!(seen == all, "{seen:?}");
        ensure!(answers > 1, "one answer");
        // By itself an event may be larger.
        let payload = json!("x".repeat(20 << 10));
        let event = json!({ "kind": "larger", "payload": payload.clone() });
        let committed = call(&client, "commit_event", event).await?;
        let id = &committed["event"]["id"];
        let got = call(&client, "get_event", json!({ "event": id })).await?;
        ensure!(got["event"]["payload"] == payload, "cut");
        let new = call(&client, "read_new", json!({ "after": after })).await?;
        ensure!(new["events"][0]["payload_omitted"] == true, "whole");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequences_may_be_numbers() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let (_child, client) = start(&toka, &[]).await?;
        call(&client, "commit_event", json!({ "kind": "task" })).await?;
        let child = json!({ "kind": "step", "parents": [1] });
        let child = call(&client, "commit_event", child).await?;
        ensure!(child["event"]["sequence"] == 2, "{child}");
        let got = call(&client, "get_event", json!({ "event": 2 })).await?;
        ensure!(got["event"]["kind"] == "step", "{got}");
        let walk = json!({ "event": 2, "direction": "ancestors" });
        let walked = call(&client, "walk_lineage", walk).await?;
        ensure!(walked["events"][1]["sequence"] == 1, "{walked}");
        let claim = json!({ "task": 1, "holder": "robot" });
        let claimed = call(&client, "claim_task", claim).await?;
        let by_number = json!({ "claim": claimed["number"] });
        let refused = call(&client, "release_task", by_number).await?;
        ensure!(refused["error"]["field"] == "claim", "{refused}");
        let negative = call(&client, "get_event", json!({ "event": -1 })).await?;
        ensure!(negative["error"]["field"] == "event", "{negative}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_have_codes_and_the_vault_may_be_away() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let (_child, client) = start(&toka, &["--timeout", "3s"]).await?;
        let searched = call(&client, "search", json!({ "text": "anything" })).await?;
        ensure!(searched["error"]["code"] == "no_embedder", "{searched}");
        let commit = json!({ "kind": "a", "parents": ["77"] });
        let refused = call(&client, "commit_event", commit).await?;
        ensure!(refused["error"]["retryable"] == false, "{refused}");
        let neither = call(&client, "read_new", json!({})).await?;
        ensure!(neither["error"]["field"] == "cursor", "{neither}");
        let absent = client.call_tool(CallToolRequestParams::new("delete_everything"));
        match absent.await {
            Err(ServiceError::McpError(error)) => {
                ensure!(error.code == ErrorCode::INVALID_PARAMS, "{error}");
            }
            other => anyhow::bail!("{other:?}"),
        }
        let uri = "toka://event/0190a5b4-7a3c-7000-8000-000000000001";
        let absent = client.read_resource(ReadResourceRequestParams::new(uri));
        match absent.await {
            Err(ServiceError::McpError(error)) => {
                ensure!(error.code == ErrorCode::RESOURCE_NOT_FOUND, "{error}");
            }
            other => anyhow::bail!("{other:?}"),
        }
        cluster.kill(1)?;
        let away = call(&client, "get_event", json!({ "event": "1" })).await?;
        ensure!(away["error"]["code"] == "unavailable", "{away}");
        ensure!(away["error"]["retryable"] == true, "{away}");
        Ok(())
    })
    .await
}
