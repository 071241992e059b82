//! Traces that the OpenTelemetry SDK for Python exports.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use toka_tests::cluster::{self, Cluster};
use toka_tests::command::Toka;
use toka_tests::otel::{Agent, Receiver, Run};
use toka_tests::python;
use toka_tests::secured::Secured;
use toka_tests::tls::Authority;

/// Of each test its own: several may be making theirs.
const ENVIRONMENTS: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/python-for-otel");
/// Spans of one run of the agent, with the kind of each.
const SPANS: [(&str, &str); 5] = [
    ("invoke_agent assistant", "otel.invoke_agent"),
    ("chat small-model", "otel.chat"),
    ("execute_tool set_alarm", "otel.execute_tool"),
    ("POST /alarms", "otel.span"),
    ("chat large-model", "otel.chat"),
];
const AGENT: &str = SPANS[0].0;
const REQUEST: &str = SPANS[3].0;

async fn interpreter(name: &str) -> Result<PathBuf> {
    let directory = PathBuf::from(format!("{ENVIRONMENTS}-{name}"));
    let made = move || python::with_opentelemetry(&directory);
    tokio::task::spawn_blocking(made).await?
}

/// Events of so many runs: one of each trace; an anchor, an event and a step of each span.
const fn events(runs: usize) -> usize {
    runs * (1 + 3 * SPANS.len())
}

/// The event of a span, found by its ids.
async fn find(toka: &Toka, run: &Run, name: &str) -> Result<Value> {
    let span = run.spans.get(name).with_context(|| format!("{run:?}"))?;
    let words = ["otel", "find", "--trace", &run.trace_id, "--span", span];
    let mut found = toka.json(&words).await?;
    ensure!(found.len() == 1, "{found:?}");
    Ok(found.remove(0))
}

/// Names of the spans whose steps `toka lineage` shows.
async fn steps(toka: &Toka, run: &Run, words: &[&str]) -> Result<Vec<String>> {
    let words = [&["lineage", "--kind", "otel.step"][..], words].concat();
    let mut names = Vec::new();
    for step in toka.json(&words).await? {
        let of = step["attributes"]["otel.step_of"].as_str();
        let of = of.with_context(|| format!("{step}"))?;
        let mut spans = run.spans.iter();
        let span = spans.find(|(_, id)| of == format!("{}-{id}", run.trace_id));
        names.push(span.with_context(|| format!("{step}"))?.0.clone());
    }
    names.sort_unstable();
    Ok(names)
}

/// Every span of a run is an event that is found by its ids, and says what the span said.
async fn check_spans(toka: &Toka, run: &Run) -> Result<()> {
    for (name, kind) in SPANS {
        let event = find(toka, run, name).await?;
        ensure!(event["kind"] == kind, "{event}");
        ensure!(event["source"] == "assistant", "{event}");
        ensure!(event["attributes"]["otel.name"] == name, "{event}");
        ensure!(event["payload"]["trace_id"] == run.trace_id, "{event}");
        ensure!(event["payload"]["name"] == name, "{event}");
    }
    let chat = find(toka, run, "chat small-model").await?;
    ensure!(
        chat["attributes"]["gen_ai.request.model"] == "small-model",
        "{chat}"
    );
    let said = chat["payload"]["attributes"]["gen_ai.input.messages"].as_str();
    ensure!(
        said.is_some_and(|said| said.contains("wake me up")),
        "{chat}"
    );
    ensure!(chat["dimension"].is_u64(), "it is embedded: {chat}");
    let request = find(toka, run, REQUEST).await?;
    ensure!(request["attributes"]["otel.status"] == "error", "{request}");
    ensure!(
        request["payload"]["events"][0]["name"] == "retried",
        "{request}"
    );
    ensure!(request["dimension"].is_null(), "it is not: {request}");
    Ok(())
}

