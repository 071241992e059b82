//! A consumer in another language, with stubs from the server's reflection or of the `.proto` files, follows a group
//! across the loss of the node that it is connected to.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use toka_client::{Client, Consistency, EventDraft, GroupName, GroupSettings, GroupStart};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::consumers::make_group;
use toka_tests::python;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

/// Asks a node what it serves.
const BY_REFLECTION: &str = "clients/group_client.py";
/// Makes stubs of the directory that it is given.
const BY_FILES: &str = "clients/group_stubs.py";
/// Of each test its own: both may be making theirs.
const ENVIRONMENTS: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/python-for-groups");
/// Committed before the node is lost, and after that.
const EVENTS: u64 = 30;

/// What the consumer says that it has got.
struct Said {
    lines: Lines<BufReader<ChildStdout>>,
    sequences: BTreeSet<u64>,
}

impl Said {
    /// The node that the next delivery comes from; `None`: there are no more.
    async fn next(&mut self) -> Result<Option<String>> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        let Some(line) = line.context("the consumer is silent")?? else {
            return Ok(None);
        };
        let line: Value = serde_json::from_str(&line)?;
        let sequence = line["sequence"].as_u64();
        self.sequences.insert(sequence.context("a sequence")?);
        let endpoint = line["endpoint"].as_str();
        Ok(Some(endpoint.context("an endpoint")?.to_owned()))
    }
}

async fn commit(client: &Client, numbers: std::ops::Range<u64>) -> Result<()> {
    for number in numbers {
        let event = EventDraft::new("task").payload(&json!({ "number": number }));
        client.commit(event).await?;
    }
    Ok(())
}

/// Lets the script follow a group, with these arguments before the endpoints, and takes its node away.
async fn goes_on(script: &'static str, environment: &str, arguments: &[PathBuf]) -> Result<()> {
    let directory = PathBuf::from(format!("{ENVIRONMENTS}-{environment}"));
    let python = tokio::task::spawn_blocking(move || python::interpreter(&directory));
    let python = python.await??;
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let group = GroupName::new("foreign")?;
        let settings = GroupSettings {
            ack_timeout_ms: 1_000,
            deliveries_max: 100,
            ..GroupSettings::default()
        };
        make_group(&client, &group, &settings, GroupStart::Beginning).await?;
        let mut consumer = Command::new(&python)
            .arg(toka_tests::manifest_dir().join(script))
            .arg(group.as_str())
            .arg((2 * EVENTS).to_string())
            .args(arguments)
            .args(cluster.endpoints())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = consumer.stdout.take().context("it is a pipe")?;
        let mut said = Said {
            lines: BufReader::new(stdout).lines(),
            sequences: BTreeSet::new(),
        };
        commit(&client, 0..EVENTS).await?;
        let first = said.next().await?.context("it gets something")?;
        let lost = cluster
            .ids()
            .into_iter()
            .find(|id| cluster.node(*id).endpoint() == first);
        let lost = lost.with_context(|| format!("nobody is at {first}"))?;
        cluster.kill(lost)?;
        commit(&client, EVENTS..2 * EVENTS).await?;
        let mut others = BTreeSet::new();
        while let Some(endpoint) = said.next().await? {
            others.insert(endpoint);
        }
        let status = tokio::time::timeout(PATIENCE, consumer.wait()).await;
        let status = status.context("the consumer does not end")??;
        ensure!(status.success(), "{status}");
        ensure!(others.iter().any(|other| *other != first), "{others:?}");
        let missing = (1..=2 * EVENTS).find(|sequence| !said.sequences.contains(sequence));
        ensure!(missing.is_none(), "event {missing:?} is lost");
        let group = client.group(&group, Consistency::Linearizable).await?;
        ensure!(group.unacknowledged == 0 && group.parked == 0, "{group:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_consumer_goes_on_with_another_node_and_loses_nothing() -> Result<()> {
    goes_on(BY_REFLECTION, "by-reflection", &[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_consumer_with_generated_stubs_goes_on_and_loses_nothing() -> Result<()> {
    let proto = toka_tests::manifest_dir().join("../proto");
    goes_on(BY_FILES, "by-files", &[proto]).await
}
