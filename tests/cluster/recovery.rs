//! Most voters are lost for good, and a new cluster begins with what one node has.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use toka_client::{Client, Error, EventDraft, EventHeader, Precondition, Start, Subscribe};
use toka_ledger::CursorName;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::command::Toka;
use toka_tests::history;
use toka_tests::process::Process;
use toka_tests::wait;
use tokio::task::JoinSet;

/// Writers give up soon: nobody will ever answer them.
const PATIENCE_OF_WRITERS: Duration = Duration::from_secs(5);
const WRITERS: u64 = 8;
/// What a member says once of a node of another cluster at the address of another one.
const STRANGER: &str = "a node of another cluster is at the address of this member";

/// What writers were told.
type Told = Arc<Mutex<Vec<EventHeader>>>;

/// Commits one event after the other until nobody answers.
async fn write(client: Client, writer: u64, told: Told) {
    for number in 0_u64.. {
        let draft = EventDraft::new("some").payload(&json!({ "writer": writer, "number": number }));
        match client.commit(draft).await {
            Ok(header) => told.lock().expect("no panic").push(header),
            Err(_) => return,
        }
    }
}

fn move_cursor(from: u64, to: u64) -> Result<Precondition> {
    Ok(Precondition::CursorMove {
        name: CursorName::new("worker")?,
        from,
        to,
    })
}

async fn step(client: &Client, from: u64, to: u64) -> Result<(), Error> {
    let done = EventDraft::new("done").payload(&json!({ "to": to, "by": format!("{client:p}") }));
    let step = move_cursor(from, to).map_err(|_| Error::StreamEnded)?;
    client.commit_batch(vec![done], vec![step]).await.map(drop)
}

/// Runs `toka cluster recover` on a node's data.
pub(crate) fn recover<'a>(data: &'a str, into: &'a str) -> [&'a str; 8] {
    [
        "cluster",
        "recover",
        "--data",
        data,
        "--into",
        into,
        "--accept-data-loss",
        "-ojson",
    ]
}

/// A recovery that is killed on its way; the next one clears what it left.
async fn killed_recovery(directory: &Path, data: &str, into: &Path) -> Result<()> {
    let into_text = into.display().to_string();
    let arguments = recover(data, &into_text).map(str::to_owned);
    let log = directory.join("recover.log");
    let mut process = Process::start(&arguments, &log)?;
    wait::until("it has begun", PATIENCE, async || {
        ensure!(into.join("RESTORING").exists() || process.ended()?.is_some());
        Ok(())
    })
    .await?;
    process.kill()?;
    ensure!(
        into.join("RESTORING").exists() || !into.join("VAULT").exists(),
        "it was faster than the test"
    );
    Ok(())
}

/// Loses the leader and one of its followers for good, under load, and the power of the other follower: what
/// its ledger has not flushed is in its log only. Returns whose data are left, and whose are not.
async fn lose_most(cluster: &mut Cluster, told: &Told) -> Result<(u64, Vec<u64>)> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let client = Client::builder().timeout(PATIENCE_OF_WRITERS);
        let client = client.connect(cluster.endpoints()).await?;
        writers.spawn(write(client, writer, Arc::clone(told)));
    }
    wait::until("there is something to lose", PATIENCE, async || {
        ensure!(told.lock().expect("no panic").len() > 500);
        Ok(())
    })
    .await?;
    let leader = cluster.leader_of_running().await?;
    let followers: Vec<u64> = cluster
        .ids()
        .into_iter()
        .filter(|id| *id != leader)
        .collect();
    for id in [leader, followers[0], followers[1]] {
        cluster.kill(id)?;
    }
    while writers.join_next().await.is_some() {}
    Ok((followers[1], vec![leader, followers[0]]))
}

