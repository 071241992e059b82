//! Intents on a cluster: the same on every node, whatever happens to the leader.

use std::f32::consts::TAU;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use toka_client::{
    Client, Consistency, EventDraft, Filter, IntentId, List, Read, Start, Subscribe, Summary,
};
use toka_ledger::Embedding;
use toka_proto::v1;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::command::Toka;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::ChildStdout;

const TOPICS: u32 = 12;
const DIMENSION: u32 = 24;

/// A vector near the direction of a topic.
fn vector(topic: u32, n: u32) -> Vec<f32> {
    (0..DIMENSION)
        .map(|at| {
            let of_topic = f32::from((at % TOPICS == topic) as u8) * 4.0;
            let angle = TAU * (n * 31 + at * 17) as f32 / 257.0;
            of_topic + angle.sin()
        })
        .collect()
}

/// Commits `count` events, from number `first` on, each of the next topic.
async fn commit(client: &Client, first: u32, count: u32) -> Result<u64> {
    let mut last = 0;
    for n in (first..first + count).step_by(50) {
        let drafts = (n..n + 50).map(|n| {
            let topic = n % TOPICS;
            EventDraft::new("message")
                .payload(&json!({ "topic": topic, "n": n }))
                .embedding(&vector(topic, n))
                .model("test")
        });
        let committed = client.commit_batch(drafts.collect(), Vec::new()).await?;
        last = committed.headers.last().context("no event")?.sequence;
    }
    Ok(last)
}

fn current() -> Read {
    Read {
        consistency: Consistency::ReadYourWrites,
        ..Read::default()
    }
}

async fn summaries(client: &Client) -> Result<Vec<Summary>> {
    let intents = client.intents(0, false, usize::MAX, &current()).await?;
    Ok(intents.into_iter().map(|intent| intent.summary).collect())
}

