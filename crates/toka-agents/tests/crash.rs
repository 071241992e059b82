//! Agents whose process dies at every step of what they do. The test starts itself again as that process.

mod support;

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use support::{NAME, Task, Worker, commit, events, results, settings};
use toka_agents::record;
use toka_agents::{Agent, Fold, GroupSource, Probe, Runner, Source, Step, Store};
use toka_ledger::seam::{Entropy as _, SystemEntropy};
use toka_ledger::{ConsumerName, GroupName, VaultBus};
use tokio_util::sync::CancellationToken;

/// Where the vault is.
const DIRECTORY: &str = "TOKA_AGENTS_CRASH_DIRECTORY";
/// At which step the process dies; absent: it does not.
const STEP: &str = "TOKA_AGENTS_CRASH_STEP";
/// At how many of them it does, from 1.
const TIMES: &str = "TOKA_AGENTS_CRASH_TIMES";
/// Set for an agent that gets its events from a group.
const GROUP: &str = "TOKA_AGENTS_CRASH_GROUP";
/// Lives at most until nothing of a group is outstanding.
const LIVES_MAX: u32 = 100;
/// A step comes less often than that while all tasks are dealt with.
const TIMES_MAX: u32 = 100;
/// The number of SIGABRT.
const SIGABRT: i32 = 6;

/// How the agent gets its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Cursor,
    Group,
}

fn group() -> Result<GroupName> {
    Ok(GroupName::new("workers")?)
}

/// Two of everything that makes a difference.
fn tasks(by: By) -> Vec<Task> {
    let effect = |name: &str| Task::Effect(name.to_owned());
    vec![
        Task::Work,
        Task::Nothing,
        effect("first"),
        Task::Ask,
        effect("second"),
        Task::Nothing,
        // Where the one before is given a snapshot, which moves the cursor too, this one is not.
        Task::Nothing,
        Task::FailTimes(1),
        // A group would give it back again and again.
        match by {
            By::Cursor => Task::Fail,
            By::Group => Task::Panic,
        },
        Task::Work,
    ]
}

/// Ends the process as nothing can be prepared for.
#[derive(Debug)]
struct Abort {
    at: Step,
    times: AtomicU32,
}

impl Probe for Abort {
    fn reached(&self, step: Step, _sequence: u64) {
        if step == self.at && self.times.fetch_sub(1, Ordering::SeqCst) == 1 {
            std::process::abort();
        }
    }
}

/// The process that dies; a test that does nothing when it is run as one.
#[tokio::test]
async fn child() -> Result<()> {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return Ok(());
    };
    let vault = VaultBus::open(directory)?;
    let mut settings = settings();
    settings.snapshot_every = 2;
    settings.save_every = 1;
    if std::env::var_os(GROUP).is_some() {
        let mut source = GroupSource::new(group()?, ConsumerName::new("one")?);
        // What a life had that has died comes again soon, and as often as it must.
        (source.ack_timeout_ms, source.deliveries_max, source.ahead) = (100, 1_000, 3);
        settings.source = Source::Group(source);
    }
    if let Ok(name) = std::env::var(STEP) {
        let at = Step::ALL.into_iter().find(|step| step.name() == name);
        let times = std::env::var(TIMES)?.parse()?;
        settings.probe = Arc::new(Abort {
            at: at.context("no such step")?,
            times: AtomicU32::new(times),
        });
    }
    // Each life answers differently.
    let mut base = [0; 8];
    SystemEntropy.fill(&mut base);
    let worker = Worker {
        base: u64::from_le_bytes(base),
        ..Worker::default()
    };
    let store: Arc<dyn Store> = Arc::new(vault.clone());
    let runner = Runner::new(worker, store, settings)?;
    let head = vault.position().sequence;
    runner.run_until(head, &CancellationToken::new()).await?;
    Ok(())
}

/// Runs an agent in a process of its own.
fn run(directory: &Path, by: By, dies_at: Option<(Step, u32)>) -> Result<ExitStatus> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--exact", "child", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    if by == By::Group {
        command.env(GROUP, "1");
    }
    if let Some((step, times)) = dies_at {
        command.env(STEP, step.name()).env(TIMES, times.to_string());
    }
    Ok(command.status()?)
}

/// Has it die at a step, and says whether it came to that.
fn dies(directory: &Path, by: By, step: Step, times: u32) -> Result<bool> {
    let status = run(directory, by, Some((step, times)))?;
    let has_died = status.signal() == Some(SIGABRT);
    ensure!(has_died || status.success(), "at {step}: {status}");
    Ok(has_died)
}

async fn prepare(directory: &Path, by: By) -> Result<()> {
    let vault = VaultBus::open(directory)?;
    commit(&vault, &tasks(by)).await;
    vault.close().await;
    Ok(())
}

