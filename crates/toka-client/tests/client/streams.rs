use std::sync::{Arc, Mutex};

use toka_client::{CommitStream, Config, Error, EventDraft, Precondition};
use toka_ledger::CursorName;
use toka_proto::convert::status;
use toka_proto::v1;
use toka_proto::v1::commit_stream_response::Outcome;
use toka_proto::v1::precondition::Condition;
use tokio::time::Duration;
use tonic::{Status, Streaming};

use crate::node::{Node, Script, Sender, builder, client, dead_endpoint, event, header};

/// Payloads in the order in which they were first applied, over all nodes.
type Applied = Arc<Mutex<Vec<Vec<u8>>>>;

/// Applies a request once, and says at which sequence it is.
fn apply(applied: &Applied, request: &v1::CommitStreamRequest) -> v1::CommitStreamResponse {
    let mut applied = applied.lock().expect("no test panics while it holds it");
    let payload = request.events[0].payload.to_vec();
    let stored = applied.iter().position(|earlier| *earlier == payload);
    let index = stored.unwrap_or_else(|| {
        applied.push(payload);
        applied.len() - 1
    });
    let revision = index as u64 + 1;
    let event = v1::Event {
        deduplicated: stored.is_some(),
        ..event(revision)
    };
    let result = v1::CommitResult {
        revision,
        events: vec![event],
    };
    v1::CommitStreamResponse {
        header: header(revision),
        request_number: request.request_number,
        outcome: Some(Outcome::Result(result)),
        ..Default::default()
    }
}

/// Applies what comes; of `per_stream` requests the last ones are applied and not answered any more,
/// and then the stream ends.
async fn serve(
    applied: Applied,
    mut requests: Streaming<v1::CommitStreamRequest>,
    answers: Sender<v1::CommitStreamResponse>,
    per_stream: usize,
    unanswered: usize,
) {
    for count in 1..=per_stream {
        let Ok(Some(request)) = requests.message().await else {
            return;
        };
        let answer = apply(&applied, &request);
        if count <= per_stream - unanswered {
            let _ = answers.send(Ok(answer));
        }
    }
    let _ = answers.send(Err(status::stopping()));
}

fn node(applied: &Applied, per_stream: usize, unanswered: usize) -> Script {
    let applied = Arc::clone(applied);
    Script {
        commit_stream: Some(Box::new(move |_, requests, answers| {
            tokio::spawn(serve(
                Arc::clone(&applied),
                requests,
                answers,
                per_stream,
                unanswered,
            ));
        })),
        ..Script::default()
    }
}

fn draft(number: usize) -> EventDraft {
    EventDraft::new("k").payload_bytes(number.to_string().into_bytes())
}

fn payloads(numbers: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    numbers
        .map(|number| number.to_string().into_bytes())
        .collect()
}

/// Sends `count` events; their sequences.
async fn send(stream: &CommitStream, count: usize) -> Vec<u64> {
    let mut answers = Vec::new();
    for number in 0..count {
        answers.push(
            stream
                .send(vec![draft(number)], vec![])
                .await
                .expect("sent"),
        );
    }
    let mut sequences = Vec::new();
    for answer in answers {
        sequences.push(answer.await.expect("committed").headers[0].sequence);
    }
    sequences
}

#[tokio::test]
async fn commits_are_acknowledged_in_order() {
    let applied = Applied::default();
    let node = Node::start(node(&applied, usize::MAX, 0));
    let client = client(&[&node.endpoint]).await;
    let stream = client.commit_stream();
    assert_eq!(send(&stream, 1_000).await, (1..=1_000).collect::<Vec<_>>());
    stream.finish().await.expect("everything has its answer");
    assert_eq!(node.seen(|s| s.commit_streams), 1);
    assert_eq!(client.revision(), 1_000);
}

