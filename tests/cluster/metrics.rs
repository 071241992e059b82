//! Metrics of real nodes: what they say is what has happened.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use toka_client::{Client, CursorName, EventDraft, GroupName, GroupSettings, GroupStart, Selector};
use toka_ledger::Digest;
use toka_proto::convert::read::Consistency;
use toka_proto::v1;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::consumers::{has_groups, make_group};
use toka_tests::scrape::{Scrape, documented};
use toka_tests::{request, wait};
use tokio::task::JoinSet;
use tonic::Code;

const WRITERS: u64 = 6;
/// Of each writer.
const COMMITS: u64 = 40;
const EVENTS_PER_COMMIT: u64 = 3;
/// Reads of an event that there is not.
const REFUSED: u64 = 5;
/// What metrics of a node with TLS begin with.
const TLS: &str = "toka_tls_";
const COMMIT: &str = "method=\"toka.vault.v1.VaultService/Commit\"";

async fn write(client: &Client, writer: u64) -> Result<()> {
    for number in 0..COMMITS {
        let drafts = (0..EVENTS_PER_COMMIT).map(|part| {
            let payload = json!({ "writer": writer, "number": number, "part": part });
            EventDraft::new("metrics").payload(&payload)
        });
        client.commit_batch(drafts.collect(), Vec::new()).await?;
    }
    Ok(())
}

/// Writers at all nodes, until each has its commits.
async fn write_all(cluster: &Cluster) -> Result<()> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let client = cluster.client_of(1 + writer % 3).await?;
        writers.spawn(async move { write(&client, writer).await });
    }
    while let Some(written) = writers.join_next().await {
        written.context("a writer panicked")??;
    }
    Ok(())
}

async fn scrapes(cluster: &Cluster) -> Result<Vec<Scrape>> {
    let mut scrapes = Vec::new();
    for id in cluster.running() {
        scrapes.push(Scrape::of(cluster.node(id)).await?);
    }
    Ok(scrapes)
}

/// A metric over all nodes.
fn total(scrapes: &[Scrape], metric: &str, labels: &[&str]) -> Result<f64> {
    scrapes
        .iter()
        .map(|scrape| scrape.sum(metric, labels))
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_are_counted_as_they_were_acknowledged() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        // No command but the writers' comes after that.
        has_groups(&cluster.client().await?).await?;
        let leader = cluster.leader().await?;
        let before = scrapes(cluster).await?;
        write_all(cluster).await?;
        let sequence = WRITERS * COMMITS * EVENTS_PER_COMMIT;
        cluster.converged(sequence).await?;
        let after = scrapes(cluster).await?;
        let grown = |metric: &str, labels: &[&str]| -> Result<f64> {
            Ok(total(&after, metric, labels)? - total(&before, metric, labels)?)
        };
        // Nothing was repeated: one acknowledgement, one count.
        ensure!(grown("toka_commands_failed_total", &[])? == 0.0);
        let commits = grown("toka_commits_total", &[])?;
        ensure!(commits == (WRITERS * COMMITS) as f64, "{commits} commits");
        let events = grown("toka_committed_events_total", &[])?;
        ensure!(events == sequence as f64, "{events} events");
        let answers = grown("toka_commit_duration_seconds_count", &[])?;
        ensure!(answers == commits, "{answers} answers");
        let queued = grown(
            "toka_commit_stage_duration_seconds_count",
            &["stage=\"queue\""],
        )?;
        ensure!(queued == answers, "{queued} queued, {answers} answered");

        ensure!(total(&after, "toka_raft_is_leader", &[])? == 1.0);
        for (id, scrape) in cluster.running().into_iter().zip(&after) {
            check_node(id, leader, scrape).with_context(|| format!("node {id}"))?;
        }
        Ok(())
    })
    .await
}