/// Every node tells the same intents, and has the same state digest.
async fn check_equal(cluster: &Cluster, sequence: u64) -> Result<Vec<Summary>> {
    let states = cluster.converged(sequence).await?;
    ensure!(
        states
            .windows(2)
            .all(|two| two[0].state_digest == two[1].state_digest),
        "{states:?}"
    );
    let mut told = Vec::new();
    for id in cluster.running() {
        told.push(summaries(&cluster.client_of(id).await?).await?);
    }
    ensure!(told.windows(2).all(|two| two[0] == two[1]), "{told:?}");
    told.pop().context("no node runs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn intents_are_equal_on_all_nodes_and_outlive_their_leader() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let last = commit(&client, 0, 600).await?;
        let intents = check_equal(cluster, last).await?;
        ensure!(intents.len() >= TOPICS as usize, "{intents:?}");
        ensure!(intents.iter().map(|intent| intent.events).sum::<u64>() == 600);

        // Set through a follower, seen on all.
        let largest = intents[0].intent;
        let follower = *cluster.followers().await?.first().context("no follower")?;
        let through = cluster.client_of(follower).await?;
        ensure!(through.label_intent(largest, Some("the largest")).await? == largest);
        let labelled = check_equal(cluster, last).await?;
        ensure!(
            labelled[0].label.as_deref() == Some("the largest"),
            "{labelled:?}"
        );

        let leader = cluster.leader().await?;
        cluster.kill(leader)?;
        let last = commit(&client, 600, 100).await?;
        cluster.restart(leader).await?;
        let after = check_equal(cluster, last).await?;
        ensure!(after.iter().map(|intent| intent.events).sum::<u64>() == 700);
        let kept = client.intent(largest, 3, &current()).await?.0;
        ensure!(
            kept.summary.label.as_deref() == Some("the largest"),
            "{kept:?}"
        );
        ensure!(kept.examples.len() == 3, "{kept:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_found_by_what_they_mean() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        commit(&client, 0, 300).await?;
        let query = Embedding::from_f32(&vector(5, 5))?;
        let search = |exact| toka_client::Search {
            embedding: query.clone(),
            limit: 5,
            filter: Filter::default(),
            probes: 0,
            exact,
            read: current(),
        };
        let found = client.search(&search(false)).await?;
        let exact = client.search(&search(true)).await?;
        ensure!(exact.is_exact && exact.compared == 300, "{exact:?}");
        ensure!(found.hits[0].event.header.sequence == 6, "{found:?}");
        ensure!(found.hits == exact.hits, "{found:?} {exact:?}");

        // Classified as what it would be, and listed and followed by that.
        let told = client.classify(&query, 3, &current()).await?;
        let intent = told.intent.context("of no intent")?;
        ensure!(
            told.nearest.first().is_some_and(|near| near.0 == intent),
            "{told:?}"
        );
        let filter = Filter {
            intents: vec![intent],
            ..Filter::default()
        };
        let list = List {
            filter: filter.clone(),
            page_size: 1_000,
            ..List::default()
        };
        let listed: Vec<u64> = client
            .list(&list, None)
            .await?
            .events
            .iter()
            .map(|event| event.header.sequence)
            .collect();
        ensure!(listed.contains(&6) && listed.is_sorted(), "{listed:?}");
        let subscribe = Subscribe {
            filter,
            ..Subscribe::from(Start::Beginning)
        };
        let mut events = client.subscribe(subscribe).await?;
        for expected in &listed {
            loop {
                match events.next().await? {
                    toka_client::Message::Event(event) => {
                        ensure!(event.header.sequence == *expected, "{event:?}");
                        break;
                    }
                    toka_client::Message::Checkpoint { .. } => {}
                    other => bail!("{other:?}"),
                }
            }
        }

        // What cannot be, and why.
        let unknown = client.label_intent(IntentId(1 << 40), Some("none")).await;
        let error = unknown
            .err()
            .context("an intent that never was")?
            .to_string();
        ensure!(error.contains("there is no intent"), "{error}");
        let other = EventDraft::new("other")
            .embedding(&vector(1, 1))
            .model("other");
        let refused = client.commit(other).await;
        let error = refused.err().context("another model")?.to_string();
        ensure!(
            error.contains("another model") && error.contains("\"test\""),
            "{error}"
        );
        let narrow = Embedding::from_f32(&[1.0, 2.0])?;
        let error = client.classify(&narrow, 3, &current()).await;
        let error = error.err().context("another dimension")?.to_string();
        ensure!(error.contains("24"), "{error}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_line_shows_intents() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        commit(&client, 0, 300).await?;
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let intents = toka.json(&["intents", "--output", "json"]).await?;
        let events: u64 = intents.iter().filter_map(|i| i["events"].as_u64()).sum();
        ensure!(events == 300, "{intents:?}");
        let first = intents.first().context("no intent")?;
        let id = first["intent"].to_string();
        ensure!(first["examples"][0]["payload"]["topic"].is_u64(), "{first}");
        let table = toka.ok(&["intents", "--output", "table"]).await?.stdout;
        ensure!(
            table.contains("COHERENCE") && table.contains(&id),
            "{table}"
        );
        toka.ok(&["intents", "label", &id, "my topic"]).await?;
        let shown = toka.ok(&["intents", "get", &id]).await?.stdout;
        ensure!(shown.contains("my topic"), "{shown}");
        let listed = toka
            .json(&["intents", "events", &id, "--output", "json"])
            .await?;
        ensure!(listed.len() as u64 == first["events"].as_u64().unwrap_or(0));
        let logged = toka
            .json(&["log", "--intent", &id, "--output", "json"])
            .await?;
        ensure!(logged == listed, "{logged:?}");
        let query = Value::from(vector(3, 3)).to_string();
        let classify = [
            "intents", "classify", "--vector", &query, "--output", "json",
        ];
        let told = toka.json(&classify).await?;
        ensure!(told[0]["intent"].is_u64(), "{told:?}");
        let search = ["search", "--vector", &query, "-n", "3", "--output", "json"];
        let hits = toka.json(&search).await?;
        ensure!(hits.len() == 3 && hits[0]["sequence"] == 4, "{hits:?}");
        for unknown in [
            &["intents", "get", "999999"][..],
            &["log", "--intent", "999999"],
            &["watch", "--intent", "999999"],
            &["search", "--vector", &query, "--intent", "999999"],
        ] {
            let ran = toka.run(unknown).await?;
            ensure!(ran.code == Some(4), "{unknown:?}: {ran:?}");
        }
        let labelled = ["log", "--intent", &id, "--consistency", "local", "-n", "1"];
        toka.ok(&labelled).await?;
        let largest = toka.json(&["intents", "-n", "2", "-o", "json"]).await?;
        ensure!(largest.len() == 2 && largest[0]["intent"] == first["intent"]);
        let status = toka
            .json(&["cluster", "status", "--output", "json"])
            .await?;
        ensure!(
            status[0]["settings"]["embedding_model"] == "test",
            "{status:?}"
        );
        let settings = &status[0]["settings"]["intents"];
        ensure!(settings["tau"] == 0.5, "{settings}");
        ensure!(settings["background_micro_clusters"] == 2_048, "{settings}");
        ensure!(settings["background_events"] == 1_024, "{settings}");
        ensure!(settings["save_events"] == 16_384, "{settings}");
        Ok(())
    })
    .await
}

/// The next line that is not `before`; the table is written again every second.
async fn other_line(lines: &mut Lines<BufReader<ChildStdout>>, before: &str) -> Result<String> {
    let other = async {
        loop {
            let line = lines.next_line().await?.context("the command ended")?;
            if line != before {
                return Ok(line);
            }
        }
    };
    tokio::time::timeout(PATIENCE, other)
        .await
        .context("nothing changes")?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn intents_are_watched_until_interrupted() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        commit(&client, 0, 50).await?;
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let watch = ["intents", "--watch", "-n", "1", "-o", "json"];
        let mut child = toka.spawn(&watch)?;
        let out = child.stdout.take().context("a pipe")?;
        let mut lines = BufReader::new(out).lines();
        let first = other_line(&mut lines, "").await?;
        let intent = |line: &str| Ok::<Value, anyhow::Error>(serde_json::from_str(line)?);
        let before = intent(&first)?["events"].as_u64().context("a number")?;
        commit(&client, 50, 300).await?;
        let second = other_line(&mut lines, &first).await?;
        let after = intent(&second)?["events"].as_u64().context("a number")?;
        ensure!(after > before, "{first} {second}");

        let id = child.id().context("it runs")?;
        let id = Pid::from_raw(id.try_into()?).context("an id")?;
        kill_process(id, Signal::INT)?;
        let ended = tokio::time::timeout(PATIENCE, child.wait()).await??;
        ensure!(ended.code() == Some(0), "{ended}");

        // A table into a pipe is text alone.
        let mut child = toka.spawn(&["intents", "--watch", "-n", "1", "-o", "table"])?;
        let out = child.stdout.take().context("a pipe")?;
        let line = other_line(&mut BufReader::new(out).lines(), "").await?;
        ensure!(!line.contains('\u{1b}'), "{line:?}");
        child.kill().await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_intents_have_each_once_and_in_order() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        commit(&client, 0, 300).await?;
        let all: Vec<_> = summaries(&client).await?;
        let all: Vec<u64> = all.iter().map(|summary| summary.intent.0).collect();
        ensure!(all.len() > 8, "{all:?}");
        let mut service = cluster.node(1).intents();
        for page_size in [1, 3, 5, 100] {
            let (mut listed, mut page_token) = (Vec::new(), String::new());
            loop {
                let request = v1::ListIntentsRequest {
                    page_size,
                    page_token,
                    ..Default::default()
                };
                let page = service.list_intents(request).await?.into_inner();
                ensure!(page.total as usize == all.len(), "{page:?}");
                ensure!(page.intents.len() <= page_size as usize, "{page:?}");
                listed.extend(page.intents.iter().map(|intent| intent.intent));
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
            ensure!(listed == all, "{page_size}: {listed:?}, not {all:?}");
        }
        let request = v1::ListIntentsRequest {
            page_token: "00".to_owned(),
            ..Default::default()
        };
        let refused = service
            .list_intents(request)
            .await
            .err()
            .context("no token")?;
        ensure!(refused.message().contains("page_token"), "{refused:?}");
        Ok(())
    })
    .await
}

