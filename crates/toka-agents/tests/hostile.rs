//! Agents that do what nobody should, on a vault in memory: they stop or are refused, and nothing is lost or done twice.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use support::{Task, commit, events, settings, vault};
use toka_agents::record::{self, EffectDone};
use toka_agents::{
    Agent, Context, Effect, Ended, Error, Event, GroupSource, HandlerError, Interests, NewEvent,
    Reaction, RetryPolicy, Runner, Settings, Source, Store,
};
use toka_ledger::command::Precondition;
use toka_ledger::{ConsumerName, CursorName, GroupName, VaultBus};
use tokio_util::sync::CancellationToken;

/// What the agent does with each task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Its fold panics.
    BadFold,
    /// It requires that somebody else's cursor is where it is not.
    OtherCursor,
    /// It moves somebody else's cursor to where no event is.
    BeyondEnd,
    /// Its effect has a reply that is in no event.
    LongReply,
    /// It says as much as there is room for in a commit, and knows a lot.
    Much,
    /// It fails the first time.
    FailsOnce,
    /// It always says the same.
    Same,
}

/// Kind of what it says: how many tasks it has seen.
const SAID: &str = "said";

#[derive(Debug)]
struct Odd {
    way: Way,
    has_failed: AtomicBool,
    performed: AtomicU32,
}

/// What it knows.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Known {
    tasks: u64,
    much: String,
}

impl Agent for Odd {
    type State = Known;

    fn interests(&self) -> Interests {
        Interests::kinds(["task"])
    }

    fn apply(state: &mut Known, event: &Event) {
        let task: Result<Task, _> = event.payload_as();
        assert!(!matches!(task, Ok(Task::Panic)), "at {}", event.sequence());
        state.tasks += 1;
        state.much = "x".repeat(300_000);
    }

    async fn handle(
        &self,
        state: &Known,
        event: &Event,
        _context: &mut Context,
    ) -> Result<Reaction, HandlerError> {
        let said = NewEvent::new(SAID).payload(&state.tasks);
        let said = Reaction::none().emit(said);
        Ok(match self.way {
            Way::BadFold | Way::Same => said,
            Way::OtherCursor => said.require(Precondition::CursorMove {
                name: CursorName::new("other")?,
                // It is nowhere yet.
                from: 1,
                to: 2,
            }),
            Way::BeyondEnd => said.require(Precondition::CursorMove {
                name: CursorName::new("other")?,
                from: 0,
                to: 1_000_000,
            }),
            Way::LongReply => Reaction::none().effect(Effect::new("read", &event.sequence())?),
            Way::Much => (0..4_u8).fold(Reaction::none(), |much, number| {
                let event = NewEvent::new(SAID).payload_bytes(vec![number; 1_000_000]);
                much.emit(event)
            }),
            Way::FailsOnce if self.has_failed.swap(true, Ordering::SeqCst) => said,
            Way::FailsOnce => return Err(HandlerError::transient("not yet")),
        })
    }

    async fn perform(&self, _effect: &Effect) -> Result<Bytes, HandlerError> {
        self.performed.fetch_add(1, Ordering::SeqCst);
        Ok(Bytes::from(vec![0; 2 << 20]))
    }
}

fn odd(vault: &VaultBus, way: Way, settings: Settings) -> Runner<Odd> {
    let odd = Odd {
        way,
        has_failed: AtomicBool::new(false),
        performed: AtomicU32::new(0),
    };
    let store: Arc<dyn Store> = Arc::new(vault.clone());
    Runner::new(odd, store, settings).expect("settings")
}

/// Runs until everything that is there now is dealt with.
async fn run(runner: &Runner<Odd>, vault: &VaultBus) -> Result<Ended, Error> {
    let head = vault.position().sequence;
    runner.run_until(head, &CancellationToken::new()).await
}

fn group() -> GroupName {
    GroupName::new("odd").expect("a name")
}

fn shared() -> Settings {
    let mut settings = settings();
    let consumer = ConsumerName::new("a").expect("a name");
    settings.source = Source::Group(GroupSource::new(group(), consumer));
    settings
}

/// What was said of each task, by its sequence.
fn said(vault: &VaultBus) -> Vec<(u64, u64)> {
    let said = events(vault, SAID).into_iter();
    let mut said: Vec<(u64, u64)> = said
        .map(|event| {
            let tasks: u64 = vault.payload(&event).expect("readable");
            (event.parents[0].id.sequence(), tasks)
        })
        .collect();
    said.sort_unstable();
    said
}

