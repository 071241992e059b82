//! What the commands of a program do.

use std::sync::Arc;
use std::time::Duration;

use toka_agents::Store;
use toka_ledger::EventDraft;
use toka_ledger::fork::{DIFFERENCE_EVENTS_MAX, Limits};
use tokio::signal::unix::{SignalKind, signal};

use super::ProgramError;
use super::flags;
use super::registered::Registered;
use super::vault::Vault;
use crate::replay::{Summary, show};
use crate::supervise::{Health, Policy, State, Supervisor};
use crate::unit::Handlers;
use crate::what_if::{Scenario, ScenarioStore};

/// How often the log says how the agents are.
const HEALTH_INTERVAL: Duration = Duration::from_secs(30);

/// Runs agents until a signal comes or all have ended; false if one has failed for good.
pub(super) async fn run(
    agents: Vec<Arc<dyn Registered>>,
    vault: &flags::Vault,
    flags: flags::Run,
) -> Result<bool, ProgramError> {
    let store = Vault::open(vault).await?.store();
    let handlers = Handlers::new(flags.handlers_max as usize);
    let policy = Policy {
        restart: flags.restart.into(),
        restarts_max: flags.restarts_max,
        ..Policy::default()
    };
    let supervisor = Supervisor::new(agents.len());
    for agent in &agents {
        let unit = agent.unit(Arc::clone(&store), handlers.clone())?;
        supervisor.start(agent.name(), unit, policy)?;
    }
    let (mut interrupted, mut terminated) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    tokio::select! {
        () = supervisor.wait() => {}
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
        () = tell_health(&supervisor, &*store) => {}
    }
    let stopped = supervisor.stop(flags.grace).await;
    let health = supervisor.health(None);
    let mut is_well = stopped.broken_off.is_empty();
    for unit in &health {
        if unit.state == State::Failed {
            is_well = false;
            let error = unit.last_error.as_deref().unwrap_or("no reason");
            eprintln!("agent {} has failed: {error}", unit.name);
        }
    }
    for name in stopped.broken_off {
        eprintln!("agent {name} was broken off: it did not stop in time");
    }
    Ok(is_well)
}

/// Says how the agents are, again and again.
async fn tell_health(supervisor: &Supervisor, store: &dyn Store) {
    loop {
        tokio::time::sleep(HEALTH_INTERVAL).await;
        let head = store.head().await.ok();
        for health in supervisor.health(head) {
            let Health {
                name,
                state,
                restarts,
                position,
                lag,
                ..
            } = health;
            tracing::info!(agent = name, %state, restarts, position, lag, "agent");
        }
    }
}

/// Replays an agent; false if it answers something otherwise.
pub(super) async fn replay(
    agent: Arc<dyn Registered>,
    vault: &flags::Vault,
    flags: flags::Replay,
) -> Result<bool, ProgramError> {
    let store = Vault::open(vault).await?.store();
    check_part(&*store, &flags).await?;
    let summary = agent.replay(store, flags).await?;
    let Summary { events, same, .. } = summary;
    println!("{}, {same} answered as recorded", counted(events));
    if events == 0 {
        println!("nothing was compared: the agent wants no event there, or has not come to it");
    }
    Ok(summary.first.is_none())
}

/// Refuses a part of the history that is none.
async fn check_part(store: &dyn Store, flags: &flags::Replay) -> Result<(), ProgramError> {
    let (from, until) = (flags.from, flags.until.unwrap_or(flags.from));
    if until < from {
        return Err(ProgramError::Flag {
            flag: "until",
            reason: format!("event {until} is before event {from}, with which --from begins"),
        });
    }
    let last = store.head().await?;
    for (flag, sequence) in [("from", from), ("until", until)] {
        // Of an empty vault everything can be replayed, which is nothing.
        if sequence > last.max(1) {
            return Err(ProgramError::Missing {
                flag,
                sequence,
                last,
            });
        }
    }
    Ok(())
}

/// So many events.
fn counted(events: u64) -> String {
    match events {
        1 => "1 event".to_owned(),
        events => format!("{events} events"),
    }
}

pub(super) async fn state(
    agent: Arc<dyn Registered>,
    vault: &flags::Vault,
    flags: &flags::State,
) -> Result<bool, ProgramError> {
    let store = Vault::open(vault).await?.store();
    let head = store.head().await?;
    let at = flags.at.unwrap_or(head);
    if at > head {
        return Err(ProgramError::Missing {
            flag: "at",
            sequence: at,
            last: head,
        });
    }
    let state = agent.state(store, at).await?;
    println!("{state}");
    Ok(true)
}

