//! A subscriber who does nothing wrong while others do.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use toka_proto::convert::read::Consistency;
use toka_proto::v1;
use toka_proto::v1::subscribe_request::Start;
use toka_proto::v1::subscribe_response::Message;
use tokio::task::JoinHandle;

use crate::cluster::{Node, PATIENCE};
use crate::request;

/// Kind of the event that the one at `node` waits for.
fn kind(node: &Node) -> String {
    format!("bystander.{}", node.id)
}

/// One stream on one connection: unlike a client of the library it does not come back when it is cut off.
#[derive(Debug)]
pub struct Bystander {
    /// Sequence of the event that came.
    event: JoinHandle<Result<u64>>,
}

impl Bystander {
    /// Subscribes at `node`, on the connection that [`Node::vault`] has.
    pub async fn start(node: &Node) -> Result<Self> {
        let subscribe = subscribe(Start::Now(v1::FromNow {}), &kind(node));
        let mut stream = node.vault().subscribe(subscribe).await?.into_inner();
        stream.message().await?.context("no first message")?;
        let event = tokio::spawn(async move {
            loop {
                let message = stream
                    .message()
                    .await
                    .context("the bystander was cut off")?;
                let message = message.context("the bystander's stream has ended")?;
                if let Some(Message::Event(event)) = message.message {
                    return Ok(event.sequence);
                }
            }
        });
        Ok(Self { event })
    }

    /// Commits at the same node, on the same connection; the stream, still open, has that event and no other.
    pub async fn check(self, node: &Node) -> Result<()> {
        let event = request::event(&kind(node), &json!(node.id));
        let commit = request::within(PATIENCE, request::commit(vec![event]));
        let committed = node.vault().commit(commit).await?.into_inner();
        let committed = committed.events.first().context("one event")?.sequence;
        let seen = tokio::time::timeout(PATIENCE, self.event).await;
        let seen = seen.context("the event does not come")???;
        ensure!(
            seen == committed,
            "event {seen} came instead of {committed}"
        );
        Ok(())
    }
}

/// A subscription to events whose kind begins with `kind`, as the node has them, without payloads.
pub fn subscribe(start: Start, kind: &str) -> v1::SubscribeRequest {
    v1::SubscribeRequest {
        start: Some(start),
        filter: Some(v1::EventFilter {
            kind_prefixes: vec![kind.to_owned()],
            ..v1::EventFilter::default()
        }),
        read: Some(request::read(Consistency::Local)),
        ..v1::SubscribeRequest::default()
    }
}