#[tokio::test]
async fn a_fold_that_panics_stops_the_agent_for_good_with_a_cursor_and_with_a_group() {
    for settings in [settings(), shared()] {
        let vault = vault();
        commit(&vault, &[Task::Work, Task::Panic, Task::Work]).await;
        let ended = run(&odd(&vault, Way::BadFold, settings), &vault).await;
        let error = ended.expect_err("it cannot go on");
        assert!(
            matches!(&error, Error::Apply { after: 1, message } if message == "at 2"),
            "{error:?}"
        );
        assert!(!error.is_retryable());
        assert_eq!(said(&vault), [(1, 1)]);
    }
}

#[tokio::test]
async fn a_reaction_that_names_another_cursor_is_refused_and_moves_its_own() {
    let vault = vault();
    commit(&vault, &[Task::Work]).await;
    let runner = odd(&vault, Way::OtherCursor, settings());
    run(&runner, &vault).await.expect("it goes on");
    assert!(said(&vault).is_empty());
    assert_eq!(runner.metrics().counters().refused, 1);
    let own = CursorName::new("agent.worker").expect("a name");
    assert_eq!(vault.cursor(&own).expect("readable"), Some(1));
}

#[tokio::test]
async fn a_reaction_that_moves_another_cursor_beyond_the_end_is_parked_and_the_agent_goes_on() {
    for settings in [settings(), shared()] {
        let vault = vault();
        commit(&vault, &[Task::Work, Task::Work]).await;
        let runner = odd(&vault, Way::BeyondEnd, settings);
        run(&runner, &vault).await.expect("it goes on");
        let parked = events(&vault, record::PARKED).into_iter();
        let parked: Vec<_> = parked
            .map(|event| {
                let parked: record::Parked = vault.payload(&event).expect("readable");
                assert!(parked.reason.contains("1000000"), "{parked:?}");
                event.parents[0].id.sequence()
            })
            .collect();
        assert_eq!(parked, [1, 2]);
        assert!(said(&vault).is_empty());
        let other = CursorName::new("other").expect("a name");
        assert_eq!(vault.cursor(&other).expect("readable"), None);
    }
}

#[tokio::test]
async fn an_effect_whose_reply_is_too_long_is_carried_out_once() {
    let vault = vault();
    commit(&vault, &[Task::Work]).await;
    for performed in [1, 0] {
        let runner = odd(&vault, Way::LongReply, settings());
        run(&runner, &vault).await.expect("it goes on");
        assert_eq!(runner.agent().performed.load(Ordering::SeqCst), performed);
    }
    let done = events(&vault, record::EFFECT_DONE);
    let done: EffectDone = vault.payload(&done[0]).expect("readable");
    assert!(
        matches!(&done, EffectDone::Failed { reason, .. } if reason.contains("2097152")),
        "{done:?}"
    );
}

#[tokio::test]
async fn a_reaction_is_not_parked_for_a_snapshot_that_has_no_room_beside_it() {
    let vault = vault();
    commit(&vault, &[Task::Work]).await;
    let mut settings = settings();
    settings.snapshot_every = 1;
    let runner = odd(&vault, Way::Much, settings);
    run(&runner, &vault).await.expect("it goes on");
    assert_eq!(events(&vault, SAID).len(), 4);
    assert_eq!(events(&vault, record::PARKED).len(), 0);
    assert_eq!(events(&vault, record::SNAPSHOT).len(), 0);
    let counters = runner.metrics().counters();
    assert_eq!((counters.snapshots, counters.snapshots_too_large), (0, 1));
}

/// In which order the events come is not said; what the state holds is.
#[tokio::test]
async fn an_event_that_comes_again_is_dealt_with_in_the_state_that_there_was_at_it() {
    let vault = vault();
    commit(&vault, &[Task::Work, Task::Work, Task::Work]).await;
    let mut settings = shared();
    settings.snapshot_every = 1;
    settings.handler_retries = RetryPolicy {
        attempts: 1,
        ..settings.handler_retries
    };
    let runner = odd(&vault, Way::FailsOnce, settings);
    while said(&vault).len() < 3 {
        run(&runner, &vault).await.expect("it goes on");
    }
    assert_eq!(said(&vault), [(1, 1), (2, 2), (3, 3)]);
}

#[tokio::test]
async fn the_same_answer_in_a_group_that_was_made_anew_is_acknowledged() {
    let vault = vault();
    commit(&vault, &[Task::Work, Task::Work]).await;
    let first = odd(&vault, Way::Same, shared());
    run(&first, &vault).await.expect("it goes on");
    vault.delete_group(&group()).await.expect("deleted");
    let second = odd(&vault, Way::Same, shared());
    run(&second, &vault).await.expect("it goes on");
    assert_eq!(said(&vault), [(1, 1), (2, 2)]);
    let group = vault.groups().expect("readable").remove(0);
    assert_eq!((group.unacknowledged, group.parked), (0, 0));
}
