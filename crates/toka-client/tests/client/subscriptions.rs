use toka_client::{Client, Config, Error, Message, Start, Subscribe};
use toka_ledger::CursorName;
use toka_proto::convert::status;
use toka_proto::v1;
use toka_proto::v1::subscribe_request::Start as Sent;
use toka_proto::v1::subscribe_response::Message as Body;
use tokio::time::Duration;

use crate::node::{Node, Script, Sender, client, event, header};

fn checkpoint(sequence: u64) -> v1::SubscribeResponse {
    leaderless(sequence, 0)
}

/// A checkpoint of a node that has known of no leader for so long.
fn leaderless(sequence: u64, leaderless_ms: u64) -> v1::SubscribeResponse {
    let body = Body::Checkpoint(v1::Checkpoint {
        sequence,
        unix_ms: 1,
        leaderless_ms,
    });
    v1::SubscribeResponse {
        header: header(sequence),
        message: Some(body),
    }
}

fn next(sequence: u64) -> v1::SubscribeResponse {
    v1::SubscribeResponse {
        header: None,
        message: Some(Body::Event(event(sequence))),
    }
}

/// Where a request starts.
fn start(request: &v1::SubscribeRequest) -> u64 {
    match request.start {
        Some(Sent::AfterSequence(sequence)) => sequence,
        _ => 0,
    }
}

/// A vault with events 1 to `last`, of which a node sends `at_most` and then does `end`.
fn vault(last: u64, at_most: u64, end: fn(Sender<v1::SubscribeResponse>)) -> Script {
    Script {
        subscribe: Some(Box::new(move |_, request, sender| {
            let start = start(&request);
            let _ = sender.send(Ok(checkpoint(start)));
            for sequence in (start + 1..=last).take(at_most as usize) {
                let _ = sender.send(Ok(next(sequence)));
            }
            end(sender);
        })),
        ..Script::default()
    }
}

/// Ends the stream.
fn hang_up(_: Sender<v1::SubscribeResponse>) {}

/// Sends nothing more, and keeps the stream open.
fn fall_silent(sender: Sender<v1::SubscribeResponse>) {
    tokio::spawn(async move {
        sender.closed().await;
    });
}

async fn take(subscription: &mut toka_client::Subscription, count: usize) -> Vec<u64> {
    let mut sequences = Vec::new();
    while sequences.len() < count {
        sequences.push(
            subscription
                .next_event()
                .await
                .expect("an event")
                .header
                .sequence,
        );
    }
    sequences
}

#[tokio::test]
async fn subscription_goes_on_at_another_node_without_gap_or_repeat() {
    for end in [hang_up, fall_silent] {
        let first = Node::start(vault(10, 4, end));
        let second = Node::start(vault(10, 3, end));
        let client = client(&[&first.endpoint, &second.endpoint]).await;
        let subscribe = Subscribe::from(Start::Beginning);
        let mut subscription = client.subscribe(subscribe).await.expect("subscribed");
        assert_eq!(
            take(&mut subscription, 10).await,
            (1..=10).collect::<Vec<_>>()
        );
        assert_eq!(
            first.seen(|s| s.subscribes.iter().map(start).collect::<Vec<_>>()),
            [0, 7]
        );
        assert_eq!(
            second.seen(|s| s.subscribes.iter().map(start).collect::<Vec<_>>()),
            [4]
        );
    }
}

/// Events in one message.
fn batch(sequences: std::ops::RangeInclusive<u64>) -> v1::SubscribeResponse {
    let events = sequences.map(event).collect();
    v1::SubscribeResponse {
        header: None,
        message: Some(Body::Events(v1::EventBatch { events })),
    }
}

