//! Damage that a node comes upon while it applies its log again after a kill.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use toka_client::EventDraft;
use toka_tests::cluster::{self, Cluster};
use toka_tests::history::{self, Acks};

use super::{REPAIRED, START_AGAIN, commit_some, flip, ledger, refuses_with, supervise_until};

/// How RocksDB's properties at the end of a file say that it is one of the table of events.
const OF_EVENTS: &[u8] = b"nameevents";

/// Flips a bit of every file that has rows by which events are found by their digests.
fn flip_events(cluster: &Cluster, id: u64) -> Result<()> {
    let mut flipped = 0;
    for entry in std::fs::read_dir(ledger(cluster, id)?)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "sst") {
            continue;
        }
        let bytes = std::fs::read(&path)?;
        let is_of_events = |window: &[u8]| window == OF_EVENTS;
        if bytes.windows(OF_EVENTS.len()).any(is_of_events) {
            flip(&path, bytes.len() as u64 / 4)?;
            flipped += 1;
        }
    }
    ensure!(flipped > 0, "no events are in files");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_that_is_found_while_the_log_is_applied_again_is_noted_and_repaired() -> Result<()> {
    // Neither snapshots nor scrubs: nobody else comes upon it.
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let (client, acks) = (cluster.client().await?, Acks::default());
        let first = EventDraft::new("first").payload(&json!({"number": 0}));
        let first = client.commit(first).await?;
        acks.record(0, &first);
        commit_some(&client, &acks, 40).await?;
        let id = *cluster.followers().await?.first().context("no follower")?;
        cluster.converged(acks.count()).await?;
        // All of that is in its tables now, and what follows in its log alone.
        cluster.terminate(id).await?;
        cluster.restart(id).await?;
        for number in 1..=20 {
            let draft = EventDraft::new("later")
                .payload(&json!({"number": number}))
                .parents_by_digest([first.digest]);
            acks.record(0, &client.commit(draft).await?);
        }
        cluster.converged(acks.count()).await?;
        cluster.kill(id)?;
        flip_events(cluster, id)?;

        let said = refuses_with(cluster, id, START_AGAIN).await?;
        ensure!(said.contains("the ledger is damaged"), "{said}");
        let before = cluster.log(id).len();
        cluster.launch(id)?;
        let restarts = supervise_until(cluster, id, before, REPAIRED).await?;
        ensure!(restarts == 0, "it was not noted");
        cluster.wait_ready(id).await?;
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}
