use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use toka_proto::convert::metadata;
use toka_proto::convert::status::{self, Detail, parse};
use toka_proto::v1;
use toka_proto::v1::commit_stream_response::Outcome;
use toka_proto::v1::subscribe_request::Start;
use toka_proto::v1::subscribe_response::Message;
use tonic::{Code, Streaming};

use crate::support::*;

fn request(number: u64) -> v1::CommitStreamRequest {
    let events = vec![event("streamed", &number.to_string())];
    v1::CommitStreamRequest {
        request_number: number,
        events,
        ..Default::default()
    }
}

fn requests(
    numbers: impl IntoIterator<Item = u64>,
) -> impl Stream<Item = v1::CommitStreamRequest> + Send + 'static {
    stream::iter(numbers.into_iter().map(request).collect::<Vec<_>>())
}

async fn every_commit_is_answered_in_order(index: fn(&Cluster) -> usize) {
    let cluster = Cluster::start(3).await;
    let mut vault = cluster.vault(index(&cluster));
    let reply = within(vault.commit_stream(requests(1..=1_000)))
        .await
        .expect("opened");
    assert_eq!(
        named_leader(&reply),
        cluster.nodes[cluster.leader()].replica().node_id()
    );
    let (answers, end) = drain(reply).await;
    assert!(end.is_none(), "{end:?}");
    assert_eq!(answers.len(), 1_000);
    for (answer, number) in answers.into_iter().zip(1..) {
        assert_eq!(answer.request_number, number);
        let Some(Outcome::Result(result)) = answer.outcome else {
            panic!("{answer:?}")
        };
        assert_eq!(result.events[0].sequence, number);
    }
}

/// One message with the requests of these numbers.
fn together(numbers: std::ops::Range<u64>) -> v1::CommitStreamRequest {
    let more = (numbers.start + 1..numbers.end).map(request);
    v1::CommitStreamRequest {
        more: more
            .map(|request| v1::StreamedCommit {
                request_number: request.request_number,
                events: request.events,
                preconditions: request.preconditions,
            })
            .collect(),
        takes_more: true,
        ..request(numbers.start)
    }
}

/// Numbers of the requests that a message answers, which were all applied.
fn answered(answer: v1::CommitStreamResponse) -> Vec<u64> {
    assert!(matches!(answer.outcome, Some(Outcome::Result(_))));
    let mut numbers = vec![answer.request_number];
    for further in answer.more {
        let outcome = further.outcome;
        assert!(matches!(
            outcome,
            Some(v1::streamed_answer::Outcome::Result(_))
        ));
        numbers.push(further.request_number);
    }
    numbers
}

