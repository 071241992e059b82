//! `toka replay` and `toka what-if` become the program that has the agent: the one of the story
//! (`crates/toka-runtime/examples/story`), as a process of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use toka_client::{Client, EventDraft};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::command::{Ran, Toka};
use toka_tests::process::Process;
use toka_tests::wait;
use tokio::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_story-agents");
/// With it in the environment triage knows questions.
const CHANGED: &str = "STORY_CHANGED";
const TEXTS: [&str; 4] = [
    "wake me up at eight",
    "play that song again",
    "is it going to rain?",
    "turn the lights off",
];
/// Of so many days something is asked while the agents' process dies.
const DAYS: usize = 300;
/// So often it dies.
const LIVES: usize = 4;
const QUESTION: &str = r#"--event=utterance.user={"text":"who wrote this?"}"#;

async fn say(client: &Client, text: &str) -> Result<()> {
    let utterance = EventDraft::new("utterance.user").payload(&json!({ "text": text }));
    client.commit(utterance).await?;
    Ok(())
}

/// Events whose kinds begin with `kind`; empty: all of them.
async fn count(toka: &Toka, kind: &str) -> Result<usize> {
    let mut log = vec!["log", "-o", "json", "--no-payload"];
    if !kind.is_empty() {
        log.extend(["--kind", kind]);
    }
    Ok(toka.json(&log).await?.len())
}

fn start_agents(cluster: &Cluster) -> Result<Process> {
    let endpoints = cluster.endpoints().join(",");
    let arguments = ["run", "--endpoint", &endpoints].map(str::to_owned);
    let log = cluster.directory().join("agents.log");
    Process::start_with(Path::new(PROGRAM), &arguments, &[], &log)
}

/// Has the agents deal with what was said. Returns the user of the cluster.
async fn worked(cluster: &Cluster) -> Result<Toka> {
    let client = cluster.client().await?;
    for text in TEXTS {
        say(&client, text).await?;
    }
    let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
    let mut agents = start_agents(cluster)?;
    wait::until("all is reviewed", PATIENCE, async || {
        let seen = count(&toka, "task.reviewed").await?;
        ensure!(seen == TEXTS.len(), "{seen}");
        Ok(())
    })
    .await?;
    let status = agents.terminate(PATIENCE).await?;
    ensure!(status.success(), "the agents ended with {status}");
    Ok(toka)
}

/// Runs the agents' program itself.
async fn program(cluster: &Cluster, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(PROGRAM);
    command.args(arguments);
    command.args(["--endpoint", &cluster.endpoints().join(",")]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(PATIENCE, command.output()).await;
    ended
        .context("the program has not ended")?
        .context("it cannot be run")
}

/// What an agent knew right behind an event.
async fn state(cluster: &Cluster, agent: &str, at: &str) -> Result<Value> {
    let ran = program(cluster, &["state", "--agent", agent, "--at", at]).await?;
    ensure!(ran.status.success(), "{ran:?}");
    Ok(serde_json::from_slice(&ran.stdout)?)
}

fn expect(ran: &Ran, code: i32, shown: &[&str]) -> Result<()> {
    ensure!(ran.code == Some(code), "{ran:?}");
    for text in shown {
        ensure!(ran.stdout.contains(text), "no {text:?}: {ran:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_whose_process_is_killed_again_and_again_do_their_part_once() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        for day in 0..DAYS {
            say(&client, &format!("is it going to rain on day {day}?")).await?;
        }
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        for life in 1..=LIVES {
            let mut agents = start_agents(cluster)?;
            wait::until("some is reviewed", PATIENCE, async || {
                let seen = count(&toka, "task.reviewed").await?;
                ensure!(seen >= life * DAYS / LIVES, "{seen} of {DAYS}");
                Ok(())
            })
            .await?;
            agents.kill()?;
        }
        // One more, which finds nothing left to do.
        let log = cluster.directory().join("agents.log");
        let begun = || -> Result<usize> {
            let said = std::fs::read_to_string(&log)?;
            Ok(said.matches("agent goes on").count())
        };
        let before = begun()?;
        let mut agents = start_agents(cluster)?;
        wait::until("all three agents", PATIENCE, async || {
            let now = begun()? - before;
            ensure!(now == 3, "{now} agents go on");
            Ok(())
        })
        .await?;
        let status = agents.terminate(PATIENCE).await?;
        ensure!(status.success(), "the agents ended with {status}");
        for kind in [
            "utterance.user",
            "task.opened",
            "task.done",
            "task.reviewed",
        ] {
            let seen = count(&toka, kind).await?;
            ensure!(seen == DAYS, "{seen} of {kind}");
        }
        let worker = ["replay", "--program", PROGRAM, "--agent", "worker"];
        let same = toka.run(&worker).await?;
        let shown = format!("{DAYS} events, {DAYS} answered as recorded");
        expect(&same, 0, &[&shown])
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay_says_whether_an_agent_would_do_the_same_again() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = worked(cluster).await?;
        let worker = ["replay", "--program", PROGRAM, "--agent", "worker"];
        let same = toka.run(&worker).await?;
        expect(&same, 0, &["4 events, 4 answered as recorded"])?;
        let triage = ["replay", "--program", PROGRAM, "--agent", "triage"];
        let part = ["--from", "2", "--until", "4", "--diff"];
        let flags = [&triage[..], &part[..]].concat();
        let same = toka.run(&flags).await?;
        expect(&same, 0, &["3 events, 3 answered as recorded"])?;
        let changed = toka.clone().with_variable(CHANGED, "1");
        let differs = changed.run(&flags).await?;
        let shown = [
            "In answer to #3 utterance.user",
            "- recorded: #",
            "+ now:      task.opened",
            "2 events, 1 answered as recorded",
        ];
        expect(&differs, 1, &shown)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_of_an_agent_is_told_as_of_any_event() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = worked(cluster).await?;
        let done = toka
            .json(&["log", "-o", "json", "--kind", "task.done"])
            .await?;
        let mut known = BTreeMap::<String, u64>::new();
        let first = state(cluster, "reviewer", "0").await?;
        ensure!(first == json!(known), "before the first event: {first}");
        for work in &done {
            let (topic, at) = (&work["payload"]["topic"], &work["sequence"]);
            let topic = topic.as_str().context("it has a topic")?;
            *known.entry(topic.to_owned()).or_default() += 1;
            let then = state(cluster, "reviewer", &at.to_string()).await?;
            ensure!(then == json!(known), "at {at}: {then}, not {known:?}");
        }
        ensure!(done.len() == TEXTS.len(), "{done:?}");
        let beyond = ["state", "--agent", "reviewer", "--at", "1000000"];
        let beyond = program(cluster, &beyond).await?;
        ensure!(beyond.status.code() == Some(4), "{beyond:?}");
        Ok(())
    })
    .await
}