#[tokio::test]
async fn events_of_one_message_are_delivered_one_by_one_and_each_once() {
    let node = Node::start(Script {
        subscribe: Some(Box::new(|call, request, sender| {
            assert!(request.takes_batches);
            let start = start(&request);
            let _ = sender.send(Ok(checkpoint(start)));
            // The second stream begins with what the first one has sent last.
            let (first, last) = [(1, 4), (4, 7)][call.min(1)];
            let _ = sender.send(Ok(batch(first..=last)));
            match call {
                0 => hang_up(sender),
                _ => fall_silent(sender),
            }
        })),
        ..Script::default()
    });
    let client = client(&[&node.endpoint]).await;
    let subscribe = Subscribe::from(Start::Beginning);
    let mut subscription = client.subscribe(subscribe).await.expect("subscribed");
    assert_eq!(take(&mut subscription, 2).await, [1, 2]);
    assert_eq!(subscription.position(), 2);
    assert_eq!(take(&mut subscription, 5).await, [3, 4, 5, 6, 7]);
    let starts = node.seen(|s| s.subscribes.iter().map(start).collect::<Vec<_>>());
    assert_eq!(starts, [0, 4]);
}

#[tokio::test]
async fn killed_node_is_replaced() {
    let mut first = Node::start(vault(10, 4, fall_silent));
    let second = Node::start(vault(10, 10, fall_silent));
    let client = client(&[&first.endpoint, &second.endpoint]).await;
    let mut subscription = client
        .subscribe(Subscribe::from(Start::Beginning))
        .await
        .expect("subscribed");
    assert_eq!(subscription.endpoint(), Some(first.endpoint.as_str()));
    assert_eq!(take(&mut subscription, 2).await, [1, 2]);
    first.kill();
    assert_eq!(
        take(&mut subscription, 8).await,
        (3..=10).collect::<Vec<_>>()
    );
    assert_eq!(subscription.endpoint(), Some(second.endpoint.as_str()));
}

/// A node with one event, which knows of no leader for a little less than the bound, and then for as long as that.
fn cut_off() -> Script {
    Script {
        subscribe: Some(Box::new(|_, request, sender| {
            let _ = sender.send(Ok(checkpoint(start(&request))));
            let _ = sender.send(Ok(next(1)));
            let _ = sender.send(Ok(leaderless(1, 9_999)));
            let _ = sender.send(Ok(leaderless(1, 10_000)));
            fall_silent(sender);
        })),
        ..Script::default()
    }
}

#[tokio::test]
async fn subscription_leaves_a_node_that_knows_of_no_leader_for_long() {
    let first = Node::start(cut_off());
    let second = Node::start(vault(3, 10, fall_silent));
    let client = client(&[&first.endpoint, &second.endpoint]).await;
    let subscribe = Subscribe::from(Start::Beginning);
    let mut subscription = client.subscribe(subscribe).await.expect("subscribed");
    assert_eq!(take(&mut subscription, 1).await, [1]);
    subscription.next().await.expect("a checkpoint");
    assert_eq!(subscription.leaderless(), Duration::from_millis(9_999));
    assert_eq!(subscription.endpoint(), Some(first.endpoint.as_str()));
    subscription.next().await.expect("a checkpoint");
    assert_eq!(subscription.endpoint(), None);
    assert_eq!(take(&mut subscription, 2).await, [2, 3]);
    assert_eq!(subscription.endpoint(), Some(second.endpoint.as_str()));
    assert_eq!(subscription.leaderless(), Duration::ZERO);
}

#[tokio::test]
async fn subscription_stays_with_the_only_node_that_there_is() {
    let node = Node::start(cut_off());
    let client = client(&[&node.endpoint]).await;
    let subscribe = Subscribe::from(Start::Beginning);
    let mut subscription = client.subscribe(subscribe).await.expect("subscribed");
    for _ in 0..3 {
        subscription.next().await.expect("a message");
    }
    assert_eq!(subscription.leaderless(), Duration::from_secs(10));
    assert_eq!(subscription.endpoint(), Some(node.endpoint.as_str()));
}

#[tokio::test]
async fn subscription_without_patience_stays_with_a_node_that_knows_a_leader() {
    let first = Node::start(vault(2, 10, fall_silent));
    let second = Node::start(vault(2, 10, fall_silent));
    let config = Config {
        leaderless_max: Duration::ZERO,
        ..Config::default()
    };
    let builder = Client::builder().config(config);
    let client = builder
        .connect([first.endpoint.as_str(), second.endpoint.as_str()])
        .await
        .expect("the endpoints are valid");
    let subscribe = Subscribe::from(Start::Beginning);
    let mut subscription = client.subscribe(subscribe).await.expect("subscribed");
    let serves = subscription.endpoint().map(str::to_owned);
    assert_eq!(take(&mut subscription, 2).await, [1, 2]);
    assert!(serves.is_some());
    assert_eq!(subscription.endpoint().map(str::to_owned), serves);
}

