//! Agents that ask for what they may not have: their own doing is parked, and what they cannot go on without stops them.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use support::store::{Hooked, Hooks};
use support::{Task, commit, events, settings, vault};
use toka_agents::record;
use toka_agents::{
    Agent, Context, Ended, Error, Event, GroupSource, HandlerError, Interests, NewEvent, Reaction,
    Runner, Settings, Source, Store, StoreError,
};
use toka_ledger::command::Precondition;
use toka_ledger::{ConsumerName, CursorName, EventDraft, GroupName, Rejection, VaultBus};
use tokio_util::sync::CancellationToken;

/// Kind of what the agent says.
const SAID: &str = "said";
/// The cursor that it moves besides its own.
const OTHER: &str = "other";

/// What the vault does not let it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// Another cursor than its own.
    OtherCursor,
    /// Any cursor.
    AnyCursor,
    /// Events of a kind that begins with this.
    Kind(&'static str),
    /// Anything: nobody knows who it is.
    Everything,
}

/// Refuses commits, and counts those that it was asked for.
#[derive(Debug)]
struct Strict {
    refused: Refused,
    commits: AtomicU32,
}

impl Hooks for Strict {
    fn refusal(&self, events: &[EventDraft], required: &[Precondition]) -> Option<StoreError> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        let moves = |is_wanted: fn(&str) -> bool| {
            required.iter().any(|required| match required {
                Precondition::CursorMove { name, .. } => is_wanted(name.as_str()),
                _ => false,
            })
        };
        let full = || StoreError::from(Rejection::CursorsFull { max: 100_000 });
        let has_kind = |prefix: &str| {
            events.iter().any(|event| {
                let event = event.clone().prepare().expect("an event");
                event.kind.as_str().starts_with(prefix)
            })
        };
        match self.refused {
            Refused::OtherCursor => moves(|name| name == OTHER).then(full),
            Refused::AnyCursor => moves(|_| true).then(full),
            Refused::Kind(prefix) => has_kind(prefix).then(|| {
                let message = format!("the token may not write {prefix}");
                toka_client::Error::PermissionDenied { message }.into()
            }),
            Refused::Everything => Some(
                toka_client::Error::Unauthenticated {
                    endpoint: "n".to_owned(),
                    message: "the token was revoked".to_owned(),
                }
                .into(),
            ),
        }
    }
}

/// Says something of each task, and moves another cursor with that if it is one of work.
#[derive(Debug)]
struct Mover;

impl Agent for Mover {
    /// Tasks that it has seen.
    type State = u64;

    fn interests(&self) -> Interests {
        Interests::kinds(["task"])
    }

    fn apply(state: &mut u64, _event: &Event) {
        *state += 1;
    }

    async fn handle(
        &self,
        state: &u64,
        event: &Event,
        _context: &mut Context,
    ) -> Result<Reaction, HandlerError> {
        let said = Reaction::none().emit(NewEvent::new(SAID).payload(state));
        let task: Task = event.payload_as()?;
        Ok(match task {
            Task::Work => said.require(Precondition::CursorMove {
                name: CursorName::new(OTHER)?,
                from: 0,
                to: event.sequence(),
            }),
            _ => said,
        })
    }
}

/// Has an agent deal with tasks, and returns what became of it, and its commits.
async fn run(
    vault: &VaultBus,
    refused: Refused,
    settings: Settings,
) -> (Result<Ended, Error>, u32) {
    let strict = Arc::new(Hooked {
        vault: vault.clone(),
        hooks: Strict {
            refused,
            commits: AtomicU32::new(0),
        },
    });
    let store: Arc<dyn Store> = Arc::clone(&strict) as Arc<dyn Store>;
    let runner = Runner::new(Mover, store, settings).expect("settings");
    let head = vault.position().sequence;
    let ended = runner.run_until(head, &CancellationToken::new()).await;
    (ended, strict.hooks.commits.load(Ordering::SeqCst))
}