/// Applies the commits of a message, and answers them together.
fn apply_together(
    applied: &Applied,
    request: &v1::CommitStreamRequest,
) -> v1::CommitStreamResponse {
    let first = apply(applied, request);
    let more = request.more.iter().map(|further| {
        let further = v1::CommitStreamRequest {
            request_number: further.request_number,
            events: further.events.clone(),
            ..Default::default()
        };
        let answer = apply(applied, &further);
        let Some(Outcome::Result(result)) = answer.outcome else {
            unreachable!("it is applied");
        };
        v1::StreamedAnswer {
            request_number: answer.request_number,
            outcome: Some(v1::streamed_answer::Outcome::Result(result)),
        }
    });
    v1::CommitStreamResponse {
        more: more.collect(),
        ..first
    }
}

/// Applies what comes, up to four commits in a message, and answers as many together. Of the first call only one
/// message is applied, and answered but for its last commit.
fn batching(applied: &Applied, sizes: &Arc<Mutex<Vec<usize>>>) -> Script {
    let (applied, sizes) = (Arc::clone(applied), Arc::clone(sizes));
    let answer = move |request: v1::CommitStreamRequest| {
        assert!(request.takes_more);
        sizes.lock().expect("free").push(1 + request.more.len());
        apply_together(&applied, &request)
    };
    let answer = Arc::new(answer);
    Script {
        commits_per_message: Some(4),
        commit_stream: Some(Box::new(move |call, mut requests, answers| {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                while let Ok(Some(request)) = requests.message().await {
                    let mut answered = answer(request);
                    let breaks = call == 0 && answered.more.pop().is_some();
                    let _ = answers.send(Ok(answered));
                    if breaks {
                        let _ = answers.send(Err(status::stopping()));
                        return;
                    }
                }
            });
        })),
        ..Script::default()
    }
}

#[tokio::test]
async fn commits_go_together_where_the_node_takes_that_and_are_resumed_one_by_one() {
    let (applied, sizes) = (Applied::default(), Arc::default());
    let node = Node::start(batching(&applied, &sizes));
    let client = client(&[&node.endpoint]).await;
    let stream = client.commit_stream();
    assert_eq!(send(&stream, 100).await, (1..=100).collect::<Vec<_>>());
    stream.finish().await.expect("everything has its answer");
    assert_eq!(*applied.lock().expect("free"), payloads(0..100));
    assert_eq!(node.seen(|s| s.commit_streams), 2);
    let sizes = sizes.lock().expect("free");
    assert_eq!(sizes.iter().max(), Some(&4), "{sizes:?}");
}

/// Applies what comes, until a message has more than two commits: from then on nothing is heard of the stream.
fn choking(applied: &Applied) -> Script {
    let applied = Arc::clone(applied);
    Script {
        commits_per_message: Some(256),
        commit_stream: Some(Box::new(move |_, mut requests, answers| {
            let applied = Arc::clone(&applied);
            tokio::spawn(async move {
                let mut is_choked = false;
                while let Ok(Some(request)) = requests.message().await {
                    is_choked |= request.more.len() > 1;
                    if !is_choked {
                        let _ = answers.send(Ok(apply_together(&applied, &request)));
                    }
                }
            });
        })),
        ..Script::default()
    }
}

#[tokio::test]
async fn messages_without_an_answer_in_time_are_sent_again_in_smaller_ones() {
    let applied = Applied::default();
    let node = Node::start(choking(&applied));
    let client = client(&[&node.endpoint]).await;
    let stream = client.commit_stream();
    // Seven go together at first, and two where a message has a quarter of the bytes.
    let payloads: Vec<_> = (0..12_u8).map(|number| vec![number; 20 << 10]).collect();
    let mut answers = Vec::new();
    for payload in &payloads {
        let draft = EventDraft::new("large").payload_bytes(payload.clone());
        let sent = stream.send(vec![draft], Vec::new()).await;
        answers.push(sent.expect("room"));
    }
    for answer in answers {
        answer.await.expect("committed");
    }
    assert_eq!(*applied.lock().expect("free"), payloads);
}

