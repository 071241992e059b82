//! What a reaction is committed as.

use std::time::Duration;

use toka_ledger::command::PreparedEvent;
use toka_ledger::error::ParentName;
use toka_ledger::{Kind, VaultBus};

use super::*;
use crate::claims::{ClaimStep, Holder};
use crate::reaction::NewEvent;

async fn event(kind: &str) -> EventHeader {
    let vault = VaultBus::builder().open_in_memory().expect("opened");
    vault.event(kind).commit().await.expect("committed")
}

async fn cause() -> EventHeader {
    event("cause").await
}

fn prepared(batch: Batch) -> Vec<PreparedEvent> {
    let events = batch.events.into_iter();
    events
        .map(|draft| draft.prepare().expect("valid"))
        .collect()
}

fn of(agent: &str, cause: &EventHeader, reaction: Reaction) -> Batch {
    Batch::of(agent, cause, reaction, Vec::new()).expect("within the bounds")
}

fn note(text: &str) -> Reaction {
    Reaction::none().emit(NewEvent::new("note").payload(text))
}

#[tokio::test]
async fn the_cause_is_a_parent_and_the_agent_is_named() {
    let cause = cause().await;
    let events = prepared(of("a", &cause, note("x")));
    assert_eq!(events[0].parents, [ParentName::Digest(cause.digest)]);
    assert_eq!(events[0].attributes.get("source"), Some("a"));
    assert_eq!(events[0].attributes.get(BY), Some("a"));
    assert_eq!(
        events[0].attributes.get(CAUSE),
        Some(&*cause.id.to_string())
    );
}

#[tokio::test]
async fn the_same_reaction_is_the_same_events_and_another_agents_is_not() {
    let cause = cause().await;
    let first = prepared(of("a", &cause, note("x")));
    assert_eq!(prepared(of("a", &cause, note("x"))), first);
    assert_ne!(prepared(of("b", &cause, note("x")))[0].salt, first[0].salt);
}

#[tokio::test]
async fn two_equal_events_of_one_reaction_are_two() {
    let cause = cause().await;
    let twice = note("x").emit(NewEvent::new("note").payload("x"));
    let events = prepared(of("a", &cause, twice));
    assert_ne!(events[0].salt, events[1].salt);
}

#[tokio::test]
async fn what_the_handler_was_told_is_in_the_same_commit() {
    let cause = cause().await;
    let batch = Batch::of("a", &cause, note("x"), vec![Input::UnixMs(7)]).expect("small");
    assert_eq!(batch.emitted, 1);
    let events = prepared(batch);
    let inputs: Inputs = rmp_serde::from_slice(&events[1].payload).expect("readable");
    assert_eq!(events[1].kind, INPUTS);
    assert_eq!(inputs.inputs, [Input::UnixMs(7)]);
}

#[tokio::test]
async fn a_link_is_a_child_of_the_link_before_alone() {
    let (cause, task) = (cause().await, event("task").await);
    let holder = Holder::with_session("a", [7; 16]);
    let kind = Kind::new("task.claim").expect("valid");
    let step = ClaimStep::claim(&kind, &task, &holder, Duration::from_secs(1)).expect("valid");
    let batch = of("a", &cause, Reaction::none().claim(step));
    assert_eq!(batch.preconditions.len(), 1);
    let events = prepared(batch);
    assert_eq!(events[0].parents, [ParentName::Digest(task.digest)]);
    assert!(!events[0].salt.is_empty());
}

#[tokio::test]
async fn reactions_are_bounded() {
    let cause = cause().await;
    let mut reaction = Reaction::none();
    for _ in 0..=REACTION_ITEMS_MAX {
        reaction = reaction.emit(NewEvent::new("note"));
    }
    let refused = Batch::of("a", &cause, reaction, Vec::new()).map(|batch| batch.events.len());
    assert_eq!(
        refused,
        Err(Invalid::TooMany {
            field: "reaction",
            max: REACTION_ITEMS_MAX,
            actual: REACTION_ITEMS_MAX + 1
        })
    );
}

/// Both would find their place free, and the chain would fork.
#[tokio::test]
async fn two_steps_after_one_link_are_refused() {
    let (cause, task) = (cause().await, event("task").await);
    let kind = Kind::new("task.claim").expect("valid");
    let step = |session| {
        let holder = Holder::with_session("a", [session; 16]);
        ClaimStep::claim(&kind, &task, &holder, Duration::from_secs(1)).expect("valid")
    };
    let twice = Reaction::none().claim(step(1)).claim(step(2));
    let refused = Batch::of("a", &cause, twice, Vec::new()).map(|batch| batch.events.len());
    assert!(
        matches!(
            refused,
            Err(Invalid::Syntax {
                field: "reaction.claims",
                ..
            })
        ),
        "{refused:?}"
    );
}