/// Runs agents in a fork, and shows what comes of it.
pub(super) async fn what_if(
    agents: Vec<Arc<dyn Registered>>,
    vault: &flags::Vault,
    flags: flags::WhatIf,
) -> Result<bool, ProgramError> {
    let given = flags.event.iter().map(|event| parse_event(event));
    let given = given.collect::<Result<Vec<_>, _>>()?;
    let limits = flags.bytes_max.map(|bytes_max| Limits { bytes_max });
    let limits = limits.unwrap_or_default();
    let opened = Vault::open(vault).await?;
    let scenario = Arc::new(opened.fork(vault, flags.at, limits).await?);
    let store: Arc<dyn Store> = Arc::new(ScenarioStore(Arc::clone(&scenario)));
    let mut actors = Vec::with_capacity(agents.len());
    for agent in &agents {
        let begin = scenario.begin_of(agent.name()).await?;
        actors.push(agent.actor(Arc::clone(&store), begin)?);
    }
    if flags.later_events {
        let names: Vec<_> = agents.iter().map(|agent| agent.name().to_owned()).collect();
        let given = scenario.give_later_events(&names).await?;
        println!(
            "{} later events given; left out: {} of the agents, {} that depend on such{}",
            given.given,
            given.of_agents,
            given.without_parents,
            match given.has_more {
                true => format!(", and all after the first {DIFFERENCE_EVENTS_MAX}"),
                false => String::new(),
            }
        );
    }
    if !given.is_empty() {
        scenario.fork().vault().commit_batch(given).await?;
    }
    let emitted = scenario.run(&actors).await?;
    println!("the agents have committed {} in the fork", counted(emitted));
    show_difference(&scenario).await?;
    if flags.commit {
        let committed = scenario.commit().await?;
        println!("{} committed to the vault", counted(committed.len() as u64));
    }
    Ok(true)
}

async fn show_difference(scenario: &Scenario) -> Result<(), ProgramError> {
    let difference = scenario.difference().await?;
    println!(
        "behind #{}: {} events in both, {} only in the fork, {} only in the history{}",
        difference.sequence,
        difference.both.len(),
        difference.fork_only.len(),
        difference.base_only.len(),
        match difference.is_complete {
            true => "",
            false => ", as far as was looked",
        },
    );
    let vault = scenario.fork().vault();
    for event in &difference.fork_only {
        let payload = show::payload(&vault.payload_bytes(event)?);
        println!("+ {} {payload}", event.kind);
    }
    for event in &difference.base_only {
        println!("- #{} {}", event.sequence, event.kind);
    }
    Ok(())
}

/// An event from `KIND=JSON`.
fn parse_event(text: &str) -> Result<EventDraft, ProgramError> {
    let bad = |reason: String| ProgramError::Flag {
        flag: "event",
        reason,
    };
    let (kind, payload) = text
        .split_once('=')
        .ok_or_else(|| bad(format!("{text:?} is not KIND=JSON")))?;
    let payload: serde_json::Value =
        serde_json::from_str(payload).map_err(|error| bad(not_json(text, &error)))?;
    Ok(EventDraft::new(kind).payload(&payload))
}

/// A text is easily written without its quotes.
fn not_json(text: &str, error: &serde_json::Error) -> String {
    format!(
        "what is behind the = of {text:?} is not JSON, such as 7, {{}} or \"text\" in quotes: {error}"
    )
}

#[cfg(test)]
mod tests {
    use toka_ledger::VaultBus;

    use super::*;

    fn part(from: u64, until: Option<u64>) -> flags::Replay {
        flags::Replay {
            agent: "a".to_owned(),
            from,
            until,
            diff: false,
            step: false,
        }
    }

    #[tokio::test]
    async fn part_of_a_replay_is_in_the_vault_and_does_not_end_before_it_begins() {
        let vault = VaultBus::builder().open_in_memory().expect("opened");
        check_part(&vault, &part(1, None)).await.expect("empty");
        for number in 0..5_u8 {
            let event = vault.event("ticket").payload(&number);
            event.commit().await.expect("committed");
        }
        for (from, until) in [(0, None), (1, Some(5)), (5, None), (3, Some(3))] {
            let part = part(from, until);
            check_part(&vault, &part).await.expect("a part of it");
        }
        let turned = check_part(&vault, &part(4, Some(3))).await;
        let is_told = matches!(turned, Err(ProgramError::Flag { flag: "until", .. }));
        assert!(is_told, "{turned:?}");
        for (flag, wanted) in [("from", part(6, None)), ("until", part(2, Some(6)))] {
            let ahead = check_part(&vault, &wanted).await;
            let Err(ProgramError::Missing {
                flag: named,
                sequence: 6,
                last: 5,
            }) = ahead
            else {
                panic!("{ahead:?}")
            };
            assert_eq!(named, flag);
        }
    }

    #[test]
    fn event_is_a_kind_and_its_payload() {
        let event = parse_event(r#"ticket={"text":"a=b"}"#).expect("parsed");
        let event = event.prepare().expect("valid");
        assert_eq!(event.kind.as_str(), "ticket");
        assert_eq!(show::payload(&event.payload), r#"{"text":"a=b"}"#);
        for wrong in ["ticket", "ticket={", "ticket="] {
            let refused = parse_event(wrong).expect_err("it is none").to_string();
            assert!(refused.contains(wrong), "{refused}");
        }
    }
}
