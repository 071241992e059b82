//! Nodes whose clocks are wrong.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use toka_tests::clock::Clock;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::history;
use toka_tests::traffic::Traffic;
use toka_tests::wait;

const YEAR: &str = "+365d";
/// Far from a year, and more than clocks may differ by.
const MINUTE: Duration = Duration::from_secs(60);
/// What a leader says whose clock is wrong.
const GIVES_WAY: &str = "it takes no commits, and hands over";

/// Three nodes, each with a clock of its own; `wrong` is a year ahead from the beginning.
async fn with_clocks(
    wrong: Option<u64>,
    scenario: impl AsyncFnOnce(&mut Cluster, &[Clock]) -> Result<()>,
) -> Result<()> {
    cluster::run_prepared(3, &[], async |cluster: &mut Cluster| {
        let mut clocks = Vec::new();
        for id in cluster.ids() {
            let clock = Clock::new(cluster.directory(), &format!("clock-{id}"))?;
            if wrong == Some(id) {
                clock.set(YEAR)?;
            }
            cluster.set_clock(id, &clock);
            clocks.push(clock);
        }
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        scenario(cluster, &clocks).await
    })
    .await
}

fn clock_of(clocks: &[Clock], id: u64) -> Result<&Clock> {
    let index = usize::try_from(id)? - 1;
    clocks.get(index).context("no such node")
}

async fn clock_alarm(cluster: &Cluster, node_id: u64) -> Result<Option<Value>> {
    let status = cluster
        .toka()
        .json(&["cluster", "status", "-o", "json"])
        .await?;
    let alarms = status[0]["alarms"].as_array().context("alarms")?.clone();
    let mut alarms = alarms.into_iter();
    Ok(alarms.find(|alarm| alarm["kind"] == "clock" && alarm["node_id"] == node_id))
}

async fn alarmed_on(cluster: &Cluster, node_id: u64) -> Result<Value> {
    wait::until("an alarm of the clock", PATIENCE, async || {
        let alarm = clock_alarm(cluster, node_id).await?;
        alarm.context("there is none")
    })
    .await
}

async fn no_alarm(cluster: &Cluster, node_id: u64) -> Result<()> {
    wait::until("no alarm", PATIENCE, async || {
        let alarm = clock_alarm(cluster, node_id).await?;
        ensure!(alarm.is_none(), "{alarm:?}");
        Ok(())
    })
    .await
}