/// `toka serve` for the first node of the new cluster, at the addresses of the old node `id`.
pub(crate) fn serve(cluster: &Cluster, id: u64, data: &Path) -> Vec<String> {
    let mut arguments = cluster.serve_arguments(id);
    let mut own = Vec::new();
    while let Some(argument) = (!arguments.is_empty()).then(|| arguments.remove(0)) {
        match argument.as_str() {
            "--initial-member" => drop(arguments.remove(0)),
            "--data" => {
                arguments[0] = data.display().to_string();
                own.push(argument);
            }
            _ => own.push(argument),
        }
    }
    own
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn survivor_becomes_a_new_cluster_and_everybody_notices() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let old_client = cluster.client().await?;
        let mut subscription = old_client
            .subscribe(Subscribe::from(Start::Beginning))
            .await?;
        step(&old_client, 0, 1).await?;
        subscription.next_event().await?;
        let stored = (subscription.position(), subscription.history_id());
        let told = Told::default();
        let (survivor, lost) = lose_most(cluster, &told).await?;

        let directory = cluster.directory().to_owned();
        let data = cluster.node(survivor).data.display().to_string();
        let new: PathBuf = directory.join("recovered");
        let toka = cluster.toka();
        let asked = toka.run(&["cluster", "recover", "--data", &data]).await?;
        ensure!(asked.code == Some(2), "{asked:?}");
        ensure!(asked.stdout.contains("last log entry term"), "{asked:?}");
        ensure!(asked.stderr.contains("nothing was changed"), "{asked:?}");
        killed_recovery(&directory, &data, &new).await?;
        let recovered = toka
            .json(&recover(&data, &new.display().to_string()))
            .await?;
        let recovered: Value = recovered.into_iter().next().context("no output")?;
        let sequence = recovered["recovered"]["sequence"]
            .as_u64()
            .context("sequence")?;
        let applied = recovered["recovered"]["applied_entries"].as_u64();
        ensure!(applied > Some(0), "nothing was left to apply: {recovered}");
        // The old directory serves nobody any more.
        let said = cluster.refuses_to_start(survivor).await?;
        ensure!(said.contains("was recovered elsewhere"), "{said}");

        check_repeated(cluster, &data, &new).await?;

        let arguments = serve(cluster, survivor, &new);
        cluster.launch_as(survivor, &arguments)?;
        cluster.wait_ready(survivor).await?;
        check_history(cluster, survivor, sequence, &told).await?;
        check_stored_position(cluster, survivor, stored).await?;

        let noticed = wait::until(
            "the subscriber notices",
            PATIENCE,
            async || match subscription.next_event().await {
                Err(Error::HistoryChanged { .. }) => Ok(()),
                other => anyhow::bail!("{other:?}"),
            },
        );
        noticed.await?;
        let hasty = old_client.with_timeout(PATIENCE_OF_WRITERS);
        let refused = step(&hasty, 1, 2).await;
        let old_cluster = old_client.cluster_id().context("no cluster id")?;
        let refused = refused.err().context("a step in another cluster")?;
        // The old members are only down, as far as the client knows.
        ensure!(refused.is_retryable(), "{refused:?}");
        let other = format!("and not to {old_cluster:032x}");
        ensure!(refused.to_string().contains(&other), "{refused}");
        let status = &cluster
            .toka()
            .json(&["cluster", "status", "-ojson"])
            .await?[0];
        let from = &status["recovered_from"];
        ensure!(from["cluster_id"] == recovered["cluster_id"], "{status}");
        ensure!(from["sequence"] == sequence, "{status}");
        ensure!(status["cluster_id"] != recovered["cluster_id"], "{status}");

        // The old cluster's nodes are refused, and the new one goes on.
        cluster.launch(lost[0])?;
        cluster.logs(lost[0], STRANGER).await?;
        check_old_member(cluster, lost[0], survivor).await?;
        cluster.kill(lost[0])?;
        let client = Client::builder()
            .connect([cluster.node(survivor).endpoint()])
            .await?;
        client.cluster_status().await?;
        step(&client, 1, 2).await?;
        let joining = cluster.prepare_joining(&[])?;
        cluster.launch(joining)?;
        let another = cluster.prepare_joining(&[])?;
        cluster.launch(another)?;
        cluster.wait_ready(joining).await?;
        cluster.wait_ready(another).await?;
        wait::until("three voters", PATIENCE, async || {
            let seen = cluster.seen().await?;
            let voters = &seen.membership.voter_sets;
            ensure!(
                voters.len() == 1 && voters[0].node_ids.len() == 3,
                "{voters:?}"
            );
            Ok(())
        })
        .await?;
        step(&client, 2, 3).await?;
        cluster.converged_as(&[survivor, joining, another]).await?;
        Ok(())
    })
    .await
}

/// The same command says that it was done; with another directory it is refused.
async fn check_repeated(cluster: &Cluster, data: &str, new: &Path) -> Result<()> {
    let toka = cluster.toka();
    let again = toka
        .json(&recover(data, &new.display().to_string()))
        .await?;
    let before = &again.first().context("no output")?["recovered_before"];
    ensure!(before["data"] == json!(new), "{again:?}");
    ensure!(before["cluster_id"].is_null(), "{again:?}");
    let elsewhere = cluster.directory().join("elsewhere").display().to_string();
    let refused = toka.run(&recover(data, &elsewhere)).await?;
    ensure!(refused.code == Some(7), "{refused:?}");
    ensure!(refused.stderr.contains("--into"), "{refused:?}");
    Ok(())
}