/// A node applies its log again after a crash: refused commits are in it too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_embeddings_and_early_restarts_leave_all_nodes_equal() -> Result<()> {
    let arguments = ["--dimension", "24"];
    cluster::run(3, &arguments, async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        client.commit(EventDraft::new("plain").payload(&1)).await?;
        // Before there is an embedding.
        let follower = *cluster.followers().await?.first().context("no follower")?;
        cluster.terminate(follower).await?;
        cluster.restart(follower).await?;
        commit(&client, 0, 50).await?;
        let drafts = (0..90_u32).map(|n| {
            let vector = match n % 3 {
                0 => vec![1.0; 200],
                1 => vec![1.0, 2.0],
                _ => vector(n % TOPICS, 1_000 + n),
            };
            EventDraft::new("some").payload(&n).embedding(&vector)
        });
        // At the same time, so that they share log entries.
        let commits = drafts.map(|draft| client.commit(draft));
        let committed = futures::future::join_all(commits).await;
        for (n, committed) in committed.iter().enumerate() {
            ensure!(committed.is_ok() == (n % 3 == 2), "{n}: {committed:?}");
        }
        cluster.kill(follower)?;
        cluster.restart(follower).await?;
        let last = commit(&client, 100, 50).await?;
        ensure!(last == 1 + 50 + 30 + 50, "{last}");
        check_equal(cluster, last).await?;
        Ok(())
    })
    .await
}
