use std::time::Instant;

use toka_client::{Error, EventDraft, Precondition};
use toka_ledger::command::ParentName;
use toka_ledger::{Digest, Kind, Rejection};
use toka_proto::convert::status;
use tokio::time::Duration;
use tonic::Status;

use crate::node::{Node, Script, builder, client, committed, dead_endpoint};

fn answering() -> Script {
    Script {
        commit: Some(Box::new(|_, _| Some(Ok(committed(1))))),
        ..Script::default()
    }
}

fn failing_once(status: fn() -> Status) -> Script {
    Script {
        commit: Some(Box::new(move |call, _| {
            Some(if call == 0 {
                Err(status())
            } else {
                Ok(committed(1))
            })
        })),
        ..Script::default()
    }
}

fn draft() -> EventDraft {
    EventDraft::new("k")
}

#[tokio::test]
async fn commits_go_to_the_leader_once_a_reply_has_named_it() {
    let leader = Node::start(answering());
    let follower = Node::start(Script {
        leader: Some(leader.as_leader()),
        ..answering()
    });
    let client = client(&[&follower.endpoint]).await;
    for _ in 0..3 {
        client.commit(draft()).await.expect("committed");
    }
    assert_eq!(
        (
            follower.seen(|s| s.commits.len()),
            leader.seen(|s| s.commits.len())
        ),
        (1, 2)
    );
    assert_eq!(client.leader(), Some(leader.as_leader()));
}

#[tokio::test]
async fn dead_endpoint_is_passed_over() {
    let node = Node::start(answering());
    let client = client(&[&dead_endpoint(), &node.endpoint]).await;
    client.commit(draft()).await.expect("committed");
}

#[tokio::test]
async fn node_that_is_not_the_leader_names_it() {
    let leader = Node::start(answering());
    let named = leader.as_leader();
    let follower = Node::start(Script {
        commit: Some(Box::new(move |_, _| {
            Some(Err(status::not_leader(Some(&named))))
        })),
        ..Script::default()
    });
    let client = client(&[&follower.endpoint]).await;
    client.commit(draft()).await.expect("committed");
    assert_eq!(leader.seen(|s| s.commits.len()), 1);
}

#[tokio::test]
async fn leader_that_died_is_forgotten() {
    let mut leader = Node::start(answering());
    let follower = Node::start(Script {
        leader: Some(leader.as_leader()),
        ..answering()
    });
    let client = client(&[&follower.endpoint]).await;
    client.commit(draft()).await.expect("committed");
    leader.kill();
    // The follower goes on naming the dead leader; that must not stop anything.
    for _ in 0..3 {
        client.commit(draft()).await.expect("committed");
    }
    assert_eq!(follower.seen(|s| s.commits.len()), 4);
}

