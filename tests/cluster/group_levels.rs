//! Consumer groups and cursors in vaults of several feature levels: refused before theirs, and at work while builds of
//! two levels run.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use toka_client::{
    Client, Code, Consistency, CursorName, Error, EventDraft, GroupName, GroupStart, Precondition,
};
use toka_ledger::command::{COORDINATION_LEVEL, FEATURE_LEVEL, FEATURE_LEVEL_MIN};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::consumers::has_groups;
use toka_tests::history::Acks;
use toka_tests::load::SAVE_OFTEN;
use toka_tests::work::{self, Work};
use toka_tests::{process, seed, wait};

use crate::group_faults::{SOME, Scene};

/// A writer of its own, beside those of the load.
const WRITER: u64 = 1_000;
/// Longer than any test takes.
const LONG_MS: u32 = 3_600_000;
/// Snapshots are made often, so that a node which was away for a moment needs one.
const SETTINGS: [&str; 6] = [
    "--snapshot-log-entries",
    "40",
    "--keep-log-entries",
    "10",
    SAVE_OFTEN[0],
    SAVE_OFTEN[1],
];

/// The arguments of node `id`, which does not say that it knows more than the first level.
fn held(cluster: &Cluster, id: u64) -> Vec<String> {
    let mut arguments = cluster.serve_arguments(id);
    arguments.extend([
        "--feature-level-max".to_owned(),
        FEATURE_LEVEL_MIN.to_string(),
    ]);
    arguments
}

async fn level(cluster: &Cluster) -> Result<u32> {
    let settings = cluster.seen().await?.settings.context("no settings")?;
    Ok(settings.feature_level)
}

/// Waits until the vault is at a level, as some node that runs has it.
async fn is_at(cluster: &Cluster, wanted: u32) -> Result<()> {
    wait::until("the level", PATIENCE, async || {
        let level = level(cluster).await?;
        ensure!(level == wanted, "the vault is at {level}");
        Ok(())
    })
    .await
}

/// Whether a call was refused because the vault is not at the level yet.
fn names_level<T: std::fmt::Debug>(what: &str, answer: Result<T, Error>) -> Result<()> {
    let wanted = format!("feature level {COORDINATION_LEVEL}");
    match answer {
        Err(Error::Refused {
            code: Code::FailedPrecondition,
            message,
            ..
        }) if message.contains(&wanted) => Ok(()),
        other => anyhow::bail!("{what}: {other:?}, not {wanted:?}"),
    }
}

/// Everything that needs the level is refused through `client`.
async fn all_is_refused(client: &Client) -> Result<()> {
    let (group, cursor) = (GroupName::new("work")?, CursorName::new("reader")?);
    let settings = work::settings(LONG_MS);
    let made = client.create_group(&group, &settings, GroupStart::Beginning);
    names_level("create", made.await)?;
    names_level("delete", client.delete_group(&group).await)?;
    let wanted = work::pull(&group, 1, Duration::ZERO)?;
    names_level("pull", client.pull(&wanted).await)?;
    names_level("replay", client.replay_parked(&group, &[1]).await)?;
    names_level("discard", client.discard_parked(&group, &[1]).await)?;
    names_level("save", client.save_cursor(&cursor, None, 1).await)?;
    names_level("remove", client.delete_cursor(&cursor, None).await)?;
    let preconditions = [
        Precondition::KindPrefixSequence {
            prefix: "never".to_owned(),
            sequence: 0,
        },
        Precondition::Acknowledge {
            group,
            incarnation: 1,
            sequence: 1,
            delivery: 1,
        },
    ];
    for precondition in preconditions {
        let event = EventDraft::new("refused");
        let committed = client.commit_batch(vec![event], vec![precondition.clone()]);
        names_level(&format!("{precondition:?}"), committed.await)?;
    }
    let groups = client.groups(Consistency::Linearizable).await?;
    ensure!(groups.is_empty(), "{groups:?}");
    Ok(())
}