/// Runs a command that ends with this code, and says why on standard error.
async fn refused(toka: &Toka, command: &[&str], code: i32, said: &str) -> Result<()> {
    let ran = toka.run(command).await?;
    ensure!(ran.code == Some(code), "{ran:?}");
    ensure!(ran.stderr.contains(said), "no {said:?}: {ran:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flags_of_a_replay_that_name_no_part_of_the_history_are_refused() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        for text in TEXTS {
            say(&client, text).await?;
        }
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let triage = ["replay", "--program", PROGRAM, "--agent", "triage"];
        let with = |flags: &[&'static str]| [&triage[..], flags].concat();
        let turned = with(&["--from", "3", "--until", "2"]);
        refused(&toka, &turned, 2, "--until: event 2 is before event 3").await?;
        let beyond = "the vault has no event at sequence 5: it ends at 4";
        for flags in [["--from", "5"], ["--until", "5"]] {
            refused(&toka, &with(&flags), 4, beyond).await?;
        }
        // Nobody has come to any event: nothing is compared with nothing, and that is said.
        let worker = ["replay", "--program", PROGRAM, "--agent", "worker"];
        let nothing = toka.run(&worker).await?;
        expect(&nothing, 0, &["0 events", "nothing was compared"])?;
        let away = with(&["--endpoint", "127.0.0.1:1", "--timeout", "1s"]);
        refused(&Toka::new(cluster.directory()), &away, 3, "127.0.0.1:1").await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_if_runs_an_agent_in_a_fork_which_is_committed_only_if_that_is_wanted() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = worked(cluster).await?;
        let before = count(&toka, "").await?;
        let at = before.to_string();
        let triage = ["what-if", "--program", PROGRAM, "--agent", "triage", "--at"];
        let flags = [&triage[..], &[&at[..], QUESTION]].concat();
        let ran = toka.run(&flags).await?;
        let shown = ["+ utterance.user", "+ task.opened", r#""topic":"other""#];
        expect(&ran, 0, &shown)?;
        let changed = toka.clone().with_variable(CHANGED, "1");
        let ran = changed.run(&flags).await?;
        expect(&ran, 0, &["+ task.opened", r#""topic":"question""#])?;
        let flags = [&triage[..], &["1000", QUESTION]].concat();
        expect(&toka.run(&flags).await?, 4, &[])?;
        let small = [&triage[..], &[&at[..], QUESTION, "--bytes-max=100"]].concat();
        refused(&toka, &small, 1, "100 bytes (`bytes_max`)").await?;
        let more = ["--agent", "worker"];
        let flags = [&triage[..], &[&at[..], QUESTION], &more[..]].concat();
        let ran = toka.run(&flags).await?;
        expect(&ran, 0, &["+ task.opened", "+ task.done"])?;
        ensure!(
            count(&toka, "").await? == before,
            "a fork has reached the vault"
        );

        // Right behind the last utterance, before triage had come to the first one.
        let flags = [&triage[..], &["4", "--later-events"]].concat();
        let ran = toka.run(&flags).await?;
        let opened = ran.stdout.matches("+ task.opened").count();
        ensure!(opened == TEXTS.len(), "{ran:?}");

        let flags = [&triage[..], &[&at[..], QUESTION, "--commit"]].concat();
        let ran = toka.run(&flags).await?;
        // What was asked, the task, and what triage was told.
        expect(&ran, 0, &["3 events committed to the vault"])?;
        ensure!(count(&toka, "").await? == before + 3);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn program_of_an_agent_is_found_by_its_name() -> Result<()> {
    let home = tempfile::tempdir()?;
    let toka = |path: &Path| -> Result<Toka> {
        let path = path.to_str().context("it is UTF-8")?;
        Ok(Toka::new(home.path()).with_variable("PATH", path))
    };
    // It is the agents' program that knows no such agent.
    let link = home.path().join("toka-agent-nobody");
    std::os::unix::fs::symlink(PROGRAM, link)?;
    let replay = ["replay", "--agent", "nobody", "--endpoint", "127.0.0.1:1"];
    let ran = toka(home.path())?.run(&replay).await?;
    ensure!(ran.code == Some(4), "{ran:?}");
    ensure!(ran.stderr.contains("there are: triage"), "{ran:?}");
    let ran = toka(Path::new("."))?.run(&replay).await?;
    ensure!(ran.code == Some(2), "{ran:?}");
    ensure!(ran.stderr.contains("on the PATH"), "{ran:?}");
    Ok(())
}
