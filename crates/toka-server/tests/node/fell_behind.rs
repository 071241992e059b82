use futures::StreamExt;
use toka_proto::v1;
use toka_proto::v1::subscribe_response::Message;
use tonic::Streaming;

use crate::support::*;

/// More than what is under way to a subscriber who reads nothing, and the newest ones that a node has in memory besides.
const EVENTS: u64 = 12_000;
/// Events of one commit.
const COMMIT_EVENTS: u64 = 1_000;

async fn next(stream: &mut Streaming<v1::SubscribeResponse>) -> Message {
    let answer = within(stream.next())
        .await
        .expect("the stream goes on")
        .expect("no error");
    answer.message.expect("a message")
}

/// Commits all of the events, each of 1 KiB.
async fn fill(vault: &mut Vault) {
    for first in (0..EVENTS).step_by(COMMIT_EVENTS as usize) {
        let events = (first..first + COMMIT_EVENTS).map(|n| event("a", &format!("{n:01024}")));
        let request = v1::CommitRequest {
            events: events.collect(),
            ..Default::default()
        };
        within(vault.commit(request)).await.expect("committed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_subscriber_is_told_how_far_behind_it_is_and_loses_nothing() {
    let cluster = Cluster::start(1).await;
    let request = v1::SubscribeRequest {
        include: Some(v1::Include {
            payload: true,
            ..Default::default()
        }),
        ..Default::default()
    };
    let stream = within(cluster.vault(0).subscribe(request)).await;
    let mut stream = stream.expect("opened").into_inner();
    loop {
        match next(&mut stream).await {
            Message::Checkpoint(_) => {}
            Message::CaughtUp(_) => break,
            other => panic!("{other:?}"),
        }
    }
    // It reads nothing meanwhile.
    fill(&mut cluster.vault(0)).await;
    let (mut last, mut behind) = (0, 0);
    let caught_up = loop {
        match next(&mut stream).await {
            Message::Checkpoint(_) => {}
            Message::Event(event) => {
                assert_eq!(event.sequence, last + 1);
                last = event.sequence;
            }
            Message::FellBehind(at) => {
                assert_eq!(at.sequence, last);
                assert!(at.lag_events > 0 && at.head_sequence <= EVENTS, "{at:?}");
                assert_eq!(at.lag_events, at.head_sequence - last);
                behind += 1;
            }
            Message::CaughtUp(at) => break at,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(behind, 1);
    assert_eq!(last, EVENTS);
    assert_eq!((caught_up.sequence, caught_up.lag_events), (EVENTS, 0));
}
