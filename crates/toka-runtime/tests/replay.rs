//! An agent that is run against recorded history answers the same, and one that was changed says where it does not.

mod support;

use std::sync::Arc;

use support::{Answerer, Sorter, run, ticket, worked};
use toka_agents::{Agent, Context, Event, HandlerError, Interests, NewEvent, Reaction, Store};
use toka_ledger::VaultBus;
use toka_runtime::replay::{Divergence, Part, Replay, Replayed, Summary, causes, show, state_at};

fn store(vault: &VaultBus) -> Arc<dyn Store> {
    Arc::new(vault.clone())
}

async fn replay<A: Agent>(agent: A, name: &str, vault: &VaultBus, part: Part) -> Summary {
    let replay = Replay::open(agent, name, store(vault), part).await;
    let mut replay = replay.expect("opened");
    replay.run(true, &mut |_| {}).await.expect("runs")
}

#[tokio::test]
async fn unchanged_agent_answers_what_was_recorded() {
    let vault = worked(9).await;
    let before = vault.position();
    for part in [
        Part::default(),
        Part {
            from: 4,
            until: Some(7),
        },
    ] {
        let summary = replay(Sorter { bar: 5 }, "sorter", &vault, part).await;
        let events = if part.from == 4 { 4 } else { 9 };
        assert_eq!((summary.events, summary.same), (events, events));
        assert_eq!(summary.first, None);
    }
    let summary = replay(Answerer, "answerer", &vault, Part::default()).await;
    assert_eq!((summary.events, summary.same), (9, 9));
    // Nothing was committed on the way.
    assert_eq!(vault.position(), before);
}

#[tokio::test]
async fn changed_agent_differs_first_where_its_answer_does() {
    let vault = worked(9).await;
    let summary = replay(Sorter { bar: 7 }, "sorter", &vault, Part::default()).await;
    // Six and seven letters were urgent, and are not any more.
    assert_eq!((summary.events, summary.same), (9, 7));
    let first = summary.first.expect("two differ");
    assert_eq!(first.event.sequence(), 6);
    let Some(Divergence::Event {
        place: 0,
        recorded: Some(recorded),
        replayed: Some(replayed),
    }) = first.divergence()
    else {
        panic!("{first:?}")
    };
    assert_eq!(recorded.kind(), "verdict");
    assert_ne!(recorded.payload.as_ref(), Some(&replayed.payload));
    let shown = show::divergence(&first, &[]);
    assert!(shown.contains("\"is_urgent\":true"), "{shown}");
    assert!(shown.contains("\"is_urgent\":false"), "{shown}");
}

#[tokio::test]
async fn causes_of_a_divergence_lead_back_to_where_it_began() {
    let vault = worked(6).await;
    let headers: Vec<_> = vault.range(1..).collect::<Result<_, _>>().expect("read");
    let answer = headers
        .iter()
        .find(|header| header.kind.as_str() == "answer");
    let answer = answer.expect("six letters are urgent");
    let causes = causes(&vault, answer).await.expect("read");
    let kinds: Vec<_> = causes.iter().map(Event::kind).collect();
    assert_eq!(kinds, ["verdict", "ticket"]);
}

/// Asks for the time first, which the sorter does not.
struct Curious;

impl Agent for Curious {
    type State = ();

    fn interests(&self) -> Interests {
        Interests::kinds(["ticket"])
    }

    fn apply(_: &mut (), _: &Event) {}

    async fn handle(
        &self,
        _: &(),
        _: &Event,
        context: &mut Context,
    ) -> Result<Reaction, HandlerError> {
        let at = context.unix_ms()?;
        Ok(Reaction::none().emit(NewEvent::new("verdict").payload(&at)))
    }
}

#[tokio::test]
async fn agent_that_asks_for_something_else_differs() {
    let vault = worked(2).await;
    let summary = replay(Curious, "sorter", &vault, Part::default()).await;
    assert_eq!((summary.events, summary.same), (2, 0));
    let first = summary.first.expect("it differs");
    let Replayed::Failed(reason) = &first.replayed else {
        panic!("{first:?}")
    };
    assert!(reason.contains("the time"), "{reason}");
    assert_eq!(first.divergence(), Some(Divergence::FailsNow(reason)));
}

#[tokio::test]
async fn events_that_the_agent_has_not_come_to_are_left_out() {
    let vault = worked(3).await;
    ticket(&vault, "later").await;
    let summary = replay(Sorter { bar: 5 }, "sorter", &vault, Part::default()).await;
    assert_eq!((summary.events, summary.same), (3, 3));
    run(Sorter { bar: 5 }, "sorter", &vault).await;
    let summary = replay(Sorter { bar: 5 }, "sorter", &vault, Part::default()).await;
    assert_eq!((summary.events, summary.same), (4, 4));
}

#[tokio::test]
async fn steps_show_the_state_as_of_each_event() {
    let vault = worked(4).await;
    let part = Part {
        from: 3,
        until: None,
    };
    let replay = Replay::open(Sorter { bar: 5 }, "sorter", store(&vault), part).await;
    let mut replay = replay.expect("opened");
    assert_eq!(replay.state().tickets, 2);
    let step = replay.step().await.expect("runs").expect("there are two");
    assert_eq!((step.event.sequence(), replay.state().tickets), (3, 3));
    let fold = state_at(&Sorter { bar: 5 }, "sorter", &vault, 2).await;
    assert_eq!(fold.expect("folded").state().tickets, 2);
}
