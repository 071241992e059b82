//! A flipped bit in the tables of each kind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use toka_client::{Client, EventDraft, EventHeader};
use toka_ledger::engine::Table;
use toka_tests::cluster::{self, Cluster};
use toka_tests::history::{self, Acks};
use toka_tests::load::embedding;

use super::{ARGUMENTS, REPAIRED, WRITER, commit_some, flip, ledger, supervise_until};

/// Before the name of the column family, in a table's properties: `rocksdb.column.family.` is shared with the
/// key before, and four bytes follow.
const FAMILY: [u8; 2] = [22, 4];
const NAME: &[u8] = b"name";
/// Events after which there is a row of each kind: a subtree of the history is kept when it has 256 of them, and
/// `SAVE_OFTEN` has the centroids saved after 64 that are embedded.
const EVENTS: u64 = 300;

/// Commits events with everything that an event can have, each the child of the one before: every table gets rows.
pub(super) async fn fill(client: &Client, acks: &Acks) -> Result<()> {
    let mut last: Option<EventHeader> = None;
    for _ in 0..EVENTS {
        let number = acks.count();
        let draft = EventDraft::new("full")
            .payload(&json!({"number": number}))
            .attribute("number", number.to_string())
            .embedding(&embedding(WRITER, number))
            .parents(&last);
        let header = client.commit(draft).await?;
        acks.record(WRITER, &header);
        last = Some(header);
    }
    Ok(())
}

/// The name of the column family that the RocksDB table at `path` belongs to.
fn family(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path)?;
    let head = FAMILY.len() + 1;
    let found = bytes
        .windows(head + NAME.len())
        .position(|window| window.starts_with(&FAMILY) && window.ends_with(NAME));
    let at = found.with_context(|| format!("{}: no column family", path.display()))?;
    let (length, begin) = (usize::from(bytes[at + head - 1]), at + head + NAME.len());
    let name = bytes.get(begin..begin + length).context("it ends")?;
    Ok(String::from_utf8(name.to_vec())?)
}

/// The tables of RocksDB's in `dir`, by their column family.
pub(super) fn tables(dir: &Path) -> Result<BTreeMap<String, Vec<PathBuf>>> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sst") {
            found.entry(family(&path)?).or_default().push(path);
        }
    }
    Ok(found)
}

/// What a start reads must not be repaired a second time: the node goes on with the copy at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_tables_of_each_kind_are_repaired_once() -> Result<()> {
    cluster::run(3, &ARGUMENTS, async |cluster: &mut Cluster| {
        let (client, acks) = (cluster.client().await?, Acks::default());
        fill(&client, &acks).await?;
        let id = cluster.followers().await?[0];
        for table in Table::ALL {
            cluster.converged(acks.count()).await?;
            cluster.terminate(id).await?;
            let paths = tables(&ledger(cluster, id)?)?.remove(table.name());
            let paths = paths.with_context(|| format!("there is no table of {table}"))?;
            let before = cluster.log(id).len();
            for path in &paths {
                // Rows come first.
                flip(path, 20)?;
            }
            cluster.launch(id)?;
            let restarts = supervise_until(cluster, id, before, REPAIRED).await?;
            ensure!(
                restarts == 0 || table != Table::Meta,
                "it is found when the node starts"
            );
            cluster.wait_ready(id).await?;
            cluster.converged(acks.count()).await?;
            let said = cluster.log(id).split_off(before);
            let repairs = said.matches(REPAIRED).count();
            ensure!(repairs == 1, "{table}: {repairs} repairs: {said}");
        }
        commit_some(&client, &acks, 20).await?;
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}