async fn commits_of_one_message_are_answered_together(index: fn(&Cluster) -> usize) {
    let cluster = Cluster::start(3).await;
    let mut vault = cluster.vault(index(&cluster));
    let sent = stream::iter([together(1..101), together(101..201), request(201)]);
    let reply = within(vault.commit_stream(sent)).await.expect("opened");
    assert_eq!(metadata::commits_per_message(reply.metadata()), 256);
    let (answers, end) = drain(reply).await;
    assert!(end.is_none(), "{end:?}");
    assert!(answers.len() <= 3, "{} messages", answers.len());
    let numbers: Vec<_> = answers.into_iter().flat_map(answered).collect();
    assert_eq!(numbers, (1..=201).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_of_one_message_are_answered_together_by_the_leader() {
    commits_of_one_message_are_answered_together(Cluster::leader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_of_one_message_are_answered_together_by_a_follower() {
    commits_of_one_message_are_answered_together(Cluster::follower).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_of_one_message_beyond_the_window_are_answered_in_order() {
    let change = |config: &mut toka_server::Config| config.limits.commit_stream_window = 3;
    let cluster = Cluster::start_some(1, 1, change).await;
    cluster.wait_until_ready().await;
    let sent = stream::iter([together(1..21), request(21)]);
    let reply = within(cluster.vault(0).commit_stream(sent)).await;
    let reply = reply.expect("opened");
    assert_eq!(metadata::commits_per_message(reply.metadata()), 3);
    let (answers, end) = drain(reply).await;
    assert!(end.is_none(), "{end:?}");
    // None has more than are in progress.
    assert!(answers.iter().all(|answer| answer.more.len() < 6));
    let numbers: Vec<_> = answers.into_iter().flat_map(answered).collect();
    assert_eq!(numbers, (1..=21).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_too_many_commits_or_numbers_that_fall_ends_the_stream() {
    let cluster = Cluster::start(1).await;
    let mut falling = together(1..4);
    falling.more[1].request_number = 2;
    for message in [together(1..258), falling] {
        let sent = stream::iter([message]);
        let reply = within(cluster.vault(0).commit_stream(sent)).await;
        let (answers, end) = drain(reply.expect("opened")).await;
        assert_eq!(answers.len(), 0);
        assert_eq!(end.map(|status| status.code()), Some(Code::InvalidArgument));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_stream_on_the_leader_applies_in_order() {
    every_commit_is_answered_in_order(Cluster::leader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_stream_on_a_follower_applies_in_order() {
    every_commit_is_answered_in_order(Cluster::follower).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_commit_does_not_hinder_those_after_it() {
    let cluster = Cluster::start(1).await;
    let mut bad = request(2);
    bad.events[0].kind.clear();
    let sent = stream::iter([request(1), bad, request(3)]);
    let reply = within(cluster.vault(0).commit_stream(sent))
        .await
        .expect("opened");
    let (mut answers, end) = drain(reply).await;
    assert!(end.is_none(), "{end:?}");
    assert!(matches!(answers[2].outcome, Some(Outcome::Result(_))));
    let Some(Outcome::Error(error)) = answers.remove(1).outcome else {
        panic!("accepted")
    };
    let failure = parse(&status::from_commit_error(error));
    assert!(matches!(failure.detail, Some(Detail::InvalidField { field, .. }) if field == "kind"));
}

#[tokio::test(flavor = "multi_thread")]
async fn request_numbers_must_grow() {
    let cluster = Cluster::start(1).await;
    let reply = within(cluster.vault(0).commit_stream(requests([1, 2, 2])))
        .await
        .expect("opened");
    let (answers, end) = drain(reply).await;
    assert_eq!(answers.len(), 2);
    assert_eq!(end.map(|status| status.code()), Some(Code::InvalidArgument));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_stream_that_loses_its_leader_ends_and_can_be_resent_elsewhere() {
    let mut cluster = Cluster::start(3).await;
    let node = cluster.nodes.remove(cluster.leader());
    let through = tonic::transport::Endpoint::from_shared(format!(
        "http://{}",
        cluster.nodes[0].addresses().client
    ));
    let channel = through.expect("an address").connect_lazy();
    let mut vault = v1::vault_service_client::VaultServiceClient::new(channel);
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let sent = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = within(vault.commit_stream(sent))
        .await
        .expect("opened")
        .into_inner();
    let mut acknowledged = 0;
    for number in 1..=10 {
        sender
            .send(request(number))
            .await
            .expect("the stream is open");
        let answer = within(answers.message())
            .await
            .expect("applied")
            .expect("an answer");
        acknowledged = answer.request_number;
    }
    within(node.shutdown()).await.expect("closed");
    let end = within(answers.message())
        .await
        .expect_err("the stream ends");
    assert_eq!(end.code(), Code::Unavailable);

    let rest = requests(acknowledged..=20);
    let reply = within(cluster.vault(1).commit_stream(rest))
        .await
        .expect("opened");
    let (answers, end) = drain(reply).await;
    assert!(end.is_none(), "{end:?}");
    let sequences: Vec<u64> = answers
        .into_iter()
        .map(|answer| match answer.outcome {
            Some(Outcome::Result(result)) => result.events[0].sequence,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sequences, (10..=20).collect::<Vec<_>>());
}

async fn next(stream: &mut Streaming<v1::SubscribeResponse>) -> Message {
    let answer = within(stream.next())
        .await
        .expect("the stream goes on")
        .expect("no error");
    answer.message.expect("a message")
}

/// The next message that is not a checkpoint.
async fn next_but_checkpoints(stream: &mut Streaming<v1::SubscribeResponse>) -> Message {
    loop {
        match next(stream).await {
            Message::Checkpoint(_) => {}
            message => return message,
        }
    }
}

async fn events(stream: &mut Streaming<v1::SubscribeResponse>, count: usize) -> Vec<u64> {
    let mut sequences = Vec::new();
    while sequences.len() < count {
        if let Message::Event(event) = next(stream).await {
            sequences.push(event.sequence);
        }
    }
    sequences
}

/// The first `count` events with their payloads, and how many messages they came in.
async fn followed(cluster: &Cluster, takes_batches: bool, count: usize) -> (Vec<v1::Event>, usize) {
    let request = v1::SubscribeRequest {
        include: Some(v1::Include {
            payload: true,
            ..Default::default()
        }),
        takes_batches,
        ..Default::default()
    };
    let stream = within(cluster.vault(0).subscribe(request)).await;
    let mut stream = stream.expect("opened").into_inner();
    let (mut events, mut messages) = (Vec::new(), 0);
    while events.len() < count {
        match next(&mut stream).await {
            Message::Event(event) => events.push(event),
            Message::Events(batch) => events.extend(batch.events),
            _ => continue,
        }
        messages += 1;
    }
    (events, messages)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_batches_gets_the_same_events_in_fewer_messages() {
    let cluster = Cluster::start(1).await;
    let sent = requests(1..=300);
    let reply = within(cluster.vault(0).commit_stream(sent)).await;
    drain(reply.expect("opened")).await;
    let (alone, messages) = followed(&cluster, false, 300).await;
    assert_eq!(messages, 300);
    let (together, messages) = followed(&cluster, true, 300).await;
    assert_eq!(together, alone);
    assert!(messages < 150, "{messages} messages");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_on_a_follower_gets_everything_in_order() {
    let cluster = Cluster::start(3).await;
    let mut writer = cluster.vault(cluster.leader());
    let sent = requests(1..=300);
    drain(within(writer.commit_stream(sent)).await.expect("opened")).await;
    let request = v1::SubscribeRequest {
        read: linearizable(),
        ..Default::default()
    };
    let mut reader = cluster.vault(cluster.follower());
    let mut stream = within(reader.subscribe(request))
        .await
        .expect("opened")
        .into_inner();
    assert!(matches!(next(&mut stream).await, Message::Checkpoint(at) if at.sequence == 0));
    assert_eq!(
        events(&mut stream, 300).await,
        (1..=300).collect::<Vec<_>>()
    );
    let caught_up = next_but_checkpoints(&mut stream).await;
    assert!(
        matches!(caught_up, Message::CaughtUp(at) if at.sequence == 300),
        "{caught_up:?}"
    );
    for i in 0..20 {
        commit(&mut writer, "live", &i.to_string()).await;
    }
    assert_eq!(
        events(&mut stream, 20).await,
        (301..=320).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_come_while_nothing_matches() {
    let cluster = Cluster::start(1).await;
    let mut vault = cluster.vault(0);
    let filter = Some(v1::EventFilter {
        kind_prefixes: vec!["x".to_owned()],
        ..Default::default()
    });
    let request = v1::SubscribeRequest {
        filter,
        ..Default::default()
    };
    let mut stream = within(vault.subscribe(request))
        .await
        .expect("opened")
        .into_inner();
    for i in 0..5 {
        commit(&mut vault, "a", &i.to_string()).await;
    }
    loop {
        match next(&mut stream).await {
            Message::Checkpoint(at) if at.sequence == 5 => break,
            Message::Event(event) => panic!("{event:?} does not match"),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_from_now_skips_what_was_and_has_payloads_if_asked() {
    let cluster = Cluster::start(1).await;
    let mut vault = cluster.vault(0);
    commit(&mut vault, "a", "before").await;
    let request = v1::SubscribeRequest {
        start: Some(Start::Now(v1::FromNow {})),
        include: Some(v1::Include {
            payload: true,
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut stream = within(vault.subscribe(request))
        .await
        .expect("opened")
        .into_inner();
    commit(&mut vault, "a", "after").await;
    loop {
        if let Message::Event(event) = next(&mut stream).await {
            let payload = event.payload.and_then(|payload| payload.state);
            let expected = v1::payload::State::Stored("after".into());
            assert_eq!((event.sequence, payload), (2, Some(expected)));
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_beyond_the_vault_is_out_of_range() {
    let cluster = Cluster::start(3).await;
    let mut vault = cluster.vault(cluster.follower());
    commit(&mut vault, "a", "1").await;
    let start = Some(Start::AfterSequence(2));
    let request = v1::SubscribeRequest {
        start,
        ..Default::default()
    };
    let refusal = within(vault.subscribe(request)).await.expect_err("beyond");
    assert_eq!(
        parse(&refusal).detail,
        Some(Detail::PositionOutOfRange {
            sequence: 2,
            first: 1,
            last: 1
        })
    );
    assert!(refusal.message().contains("goes from 1 to 1"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_after_a_position_of_another_history_is_refused() {
    let cluster = Cluster::start(1).await;
    let mut vault = cluster.vault(0);
    let reply = within(vault.commit(one(event("a", "1")))).await;
    let header = reply.expect("committed").into_inner().header;
    let own = header.expect("a header").history_id;
    let after = |history_id| v1::SubscribeRequest {
        start: Some(Start::AfterSequence(1)),
        read: Some(v1::ReadOptions {
            history_id,
            ..Default::default()
        }),
        ..Default::default()
    };
    let refusal = within(vault.subscribe(after(vec![1; 16].into())))
        .await
        .expect_err("another history");
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    let Some(Detail::HistoryChanged { expected, actual }) = parse(&refusal).detail else {
        panic!("{refusal:?}")
    };
    assert_eq!(expected.to_be_bytes(), [1; 16]);
    assert_eq!(actual.to_be_bytes(), own[..]);

    let mut stream = within(vault.subscribe(after(own)))
        .await
        .expect("opened")
        .into_inner();
    assert!(matches!(next(&mut stream).await, Message::Checkpoint(at) if at.sequence == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_node_ends_subscriptions_as_unavailable() {
    let mut cluster = Cluster::start(1).await;
    let request = v1::SubscribeRequest::default();
    let mut vault = cluster.vault(0);
    let stream = within(vault.subscribe(request)).await.expect("opened");
    let node = cluster.nodes.remove(0);
    let (stopped, (_, end)) = tokio::join!(within(node.shutdown()), drain(stream));
    stopped.expect("closed");
    let end = end.expect("a status");
    assert_eq!(end.code(), Code::Unavailable);
    assert_eq!(parse(&end).detail, Some(Detail::Stopping));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_subscription_too_many_is_told_when_to_retry() {
    let change = |config: &mut toka_server::Config| config.limits.subscriptions_max = 1;
    let cluster = Cluster::start_some(1, 1, change).await;
    cluster.wait_until_ready().await;
    let mut vault = cluster.vault(0);
    let first = within(vault.subscribe(v1::SubscribeRequest::default()))
        .await
        .expect("opened");
    let second = within(vault.subscribe(v1::SubscribeRequest::default())).await;
    let failure = parse(&second.expect_err("full"));
    assert_eq!(failure.code, Code::ResourceExhausted);
    assert!(
        failure
            .retry_after
            .is_some_and(|after| after > Duration::ZERO)
    );
    drop(first);
}