#[tokio::test]
async fn silent_node_is_left_for_another() {
    let silent = Node::start(Script {
        commit: Some(Box::new(|_, _| None)),
        ..Script::default()
    });
    let node = Node::start(answering());
    let client = client(&[&silent.endpoint, &node.endpoint]).await;
    client.commit(draft()).await.expect("committed");
    assert_eq!(
        (
            silent.seen(|s| s.commits.len()),
            node.seen(|s| s.commits.len())
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn claim_keeps_its_salt_when_it_is_retried() {
    let node = Node::start(failing_once(|| status::no_leader("election")));
    let client = client(&[&node.endpoint]).await;
    let claim = Precondition::NoChild {
        parent: ParentName::Digest(Digest::ZERO),
        kind: Kind::new("claim").expect("valid"),
    };
    client
        .commit_batch(vec![draft()], vec![claim])
        .await
        .expect("committed");
    let salts = node.seen(|s| {
        s.commits
            .iter()
            .map(|c| c.events[0].salt.clone())
            .collect::<Vec<_>>()
    });
    assert_eq!(salts.len(), 2);
    assert_eq!(salts[0].len(), 16);
    assert_eq!(salts[0], salts[1]);
}

#[tokio::test]
async fn overloaded_node_is_given_the_time_that_it_asks_for() {
    let node = Node::start(failing_once(|| {
        status::overloaded(Duration::from_millis(150))
    }));
    let other = Node::start(answering());
    let client = client(&[&node.endpoint, &other.endpoint]).await;
    let begin = Instant::now();
    client.commit(draft()).await.expect("committed");
    assert!(begin.elapsed() >= Duration::from_millis(150));
    assert_eq!(
        (
            node.seen(|s| s.commits.len()),
            other.seen(|s| s.commits.len())
        ),
        (2, 0)
    );
}

#[tokio::test]
async fn rejection_is_typed_and_not_retried() {
    let parent = ParentName::Digest(Digest([7; 32]));
    let rejection = Rejection::UnknownParent { event: 0, parent };
    let sent = rejection.clone();
    let node = Node::start(Script {
        commit: Some(Box::new(move |_, _| Some(Err(status::rejection(&sent))))),
        ..Script::default()
    });
    let client = client(&[&node.endpoint]).await;
    match client.commit(draft()).await {
        Err(Error::Rejected(actual)) => assert_eq!(actual, rejection),
        other => panic!("{other:?}"),
    }
    assert_eq!(node.seen(|s| s.commits.len()), 1);
}

#[tokio::test]
async fn damaged_node_is_left_for_another() {
    let node = Node::start(Script {
        commit: Some(Box::new(|_, _| {
            let damage = toka_ledger::Error::Corrupt {
                table: "headers",
                key: String::new(),
                detail: String::new(),
            };
            Some(Err(status::error(&damage)))
        })),
        ..Script::default()
    });
    let other = Node::start(answering());
    let client = client(&[&node.endpoint, &other.endpoint]).await;
    client.commit(draft()).await.expect("committed");
}

#[tokio::test]
async fn error_names_all_endpoints_when_nobody_answers() {
    let (first, second) = (dead_endpoint(), dead_endpoint());
    let client = builder()
        .timeout(Duration::from_millis(200))
        .connect([&*first, &*second])
        .await
        .expect("the endpoints are valid");
    let begin = Instant::now();
    let error = client.commit(draft()).await.expect_err("nobody is there");
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert!(error.is_retryable());
    let message = error.to_string();
    assert!(
        message.contains(&first) && message.contains(&second),
        "{message}"
    );
}

#[tokio::test]
async fn election_that_lasts_beyond_the_deadline_is_unavailable() {
    let node = Node::start(Script {
        commit: Some(Box::new(|_, _| {
            Some(Err(status::no_leader("nobody leads")))
        })),
        ..Script::default()
    });
    let client = client(&[&node.endpoint])
        .await
        .with_timeout(Duration::from_millis(500));
    match client.commit(draft()).await {
        Err(Error::Unavailable { message, .. }) => assert_eq!(message, "nobody leads"),
        other => panic!("{other:?}"),
    }
    assert!(node.seen(|s| s.commits.len()) > 1);
}

#[tokio::test]
async fn bad_input_is_refused_before_anything_is_sent() {
    let client = client(&[&dead_endpoint()]).await;
    assert!(matches!(
        client.commit(EventDraft::new("")).await,
        Err(Error::Invalid(_))
    ));
}

#[tokio::test]
async fn embeddings_travel_quantised() {
    let node = Node::start(answering());
    let client = client(&[&node.endpoint]).await;
    client
        .commit(draft().embedding(&[3.0, -4.0]))
        .await
        .expect("committed");
    let sent = node.seen(|s| s.commits[0].events[0].embedding.clone());
    match sent {
        Some(toka_proto::v1::new_event::Embedding::Quantized(bytes)) => assert_eq!(bytes.len(), 4),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn endpoints_are_required_and_checked() {
    let none: [&str; 0] = [];
    assert!(matches!(
        builder().connect(none).await,
        Err(Error::NoEndpoints)
    ));
    assert!(matches!(
        builder().connect(["a b"]).await,
        Err(Error::Endpoint { .. })
    ));
}