#[tokio::test]
async fn subscription_from_now_resumes_where_it_started() {
    // It started at 5, and its node died before anything was sent.
    let first = Node::start(Script {
        subscribe: Some(Box::new(|_, _, sender| {
            let _ = sender.send(Ok(checkpoint(5)));
        })),
        ..Script::default()
    });
    let second = Node::start(vault(8, 10, fall_silent));
    let client = client(&[&first.endpoint, &second.endpoint]).await;
    let mut subscription = client
        .subscribe(Subscribe::from(Start::Now))
        .await
        .expect("subscribed");
    assert_eq!(subscription.position(), 5);
    assert_eq!(take(&mut subscription, 3).await, [6, 7, 8]);
}

#[tokio::test]
async fn a_cursor_replaces_a_start_at_a_time() {
    let node = Node::start(vault(3, 10, fall_silent));
    let client = client(&[&node.endpoint]).await;
    let subscribe = Subscribe {
        start: Start::At(u64::MAX),
        ..Subscribe::from_cursor(CursorName::new("c").expect("a name"))
    };
    let mut subscription = client.subscribe(subscribe).await.expect("subscribed");
    assert_eq!(take(&mut subscription, 3).await, [1, 2, 3]);
}

#[tokio::test]
async fn checkpoint_moves_the_place_of_resumption() {
    let first = Node::start(Script {
        subscribe: Some(Box::new(|_, _, sender| {
            for message in [checkpoint(0), next(1), checkpoint(6)] {
                let _ = sender.send(Ok(message));
            }
        })),
        ..Script::default()
    });
    let second = Node::start(vault(8, 10, fall_silent));
    let client = client(&[&first.endpoint, &second.endpoint]).await;
    let mut subscription = client
        .subscribe(Subscribe::from(Start::Beginning))
        .await
        .expect("subscribed");
    assert_eq!(take(&mut subscription, 3).await, [1, 7, 8]);
}

#[tokio::test]
async fn repeats_are_dropped() {
    let node = Node::start(Script {
        subscribe: Some(Box::new(|_, _, sender| {
            for message in [checkpoint(0), next(1), next(1), next(2), next(1), next(3)] {
                let _ = sender.send(Ok(message));
            }
            fall_silent(sender);
        })),
        ..Script::default()
    });
    let client = client(&[&node.endpoint]).await;
    let mut subscription = client
        .subscribe(Subscribe::from(Start::Beginning))
        .await
        .expect("subscribed");
    assert_eq!(take(&mut subscription, 3).await, [1, 2, 3]);
}

#[tokio::test]
async fn messages_between_events_are_delivered() {
    let node = Node::start(Script {
        subscribe: Some(Box::new(|_, _, sender| {
            let other = |message| v1::SubscribeResponse {
                header: header(2),
                message: Some(message),
            };
            for message in [
                checkpoint(0),
                next(1),
                other(Body::FellBehind(v1::FellBehind {
                    sequence: 1,
                    head_sequence: 8,
                    lag_events: 7,
                })),
                other(Body::CaughtUp(v1::CaughtUp {
                    sequence: 2,
                    ..Default::default()
                })),
                checkpoint(3),
            ] {
                let _ = sender.send(Ok(message));
            }
            fall_silent(sender);
        })),
        ..Script::default()
    });
    let client = client(&[&node.endpoint]).await;
    let mut subscription = client
        .subscribe(Subscribe::from(Start::Beginning))
        .await
        .expect("subscribed");
    assert!(matches!(subscription.next().await, Ok(Message::Event(_))));
    assert_eq!(
        subscription.next().await.ok(),
        Some(Message::FellBehind {
            sequence: 1,
            lag: 7
        })
    );
    assert_eq!(
        subscription.next().await.ok(),
        Some(Message::CaughtUp {
            sequence: 2,
            lag: 0
        })
    );
    assert_eq!(
        subscription.next().await.ok(),
        Some(Message::Checkpoint {
            sequence: 3,
            unix_ms: 1
        })
    );
}

