//! Which events an agent gets: by their kinds, attributes, intents and lineage.

mod support;

use std::sync::{Arc, Mutex};

use support::vault;
use toka_agents::{
    Agent, Context, Event, HandlerError, Interests, Reaction, Runner, Settings, Store,
};
use toka_ledger::{Selector, VaultBus};
use tokio_util::sync::CancellationToken;

/// Keeps the sequences of what it gets.
struct Listener {
    wants: Interests,
    got: Mutex<Vec<u64>>,
}

impl Agent for Listener {
    type State = u64;

    fn interests(&self) -> Interests {
        self.wants.clone()
    }

    fn apply(state: &mut u64, _: &Event) {
        *state += 1;
    }

    async fn handle(
        &self,
        state: &u64,
        event: &Event,
        _: &mut Context,
    ) -> Result<Reaction, HandlerError> {
        let mut got = self.got.lock().expect("sound");
        got.push(event.sequence());
        assert_eq!(got.len() as u64, *state);
        Ok(Reaction::none())
    }
}

/// What an agent gets that wants this.
async fn got(vault: &VaultBus, wants: Interests) -> Vec<u64> {
    let listener = Listener {
        wants,
        got: Mutex::default(),
    };
    let store: Arc<dyn Store> = Arc::new(vault.clone());
    let settings = Settings::new("listener").expect("a name");
    let runner = Runner::new(listener, store, settings).expect("settings");
    let head = vault.position().sequence;
    let ended = runner.run_until(head, &CancellationToken::new()).await;
    ended.expect("it goes on");
    runner.agent().got.lock().expect("sound").clone()
}

#[tokio::test]
async fn an_agent_gets_what_descends_from_an_event() {
    let vault = vault();
    let root = vault.event("task").payload(&1).commit().await;
    let root = root.expect("committed");
    let child = vault.event("task").payload(&2).parent(&root).commit().await;
    let child = child.expect("committed");
    let other = vault.event("task").payload(&3).commit().await;
    other.expect("committed");
    let grandchild = vault.event("note").payload(&4).parent(&child);
    grandchild.commit().await.expect("committed");
    let wants = Interests {
        descendants_of: Some(Selector::Digest(root.digest)),
        ..Interests::default()
    };
    assert_eq!(got(&vault, wants).await, [2, 4]);
}

#[tokio::test]
async fn an_agent_gets_what_is_of_an_intent() {
    let vault = vault();
    let mut intents = Vec::new();
    for number in 0..6_u8 {
        let embedding = match number % 2 {
            0 => [1.0, 0.0, 0.0],
            _ => [0.0, 1.0, 0.0],
        };
        let event = vault.event("said").payload(&number).embedding(&embedding);
        let header = event.commit().await.expect("committed");
        intents.push(header.intent.expect("it has an embedding"));
    }
    assert_ne!(intents[0], intents[1]);
    let wants = Interests {
        intents: vec![intents[1]],
        ..Interests::default()
    };
    assert_eq!(got(&vault, wants).await, [2, 4, 6]);
}

#[tokio::test]
async fn all_that_an_agent_wants_must_hold_and_of_kinds_any() {
    let vault = vault();
    for (number, kind, room) in [
        (1, "light.on", "kitchen"),
        (2, "light.off", "hall"),
        (3, "door.open", "kitchen"),
        (4, "heating.on", "kitchen"),
    ] {
        let event = vault.event(kind).payload(&number).attribute("room", room);
        event.commit().await.expect("committed");
    }
    let wants = Interests {
        attributes: vec![("room".to_owned(), "kitchen".to_owned())],
        ..Interests::kinds(["light.", "door."])
    };
    assert_eq!(got(&vault, wants).await, [1, 3]);
}
