//! A follower that was away while the log was purged catches up by a snapshot.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use rand::Rng as _;
use serde_json::json;
use toka_client::{Client, EventDraft, Selector};
use toka_proto::convert::read::Consistency;
use toka_proto::v1;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::history::{self, Acks};
use toka_tests::proxy::Quality;
use toka_tests::{request, wait};

const SNAPSHOT_LOG_ENTRIES: u64 = 40;
const KEEP_LOG_ENTRIES: u64 = 10;

fn arguments() -> [String; 4] {
    [
        "--snapshot-log-entries".to_owned(),
        SNAPSHOT_LOG_ENTRIES.to_string(),
        "--keep-log-entries".to_owned(),
        KEEP_LOG_ENTRIES.to_string(),
    ]
}

/// Commits one event after the other, each in a log entry of its own.
async fn commit_some(client: &Client, acks: &Acks, count: u64) -> Result<()> {
    for _ in 0..count {
        let payload = json!({"number": acks.count(), "filler": "x".repeat(2_000)});
        let draft = EventDraft::new("some")
            .payload(&payload)
            .embedding(&[0.6, 0.8]);
        acks.record(0, &client.commit(draft).await?);
    }
    Ok(())
}

/// Commits until every running node has purged its log beyond `index`.
async fn purge_beyond(cluster: &Cluster, client: &Client, acks: &Acks, index: u64) -> Result<()> {
    wait::until("logs are purged", PATIENCE, async || {
        commit_some(client, acks, SNAPSHOT_LOG_ENTRIES).await?;
        cluster.check_purged(index)
    })
    .await
}

fn current_ledger(cluster: &Cluster, id: u64) -> Result<String> {
    Ok(std::fs::read_to_string(
        cluster.node(id).data.join("CURRENT"),
    )?)
}

async fn payload_on(cluster: &Cluster, id: u64, sequence: u64) -> Result<usize> {
    let get = request::get(&Selector::Sequence(sequence), Consistency::Local);
    let event = cluster
        .node(id)
        .vault()
        .get(get)
        .await?
        .into_inner()
        .event
        .unwrap_or_default();
    Ok(match event.payload.and_then(|payload| payload.state) {
        Some(v1::payload::State::Stored(bytes)) => bytes.len(),
        _ => 0,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follower_that_was_away_past_the_purge_gets_a_snapshot() -> Result<()> {
    let arguments = arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(3, &arguments, async |cluster: &mut Cluster| {
        let (client, acks) = (cluster.client().await?, Acks::default());
        commit_some(&client, &acks, 20).await?;
        let follower = cluster.followers().await?[0];
        let last = cluster.state(follower).await?.node.last_log_index;
        let ledger = current_ledger(cluster, follower)?;
        cluster.terminate(follower).await?;
        purge_beyond(cluster, &client, &acks, last).await?;

        cluster.restart(follower).await?;
        cluster.converged(acks.count()).await?;
        ensure!(
            cluster.log(follower).contains("snapshot installed"),
            "it is not in the log"
        );
        ensure!(
            current_ledger(cluster, follower)? != ledger,
            "the ledger was not replaced"
        );
        history::check(cluster, &acks).await?;
        for sequence in [1, acks.count() / 2, acks.count()] {
            let bytes = payload_on(cluster, follower, sequence).await?;
            ensure!(bytes > 2_000, "payload of event {sequence}: {bytes} bytes");
        }

        // It goes on from there, also through a crash, and can lead.
        commit_some(&client, &acks, 10).await?;
        cluster.kill(follower)?;
        commit_some(&client, &acks, 10).await?;
        cluster.restart(follower).await?;
        cluster.converged(acks.count()).await?;
        client.transfer_leadership(Some(follower)).await?;
        commit_some(&client, &acks, 10).await?;
        ensure!(cluster.leader().await? == follower);
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}

/// What a slow link passes on, and what is written at least four times more slowly, bytes in a second.
const LINK_BYTES_PER_S: u32 = 1 << 20;
const EVENT_BYTES: usize = 32 << 10;
const EVENT_INTERVAL: Duration = Duration::from_millis(125);
/// Events before the follower is back: its snapshot takes the link some ten seconds.
const HISTORY_EVENTS: u64 = 320;

/// An event that no compression makes smaller.
fn large() -> EventDraft {
    let mut payload = vec![0; EVENT_BYTES];
    rand::rng().fill_bytes(&mut payload);
    EventDraft::new("some").payload_bytes(payload)
}

/// While its snapshot is sent, more is written than is kept of the log otherwise. It must get that from the
/// log all the same: if it were given another snapshot, it would never be done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follower_on_a_slow_link_catches_up_after_its_snapshot() -> Result<()> {
    let settings = [
        "--snapshot-log-bytes",
        "512KiB",
        "--keep-log-bytes",
        "512KiB",
    ];
    cluster::run_prepared(3, &settings, async |cluster: &mut Cluster| {
        let proxy = cluster.set_proxy(3).await?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        cluster.led_by_another_than(3).await?;
        let last = cluster.state(3).await?.node.last_log_index;
        cluster.terminate(3).await?;
        let (client, acks) = (cluster.client().await?, Acks::default());
        for _ in 0..HISTORY_EVENTS {
            acks.record(0, &client.commit(large()).await?);
        }
        // All of it may be written before the log is looked at once: then the log would do.
        wait::until("logs are purged", PATIENCE, async || {
            acks.record(0, &client.commit(large()).await?);
            cluster.check_purged(last)
        })
        .await?;
        proxy.set(Quality {
            bytes_per_s: Some(LINK_BYTES_PER_S),
            ..Quality::default()
        });
        let leader = cluster.leader_of_running().await?;
        // A commit that is under way is waited for: what it stores, somebody has to be told of.
        let has_caught_up = AtomicBool::new(false);
        let writing = async {
            while !has_caught_up.load(Ordering::Relaxed) {
                acks.record(0, &client.commit(large()).await?);
                tokio::time::sleep(EVENT_INTERVAL).await;
            }
            Ok(())
        };
        let joining = async {
            cluster.launch(3)?;
            let sent = || cluster.log(leader).matches("snapshot sent").count();
            wait::until("a snapshot is sent", PATIENCE, async || {
                ensure!(sent() > 0, "none yet");
                Ok(())
            })
            .await?;
            wait::until("it has caught up", PATIENCE, async || {
                let last = cluster.state(leader).await?.node.last_log_index;
                let has = cluster.state(3).await?.node.last_log_index;
                ensure!(has + 4 >= last, "it has {has} of {last}");
                Ok(())
            })
            .await?;
            ensure!(sent() == 1, "{} snapshots were sent", sent());
            has_caught_up.store(true, Ordering::Relaxed);
            Ok(())
        };
        tokio::try_join!(joining, writing)?;
        cluster.converged(acks.count()).await?;
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}
