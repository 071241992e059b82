//! Agents in a fork: what they do is there alone, until it is committed.

mod support;

use std::sync::Arc;

use futures::future::BoxFuture;
use support::{Answerer, Sorter, settings, ticket, worked};
use toka_agents::{
    Agent, Begin, Context, Effect, Event, HandlerError, Interests, Reaction, Runner, Store,
};
use toka_ledger::fork::{Limits, Moment, Timeline};
use toka_ledger::{EventDraft, VaultBus};
use toka_runtime::Dry;
use toka_runtime::what_if::{Actor, Scenario, ScenarioStore, fork_embedded};
use tokio_util::sync::CancellationToken;

async fn fork(vault: &VaultBus, sequence: u64) -> Scenario {
    let forked = fork_embedded(vault.clone(), sequence, Limits::default());
    forked.await.expect("forked")
}

struct Running<A: Agent>(Runner<A>);

impl<A: Agent> Actor for Running<A> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn run_until(&self, sequence: u64) -> BoxFuture<'_, Result<(), toka_agents::Error>> {
        Box::pin(async move {
            self.0
                .run_until(sequence, &CancellationToken::new())
                .await?;
            Ok(())
        })
    }
}

fn actor<A: Agent>(agent: A, name: &str, scenario: &Arc<Scenario>, at: u64) -> Box<dyn Actor> {
    let store: Arc<dyn Store> = Arc::new(ScenarioStore(Arc::clone(scenario)));
    let mut settings = settings(name);
    settings.begin = Begin::After(at);
    Box::new(Running(Runner::new(agent, store, settings).expect("made")))
}

fn both(bar: usize, scenario: &Arc<Scenario>, at: u64) -> Vec<Box<dyn Actor>> {
    vec![
        actor(Sorter { bar }, "sorter", scenario, at),
        actor(Answerer, "answerer", scenario, at),
    ]
}

fn kinds(headers: &[Arc<toka_ledger::EventHeader>]) -> Vec<&str> {
    headers.iter().map(|header| header.kind.as_str()).collect()
}

#[tokio::test]
async fn agents_react_to_what_only_the_fork_has() {
    let vault = worked(3).await;
    let head = vault.position().sequence;
    let scenario = fork(&vault, head).await;
    let scenario = Arc::new(scenario);
    let event = EventDraft::new("ticket").payload("what if somebody had asked this");
    let given = scenario.fork().vault().commit_batch([event]).await;
    given.expect("committed");
    let emitted = scenario.run(&both(5, &scenario, head)).await.expect("runs");
    let difference = scenario.difference().await.expect("compared");
    let only = kinds(&difference.fork_only);
    let expected = ["ticket", "verdict", "toka.agent.inputs", "answer"];
    assert_eq!(only, expected);
    assert_eq!(emitted, 3);
    assert_eq!(vault.position().sequence, head);
    let committed = scenario.commit().await.expect("committed");
    assert_eq!(committed.len(), 4);
    assert_eq!(vault.position().sequence, head + 4);
}

#[tokio::test]
async fn agents_that_fill_their_fork_are_told_which_limit_that_is() {
    let vault = worked(3).await;
    let head = vault.position().sequence;
    let timeline = Timeline::new(vault.reader().clone());
    let forked = async |bytes_max| {
        let limits = Limits { bytes_max };
        let fork = timeline.fork(Moment::Behind(head), limits);
        let fork = fork.expect("forked");
        ticket(fork.vault(), "what if somebody had asked this").await;
        fork
    };
    // Room for the ticket, and for no verdict on it.
    let bytes_max = forked(1 << 20).await.written_bytes() + 100;
    let fork = forked(bytes_max).await;
    let base = vault.clone();
    let scenario = Arc::new(Scenario::Embedded { fork, base });
    let full = scenario.run(&both(5, &scenario, head)).await;
    let full = full.expect_err("there is none for its verdict").to_string();
    assert!(full.contains("agent sorter"), "{full}");
    let limit = format!("{bytes_max} bytes (`bytes_max`)");
    assert!(full.contains(&limit), "{full}");
    assert_eq!(vault.position().sequence, head);
}

