//! Agents on a vault whose answers get lost: what was done, and is not known to be, is done once.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use support::store::{Hooked, Hooks};
use support::{SOON, Task, Worker, commit, events, results, settings, vault};
use toka_agents::claims::{Action, Claim, Claims};
use toka_agents::record;
use toka_agents::{Ended, Error, GroupSource, Runner, Settings, Source, Store, StoreError};
use toka_ledger::{ConsumerName, EventDraft, GroupName, Kind, Selector, VaultBus};
use tokio_util::sync::CancellationToken;

/// Runs of an agent at most until nothing is outstanding.
const RUNS_MAX: u32 = 200;

/// Loses answers of a vault, which does what it is told.
#[derive(Debug)]
struct Forgetful {
    /// Of so many answers the last one is lost; 1: all are.
    every: u64,
    answers: AtomicU64,
}

impl Forgetful {
    fn of(vault: &VaultBus, every: u64) -> Arc<dyn Store> {
        Arc::new(Hooked {
            vault: vault.clone(),
            hooks: Self {
                every,
                answers: AtomicU64::new(0),
            },
        })
    }
}

impl Hooks for Forgetful {
    fn done(&self) -> Result<(), StoreError> {
        let number = self.answers.fetch_add(1, Ordering::SeqCst);
        if number % self.every < self.every - 1 {
            return Ok(());
        }
        let lost = toka_client::Error::Unavailable {
            endpoint: "n".to_owned(),
            message: "the answer was lost".to_owned(),
        };
        Err(lost.into())
    }
}

fn runner(store: Arc<dyn Store>, settings: Settings) -> Runner<Worker> {
    Runner::new(Worker::default(), store, settings).expect("settings")
}

async fn run(runner: &Runner<Worker>, vault: &VaultBus) -> Result<Ended, Error> {
    let head = vault.position().sequence;
    runner.run_until(head, &CancellationToken::new()).await
}

fn tasks() -> Vec<Task> {
    let effect = |name: &str| Task::Effect(name.to_owned());
    let mut tasks = vec![Task::Work; 8];
    tasks.extend([Task::Nothing, effect("first"), Task::Panic, Task::Ask]);
    tasks.extend([effect("second"), Task::Nothing, Task::Work]);
    tasks
}

/// How many of [`tasks`] have a result.
const RESULTS: usize = 10;

#[tokio::test]
async fn an_agent_that_does_not_hear_every_answer_does_everything_once() {
    let vault = vault();
    commit(&vault, &tasks()).await;
    let mut settings = settings();
    (settings.snapshot_every, settings.save_every) = (2, 1);
    let runner = runner(Forgetful::of(&vault, 2), settings);
    run(&runner, &vault).await.expect("it goes on");
    assert_eq!(results(&vault).len(), RESULTS);
    assert_eq!(events(&vault, record::PARKED).len(), 1);
    assert_eq!(events(&vault, record::EFFECT_DONE).len(), 2);
    assert_eq!(runner.agent().effects.load(Ordering::SeqCst), 2);
}

/// Each life hears of nothing that it has done, and the next one does not do it again.
#[tokio::test]
async fn agents_that_hear_no_answer_do_one_thing_each() {
    let vault = vault();
    commit(&vault, &[Task::Work, Task::Work, Task::Work]).await;
    for done in 1..=3 {
        let deaf = runner(Forgetful::of(&vault, 1), settings());
        let error = run(&deaf, &vault).await.expect_err("it hears nothing");
        assert!(error.is_retryable(), "{error}");
        assert_eq!(results(&vault).len(), done);
    }
    let last = runner(Arc::new(vault.clone()), settings());
    run(&last, &vault).await.expect("it goes on");
    assert_eq!(last.agent().calls.load(Ordering::SeqCst), 0);
    assert_eq!(results(&vault).len(), 3);
}

#[tokio::test]
async fn an_agent_of_a_group_that_does_not_hear_every_answer_does_everything_once() {
    let vault = vault();
    commit(&vault, &tasks()).await;
    let name = GroupName::new("workers").expect("a name");
    let mut source = GroupSource::new(name.clone(), ConsumerName::new("a").expect("a name"));
    // What was delivered in an answer that was lost comes again after that, and not only once.
    (source.ack_timeout_ms, source.deliveries_max, source.ahead) = (100, 1_000, 3);
    let mut settings = settings();
    settings.source = Source::Group(source);
    let runner = runner(Forgetful::of(&vault, 3), settings);
    let mut runs = 0;
    let group = loop {
        run(&runner, &vault).await.expect("it goes on");
        let group = vault.groups().expect("readable").remove(0);
        if group.unacknowledged == 0 {
            break group;
        }
        runs += 1;
        assert!(runs < RUNS_MAX, "{group:?}");
    };
    assert_eq!(group.parked, 1);
    assert_eq!(events(&vault, record::PARKED).len(), 1);
    assert_eq!(results(&vault).len(), RESULTS);
    assert_eq!(events(&vault, record::EFFECT_DONE).len(), 2);
}

#[tokio::test]
async fn a_holder_that_does_not_hear_every_answer_makes_each_link_once() {
    let vault = vault();
    let task = vault.event("task").commit().await.expect("committed");
    let kind = Kind::new("task.claim").expect("valid");
    let store = Forgetful::of(&vault, 2);
    let claims = Claims::new(store, kind, "a", Duration::from_secs(60)).retries(SOON);
    let mut claim = claims.acquire(&task).await.expect("claimed");
    for _ in 0..4 {
        claim = claims.renew(&claim).await.expect("renewed");
    }
    let result = EventDraft::new("result").parent(&task);
    let done = claims.complete(&claim, vec![result]).await;
    let done = done.expect("completed");
    assert_eq!(done.results.len(), 1);
    assert_eq!(events(&vault, "result").len(), 1);
    let links = events(&vault, "task.claim");
    assert_eq!(links.len(), 6);
    let mut before = task.digest;
    for link in &links {
        assert_eq!(link.parents[0].digest, before);
        before = link.digest;
    }
    let last = Store::get(&vault, Selector::Digest(before)).await;
    let last = last.expect("readable").expect("there");
    let last = Claim::of(&last).expect("a link");
    assert_eq!(last.action(), Action::Complete);
}
