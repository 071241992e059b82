//! Labels and subscriptions go on with the successors of intents.

use super::*;

fn label(intent: IntentId, label: Option<&str>) -> Command {
    Command::Label(Label {
        unix_ms: NOW,
        intent,
        label: label.map(|label| IntentLabel::new(label).expect("valid")),
    })
}

#[test]
fn label_stays_with_most_of_the_events() {
    let commands = stream();
    let mut replica = Replica::new();
    let cut = commands.len() / 3;
    replica.apply(&commands[..cut]);
    let reader = replica.ledger.reader();
    for summary in reader.intents() {
        let name = format!("was {}", summary.intent);
        let outcome = replica.apply(&[label(summary.intent, Some(&name))]);
        assert!(
            matches!(&outcome[..], [Outcome::Labelled { intent, .. }] if *intent == summary.intent)
        );
    }
    let labelled: Vec<_> = reader.intents().iter().map(|s| s.intent).collect();
    let mut replica = replica.apply_in(&commands[cut..], 10);
    let retired: Vec<_> = labelled
        .iter()
        .filter(|&&intent| reader.resolve_intent(intent) != Some(intent))
        .collect();
    assert!(!retired.is_empty(), "the stream retires intents");
    for &&intent in &retired {
        let now = reader.intent(intent).expect("known");
        assert!(now.label.is_some(), "{intent} went to {}", now.intent);
    }
    // Of a retired one its successor is meant.
    let outcome = replica.apply(&[label(*retired[0], None)]).remove(0);
    let Outcome::Labelled { intent, .. } = outcome else {
        panic!("not labelled: {outcome:?}")
    };
    assert_eq!(Some(intent), reader.resolve_intent(*retired[0]));
    assert_eq!(reader.intent(intent).and_then(|now| now.label), None);
    let unknown = label(IntentId(1 << 40), Some("none"));
    assert_eq!(
        refused(replica.apply(&[unknown]).remove(0)),
        Rejection::UnknownIntent {
            intent: IntentId(1 << 40)
        }
    );
    // A restart finds the same labels.
    replica.engine.flush().expect("flushes");
    let again = Replica::open(
        Arc::new(replica.engine.crash_image()),
        Arc::new(SystemThreads),
    );
    assert_eq!(again.ledger.reader().intents(), reader.intents());
}

/// What a subscription delivers until it has caught up.
async fn until_caught_up(events: &mut Subscription) -> Vec<Message> {
    let mut messages = Vec::new();
    loop {
        match events.next().await.expect("open") {
            Message::CaughtUp => return messages,
            message => messages.push(message),
        }
    }
}

#[tokio::test]
async fn subscription_goes_on_with_the_successor_of_a_retired_intent() {
    let commands = stream();
    let mut replica = Replica::new();
    let cut = commands.len() / 3;
    replica.apply(&commands[..cut]);
    let reader = replica.ledger.reader();
    let followed: Vec<_> = reader.intents().iter().map(|s| s.intent).collect();
    let mut streams: Vec<_> = followed
        .iter()
        .map(|&intent| {
            let filter = Filter {
                intents: vec![intent],
                ..Filter::default()
            };
            reader.subscribe(Start::Now, filter)
        })
        .collect();
    for events in &mut streams {
        assert_eq!(until_caught_up(events).await, []);
    }
    let replica = replica.apply_in(&commands[cut..], 1_000);
    let mut continued = 0;
    for (&intent, events) in followed.iter().zip(&mut streams) {
        let resolved = reader.resolve_intent(intent).expect("known");
        let messages = {
            // The shared buffer may have moved on: then the stream falls behind and catches up.
            let mut messages = Vec::new();
            while events.position() < replica.ledger.position().sequence {
                match events.next().await.expect("open") {
                    Message::Event(header) => {
                        let micro = header.micro_cluster.expect("it has one");
                        assert_eq!(reader.intent_of(micro), Some(resolved));
                        messages.push(header.sequence);
                    }
                    Message::Continued {
                        intent: from,
                        successor,
                    } => {
                        assert_eq!((from, successor), (intent, resolved));
                        assert!(messages.is_empty(), "told before the first event");
                        continued += 1;
                    }
                    Message::CaughtUp | Message::FellBehind => {}
                }
            }
            messages
        };
        assert!(messages.is_sorted());
    }
    assert!(continued > 0, "the stream retires intents");
}
