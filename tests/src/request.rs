//! Plain gRPC to one node, for what a well-behaved client would hide: which node answers, with which
//! status, details and metadata.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use serde_json::Value;
use toka_client::Selector;
use toka_ledger::EventPayload as _;
use toka_proto::convert::metadata;
use toka_proto::convert::read::{Consistency, ReadOptions};
use toka_proto::v1;
use tonic::{Request, Response, Status};

/// A request that gives up after `time`.
pub fn within<M>(time: Duration, message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.set_timeout(time);
    request
}

/// Demands that only the leader answers.
pub fn leader_only<M>(mut request: Request<M>) -> Request<M> {
    metadata::put_requires_leader(request.metadata_mut());
    request
}

/// An event with a JSON payload as MessagePack.
pub fn event(kind: &str, payload: &Value) -> v1::NewEvent {
    v1::NewEvent {
        kind: kind.to_owned(),
        payload: payload
            .to_bytes()
            .expect("JSON can be written as MessagePack"),
        ..v1::NewEvent::default()
    }
}

/// A commit of some events.
pub fn commit(events: Vec<v1::NewEvent>) -> v1::CommitRequest {
    v1::CommitRequest {
        events,
        ..v1::CommitRequest::default()
    }
}

/// A read of one event, with its payload.
pub fn get(selector: &Selector, consistency: Consistency) -> v1::GetRequest {
    v1::GetRequest {
        vault: String::new(),
        selector: Some(selector.into()),
        include: Some(v1::Include {
            payload: true,
            ..v1::Include::default()
        }),
        read: Some(read(consistency)),
    }
}

/// What a read must see.
pub fn read(consistency: Consistency) -> v1::ReadOptions {
    ReadOptions {
        consistency,
        history_id: None,
    }
    .into()
}

/// The digest that a parent is named by.
pub fn parent(digest: Bytes) -> v1::ParentName {
    v1::ParentName {
        name: Some(v1::parent_name::Name::Digest(digest)),
    }
}

/// The refusal that a call must be answered with.
pub fn refusal<M: std::fmt::Debug>(answer: Result<Response<M>, Status>) -> Result<Status> {
    let answer = answer.map(Response::into_inner);
    answer.err().context("the call should have been refused")
}
