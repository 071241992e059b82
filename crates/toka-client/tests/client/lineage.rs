//! Walks that a node breaks off.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::{Stream, stream};
use toka_client::{Client, Error, Lineage, Relation, Selector, WalkEnd};
use toka_proto::convert::status;
use toka_proto::v1;
use toka_proto::v1::lineage_service_server::{LineageService, LineageServiceServer};
use toka_proto::v1::read_options::Consistency;
use tokio::net::TcpListener;
use tokio::time::Duration;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};

use crate::node::{client, event, header};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

type Requests = Arc<Mutex<Vec<v1::WalkRequest>>>;

/// Every walk has these messages.
#[derive(Clone)]
struct Scripted {
    messages: Vec<Result<v1::WalkResponse, Status>>,
    seen: Requests,
}

#[tonic::async_trait]
impl LineageService for Scripted {
    type WalkStream = Answers<v1::WalkResponse>;

    async fn walk(
        &self,
        request: Request<v1::WalkRequest>,
    ) -> Result<Response<Self::WalkStream>, Status> {
        let mut seen = self.seen.lock().expect("no test panics while it holds it");
        seen.push(request.into_inner());
        Ok(Response::new(Box::pin(stream::iter(self.messages.clone()))))
    }

    type DifferenceStream = Answers<v1::DifferenceResponse>;

    async fn difference(
        &self,
        _: Request<v1::DifferenceRequest>,
    ) -> Result<Response<Self::DifferenceStream>, Status> {
        Ok(Response::new(Box::pin(stream::empty())))
    }

    async fn common_ancestors(
        &self,
        _: Request<v1::CommonAncestorsRequest>,
    ) -> Result<Response<v1::CommonAncestorsResponse>, Status> {
        Err(Status::new(Code::Unimplemented, "not scripted"))
    }

    async fn list_heads(
        &self,
        _: Request<v1::ListHeadsRequest>,
    ) -> Result<Response<v1::ListHeadsResponse>, Status> {
        Err(Status::new(Code::Unimplemented, "not scripted"))
    }
}

/// A server that answers every walk with `messages`, and what it was asked; it goes with the test's runtime.
async fn server(messages: Vec<Result<v1::WalkResponse, Status>>) -> (String, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let endpoint = listener.local_addr().expect("bound").to_string();
    let seen = Requests::default();
    let scripted = Scripted {
        messages,
        seen: Arc::clone(&seen),
    };
    let server = tonic::transport::Server::builder()
        .add_service(LineageServiceServer::new(scripted))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    (endpoint, seen)
}

async fn scripted(messages: Vec<Result<v1::WalkResponse, Status>>) -> Client {
    let (endpoint, _) = server(messages).await;
    client(&[&endpoint]).await
}

/// An ancestor of the event at sequence 3, one step further away for each sequence.
fn some(sequence: u64) -> v1::WalkResponse {
    v1::WalkResponse {
        header: header(9),
        relatives: vec![v1::Relative {
            event: Some(event(sequence)),
            depth: (3 - sequence) as u32,
        }],
        end: None,
    }
}

fn last() -> v1::WalkResponse {
    v1::WalkResponse {
        header: header(9),
        relatives: Vec::new(),
        end: Some(v1::WalkEnd {
            complete: true,
            visited: 2,
        }),
    }
}

fn lineage() -> Lineage {
    Lineage::of(Selector::Sequence(3), Relation::Ancestors)
}

#[tokio::test]
async fn walk_ends_with_what_its_last_message_says() {
    let client = scripted(vec![Ok(some(3)), Ok(some(2)), Ok(last())]).await;
    let mut walk = client.walk(&lineage()).await.expect("it begins");
    for expected in [3, 2] {
        assert!(walk.end().is_none());
        let relative = walk.next().await.expect("it comes").expect("an event");
        assert_eq!(relative.header.sequence, expected);
    }
    assert!(walk.next().await.expect("the end").is_none());
    let end = WalkEnd {
        is_complete: true,
        visited: 2,
    };
    assert_eq!(walk.end(), Some(end));
    assert!(walk.next().await.expect("still the end").is_none());
    assert_eq!(client.revision(), 9);
}

