//! The vault as it was at a sequence, or at a time.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use toka_client::{EventDraft, EventHeader, Precondition};
use toka_ledger::CursorName;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::load::SAVE_OFTEN;

use super::{log_of, number, restore, text, under_load, user, value};

/// Restores node 1 of a new cluster, starts it and returns what was said, its history root and its log.
async fn restored(
    cluster: &Cluster,
    at: &str,
    point: &[&str],
) -> Result<(Value, Cluster, Vec<EventHeader>)> {
    let mut new = cluster.prepare_beside(1)?;
    let said = restore(&new, 1, at, point).await?;
    new.launch(1)?;
    new.wait_ready(1).await?;
    super::check_position(&new.state(1).await?, &said)?;
    let log = log_of(&new, 1).await?;
    Ok((said, new, log))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_sequence_and_any_time_is_restored() -> Result<()> {
    cluster::run(3, &SAVE_OFTEN, async |cluster: &mut Cluster| {
        let (toka, at) = user(cluster, 2);
        let (log, (first, second)) = under_load(cluster, async |_, acks| {
            let mut made = Vec::new();
            for name in ["first", "second"] {
                acks.more(300, PATIENCE).await?;
                made.push(value(&toka, &["backup", "create", &at, "--name", name]).await?);
            }
            Ok((number(&made[0], "sequence")?, number(&made[1], "sequence")?))
        })
        .await?;
        for id in cluster.running() {
            cluster.terminate(id).await?;
        }
        let up_to = |sequence: u64| &log[..usize::try_from(sequence).unwrap_or(usize::MAX)];

        // Between the two backups: the first one, and what follows of the second.
        let between = first + (second - first) / 2;
        let (said, _node, found) =
            restored(cluster, &at, &["--sequence", &between.to_string()]).await?;
        ensure!(found == up_to(between), "another log: {said}");
        ensure!(text(&said, "base")? == "first" && text(&said, "backup")? == "second");
        ensure!(
            number(&said, "repeated_events")? == between - first,
            "{said}"
        );

        // Before the first one: from the beginning.
        let before = first / 2;
        let (said, _node, found) =
            restored(cluster, &at, &["--sequence", &before.to_string()]).await?;
        ensure!(found == up_to(before), "another log: {said}");
        ensure!(said["base"].is_null(), "{said}");

        // Where a backup ends: as it is.
        let (said, _node, found) =
            restored(cluster, &at, &["--sequence", &first.to_string()]).await?;
        ensure!(found == up_to(first), "another log: {said}");
        ensure!(said["repeated_events"].is_null(), "{said}");

        // At a time: all events of that millisecond, and none after it.
        let unix_ms = log[usize::try_from(between)?].unix_ms;
        let time = rfc3339(unix_ms);
        let (said, _node, found) = restored(cluster, &at, &["--time", &time]).await?;
        let expected = log.partition_point(|header| header.unix_ms <= unix_ms);
        ensure!(found == log[..expected], "another log: {said}");

        // Beyond the last backup: nobody knows.
        let new = cluster.prepare_beside(1)?;
        let data = new.node(1).data.display().to_string();
        for point in [
            ["--sequence", &(second + 1).to_string()],
            ["--time", "2100-01-01T00:00:00Z"],
        ] {
            let arguments = ["restore", &at, "--data", &data, "--node-id", "1"];
            let refused = toka.run(&[&arguments[..], &point].concat()).await?;
            ensure!(refused.code == Some(5), "{refused:?}");
            ensure!(refused.stderr.contains("not covered"), "{refused:?}");
            ensure!(!new.node(1).data.exists(), "something was left");
        }
        Ok(())
    })
    .await
}

/// Milliseconds since the Unix epoch as the command line takes them.
fn rfc3339(unix_ms: u64) -> String {
    // Days since the epoch to a date, by Howard Hinnant's `civil_from_days`.
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let in_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let (day, month) = (
        in_year - (153 * month + 2) / 5 + 1,
        if month < 10 { month + 3 } else { month - 9 },
    );
    let year = year + era * 400 + u64::from(month <= 2);
    let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{:03}Z",
        ms % 1_000
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn intents_labels_cursors_and_digests_are_as_they_were() -> Result<()> {
    const EVENTS: u64 = 600;
    const CURSOR: &str = "reader";
    let moved = |from: u64, to: u64| Precondition::CursorMove {
        name: CursorName::new(CURSOR).expect("valid"),
        from,
        to,
    };
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let (toka, at) = user(cluster, 1);
        let client = cluster.client().await?;
        let mut digests = BTreeMap::new();
        for number in 1..=EVENTS {
            // Five directions, a little apart each.
            let angle = (number % 5) as f32 * 1.2 + (number % 7) as f32 * 0.01;
            let draft = EventDraft::new("some.thing")
                .payload(&serde_json::json!({ "number": number }))
                .embedding(&[angle.cos(), angle.sin()]);
            // Every third commit moves the cursor.
            let moves = if number.is_multiple_of(3) {
                vec![moved(number - 3, number)]
            } else {
                Vec::new()
            };
            let committed = client.commit_batch(vec![draft], moves).await?;
            let digest = cluster.state(1).await?.state_digest.to_string();
            digests.insert(number, digest);
            if number.is_multiple_of(50) {
                let intent = committed.headers[0].intent.context("it has an intent")?;
                let label = format!("label {number}");
                client.label_intent(intent, Some(&label)).await?;
            }
            if number == 200 {
                value(&toka, &["backup", "create", &at, "--name", "early"]).await?;
            }
        }
        let late = value(&toka, &["backup", "create", &at, "--name", "late"]).await?;
        ensure!(number(&late, "sequence")? == EVENTS, "{late}");
        let log = log_of(cluster, 1).await?;

        // From the beginning, and from the earlier backup; with and without a stored digest there.
        for sequence in [100_u64, 201, 512, 555] {
            let point = sequence.to_string();
            let (said, new, found) = restored(cluster, &at, &["--sequence", &point]).await?;
            let expected = &log[..usize::try_from(sequence)?];
            ensure!(found == expected, "headers or intents differ: {said}");
            // The digest right behind the event, with the cursor and without the label that came then.
            let digest = &digests[&sequence];
            ensure!(text(&said, "state_digest")? == digest, "{said}: {digest}");
            // The cursor is where it was.
            let cursor = sequence / 3 * 3;
            let client = new.client().await?;
            let draft = || EventDraft::new("some.more");
            let moves = vec![moved(cursor - 3, sequence + 1)];
            let refused = client.commit_batch(vec![draft()], moves).await;
            ensure!(refused.is_err(), "the cursor is elsewhere: {refused:?}");
            let moves = vec![moved(cursor, sequence + 1)];
            client.commit_batch(vec![draft()], moves).await?;
        }
        Ok(())
    })
    .await
}