#[tokio::test]
async fn changed_history_ends_the_subscription() {
    let node = Node::start(Script {
        subscribe: Some(Box::new(|call, _, sender| {
            let message = if call == 0 {
                Ok(checkpoint(5))
            } else {
                Err(status::history_changed(2, 3))
            };
            let _ = sender.send(message);
        })),
        ..Script::default()
    });
    let client = client(&[&node.endpoint]).await;
    let mut subscription = client
        .subscribe(Subscribe::from(Start::Now))
        .await
        .expect("subscribed");
    let error = subscription
        .next()
        .await
        .expect_err("the history has changed");
    assert!(matches!(
        error,
        Error::HistoryChanged {
            expected: 2,
            actual: 3
        }
    ));
    let told = node
        .seen(|s| s.subscribes[1].read.clone())
        .expect("options are sent")
        .history_id;
    assert_eq!(told[..], 2_u128.to_be_bytes());
}

#[tokio::test]
async fn subscription_fails_when_no_node_is_left() {
    let mut node = Node::start(vault(1, 1, fall_silent));
    let client = crate::node::builder()
        .config(Config {
            resume_timeout: Duration::from_millis(200),
            ..Config::default()
        })
        .connect([node.endpoint.clone()])
        .await
        .expect("the endpoint is valid");
    let mut subscription = client
        .subscribe(Subscribe::from(Start::Beginning))
        .await
        .expect("subscribed");
    assert_eq!(take(&mut subscription, 1).await, [1]);
    node.kill();
    let error = subscription.next_event().await.expect_err("nobody is left");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}

/// The history that the last subscription of `node` named.
fn told(node: &Node) -> Option<Vec<u8>> {
    let read = node.seen(|s| s.subscribes.last().and_then(|last| last.read.clone()));
    let history_id = read.expect("options are sent").history_id;
    (!history_id.is_empty()).then(|| history_id.to_vec())
}

#[tokio::test]
async fn stored_position_is_sent_with_its_history() {
    let node = Node::start(Script {
        subscribe: Some(Box::new(|_, request, sender| {
            let history_id = request.read.unwrap_or_default().history_id;
            let message = if history_id.is_empty() || history_id[..] == 2_u128.to_be_bytes() {
                Ok(checkpoint(5))
            } else {
                Err(status::history_changed(7, 2))
            };
            let _ = sender.send(message);
            fall_silent(sender);
        })),
        ..Script::default()
    });
    let stored = |history_id| Subscribe {
        history_id: Some(history_id),
        ..Subscribe::from(Start::After(5))
    };
    let fresh = async || client(&[&node.endpoint]).await;
    let first = fresh().await;
    let subscription = first.subscribe(Subscribe::from(Start::After(5))).await;
    let subscription = subscription.expect("subscribed");
    assert_eq!(told(&node), None);
    assert_eq!((subscription.position(), subscription.history_id()), (5, 2));
    // What this client knows by now is of the history that it has seen.
    let again = first.subscribe(Subscribe::from(Start::After(5))).await;
    again.expect("subscribed");
    assert_eq!(told(&node), Some(2_u128.to_be_bytes().to_vec()));
    let beginning = first.subscribe(Subscribe::from(Start::Beginning)).await;
    beginning.expect("subscribed");
    assert_eq!(told(&node), None);

    let resumed = fresh().await.subscribe(stored(2)).await;
    resumed.expect("subscribed");
    let refused = fresh().await.subscribe(stored(7)).await;
    assert!(
        matches!(
            refused,
            Err(Error::HistoryChanged {
                expected: 7,
                actual: 2
            })
        ),
        "{refused:?}"
    );

    let expecting = fresh().await;
    expecting.expect_history(7).expect("nothing is known yet");
    let refused = expecting.subscribe(Subscribe::from(Start::After(5))).await;
    assert!(
        matches!(refused, Err(Error::HistoryChanged { .. })),
        "{refused:?}"
    );
    let late = first.expect_history(7);
    assert!(
        matches!(late, Err(Error::HistoryChanged { .. })),
        "{late:?}"
    );
}