#[tokio::test]
async fn walk_without_a_last_message_was_broken_off() {
    let client = scripted(vec![Ok(some(3))]).await;
    let client = client.with_timeout(Duration::from_millis(300));
    let mut walk = client.walk(&lineage()).await.expect("it begins");
    assert!(walk.next().await.expect("it comes").is_some());
    let error = walk.next().await.expect_err("nobody goes on");
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn walk_that_breaks_off_goes_on_elsewhere_as_of_the_same_position() {
    let broken = Status::unavailable("the connection broke");
    let (first, _) = server(vec![Ok(some(3)), Ok(some(2)), Err(broken)]).await;
    // What was committed meanwhile is left out, also by a node that sends it.
    let later = v1::WalkResponse {
        header: header(12),
        relatives: vec![v1::Relative {
            event: Some(event(12)),
            depth: 3,
        }],
        end: None,
    };
    let messages = vec![some(3), some(2), some(1), later, last()];
    let (second, seen) = server(messages.into_iter().map(Ok).collect()).await;
    let client = client(&[&first, &second]).await;
    let mut walk = client.walk(&lineage()).await.expect("it begins");
    assert_eq!(walk.endpoint(), first);
    let mut sequences = Vec::new();
    while let Some(relative) = walk.next().await.expect("it goes on") {
        sequences.push(relative.header.sequence);
    }
    assert_eq!(sequences, [3, 2, 1]);
    assert_eq!(walk.endpoint(), second);
    let seen = seen.lock().expect("no test panics while it holds it");
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].until_sequence, 9);
    let read = seen[0].read.clone().expect("it was sent");
    assert_eq!(read.consistency, Some(Consistency::AtLeastRevision(9)));
    assert_eq!(read.history_id, 2_u128.to_be_bytes().to_vec());
}

#[tokio::test]
async fn limit_that_a_walk_reaches_on_its_way_is_named() {
    let limit = status::limit_reached("remembered_events", "too many");
    let client = scripted(vec![Ok(some(3)), Err(limit)]).await;
    let mut walk = client.walk(&lineage()).await.expect("it begins");
    assert!(walk.next().await.expect("it comes").is_some());
    let error = walk.next().await.expect_err("a limit");
    assert!(
        matches!(&error, Error::LimitReached { subject, .. } if subject == "remembered_events"),
        "{error}"
    );
}

#[tokio::test]
async fn deadline_of_a_walk_is_told_as_the_node_tells_it() {
    let over = status::out_of_time("after 7 events");
    let client = scripted(vec![Ok(some(3)), Err(over)]).await;
    let mut walk = client.walk(&lineage()).await.expect("it begins");
    assert!(walk.next().await.expect("it comes").is_some());
    let error = walk.next().await.expect_err("out of time");
    assert!(
        matches!(&error, Error::Unavailable { message, .. } if message == "after 7 events"),
        "{error}"
    );
}

#[tokio::test]
async fn walk_that_was_refused_is_not_begun_again() {
    let limit = status::limit_reached("remembered_events", "too many");
    let (endpoint, seen) = server(vec![Ok(some(3)), Err(limit)]).await;
    let client = client(&[&endpoint]).await;
    let mut walk = client.walk(&lineage()).await.expect("it begins");
    assert!(walk.next().await.expect("it comes").is_some());
    for _ in 0..2 {
        let error = walk.next().await.expect_err("a limit");
        assert!(matches!(error, Error::LimitReached { .. }), "{error}");
    }
    let seen = seen.lock().expect("no test panics while it holds it");
    assert_eq!(seen.len(), 1);
}
