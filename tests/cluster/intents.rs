//! Intents on a cluster: the same on every node, whatever happens to the leader.

use std::f32::consts::TAU;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use toka_client::{
    Client, Consistency, EventDraft, Filter, IntentId, List, Read, Start, Subscribe, Summary,
};
use toka_ledger::Embedding;
use toka_tests::cluster::{self, Cluster};
use toka_tests::command::Toka;

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
    let intents = client.intents(0, false, &current()).await?;
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
        let ran = toka.run(&["intents", "get", "999999"]).await?;
        ensure!(ran.code == Some(4), "{ran:?}");
        let status = toka
            .json(&["cluster", "status", "--output", "json"])
            .await?;
        ensure!(
            status[0]["settings"]["embedding_model"] == "test",
            "{status:?}"
        );
        ensure!(status[0]["settings"]["intents"]["tau"] == 0.5, "{status:?}");
        Ok(())
    })
    .await
}