/// A command that is given to a member of the old cluster does nothing in the new one, though a node of that is at the
/// address of a member of the old one.
async fn check_old_member(cluster: &Cluster, old: u64, survivor: u64) -> Result<()> {
    let before = cluster.status(survivor).await?;
    let endpoints = [cluster.node(old).endpoint()];
    let toka = Toka::with_endpoints(cluster.directory(), &endpoints);
    let id = survivor.to_string();
    for command in [
        ["cluster", "transfer", "--to", &id, "--timeout", "6s"].as_slice(),
        &["cluster", "remove", &id, "--force", "--timeout", "6s"],
        &["commit", "some", "1", "--timeout", "6s"],
    ] {
        let ran = toka.run(command).await?;
        // Those of the old cluster may come back.
        ensure!(ran.code == Some(3), "{command:?}: {ran:?}");
        let new = format!("belongs to cluster {:032x}", before.header.cluster_id);
        ensure!(ran.stderr.contains(&new), "{command:?}: {ran:?}");
    }
    let new = format!("a node of cluster {:032x}", before.header.cluster_id);
    let advice = cluster.status(old).await?.membership.advice;
    let is_said = advice.iter().any(|advice| advice.contains(&new));
    ensure!(is_said, "{advice:?}");
    let said = cluster.log(old).matches(STRANGER).count();
    ensure!(said == 1, "it is said {said} times");
    let after = cluster.status(survivor).await?;
    ensure!(
        after.membership.voter_sets == before.membership.voter_sets,
        "{after:?}"
    );
    ensure!(after.header.sequence == before.header.sequence, "{after:?}");
    Ok(())
}

/// A position that was stored with its history before the recovery is refused by the new cluster, also where
/// whoever comes with it has not seen the old one.
async fn check_stored_position(cluster: &Cluster, id: u64, stored: (u64, u128)) -> Result<()> {
    let (position, old) = stored;
    let client = cluster.client_of(id).await?;
    let new = client.cluster_status().await?.header.history_id;
    ensure!(new != old, "the same history: {new:032x}");
    let after = |history_id| Subscribe {
        history_id: Some(history_id),
        ..Subscribe::from(Start::After(position))
    };
    let refused = cluster.client_of(id).await?.subscribe(after(old)).await;
    ensure!(
        matches!(refused, Err(Error::HistoryChanged { expected, actual }) if expected == old && actual == new),
        "{refused:?}"
    );
    let worker = cluster.client_of(id).await?;
    worker.expect_history(old)?;
    let refused = step(&worker, position, position + 1).await;
    ensure!(
        matches!(refused, Err(Error::HistoryChanged { .. })),
        "{refused:?}"
    );
    let resumed = cluster.client_of(id).await?.subscribe(after(new)).await?;
    ensure!(resumed.position() == position, "{resumed:?}");

    let toka = cluster.toka();
    let (old, new) = (format!("{old:032x}"), format!("{new:032x}"));
    let from = position.to_string();
    let way = format!("worker={position}:{}", position + 1);
    let watch = ["watch", "--from", &from, "--history", &old];
    let commit = ["commit", "done", "--cursor", &way, "--history", &old];
    for arguments in [&watch[..], &commit[..]] {
        let ran = toka.run(arguments).await?;
        ensure!(ran.code == Some(5), "{ran:?}");
        let message = format!("the vault has another history: {new}, not {old}");
        ensure!(ran.stderr.contains(&message), "{ran:?}");
    }
    let until = (position + 1).to_string();
    let again = [
        "watch",
        "--from",
        &from,
        "--until",
        &until,
        "--history",
        &new,
        "-ojson",
    ];
    let events = toka.json(&again).await?;
    ensure!(
        events.len() == 1 && events[0]["history_id"] == new,
        "{events:?}"
    );
    Ok(())
}

/// All that writers were told, and that the survivor had, is where it was.
async fn check_history(cluster: &Cluster, id: u64, sequence: u64, told: &Told) -> Result<()> {
    let log = history::local_log(&cluster.client_of(id).await?).await?;
    history::check_log(&log)?;
    ensure!(log.len() as u64 == sequence, "{} of {sequence}", log.len());
    let told = told.lock().expect("no panic").clone();
    let mut lost = 0;
    for header in &told {
        let Some(index) = header.sequence.checked_sub(1) else {
            continue;
        };
        match log.get(usize::try_from(index)?) {
            Some(found) => ensure!(found.digest == header.digest, "{header:?} is {found:?}"),
            None => lost += 1,
        }
    }
    println!(
        "{} events acknowledged, {lost} were on the lost nodes only",
        told.len()
    );
    ensure!(
        told.len() > 500 && lost < told.len() / 10,
        "{lost} of {} lost",
        told.len()
    );
    Ok(())
}