fn shared() -> Settings {
    let mut settings = settings();
    let (group, consumer) = (GroupName::new("movers"), ConsumerName::new("a"));
    let source = GroupSource::new(group.expect("a name"), consumer.expect("a name"));
    settings.source = Source::Group(source);
    settings
}

/// Sequences of the events that were parked, each for a reason with `reason` in it.
fn parked(vault: &VaultBus, reason: &str) -> Vec<u64> {
    let parked = events(vault, record::PARKED).into_iter();
    parked
        .map(|event| {
            let parked: record::Parked = vault.payload(&event).expect("readable");
            assert!(parked.reason.contains(reason), "{parked:?}");
            event.parents[0].id.sequence()
        })
        .collect()
}

#[tokio::test]
async fn a_reaction_for_whose_cursor_there_is_no_room_is_parked_and_the_agent_goes_on() {
    for settings in [settings(), shared()] {
        let vault = vault();
        commit(&vault, &[Task::Work, Task::Nothing]).await;
        let (ended, _) = run(&vault, Refused::OtherCursor, settings).await;
        ended.expect("it goes on");
        assert_eq!(parked(&vault, "100000 cursors"), [1]);
        assert_eq!(events(&vault, SAID).len(), 1);
    }
}

#[tokio::test]
async fn an_agent_for_whose_own_cursor_there_is_no_room_stops_and_parks_nothing() {
    for task in [Task::Work, Task::Nothing] {
        let vault = vault();
        commit(&vault, &[task]).await;
        let (ended, _) = run(&vault, Refused::AnyCursor, settings()).await;
        let is_told = matches!(
            &ended,
            Err(Error::Store(StoreError::Rejected(
                Rejection::CursorsFull { .. }
            )))
        );
        assert!(is_told, "{ended:?}");
        assert_eq!(vault.position().sequence, 1);
    }
}

#[tokio::test]
async fn a_reaction_that_the_token_does_not_allow_is_parked_with_what_the_vault_said() {
    for settings in [settings(), shared()] {
        let vault = vault();
        commit(&vault, &[Task::Nothing, Task::Nothing]).await;
        let (ended, _) = run(&vault, Refused::Kind(SAID), settings).await;
        ended.expect("it goes on");
        assert_eq!(parked(&vault, "may not write said"), [1, 2]);
        assert!(events(&vault, SAID).is_empty());
    }
}

#[tokio::test]
async fn an_agent_that_may_not_park_either_stops_where_it_is() {
    let vault = vault();
    commit(&vault, &[Task::Nothing]).await;
    let (ended, commits) = run(&vault, Refused::Kind(""), settings()).await;
    let error = ended.expect_err("it cannot go on");
    assert!(error.to_string().contains("not allowed"), "{error}");
    assert!(!error.is_retryable());
    assert_eq!((commits, vault.position().sequence), (2, 1));
}

#[tokio::test]
async fn a_snapshot_that_the_token_does_not_allow_is_left_out() {
    let vault = vault();
    commit(&vault, &[Task::Nothing, Task::Nothing]).await;
    let mut settings = settings();
    settings.snapshot_every = 1;
    let (ended, _) = run(&vault, Refused::Kind(record::SNAPSHOT), settings).await;
    ended.expect("it goes on");
    assert_eq!(events(&vault, SAID).len(), 2);
    assert_eq!(events(&vault, record::PARKED).len(), 0);
}

#[tokio::test]
async fn an_agent_that_nobody_knows_stops_at_once_and_parks_nothing() {
    let vault = vault();
    commit(&vault, &[Task::Nothing]).await;
    let (ended, commits) = run(&vault, Refused::Everything, settings()).await;
    let error = ended.expect_err("it cannot go on");
    assert!(error.to_string().contains("revoked"), "{error}");
    assert_eq!((commits, vault.position().sequence), (1, 1));
}
