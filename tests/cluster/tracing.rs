//! Traces of commits, from the client through a follower and the leader to apply, in a real collector.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::collector::{Collector, Kind, Span, only};
use toka_tests::command::Toka;
use toka_tests::request::{commit, event};
use toka_tests::{python, wait};
use tonic::Request;

const COMMIT: &str = "toka.vault.v1.VaultService/Commit";
/// What no span may have anything of.
const SECRET: &str = "a-payload-that-is-nobodys-business";
const STAGES: [&str; 4] = ["raft.queue", "raft.append", "raft.replicate", "raft.apply"];

/// A trace that a client has begun, with the span under which it calls.
struct Trace {
    trace_id: String,
    span_id: String,
}

impl Trace {
    fn number(number: u64) -> Self {
        Self {
            trace_id: format!("{number:032x}"),
            span_id: format!("{:016x}", number + 0xabc),
        }
    }

    fn header(&self, is_sampled: bool) -> String {
        let flags = u8::from(is_sampled);
        format!("00-{}-{}-{flags:02x}", self.trace_id, self.span_id)
    }

    /// Commits an event in it by way of node `id`, as any gRPC client would.
    async fn commit(&self, cluster: &Cluster, id: u64, is_sampled: bool) -> Result<()> {
        let payload = json!({ "secret": SECRET, "trace": self.trace_id });
        let mut request = Request::new(commit(vec![event("traced", &payload)]));
        let header = self.header(is_sampled).parse()?;
        request.metadata_mut().insert("traceparent", header);
        cluster.node(id).vault().commit(request).await?;
        Ok(())
    }

    fn of(&self, spans: &[Span]) -> Vec<Span> {
        let own = spans.iter().filter(|span| span.trace_id == self.trace_id);
        own.cloned().collect()
    }

    /// Looks at its spans until `check` has nothing to say: each process exports its own when it likes.
    async fn until<T>(
        &self,
        collector: &Collector,
        check: impl Fn(&[Span]) -> Result<T>,
    ) -> Result<T> {
        let check = |spans: &[Span]| check(&self.of(spans));
        collector.until("a trace as it should be", check).await
    }

    /// Its spans, once every stage is there that a commit goes through.
    async fn complete(&self, collector: &Collector) -> Result<Vec<Span>> {
        let has_stages = |spans: &[Span]| {
            for name in STAGES {
                let is_there = spans.iter().any(|span| span.name == name);
                ensure!(is_there, "{name} is not there: {spans:#?}");
            }
            Ok(spans.to_vec())
        };
        self.until(collector, has_stages).await
    }
}