/// What came of the agent's span, and what led to the request that its tool has made.
async fn check_lineage(toka: &Toka, run: &Run) -> Result<()> {
    let agent = find(toka, run, AGENT).await?;
    let agent = agent["id"].as_str().context("an id")?.to_owned();
    let mut all: Vec<&str> = SPANS.iter().map(|(name, _)| *name).collect();
    all.sort_unstable();
    let below = steps(toka, run, &[&agent, "--descendants"]).await?;
    ensure!(below == all, "{below:?}");
    let request = &run.spans[REQUEST];
    let words = ["otel", "find", "--steps", "--trace", &run.trace_id];
    let words = [&words[..], &["--span", request]].concat();
    let step = toka.json(&words).await?;
    ensure!(step.len() == 1, "{step:?}");
    let step = step[0]["id"].as_str().context("an id")?.to_owned();
    let above = steps(toka, run, &[&step]).await?;
    let path = [REQUEST, "execute_tool set_alarm", AGENT];
    ensure!(above == path, "{above:?}");
    let ancestors = toka.json(&["lineage", &step]).await?;
    let has_agent = ancestors.iter().any(|event| event["id"] == agent);
    ensure!(has_agent, "{ancestors:?}");
    Ok(())
}

/// Runs the agent, which exports everything twice over a protocol.
async fn is_stored_once(name: &str, protocol: &str, arguments: &[&str]) -> Result<()> {
    let python = interpreter(name).await?;
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let receiver = Receiver::start(&toka, &["--embedder", "hashed"]).await?;
        let arguments = [&["--traces", "2"][..], arguments].concat();
        let agent = Agent::start(&python, protocol, &receiver, &arguments)?;
        let runs = agent.all().await?;
        ensure!(runs.len() == 2, "{runs:?}");
        for run in &runs {
            check_spans(&toka, run).await?;
            check_lineage(&toka, run).await?;
            let words = ["otel", "find", "--trace", &run.trace_id];
            let spans = toka.json(&words).await?;
            ensure!(spans.len() == SPANS.len(), "{spans:?}");
        }
        // The second run is linked to the first one's agent.
        let agent = find(&toka, &runs[0], AGENT).await?;
        let chat = find(&toka, &runs[1], "chat small-model").await?;
        let anchor = &agent["parents"][0];
        let parents = chat["parents"].as_array().context("a list")?;
        ensure!(parents.contains(anchor), "{chat}");
        let stored = toka.json(&["log"]).await?.len();
        ensure!(stored == events(2), "{stored} events");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_that_is_exported_twice_over_grpc_is_stored_once() -> Result<()> {
    is_stored_once("grpc", "grpc", &[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_that_is_exported_twice_over_http_is_stored_once() -> Result<()> {
    is_stored_once("http", "http", &["--gzip"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_that_come_one_by_one_in_any_order_make_the_same_trace() -> Result<()> {
    is_stored_once("piecewise", "grpc", &["--piecewise", "--gzip"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_stored_twice_while_leaders_die() -> Result<()> {
    const RUNS: usize = 8;
    let python = interpreter("leaders").await?;
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let receiver = Receiver::start(&toka, &["--embedder", "hashed"]).await?;
        let traces = RUNS.to_string();
        let arguments = ["--traces", &traces, "--piecewise"];
        let mut agent = Agent::start(&python, "http", &receiver, &arguments)?;
        let mut runs: Vec<Run> = Vec::new();
        while let Some(run) = agent.next().await? {
            ensure!(run.is_stored, "{run:?}");
            runs.push(run);
            // The agent goes on meanwhile.
            if runs.len() == 2 || runs.len() == 5 {
                let leader = cluster.leader().await?;
                cluster.kill(leader)?;
                cluster.restart(leader).await?;
            }
        }
        ensure!(runs.len() == RUNS, "{runs:?}");
        for run in &runs {
            check_spans(&toka, run).await?;
            check_lineage(&toka, run).await?;
        }
        let stored = toka.json(&["log"]).await?.len();
        ensure!(stored == events(RUNS), "{stored} events");
        Ok(())
    })
    .await
}

/// Whether an agent with such a token has its spans stored.
async fn is_taken(python: &Path, receiver: &Receiver, token: Option<&str>) -> Result<bool> {
    let token = token.map(|token| ["--token", token]);
    let token: Vec<&str> = token.into_iter().flatten().collect();
    let mut answers = Vec::new();
    for protocol in ["grpc", "http"] {
        let mut agent = Agent::start(python, protocol, receiver, &token)?;
        let run = agent.next().await?.context("one run")?;
        answers.push(run.is_stored);
        ensure!(agent.next().await?.is_none(), "there was one");
    }
    ensure!(
        answers[0] == answers[1],
        "the protocols differ: {answers:?}"
    );
    Ok(answers[0])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_are_stored_with_the_token_of_their_own_request() -> Result<()> {
    let python = interpreter("tokens").await?;
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let reader = secured.token(cluster, "reader", &["read"]).await?.text;
        let grants = ["read:otel.", "write:otel."];
        let traced = secured.token(cluster, "traced", &grants).await?.text;
        // A token of the receiver's own is nobody's.
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints())
            .with_variable("TOKA_TOKEN", &secured.root);
        let receiver = Receiver::start(&toka, &[]).await?;
        ensure!(!is_taken(&python, &receiver, None).await?, "of nobody");
        let unknown = Some("toka_0123456789abcdef_nothing");
        ensure!(!is_taken(&python, &receiver, unknown).await?, "unknown");
        let by_reader = is_taken(&python, &receiver, Some(&reader)).await?;
        ensure!(!by_reader, "of a reader");
        let spans = ["log", "--kind", "otel."];
        let stored = toka.json(&spans).await?;
        ensure!(stored.is_empty(), "{stored:?}");
        ensure!(
            is_taken(&python, &receiver, Some(&traced)).await?,
            "granted"
        );
        let stored = toka.json(&spans).await?.len();
        ensure!(stored == events(2), "{stored} events");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exporters_are_received_over_tls_by_either_protocol() -> Result<()> {
    let python = interpreter("tls").await?;
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let authority = Authority::new("exporters")?;
        let signed = authority.sign("receiver", &["127.0.0.1", "localhost"])?;
        let write = |name: &str, text: &str| -> Result<String> {
            let path = cluster.directory().join(name);
            std::fs::write(&path, text)?;
            Ok(path.display().to_string())
        };
        let ca = write("otel-ca.pem", &authority.pem)?;
        let certificate = write("otel-cert.pem", &signed.certificate)?;
        let key = write("otel-key.pem", &signed.key)?;
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let files = ["--tls-cert", &certificate, "--tls-key", &key];
        let receiver = Receiver::start(&toka, &files).await?;
        ensure!(receiver.url.starts_with("https://"), "{}", receiver.url);
        for protocol in ["grpc", "http"] {
            let agent = Agent::start(&python, protocol, &receiver, &["--ca", &ca])?;
            let runs = agent.all().await?;
            ensure!(runs.len() == 1, "{runs:?}");
            find(&toka, &runs[0], AGENT).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_is_not_reached_from_elsewhere_unprotected_unless_that_is_meant() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let words = ["otel", "serve", "--listen", "127.0.0.1:0,0.0.0.0:0"];
        let refused = toka.run(&words).await?;
        ensure!(refused.code == Some(2), "{refused:?}");
        for part in ["0.0.0.0:0", "TLS and authentication", "--insecure"] {
            ensure!(refused.stderr.contains(part), "{refused:?}");
        }
        let nowhere = "0af7651916cd43dd8448eb211c80319c";
        let words = ["otel", "find", "--trace", nowhere];
        let nothing = toka.run(&words).await?;
        ensure!(nothing.code == Some(4), "{nothing:?}");
        let steps = toka.run(&[&words[..], &["--steps"]].concat()).await?;
        ensure!(steps.code == Some(4), "{steps:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receiver_says_which_cluster_it_waits_for() -> Result<()> {
    let home = TempDir::with_prefix("toka-test-otel-")?;
    let endpoints = ["127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned()];
    let toka = Toka::with_endpoints(home.path(), &endpoints);
    let words = ["otel", "serve", "--listen", "127.0.0.1:0"];
    let ran = toka
        .run(&[&words[..], &["--timeout", "1s"]].concat())
        .await?;
    ensure!(ran.code == Some(3), "{ran:?}");
    let expected = "waiting for the cluster at 127.0.0.1:1, 127.0.0.1:2, for 1s at most";
    ensure!(ran.stderr.lines().any(|line| line == expected), "{ran:?}");
    Ok(())
}