/// What a node says of itself, and that promtool takes it.
fn check_node(id: u64, leader: u64, scrape: &Scrape) -> Result<()> {
    let leads = scrape.value("toka_raft_is_leader")? == 1.0;
    ensure!(leads == (id == leader), "leads: {leads}; {leader} does");
    ensure!(scrape.value("toka_raft_leader_id")? == leader as f64);
    for stage in ["log", "apply"] {
        let stage = format!("stage=\"{stage}\"");
        let count = scrape.sum("toka_commit_stage_duration_seconds_count", &[&stage])?;
        ensure!(count > 0.0, "{stage}");
    }
    ensure!(scrape.value("toka_rocksdb_written_bytes_total")? > 0.0);
    ensure!(scrape.value("toka_process_resident_memory_bytes")? > 0.0);
    scrape.check()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_counted_by_the_codes_that_callers_saw() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        write_all(cluster).await?;
        let node = cluster.node(2);
        let nothing = Selector::Digest(Digest([7; 32]));
        for _ in 0..REFUSED {
            let read = request::get(&nothing, Consistency::Local);
            let answer = node.vault().get(request::within(PATIENCE, read)).await;
            let refused = request::refusal(answer)?;
            ensure!(refused.code() == Code::NotFound, "{refused:?}");
        }
        let scrape = Scrape::of(node).await?;
        let get =
            "toka_grpc_calls_total{method=\"toka.vault.v1.VaultService/Get\",code=\"NOT_FOUND\"}";
        ensure!(scrape.value(get)? == REFUSED as f64, "{scrape:?}");

        let scrapes = scrapes(cluster).await?;
        let of = |code: &str| {
            let code = format!("code=\"{code}\"");
            total(&scrapes, "toka_grpc_calls_total", &[COMMIT, &code])
        };
        // A commit that was forwarded is a call at two nodes.
        let ok = of("OK")?;
        ensure!(ok >= (WRITERS * COMMITS) as f64, "{ok} commits");
        for code in ["CANCELLED", "INTERNAL", "UNKNOWN", "UNAVAILABLE"] {
            ensure!(of(code)? == 0.0, "{code}");
        }
        let in_flight = total(&scrapes, "toka_grpc_calls_in_flight", &[COMMIT])?;
        ensure!(in_flight == 0.0, "{in_flight} are under way");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lag_of_a_member_that_is_down_is_told_and_goes_when_it_is_back() -> Result<()> {
    let settings = ["--unreachable-after", "2s"];
    cluster::run(3, &settings, async |cluster: &mut Cluster| {
        let (leader, down) = (cluster.leader().await?, cluster.followers().await?[0]);
        cluster.led_by_another_than(down).await?;
        cluster.kill(down)?;
        write(&cluster.client_of(leader).await?, 0).await?;
        let lag = format!("toka_raft_member_lag_entries{{node_id=\"{down}\"}}");
        wait::until("a member that is behind", PATIENCE, async || {
            let scrape = Scrape::of(cluster.node(cluster.leader_of_running().await?)).await?;
            ensure!(scrape.value(&lag)? > 0.0, "{lag}");
            ensure!(scrape.value("toka_raft_members_unreachable")? == 1.0);
            ensure!(scrape.value("toka_raft_voters_unreachable")? == 1.0);
            ensure!(scrape.value("toka_alarm{kind=\"node_unreachable\"}")? == 1.0);
            Ok(())
        })
        .await?;
        cluster.launch(down)?;
        cluster.wait_ready(down).await?;
        wait::until("a member that has caught up", PATIENCE, async || {
            let scrape = Scrape::of(cluster.node(cluster.leader_of_running().await?)).await?;
            ensure!(scrape.sum("toka_raft_member_lag_entries", &[])? == 0.0);
            ensure!(scrape.value("toka_raft_members_unreachable")? == 0.0);
            let scrape = Scrape::of(cluster.node(down)).await?;
            ensure!(scrape.value("toka_raft_apply_lag_entries")? == 0.0);
            ensure!(scrape.value("toka_ready")? == 1.0);
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_documented_metric_is_exposed_and_no_other() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let group = GroupName::new("workers \"and\" others")?;
        let settings = GroupSettings::default();
        make_group(&client, &group, &settings, GroupStart::Beginning).await?;
        write(&client, 0).await?;
        let cursor = CursorName::new("here")?;
        client.save_cursor(&cursor, None, 1).await?;
        let documented = documented()?;
        wait::until("values of all metrics", PATIENCE, async || {
            let scrapes = scrapes(cluster).await?;
            let mut valued = BTreeSet::new();
            for scrape in &scrapes {
                scrape.check()?;
                let described = scrape.described();
                ensure!(described == documented, "{described:?}\n{documented:?}");
                valued.extend(scrape.valued());
            }
            let without = documented.difference(&valued);
            // These nodes have no TLS.
            let without: Vec<_> = without.filter(|name| !name.starts_with(TLS)).collect();
            ensure!(without.is_empty(), "without a value: {without:?}");
            let lag = "toka_consumer_group_lag{group=\"workers \\\"and\\\" others\"}";
            for scrape in &scrapes {
                ensure!(scrape.value(lag)? == (COMMITS * EVENTS_PER_COMMIT) as f64);
                ensure!(scrape.value("toka_groups")? == 1.0);
            }
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limit_that_refuses_is_counted() -> Result<()> {
    let settings = ["--subscriptions-max", "1"];
    cluster::run(1, &settings, async |cluster: &mut Cluster| {
        let node = cluster.node(1);
        let subscribe = v1::SubscribeRequest::default;
        let mut first = node.vault().subscribe(subscribe()).await?.into_inner();
        first.message().await?.context("a message")?;
        let second = node.vault().subscribe(subscribe()).await;
        let refused = second.err().context("it is taken")?;
        ensure!(refused.code() == Code::ResourceExhausted, "{refused:?}");
        let scrape = Scrape::of(node).await?;
        for (metric, expected) in [
            ("toka_limit_refusals_total", 1.0),
            ("toka_limit_used", 1.0),
            ("toka_limit_max", 1.0),
        ] {
            let value = scrape.value(&format!("{metric}{{limit=\"subscriptions\"}}"))?;
            ensure!(value == expected, "{metric} is {value}");
        }
        ensure!(scrape.value("toka_subscriptions_open")? == 1.0);
        let client = cluster.client().await?;
        write(&client, 0).await?;
        while let Some(message) = first.message().await? {
            let lag = Scrape::of(node).await?.value("toka_subscription_lag_max")?;
            if lag == 0.0 {
                break;
            }
            drop(message);
        }
        Ok(())
    })
    .await
}