/// The path of a commit that a follower was given: its spans, the one below the other.
fn check_path(spans: &[Span], above: &str, follower: u64, leader: u64) -> Result<()> {
    let is_at = |span: &Span, node: u64| {
        span.resource.get("service.instance.id") == Some(&node.to_string())
    };
    let received = only(spans, "call of the follower", |span| {
        span.kind == Kind::Server && is_at(span, follower)
    })?;
    let forwarded = only(spans, "forwarded call", |span| {
        span.kind == Kind::Client && is_at(span, follower)
    })?;
    let answered = only(spans, "call of the leader", |span| {
        span.kind == Kind::Server && is_at(span, leader)
    })?;
    for (span, parent) in [
        (received, above),
        (forwarded, received.span_id.as_str()),
        (answered, forwarded.span_id.as_str()),
    ] {
        ensure!(span.name == COMMIT, "{span:?}");
        ensure!(span.parent_id == parent, "{span:?} is not under {parent}");
        ensure!(!span.has_failed, "{span:?}");
    }
    let to = forwarded.attributes.get("toka.leader_id");
    ensure!(to == Some(&leader.to_string()), "{forwarded:?}");
    for name in STAGES {
        let stage = only(spans, name, |span| span.name == name)?;
        ensure!(stage.parent_id == answered.span_id, "{stage:?}");
        ensure!(is_at(stage, leader), "{stage:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_by_way_of_a_follower_is_one_trace() -> Result<()> {
    let collector = Collector::start().await?;
    let arguments = ["--otlp-endpoint", collector.endpoint()];
    cluster::run(3, &arguments, async |cluster: &mut Cluster| {
        let leader = cluster.leader().await?;
        let follower = cluster.followers().await?[0];
        let trace = Trace::number(1);
        trace.commit(cluster, follower, true).await?;
        let is_path = |spans: &[Span]| {
            check_path(spans, &trace.span_id, follower, leader)?;
            Ok(spans.to_vec())
        };
        let spans = trace.until(&collector, is_path).await?;
        for span in &spans {
            let of = |name: &str| span.resource.get(name).map(String::as_str);
            ensure!(of("service.name") == Some("toka-vault"), "{span:?}");
            ensure!(of("service.version").is_some(), "{span:?}");
        }
        let entry = only(&spans, "raft.entry", |span| span.name == "raft.entry")?;
        ensure!(entry.attributes.contains_key("toka.log.index"), "{entry:?}");
        let said = format!("{:?}", collector.spans());
        ensure!(!said.contains(SECRET), "a payload is in {said}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_share_an_entry_have_traces_of_their_own_with_links_to_it() -> Result<()> {
    const COMMITS: u64 = 64;
    let collector = Collector::start().await?;
    let arguments = ["--otlp-endpoint", collector.endpoint()];
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        cluster.leader().await?;
        let cluster = &*cluster;
        let traces: Vec<Trace> = (1..=COMMITS).map(Trace::number).collect();
        let commits = traces.iter().map(|trace| trace.commit(cluster, 1, true));
        futures::future::try_join_all(commits).await?;
        let mut linked = Vec::new();
        for trace in &traces {
            let spans = trace.complete(&collector).await?;
            let apply = only(&spans, "raft.apply", |span| span.name == "raft.apply")?;
            ensure!(apply.links.len() == 1, "{apply:?}");
            linked.push(apply.links[0].clone());
        }
        let spans = collector.spans();
        for id in linked {
            let entry = only(&spans, "entry", |span| span.span_id == id)?;
            ensure!(entry.name == "raft.entry", "{entry:?}");
            let commands: usize = entry.attributes["toka.entry.commands"].parse()?;
            ensure!((1..=commands).contains(&entry.links.len()), "{entry:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_decides_what_is_recorded_and_else_the_ratio() -> Result<()> {
    let collector = Collector::start().await?;
    let arguments = [
        "--otlp-endpoint",
        collector.endpoint(),
        "--traces-sampler-ratio",
        "0",
    ];
    cluster::run(3, &arguments, async |cluster: &mut Cluster| {
        // None of these calls names a trace.
        let leader = cluster.leader().await?;
        let follower = cluster.followers().await?[0];
        let (unsampled, sampled) = (Trace::number(1), Trace::number(2));
        unsampled.commit(cluster, follower, false).await?;
        sampled.commit(cluster, follower, true).await?;
        let is_path = |spans: &[Span]| check_path(spans, &sampled.span_id, follower, leader);
        sampled.until(&collector, is_path).await?;
        // A process exports in order: what it had before would be there.
        let mut others = collector.spans().into_iter();
        let other = others.find(|span| span.trace_id != sampled.trace_id);
        ensure!(other.is_none(), "{other:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_the_root_of_its_trace() -> Result<()> {
    let collector = Collector::start().await?;
    let arguments = ["--otlp-endpoint", collector.endpoint()];
    cluster::run(3, &arguments, async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let words = ["commit", "by.hand", "{}", "--otlp-endpoint"];
        toka.ok(&[&words[..], &[collector.endpoint()]].concat())
            .await?;
        let root = collector
            .until("the command's span", |spans| {
                only(spans, "root", |span| span.name == "toka commit").cloned()
            })
            .await?;
        ensure!(root.parent_id.is_empty() && !root.has_failed, "{root:?}");
        let trace = Trace {
            trace_id: root.trace_id.clone(),
            span_id: root.span_id.clone(),
        };
        let spans = trace.complete(&collector).await?;
        let is_cli = |span: &Span| span.resource["service.name"] == "toka-cli";
        let sent = only(&spans, "commit that was sent", |span| {
            span.kind == Kind::Client && span.name == COMMIT && is_cli(span)
        })?;
        ensure!(sent.parent_id == root.span_id, "{sent:?}");
        let is_received = |spans: &[Span]| {
            only(spans, "commit that was received", |span| {
                span.kind == Kind::Server && span.parent_id == sent.span_id
            })?;
            Ok(())
        };
        trace.until(&collector, is_received).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_in_another_language_joins_its_trace() -> Result<()> {
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-for-tracing");
    let python = tokio::task::spawn_blocking(move || python::interpreter(&environment));
    let python = python.await??;
    let collector = Collector::start().await?;
    let arguments = ["--otlp-endpoint", collector.endpoint()];
    cluster::run(3, &arguments, async |cluster: &mut Cluster| {
        let follower = cluster.followers().await?[0];
        let trace = Trace::number(1);
        let output = tokio::process::Command::new(&python)
            .arg(toka_tests::manifest_dir().join("clients/foreign_client.py"))
            .arg(cluster.node(follower).endpoint())
            .arg(trace.header(true))
            .output()
            .await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {said}", output.status);
        trace.complete(&collector).await?;
        let is_joined = |spans: &[Span]| {
            let is_received = |span: &Span| {
                span.parent_id == trace.span_id && span.kind == Kind::Server && span.name == COMMIT
            };
            ensure!(spans.iter().any(is_received), "{spans:#?}");
            Ok(())
        };
        trace.until(&collector, is_joined).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_exports_what_it_has_left() -> Result<()> {
    let collector = Collector::start().await?;
    let arguments = ["--otlp-endpoint", collector.endpoint()];
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        cluster.leader().await?;
        let trace = Trace::number(1);
        trace.commit(cluster, 1, true).await?;
        cluster.terminate(1).await?;
        let own = trace.of(&collector.spans());
        for name in STAGES {
            only(&own, name, |span| span.name == name)?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_there_stops_nobody_and_spans_that_are_lost_are_counted()
-> Result<()> {
    const DROPPED: &str = "toka_trace_spans_dropped_total";
    // Nobody listens where somebody has just stopped to.
    let endpoint = Collector::start().await?.endpoint().to_owned();
    let arguments = [
        "--otlp-endpoint",
        &endpoint,
        "--otlp-timeout",
        "100ms",
        "--otlp-queue-spans",
        "1",
    ];
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        cluster.leader().await?;
        for number in 1..=20 {
            Trace::number(number).commit(cluster, 1, true).await?;
        }
        let said = |cluster: &Cluster| cluster.log(1).matches("spans are dropped").count();
        wait::until("lost spans are counted and told", PATIENCE, async || {
            let dropped = cluster.node(1).metric(DROPPED).await?;
            ensure!(dropped > 20, "{dropped} are counted");
            ensure!(said(cluster) > 0, "the log says nothing");
            Ok(())
        })
        .await?;
        for number in 21..=40 {
            Trace::number(number).commit(cluster, 1, true).await?;
        }
        ensure!(said(cluster) == 1, "{}", cluster.log(1));
        cluster.terminate(1).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_the_log_are_json_and_name_the_trace_that_they_are_of() -> Result<()> {
    let collector = Collector::start().await?;
    let arguments = ["--log-json", "--otlp-endpoint", collector.endpoint()];
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        cluster.leader().await?;
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        toka.ok(&["verify", "--otlp-endpoint", collector.endpoint()])
            .await?;
        let root = collector
            .until("the command's span", |spans| {
                only(spans, "root", |span| span.name == "toka verify").cloned()
            })
            .await?;
        let log = cluster.log(1);
        let lines: Vec<Value> = log
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect::<Result<_>>()?;
        for line in &lines {
            for field in ["timestamp", "level", "target"] {
                ensure!(line[field].is_string(), "{field}: {line}");
            }
            ensure!(line["fields"]["message"].is_string(), "{line}");
        }
        let says = |message: &'static str| {
            let mut said = lines.iter();
            let line = said.find(move |line| line["fields"]["message"] == message);
            line.with_context(|| format!("{message} is not in {log}"))
        };
        let verifying = says("verifying the vault")?;
        ensure!(verifying["trace_id"] == root.trace_id, "{verifying}");
        let span_id = verifying["span_id"].as_str().unwrap_or_default();
        ensure!(span_id.len() == 16, "{verifying}");
        let started = says("node started")?;
        ensure!(started["trace_id"].is_null(), "{started}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_collector_traces_nothing_and_passes_the_trace_on() -> Result<()> {
    let collector = Collector::start().await?;
    cluster::run_prepared(3, &[], async |cluster: &mut Cluster| {
        // Of three nodes one exports.
        let mut arguments = cluster.serve_arguments(1);
        arguments.extend(["--otlp-endpoint", collector.endpoint()].map(str::to_owned));
        cluster.launch_as(1, &arguments)?;
        cluster.launch(2)?;
        cluster.launch(3)?;
        cluster.wait_all_ready().await?;
        if cluster.leader().await? != 1 {
            cluster.client().await?.transfer_leadership(Some(1)).await?;
        }
        wait::until("node 1 leads", PATIENCE, async || {
            ensure!(cluster.leader().await? == 1);
            Ok(())
        })
        .await?;
        let trace = Trace::number(1);
        trace.commit(cluster, 2, true).await?;
        trace.complete(&collector).await?;
        let is_passed_on = |spans: &[Span]| {
            let is_server = |span: &Span| span.kind == Kind::Server;
            let answered = only(spans, "call of the leader", is_server)?;
            // The follower's header is the client's own.
            ensure!(answered.parent_id == trace.span_id, "{answered:?}");
            Ok(())
        };
        trace.until(&collector, is_passed_on).await
    })
    .await
}