#[tokio::test]
async fn broken_streams_are_resumed_from_the_first_commit_without_an_answer() {
    let applied = Applied::default();
    let first = Node::start(node(&applied, 7, 3));
    let second = Node::start(node(&applied, 11, 5));
    let client = client(&[&first.endpoint, &second.endpoint]).await;
    let stream = client.commit_stream();
    assert_eq!(send(&stream, 100).await, (1..=100).collect::<Vec<_>>());
    stream.finish().await.expect("everything has its answer");
    assert_eq!(*applied.lock().expect("free"), payloads(0..100));
}

#[tokio::test]
async fn killed_node_is_replaced() {
    let applied = Applied::default();
    let mut first = Node::start(node(&applied, usize::MAX, 0));
    let second = Node::start(node(&applied, usize::MAX, 0));
    let client = client(&[&first.endpoint, &second.endpoint]).await;
    let stream = client.commit_stream();
    let before = stream.send(vec![draft(0)], vec![]).await.expect("sent");
    before.await.expect("committed");
    first.kill();
    let after = stream.send(vec![draft(1)], vec![]).await.expect("sent");
    assert_eq!(after.await.expect("committed").headers[0].sequence, 2);
}

#[tokio::test]
async fn stream_goes_to_the_leader_before_anything_is_sent() {
    let applied = Applied::default();
    let leader = Node::start(node(&applied, usize::MAX, 0));
    let elsewhere = Applied::default();
    let follower = Node::start(Script {
        leader: Some(leader.as_leader()),
        ..node(&elsewhere, usize::MAX, 0)
    });
    let client = client(&[&follower.endpoint]).await;
    let stream = client.commit_stream();
    assert_eq!(send(&stream, 3).await, [1, 2, 3]);
    assert_eq!(elsewhere.lock().expect("free").len(), 0);
}

#[tokio::test]
async fn silent_node_is_left_for_another() {
    let silent = Node::start(Script {
        commit_stream: Some(Box::new(|_, mut requests, answers| {
            tokio::spawn(async move {
                while let Ok(Some(_)) = requests.message().await {}
                drop(answers);
            });
        })),
        ..Script::default()
    });
    let applied = Applied::default();
    let node = Node::start(node(&applied, usize::MAX, 0));
    let client = client(&[&silent.endpoint, &node.endpoint]).await;
    assert_eq!(send(&client.commit_stream(), 3).await, [1, 2, 3]);
}

#[tokio::test]
async fn refused_commit_does_not_hinder_those_after_it() {
    let applied = Applied::default();
    let shared = Arc::clone(&applied);
    let node = Node::start(Script {
        commit_stream: Some(Box::new(move |_, mut requests, answers| {
            let applied = Arc::clone(&shared);
            tokio::spawn(async move {
                while let Ok(Some(request)) = requests.message().await {
                    let mut answer = apply(&applied, &request);
                    if request.events[0].payload == b"1"[..] {
                        let refused = Status::invalid_argument("no");
                        answer.outcome = Some(Outcome::Error(status::to_commit_error(&refused)));
                    }
                    let _ = answers.send(Ok(answer));
                }
            });
        })),
        ..Script::default()
    });
    let client = client(&[&node.endpoint]).await;
    let stream = client.commit_stream();
    let mut answers = Vec::new();
    for number in 0..3 {
        answers.push(
            stream
                .send(vec![draft(number)], vec![])
                .await
                .expect("sent"),
        );
    }
    let mut results = Vec::new();
    for answer in answers {
        results.push(answer.await);
    }
    assert!(results[0].is_ok() && results[2].is_ok());
    assert!(matches!(&results[1], Err(Error::Refused { message, .. }) if message == "no"));
    assert_eq!(node.seen(|s| s.commit_streams), 1);
}

