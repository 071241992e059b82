//! Agents that claim tasks in their reactions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use toka_agents::claims::{Action, Claim, ClaimStep, Holder};
use toka_agents::record;
use toka_agents::{
    Agent, Context, Event, HandlerError, Input, Interests, NewEvent, Reaction, Reason, Refusal,
    Runner, Settings, Store, replay,
};
use toka_ledger::{EventHeader, Kind, Selector, VaultBus};
use tokio_util::sync::CancellationToken;

const TASKS: u64 = 10;
const LEASE: Duration = Duration::from_secs(60);
const CLAIM: &str = "task.claim";

/// Claims each task, does those that it gets, and says which it did not get.
struct Claimer {
    name: &'static str,
}

impl Agent for Claimer {
    type State = ();

    fn interests(&self) -> Interests {
        Interests::kinds(["task"])
    }

    fn apply(_state: &mut (), _event: &Event) {}

    async fn handle(
        &self,
        _state: &(),
        event: &Event,
        context: &mut Context,
    ) -> Result<Reaction, HandlerError> {
        match event.kind() {
            "task" => {
                let holder = Holder::with_session(self.name, context.random()?);
                let kind = Kind::new(CLAIM)?;
                let step = ClaimStep::claim(&kind, &event.header, &holder, LEASE)?;
                Ok(Reaction::none().claim(step))
            }
            CLAIM => {
                let claim = Claim::of(event)?;
                if claim.action() != Action::Claim || claim.holder().name != self.name {
                    return Ok(Reaction::none());
                }
                let result = NewEvent::new("result").payload(&claim.number());
                Ok(Reaction::none().emit(result).claim(claim.completion()))
            }
            _ => Ok(Reaction::none()),
        }
    }

    async fn refused(
        &self,
        _state: &(),
        _event: &Event,
        refusal: &Refusal,
        _context: &mut Context,
    ) -> Result<Reaction, HandlerError> {
        let [Reason::HasChild { child, .. }] = &refusal.reasons[..] else {
            return Err(HandlerError::permanent(format!("{refusal:?}")));
        };
        Ok(Reaction::none().emit(NewEvent::new("passed").payload(child)))
    }
}

async fn run(vault: &VaultBus, name: &'static str) {
    let store: Arc<dyn Store> = Arc::new(vault.clone());
    let settings = Settings::new(name).expect("a name");
    let runner = Runner::new(Claimer { name }, store, settings).expect("settings");
    let head = vault.position().sequence;
    let ended = runner.run_until(head, &CancellationToken::new()).await;
    ended.expect("it goes on");
}

fn events(vault: &VaultBus, kind: &str) -> Vec<EventHeader> {
    let all = vault.range(1..).map(|header| header.expect("readable"));
    all.filter(|header| header.kind == *kind).collect()
}

async fn raced_for() -> VaultBus {
    let vault = VaultBus::builder().open_in_memory().expect("opened");
    for number in 0..TASKS {
        let task = vault.event("task").payload(&number);
        task.commit().await.expect("committed");
    }
    run(&vault, "first").await;
    run(&vault, "second").await;
    vault
}

#[tokio::test]
async fn a_task_is_done_by_who_has_claimed_it_and_passed_by_others() {
    let vault = raced_for().await;
    run(&vault, "first").await;
    run(&vault, "second").await;
    let tasks = usize::try_from(TASKS).expect("few");
    let results = events(&vault, "result");
    assert_eq!(results.len(), tasks);
    let by_first = |event: &EventHeader| event.attributes.get(record::BY) == Some("first");
    assert!(results.iter().all(by_first));
    assert_eq!(events(&vault, "passed").len(), tasks);
    // A claim and a completion for each.
    let mut children: BTreeMap<u64, usize> = BTreeMap::new();
    for link in events(&vault, CLAIM) {
        *children.entry(link.parents[0].id.sequence()).or_default() += 1;
    }
    assert_eq!(children.len(), 2 * tasks);
    assert!(children.values().all(|links| *links == 1));
}

#[tokio::test]
async fn a_replay_is_refused_as_the_agent_was() {
    let vault = raced_for().await;
    let task = vault.get_by_sequence(1).expect("there");
    let recorded = record::reaction_to(&vault, "second", task.id).await;
    let recorded = recorded.expect("readable");
    let inputs = record::inputs_of(&recorded);
    assert!(
        matches!(&inputs[..], [Input::Random(_), Input::Refused(_)]),
        "{inputs:?}"
    );
    let event = Store::get(&vault, Selector::Id(task.id)).await;
    let event = event.expect("readable").expect("there");
    let claimer = Claimer { name: "second" };
    let again = replay(&claimer, "second", &(), &event, inputs).await;
    let again = again.expect("the same");
    let repeated = vault.commit_batch(again.batch.events).await.expect("taken");
    let of = |header: &EventHeader| header.digest;
    let recorded: Vec<_> = recorded.iter().map(|event| of(&event.header)).collect();
    assert_eq!(repeated.iter().map(of).collect::<Vec<_>>(), recorded);
}