/// Nothing in the vault has been stamped by the wrong clock.
async fn times_are_right(cluster: &Cluster) -> Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let latest = u64::try_from((now + MINUTE).as_millis())?;
    for id in cluster.running() {
        let log = history::local_log(&cluster.client_of(id).await?).await?;
        let wrong = log.iter().find(|header| header.unix_ms > latest);
        ensure!(wrong.is_none(), "node {id} has {wrong:?}");
        let vault_ms = cluster.state(id).await?.node.unix_ms;
        ensure!(vault_ms <= latest, "the vault's time is {vault_ms}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leader_whose_clock_jumps_a_year_ahead_hands_over_before_it_stamps_a_commit() -> Result<()>
{
    with_clocks(None, async |cluster: &mut Cluster, clocks: &[Clock]| {
        let traffic = Traffic::start(cluster).await?;
        let wrong = cluster.leader().await?;
        clock_of(clocks, wrong)?.set(YEAR)?;
        wait::until("another leader", PATIENCE, async || {
            let leader = cluster.leader().await?;
            ensure!(leader != wrong, "node {wrong} leads");
            Ok(())
        })
        .await?;
        traffic.goes_on().await?;
        let alarm = alarmed_on(cluster, wrong).await?;
        let message = alarm["message"].as_str().unwrap_or_default();
        ensure!(message.contains("ahead of the median"), "{message}");

        // Made leader by hand, it stamps nothing, and gives way again. It may do so before the command is told
        // who leads, so that this may fail.
        let to = wrong.to_string();
        let said = |cluster: &Cluster| cluster.log(wrong).matches(GIVES_WAY).count();
        let before = said(cluster);
        ensure!(before > 0, "node {wrong} does not say why it gave way");
        wait::until("it leads, and gives way again", PATIENCE, async || {
            let transfer = ["cluster", "transfer", "--to", &to];
            let ran = cluster.toka().run(&transfer).await?;
            ensure!(said(cluster) > before, "it has not led: {ran:?}");
            Ok(())
        })
        .await?;
        traffic.goes_on().await?;
        ensure!(cluster.leader().await? != wrong, "it leads still");
        times_are_right(cluster).await?;

        clock_of(clocks, wrong)?.set("+0")?;
        no_alarm(cluster, wrong).await?;
        traffic.check(cluster).await?;
        times_are_right(cluster).await
    })
    .await
}

/// Waits until nodes `ids` follow one leader among them, which is not `but`: others may not answer.
async fn leads_among(cluster: &Cluster, ids: &[u64], but: Option<u64>) -> Result<u64> {
    wait::until("one leader", PATIENCE, async || {
        let mut leaders = Vec::new();
        for id in ids {
            leaders.push(cluster.status(*id).await?.leader_id);
        }
        let leader = leaders[0].context("there is none")?;
        ensure!(
            leaders.iter().all(|other| *other == Some(leader)) && ids.contains(&leader),
            "{leaders:?}"
        );
        ensure!(but != Some(leader), "node {leader} leads");
        Ok(leader)
    })
    .await
}

/// While a member hangs, a leader waits a second for its answer, and the clock that it has compared at the
/// beginning may be another one at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clock_that_jumps_while_members_are_asked_stamps_nothing() -> Result<()> {
    with_clocks(None, async |cluster: &mut Cluster, clocks: &[Clock]| {
        let traffic = Traffic::start(cluster).await?;
        let hangs = cluster.followers().await?[0];
        let answer: Vec<u64> = cluster
            .ids()
            .into_iter()
            .filter(|id| *id != hangs)
            .collect();
        cluster.process(hangs)?.signal(Signal::STOP)?;
        // At another moment of such a second each time. A busy machine may elect another one before a node gives way.
        let mut says_so = false;
        for _ in 0..3 {
            traffic.goes_on().await?;
            let wrong = leads_among(cluster, &answer, None).await?;
            clock_of(clocks, wrong)?.set(YEAR)?;
            leads_among(cluster, &answer, Some(wrong)).await?;
            traffic.goes_on().await?;
            alarmed_on(cluster, wrong).await?;
            says_so |= cluster.log(wrong).contains(GIVES_WAY);
            clock_of(clocks, wrong)?.set("+0")?;
            // Until it is right again the other one has nobody to hand over to.
            no_alarm(cluster, wrong).await?;
        }
        ensure!(says_so, "none of them says that it gives way");
        cluster.process(hangs)?.signal(Signal::CONT)?;
        traffic.goes_on().await?;
        traffic.check(cluster).await?;
        times_are_right(cluster).await
    })
    .await
}

/// Also where nothing has been compared before: the vault's creation is stamped too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_begins_with_a_wrong_clock_leads_nobody() -> Result<()> {
    with_clocks(Some(2), async |cluster: &mut Cluster, _: &[Clock]| {
        let traffic = Traffic::start(cluster).await?;
        ensure!(cluster.leader().await? != 2);
        alarmed_on(cluster, 2).await?;
        times_are_right(cluster).await?;
        // With one of the others gone, it still may not lead, and the vault waits for nobody.
        let dead = cluster.followers().await?;
        let dead = *dead.iter().find(|id| **id != 2).context("a follower")?;
        cluster.kill(dead)?;
        traffic.goes_on().await?;
        cluster.restart(dead).await?;
        traffic.check(cluster).await?;
        times_are_right(cluster).await
    })
    .await
}