#[tokio::test]
async fn window_bounds_what_is_on_its_way() {
    // The node reads everything and answers nothing.
    let node = Node::start(Script {
        commit_stream: Some(Box::new(|_, mut requests, answers| {
            tokio::spawn(async move {
                while let Ok(Some(_)) = requests.message().await {}
                drop(answers);
            });
        })),
        ..Script::default()
    });
    let config = Config {
        stream_window: 4,
        ..Config::default()
    };
    let client = builder()
        .config(config)
        .connect([&*node.endpoint])
        .await
        .expect("valid");
    let stream = client.commit_stream();
    let mut answers = Vec::new();
    for number in 0..4 {
        answers.push(
            stream
                .send(vec![draft(number)], vec![])
                .await
                .expect("sent"),
        );
    }
    let fifth = tokio::time::timeout(
        Duration::from_millis(50),
        stream.send(vec![draft(4)], vec![]),
    );
    assert!(fifth.await.is_err(), "the fifth waits for room");
}

#[tokio::test]
async fn first_commit_without_an_answer_has_the_reason_why_the_stream_ended() {
    let dead = dead_endpoint();
    let config = Config {
        resume_timeout: Duration::from_millis(200),
        ..Config::default()
    };
    let client = builder()
        .config(config)
        .connect([&*dead])
        .await
        .expect("valid");
    let stream = client.commit_stream();
    let first = stream.send(vec![draft(0)], vec![]).await.expect("sent");
    let second = stream.send(vec![draft(1)], vec![]).await.expect("sent");
    assert!(matches!(first.await, Err(Error::Unreachable { .. })));
    assert!(matches!(second.await, Err(Error::StreamEnded)));
    assert!(matches!(stream.finish().await, Err(Error::StreamEnded)));
}

/// Number of a call, and the history that one of its moves named.
type Named = (usize, Vec<u8>);

/// The history that a request's move of a cursor names.
fn named_history(request: &v1::CommitStreamRequest) -> Vec<u8> {
    match &request.preconditions[0].condition {
        Some(Condition::CursorMove(cursor)) => cursor.history_id.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn moves_of_cursors_that_are_sent_again_name_the_history_of_the_first_reply() {
    let applied = Applied::default();
    let named: Arc<Mutex<Vec<Named>>> = Arc::default();
    let (inside, noted) = (Arc::clone(&applied), Arc::clone(&named));
    let node = Node::start(Script {
        commit_stream: Some(Box::new(move |call, mut requests, answers| {
            let (applied, noted) = (Arc::clone(&inside), Arc::clone(&noted));
            tokio::spawn(async move {
                let mut first = None;
                while let Ok(Some(request)) = requests.message().await {
                    let history = named_history(&request);
                    noted.lock().expect("free").push((call, history));
                    if call > 0 {
                        let _ = answers.send(Ok(apply(&applied, &request)));
                    } else if let Some(first) = first.replace(request) {
                        // Both are here. The first one is answered, and then the stream breaks.
                        let _ = answers.send(Ok(apply(&applied, &first)));
                        let _ = answers.send(Err(status::stopping()));
                        return;
                    }
                }
            });
        })),
        ..Script::default()
    });
    // Nothing is sent again before the node breaks the stream off.
    let config = Config {
        attempt_timeout: Duration::from_secs(20),
        ..Config::default()
    };
    let client = builder().config(config).connect([node.endpoint.clone()]);
    let client = client.await.expect("the endpoint is valid");
    let stream = client.commit_stream();
    let mut answers = Vec::new();
    for number in 0..2 {
        let step = Precondition::CursorMove {
            name: CursorName::new("worker").expect("a name"),
            from: number,
            to: number + 1,
        };
        let draft = draft(usize::try_from(number).expect("small"));
        answers.push(stream.send(vec![draft], vec![step]).await.expect("sent"));
    }
    for answer in answers {
        answer.await.expect("committed");
    }
    let history = 2_u128.to_be_bytes().to_vec();
    assert_eq!(
        *named.lock().expect("free"),
        [(0, vec![]), (0, vec![]), (1, history)]
    );
}