#[tokio::test]
async fn changed_agent_is_shown_with_what_it_would_have_said() {
    let vault = worked(8).await;
    // Right behind the last ticket, before either agent has said anything.
    let scenario = fork(&vault, 8).await;
    let scenario = Arc::new(scenario);
    scenario.run(&both(7, &scenario, 0)).await.expect("runs");
    let difference = scenario.difference().await.expect("compared");
    let answers = |headers| {
        let kinds: Vec<&str> = kinds(headers);
        kinds.into_iter().filter(|kind| *kind == "answer").count()
    };
    // Of those with six, seven and eight letters only the last one is urgent now.
    assert_eq!(answers(&difference.fork_only), 1);
    assert_eq!(answers(&difference.base_only), 3);
}

#[tokio::test]
async fn later_events_are_given_but_for_those_of_the_agents() {
    let vault = worked(3).await;
    let note = vault.event("note").payload("x").commit().await;
    let last = note.expect("committed").sequence;
    let scenario = fork(&vault, 1).await;
    let agents = ["sorter".to_owned(), "answerer".to_owned()];
    let given = scenario.give_later_events(&agents).await.expect("given");
    // Two tickets and the note.
    assert_eq!((given.given, given.without_parents), (3, 0));
    assert_eq!(given.of_agents, last - 4);
    ticket(&vault, "later still").await;
    assert_eq!(scenario.fork().vault().position().sequence, 4);
}

#[tokio::test]
async fn agent_begins_in_a_fork_with_what_it_has_reacted_to_only_later() {
    let vault = worked(8).await;
    // Each of the sorter's reactions is a verdict, and what the sorter was told: there are two of them.
    let scenario = fork(&vault, 12).await;
    assert_eq!(scenario.begin_of("sorter").await.expect("compared"), 2);
    // It has answered verdicts of the fork's future alone.
    assert_eq!(scenario.begin_of("answerer").await.expect("compared"), 12);
    assert_eq!(scenario.begin_of("nobody").await.expect("compared"), 12);
    let scenario = Arc::new(scenario);
    let agents = ["sorter".to_owned(), "answerer".to_owned()];
    scenario.give_later_events(&agents).await.expect("given");
    scenario.run(&both(5, &scenario, 2)).await.expect("runs");
    // Unchanged agents say as much in the fork, though what they draw is new.
    let difference = scenario.difference().await.expect("compared");
    assert_eq!(kinds(&difference.fork_only), kinds(&difference.base_only));
}

/// Has something done outside, which fails at first; the agent is stopped before it is tried again.
struct Sender(CancellationToken);

impl Agent for Sender {
    type State = ();

    fn interests(&self) -> Interests {
        Interests::kinds(["ticket"])
    }

    fn apply(_: &mut (), _: &Event) {}

    async fn handle(&self, _: &(), _: &Event, _: &mut Context) -> Result<Reaction, HandlerError> {
        Ok(Reaction::none().effect(Effect::new("send", "a letter")?))
    }

    async fn perform(&self, _: &Effect) -> Result<bytes::Bytes, HandlerError> {
        self.0.cancel();
        Err(HandlerError::transient("the post is closed"))
    }
}

#[tokio::test]
async fn effects_of_the_vault_are_not_told_to_have_failed_in_a_fork() {
    let vault = worked(0).await;
    ticket(&vault, "send a letter").await;
    let stop = CancellationToken::new();
    let store: Arc<dyn Store> = Arc::new(vault.clone());
    let sender = Runner::new(Sender(stop.clone()), store, settings("sender")).expect("made");
    sender.run_until(1, &stop).await.expect("runs");
    let head = vault.position().sequence;
    assert_eq!(
        head, 2,
        "the effect is committed, and what became of it is not"
    );
    let scenario = fork(&vault, head).await;
    let scenario = Arc::new(scenario);
    let actors = [actor(Dry(Sender(stop)), "sender", &scenario, head)];
    scenario.run(&actors).await.expect("runs");
    let difference = scenario.difference().await.expect("compared");
    assert!(difference.is_empty(), "{difference:?}");
    // Those that the fork itself has come to are.
    let event = EventDraft::new("ticket").payload("another letter");
    let given = scenario.fork().vault().commit_batch([event]).await;
    given.expect("committed");
    scenario.run(&actors).await.expect("runs");
    let difference = scenario.difference().await.expect("compared");
    let expected = ["ticket", "toka.agent.effect", "toka.agent.effect_done"];
    assert_eq!(kinds(&difference.fork_only), expected);
}