/// Lets a last life deal with everything; with a group also with what those before had.
async fn finish(directory: &Path, by: By) -> Result<VaultBus> {
    for _ in 0..LIVES_MAX {
        let ended = run(directory, by, None)?;
        ensure!(ended.success(), "the last life ended with {ended}");
        let vault = VaultBus::open(directory)?;
        if vault
            .groups()?
            .iter()
            .all(|group| group.unacknowledged == 0)
        {
            return Ok(vault);
        }
        vault.close().await;
    }
    anyhow::bail!("events are outstanding after {LIVES_MAX} lives")
}

/// What must be whatever has died when.
async fn check(directory: &Path, by: By) -> Result<()> {
    let vault = finish(directory, by).await?;
    let of = |wanted: fn(&Task) -> bool| {
        let numbered = (1_u64..).zip(tasks(by));
        let wanted = numbered.filter(move |(_, task)| wanted(task));
        wanted.map(|(sequence, _)| sequence).collect::<Vec<_>>()
    };
    let worked = of(|task| matches!(task, Task::Work | Task::Ask | Task::FailTimes(_)));
    let done: Vec<_> = results(&vault).into_keys().collect();
    ensure!(done == worked, "results of {done:?}, not of {worked:?}");
    let causes = |kind: &str| -> Vec<u64> {
        let causes = events(&vault, kind).into_iter();
        let mut causes: Vec<_> = causes.map(|event| event.parents[0].id.sequence()).collect();
        // What comes again in a group comes late.
        causes.sort_unstable();
        causes
    };
    let effects = of(|task| matches!(task, Task::Effect(_)));
    let found = causes(record::EFFECT);
    ensure!(found == effects, "effects of {found:?}, not of {effects:?}");
    let bad = of(|task| matches!(task, Task::Fail | Task::Panic));
    let parked = causes(record::PARKED);
    ensure!(parked == bad, "parked are {parked:?}, not {bad:?}");
    if by == By::Group {
        let parked = vault.parked(&group()?, 0, 10)?.into_iter();
        let parked: Vec<_> = parked.map(|parked| parked.sequence).collect();
        ensure!(parked == bad, "the group has {parked:?}, not {bad:?}");
    }
    let done = events(&vault, record::EFFECT_DONE).len();
    ensure!(done == 2, "what became of {done} effects, not of two");
    let filter = Worker::default().interests().filter();
    let head = vault.position().sequence;
    let some = Fold::<Worker>::at(&vault, NAME, &filter, head).await?;
    let mut whole = Fold::<Worker>::default();
    whole.advance(&vault, &filter, head).await?;
    ensure!(some.state() == whole.state(), "{:?}", some.state());
    vault.close().await;
    Ok(())
}

/// The steps that there are.
fn steps(by: By) -> Vec<Step> {
    let of_others = match by {
        By::Cursor => Step::Settled,
        By::Group => Step::CursorSaved,
    };
    let steps = Step::ALL.into_iter();
    steps.filter(|step| *step != of_others).collect()
}

/// Has a process die at each step that there is, each time that it comes to it.
async fn die_everywhere(by: By) -> Result<()> {
    for step in steps(by) {
        let mut times = 1;
        loop {
            let directory = tempfile::tempdir()?;
            prepare(directory.path(), by).await?;
            let has_died = dies(directory.path(), by, step, times)?;
            check(directory.path(), by)
                .await
                .with_context(|| format!("died at {step}, the {times}th time"))?;
            if !has_died {
                break;
            }
            times += 1;
            ensure!(times < TIMES_MAX, "it comes to {step} again and again");
        }
        ensure!(times > 1, "it never came to {step}");
    }
    Ok(())
}

/// Nothing that one death leaves behind makes a difference to the next one.
async fn die_all_the_time(by: By) -> Result<()> {
    let directory = tempfile::tempdir()?;
    prepare(directory.path(), by).await?;
    let mut deaths = 0;
    let steps = steps(by);
    for step in steps.iter().cycle().take(3 * steps.len()) {
        deaths += u32::from(dies(directory.path(), by, *step, 1)?);
    }
    ensure!(deaths > 3, "it died {deaths} times");
    check(directory.path(), by).await
}

#[tokio::test]
async fn each_task_is_dealt_with_once_wherever_the_process_dies() -> Result<()> {
    die_everywhere(By::Cursor).await
}

#[tokio::test]
async fn each_task_is_dealt_with_once_by_an_agent_that_dies_all_the_time() -> Result<()> {
    die_all_the_time(By::Cursor).await
}

#[tokio::test]
async fn each_task_of_a_group_is_dealt_with_once_wherever_the_process_dies() -> Result<()> {
    die_everywhere(By::Group).await
}

#[tokio::test]
async fn each_task_of_a_group_is_dealt_with_once_by_an_agent_that_dies_all_the_time() -> Result<()>
{
    die_all_the_time(By::Group).await
}