/// Of commits that are sent one behind the other those alone are refused that need the level.
async fn stream_goes_on(client: &Client) -> Result<()> {
    let stream = client.commit_stream();
    let mut sent = Vec::new();
    for number in 0..30 {
        let condition = Precondition::KindPrefixSequence {
            prefix: "never".to_owned(),
            sequence: 0,
        };
        let conditions = match number % 3 {
            1 => vec![condition],
            _ => Vec::new(),
        };
        let is_above = !conditions.is_empty();
        let event = EventDraft::new("streamed");
        sent.push((is_above, stream.send(vec![event], conditions).await?));
    }
    for (is_above, answer) in sent {
        let answer = answer.await;
        match is_above {
            true => names_level("a commit of a stream", answer)?,
            false => drop(answer?),
        }
    }
    stream.finish().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vault_that_is_held_at_the_first_level_refuses_groups_until_it_rises() -> Result<()> {
    cluster::run_prepared(3, &[], async |cluster: &mut Cluster| {
        for id in cluster.ids() {
            let arguments = held(cluster, id);
            cluster.launch_as(id, &arguments)?;
        }
        cluster.wait_all_ready().await?;
        let client = cluster.client().await?;
        let early = work::commit_tasks(&client, 100..103).await?;
        // A cursor can be moved at that level, together with a commit.
        let cursor = CursorName::new("reader")?;
        let moves = Precondition::CursorMove {
            name: cursor.clone(),
            from: 0,
            to: 2,
        };
        let moved = EventDraft::new("moved");
        client.commit_batch(vec![moved], vec![moves]).await?;
        for id in cluster.ids() {
            let refused = all_is_refused(&cluster.client_of(id).await?).await;
            refused.with_context(|| format!("node {id}"))?;
        }
        stream_goes_on(&client).await?;
        // As long as one of them does not say that it knows the next level, nothing changes.
        for id in [1, 2] {
            cluster.terminate(id).await?;
            cluster.restart(id).await?;
        }
        let levels = [FEATURE_LEVEL, FEATURE_LEVEL, FEATURE_LEVEL_MIN];
        cluster.has_known_levels(&levels).await?;
        ensure!(level(cluster).await? == FEATURE_LEVEL_MIN);
        all_is_refused(&client).await?;

        cluster.terminate(3).await?;
        cluster.restart(3).await?;
        has_groups(&client).await?;
        is_at(cluster, FEATURE_LEVEL).await?;
        let at = client.cursor(&cursor, Consistency::Linearizable).await?;
        ensure!(at == Some(2), "the cursor is at {at:?}");
        client.save_cursor(&cursor, Some(2), 3).await?;
        // Events from before the rise are the group's as all others.
        let name = GroupName::new("early")?;
        let settings = work::settings(LONG_MS);
        let made = client.create_group(&name, &settings, GroupStart::Beginning);
        made.await?;
        let got = client.pull(&work::pull(&name, 10, PATIENCE)?).await?;
        ensure!(work::sequences(&got) == early, "{got:?} of {early:?}");
        client.delete_group(&name).await?;
        let late = work::pull(&GroupName::new("late")?, 10, PATIENCE)?;
        let made = client.create_group(&late.group, &settings, GroupStart::Now);
        made.await?;
        let after = work::commit_tasks(&client, 200..201).await?;
        let got = client.pull(&late).await?;
        ensure!(work::sequences(&got) == after, "{got:?} of {after:?}");
        Ok(())
    })
    .await
}

/// Starts node `id` again with another build.
async fn change_build(cluster: &mut Cluster, id: u64, build: Option<&Path>) -> Result<()> {
    cluster.terminate(id).await?;
    cluster.set_build(id, build);
    cluster.restart(id).await
}

/// Hands leadership to node `id`, and waits until everybody knows.
async fn lead(cluster: &Cluster, id: u64) -> Result<()> {
    let to = id.to_string();
    let transfer = ["cluster", "transfer", "--to", &to];
    cluster.toka().ok(&transfer).await?;
    wait::until("the leader", PATIENCE, async || {
        let leader = cluster.leader().await?;
        ensure!(leader == id, "node {leader} leads");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_goes_on_while_nodes_are_upgraded() -> Result<()> {
    let next = process::next_binary()?;
    let seed = seed::draw();
    cluster::run(3, &SETTINGS, async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let mut kept = Work::start(&client, LONG_MS).await?;
        let acks = Acks::default();
        kept.record(&acks, WRITER);
        let scene = Scene::start(cluster, seed, acks).await?;
        let followers = cluster.followers().await?;
        change_build(cluster, followers[0], Some(&next)).await?;
        scene.goes_on(SOME).await?;
        // What one build has leased the other one knows, whichever leads.
        lead(cluster, followers[0]).await?;
        scene.goes_on(SOME).await?;
        kept.is_kept(&client, Consistency::Linearizable).await?;
        lead(cluster, followers[1]).await?;
        scene.goes_on(SOME).await?;
        // The way back is open.
        change_build(cluster, followers[0], None).await?;
        scene.goes_on(SOME).await?;
        for id in cluster.ids() {
            change_build(cluster, id, Some(&next)).await?;
            scene.goes_on(SOME).await?;
        }
        is_at(cluster, FEATURE_LEVEL + 1).await?;
        scene.goes_on(SOME).await?;
        kept.is_kept(&client, Consistency::Linearizable).await?;
        kept.acknowledge_held(&client).await?;
        kept.finish(&client).await?;
        scene.finish(cluster).await
    })
    .await
}
