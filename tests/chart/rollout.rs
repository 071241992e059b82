//! Releases are installed, changed and broken while clients commit, and nothing acknowledged is lost.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use toka_tests::cluster::PATIENCE;
use toka_tests::history::{self, Acks};
use toka_tests::wait;

use crate::release::Release;
use crate::writers::Writers;

/// Exit code of a command whose caller has not shown who it is.
const NOT_ALLOWED: i32 = 11;

/// Values with so many pods.
fn of(replicas: u64) -> Value {
    json!({ "replicas": replicas })
}

/// The log of every pod's node has what was acknowledged, at its place, and nothing else.
async fn check(release: &Release, acks: &Acks) -> Result<()> {
    let acks = acks.all();
    let last = acks.iter().map(|ack| ack.sequence).max().unwrap_or(0);
    for endpoint in release.endpoints() {
        let client = release.client(vec![endpoint.clone()]).await?;
        let log = wait::until("the whole log", PATIENCE, async || {
            let log = history::local_log(&client).await?;
            ensure!(log.len() as u64 >= last, "{} of {last} events", log.len());
            Ok(log)
        });
        let log = log.await.with_context(|| endpoint.clone())?;
        history::check_log(&log)?;
        history::check_acks(&log, &acks).with_context(|| endpoint.clone())?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_grows_to_five_and_shrinks_to_three_twice_without_losing_an_event() -> Result<()> {
    let mut release = Release::install(of(3)).await?;
    let formed = release.voters().await?;
    ensure!(
        formed == BTreeMap::from([(0, 1), (1, 2), (2, 3)]),
        "{formed:?}"
    );
    let writers = Writers::start(&release).await?;
    writers.go_on().await?;
    for _ in 0..2 {
        release.upgrade(of(5)).await?;
        let five = release.voters().await?;
        ensure!(five.keys().eq(&[0_u64, 1, 2, 3, 4]), "{five:?}");
        writers.go_on().await?;
        // The volumes of the pods that go are kept, and hold removed members the next time.
        release.upgrade(of(3)).await?;
        let three = release.voters().await?;
        ensure!(three == formed, "{three:?}");
        writers.go_on().await?;
        // Repeated, there is nothing to do.
        release.reconcile().await?;
    }
    check(&release, &writers.stop().await?).await?;
    release.stop_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_of_one_node_grows_to_three_and_shrinks_again() -> Result<()> {
    let mut release = Release::install(of(1)).await?;
    let writers = Writers::start(&release).await?;
    release.upgrade(of(3)).await?;
    let three = release.voters().await?;
    ensure!(three.keys().eq(&[0_u64, 1, 2]), "{three:?}");
    writers.go_on().await?;
    release.upgrade(of(1)).await?;
    let one = release.voters().await?;
    ensure!(one == BTreeMap::from([(0, 1)]), "{one:?}");
    check(&release, &writers.stop().await?).await?;
    release.stop_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_pods_are_rolled_under_load_and_commits_go_on() -> Result<()> {
    let mut release = Release::install(of(3)).await?;
    let formed = release.voters().await?;
    let writers = Writers::start(&release).await?;
    writers.go_on().await?;
    let mut values = of(3);
    values["settings"] = json!({ "request_timeout": "9s" });
    release.upgrade(values).await?;
    writers.go_on().await?;
    let rolled = release.voters().await?;
    ensure!(rolled == formed, "{rolled:?}");
    // Whoever led has not just gone away.
    let handed_over = (0..3).any(|pod| release.log(pod).contains("leadership handed over"));
    ensure!(handed_over, "leadership was not handed over");
    check(&release, &writers.stop().await?).await?;
    release.stop_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_volume_is_replaced_under_a_new_node_id_without_help() -> Result<()> {
    let mut release = Release::install(of(3)).await?;
    let writers = Writers::start(&release).await?;
    writers.go_on().await?;
    let mut before = release.voters().await?;
    // Also the one that would form the cluster, and one that has been replaced.
    for lost in [2, 0, 2] {
        release.stop(lost).await?;
        release.lose_volume(lost)?;
        release.start(lost)?;
        release.ready(lost).await?;
        release.reconcile().await?;
        let after = release.voters().await?;
        let highest = before.values().max().copied().unwrap_or(0);
        ensure!(
            after.len() == 3 && after[&lost] > highest,
            "{before:?} {after:?}"
        );
        before = after;
        writers.go_on().await?;
    }
    check(&release, &writers.stop().await?).await?;
    release.stop_all().await
}

/// It cannot know then whether there has been a cluster, and must neither stay out of it nor make another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volume_that_is_lost_while_all_are_down_is_replaced_once_the_others_are_back() -> Result<()>
{
    let mut release = Release::install(of(3)).await?;
    let writers = Writers::start(&release).await?;
    writers.go_on().await?;
    let acks = writers.stop().await?;
    release.stop_all().await?;
    release.lose_volume(2)?;
    release.start(2)?;
    wait::until("a node that begins anew", PATIENCE, async || {
        let log = release.log(2);
        ensure!(log.contains("waiting for the cluster"), "{log}");
        Ok(())
    })
    .await?;
    release.start(0)?;
    release.start(1)?;
    release.all_ready().await?;
    release.reconcile().await?;
    let voters = release.voters().await?;
    ensure!(
        voters == BTreeMap::from([(0, 1), (1, 2), (2, 4)]),
        "{voters:?}"
    );
    check(&release, &acks).await?;
    release.stop_all().await
}

/// Runs what the notes say, with the pods' addresses for the names that only Kubernetes knows.
async fn run_commands_of_notes(release: &Release, count: usize) -> Result<()> {
    let toka = release.toka();
    let commands = release.commands_of_notes();
    ensure!(commands.len() == count, "{commands:?}");
    for command in commands {
        let words = command.split(' ').map(|word| word.trim_matches('\''));
        let words: Vec<&str> = words.collect();
        toka.ok(&words).await.with_context(|| command.clone())?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_the_notes_and_of_helm_test_work() -> Result<()> {
    let mut release = Release::install(of(3)).await?;
    run_commands_of_notes(&release, 3).await?;
    // Twice, as anybody may: it is the same event.
    release.test().await?;
    release.test().await?;
    release.stop_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_with_tls_and_authorization_grows_rolls_and_shrinks_under_load() -> Result<()> {
    let mut release = Release::install_secured(of(3)).await?;
    let formed = release.voters().await?;
    let writers = Writers::start(&release).await?;
    writers.go_on().await?;
    release.upgrade(of(5)).await?;
    let five = release.voters().await?;
    ensure!(five.keys().eq(&[0_u64, 1, 2, 3, 4]), "{five:?}");
    writers.go_on().await?;
    let mut values = of(5);
    values["settings"] = json!({ "request_timeout": "9s" });
    release.upgrade(values.clone()).await?;
    writers.go_on().await?;
    values["replicas"] = json!(3);
    release.upgrade(values).await?;
    let three = release.voters().await?;
    ensure!(three == formed, "{three:?}");
    writers.go_on().await?;
    check(&release, &writers.stop().await?).await?;
    release.stop_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_volume_of_a_release_with_tls_and_authorization_is_replaced() -> Result<()> {
    let mut release = Release::install_secured(of(3)).await?;
    let before = release.voters().await?;
    release.stop(1).await?;
    release.lose_volume(1)?;
    release.start(1)?;
    release.ready(1).await?;
    release.reconcile().await?;
    let after = release.voters().await?;
    ensure!(after.len() == 3 && after[&1] > before[&1], "{after:?}");
    release.stop_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_with_authorization_serves_who_shows_its_token_and_nobody_else() -> Result<()> {
    let mut release = Release::install_secured(of(3)).await?;
    // The vault has to be raised to the feature level that knows tokens.
    let toka = release.toka();
    wait::until("a vault that knows tokens", PATIENCE, async || {
        toka.ok(&["auth", "token", "list"]).await.map(drop)
    })
    .await?;
    run_commands_of_notes(&release, 4).await?;
    release.test().await?;
    let refused = release.anonymous().run(&["log"]).await?;
    ensure!(refused.code == Some(NOT_ALLOWED), "{refused:?}");
    release.stop_all().await
}
