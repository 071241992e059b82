//! Walks that a node breaks off.

use std::pin::Pin;

use futures::{Stream, stream};
use toka_client::{Client, Error, Lineage, Relation, Selector, WalkEnd};
use toka_proto::convert::status;
use toka_proto::v1;
use toka_proto::v1::lineage_service_server::{LineageService, LineageServiceServer};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};

use crate::node::{client, event, header};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Every walk has these messages.
#[derive(Clone)]
struct Scripted(Vec<Result<v1::WalkResponse, Status>>);

#[tonic::async_trait]
impl LineageService for Scripted {
    type WalkStream = Answers<v1::WalkResponse>;

    async fn walk(
        &self,
        _: Request<v1::WalkRequest>,
    ) -> Result<Response<Self::WalkStream>, Status> {
        Ok(Response::new(Box::pin(stream::iter(self.0.clone()))))
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

/// A client of a server that answers every walk with `messages`; the server goes with the test's runtime.
async fn scripted(messages: Vec<Result<v1::WalkResponse, Status>>) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let endpoint = listener.local_addr().expect("bound").to_string();
    let server = tonic::transport::Server::builder()
        .add_service(LineageServiceServer::new(Scripted(messages)))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    client(&[&endpoint]).await
}

fn some(sequence: u64) -> v1::WalkResponse {
    v1::WalkResponse {
        header: header(9),
        relatives: vec![v1::Relative {
            event: Some(event(sequence)),
            depth: 0,
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
    let mut walk = client.walk(&lineage()).await.expect("it begins");
    assert!(walk.next().await.expect("it comes").is_some());
    let error = walk.next().await.expect_err("broken off");
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(error.is_retryable());
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
