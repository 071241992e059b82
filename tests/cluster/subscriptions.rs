//! Subscriptions: no gap and no repeat, over any number of nodes that die under them.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use toka_client::{
    Client, EventDraft, EventHeader, Filter, Message, Start, Subscribe, Subscription,
};
use toka_proto::v1;
use toka_proto::v1::subscribe_response::Message as Body;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::history;
use toka_tests::load::Load;
use toka_tests::{request, seed};

/// What a subscription has delivered.
#[derive(Debug, Default)]
struct Seen {
    events: Vec<EventHeader>,
    /// The last sequence that a message has named.
    position: u64,
    caught_up: u64,
    checkpoints: u64,
}

impl Seen {
    /// Takes the next message, and checks that it does not contradict those before it.
    fn take(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Event(event) => {
                let sequence = event.header.sequence;
                ensure!(
                    sequence > self.position,
                    "event {sequence} after {}",
                    self.position
                );
                self.position = sequence;
                self.events.push(event.header);
            }
            Message::Checkpoint { sequence, .. } => {
                ensure!(
                    sequence >= self.position,
                    "checkpoint {sequence} after {}",
                    self.position
                );
                self.position = sequence;
                self.checkpoints += 1;
            }
            Message::CaughtUp { sequence, .. } => {
                ensure!(
                    sequence >= self.position,
                    "caught up {sequence} after {}",
                    self.position
                );
                self.position = sequence;
                self.caught_up += 1;
            }
            Message::FellBehind { .. } => {}
            other => bail!("{other:?} is not expected"),
        }
        Ok(())
    }

    /// Follows until everything up to `sequence` has been delivered.
    async fn follow(&mut self, subscription: &mut Subscription, sequence: u64) -> Result<()> {
        while self.position < sequence {
            let next = tokio::time::timeout(PATIENCE, subscription.next()).await;
            let next = next.with_context(|| format!("silence after {}", self.position))?;
            self.take(next?)?;
        }
        Ok(())
    }
}

fn kinds(prefix: &str) -> Filter {
    Filter {
        kind_prefixes: vec![prefix.to_owned()],
        ..Filter::default()
    }
}

/// The id of the node that serves a subscription.
fn server(cluster: &Cluster, subscription: &Subscription) -> Result<u64> {
    let endpoint = subscription.endpoint().context("no node serves it")?;
    let id = cluster
        .ids()
        .into_iter()
        .find(|id| cluster.node(*id).endpoint() == endpoint);
    id.with_context(|| format!("nobody is at {endpoint}"))
}

/// Follows while writers write, and kills the node that serves the subscription, twice.
async fn follow_through_deaths(cluster: &mut Cluster, seed: u64, filter: Filter) -> Result<()> {
    let load = Load::start(cluster, 16, seed).await?;
    let subscribe = Subscribe {
        filter: filter.clone(),
        ..Subscribe::from(Start::Beginning)
    };
    let mut subscription = cluster.client().await?.subscribe(subscribe).await?;
    let mut seen = Seen::default();
    for _ in 0..2 {
        load.acks().more(150, PATIENCE).await?;
        let reached = load
            .acks()
            .all()
            .iter()
            .map(|ack| ack.sequence)
            .max()
            .unwrap_or(0);
        seen.follow(&mut subscription, reached).await?;
        let id = server(cluster, &subscription)?;
        cluster.kill(id)?;
        load.acks().more(150, PATIENCE).await?;
        let reached = load
            .acks()
            .all()
            .iter()
            .map(|ack| ack.sequence)
            .max()
            .unwrap_or(0);
        seen.follow(&mut subscription, reached).await?;
        ensure!(
            server(cluster, &subscription)? != id,
            "a dead node serves it"
        );
        cluster.restart(id).await?;
    }
    let acks = load.stop().await?;
    let log = history::check(cluster, &acks).await?;
    seen.follow(&mut subscription, log.len() as u64).await?;
    let expected: Vec<_> = log
        .into_iter()
        .filter(|header| filter.matches_header(header))
        .collect();
    ensure!(!expected.is_empty(), "nothing matches");
    ensure!(
        seen.events.len() == expected.len(),
        "{} of {}",
        seen.events.len(),
        expected.len()
    );
    ensure!(seen.events == expected, "other events than in the log");
    while seen.caught_up == 0 {
        seen.take(subscription.next().await?)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscription_goes_on_at_another_node_without_gap_or_repeat() -> Result<()> {
    let seed = seed::draw();
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        follow_through_deaths(cluster, seed, Filter::default()).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filtered_subscription_goes_on_at_another_node_without_gap_or_repeat() -> Result<()> {
    let seed = seed::draw();
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        follow_through_deaths(cluster, seed, kinds("load.a")).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscription_starts_where_it_is_told_to_on_every_node() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        commit_alternating(&client, 0..10).await?;
        for id in cluster.ids() {
            let client = cluster.client_of(id).await?;
            for (start, first) in [(Start::Beginning, 1), (Start::After(4), 5)] {
                let mut events = client.subscribe(Subscribe::from(start)).await?;
                let event = tokio::time::timeout(PATIENCE, events.next_event()).await??;
                ensure!(
                    event.header.sequence == first,
                    "node {id}, {start:?}: {event:?}"
                );
            }
        }
        // Now: after the ten, but with the one that is committed next.
        let mut now = client
            .subscribe(Subscribe {
                consistency: toka_client::Consistency::ReadYourWrites,
                filter: kinds("odd"),
                ..Subscribe::from(Start::Now)
            })
            .await?;
        commit_alternating(&client, 10..14).await?;
        for expected in [12, 14] {
            let event = tokio::time::timeout(PATIENCE, now.next_event()).await??;
            ensure!(event.header.sequence == expected, "{event:?}");
        }
        Ok(())
    })
    .await
}

/// Events 1, 3, 5 have the kind `even`, for they count from 0; 2, 4, 6 have the kind `odd`.
async fn commit_alternating(client: &Client, numbers: std::ops::Range<u64>) -> Result<()> {
    for number in numbers {
        let kind = if number.is_multiple_of(2) {
            "even"
        } else {
            "odd"
        };
        client
            .commit(EventDraft::new(kind).payload(&json!({"number": number})))
            .await?;
    }
    Ok(())
}

/// As the proto file promises: a checkpoint comes first, one every two seconds at least even where
/// nothing matches, and `caught_up` comes once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_says_where_it_is_while_nothing_matches() -> Result<()> {
    const CHECKPOINT_MAX: Duration = Duration::from_secs(4);
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        commit_alternating(&client, 0..6).await?;
        cluster.converged(6).await?;
        let follower = cluster.followers().await?[0];
        let subscribe = v1::SubscribeRequest {
            start: Some(v1::subscribe_request::Start::AfterSequence(1)),
            filter: Some(v1::EventFilter {
                kind_prefixes: vec!["even".to_owned()],
                ..v1::EventFilter::default()
            }),
            read: Some(request::read(
                toka_proto::convert::read::Consistency::Linearizable,
            )),
            ..v1::SubscribeRequest::default()
        };
        let stream = cluster.node(follower).vault().subscribe(subscribe).await?;
        let mut stream = stream.into_inner();
        let mut next = async || -> Result<Body> {
            let next = tokio::time::timeout(CHECKPOINT_MAX, stream.message()).await;
            let message = next.context("silence")??.context("the stream has ended")?;
            let is_event = matches!(message.message, Some(Body::Event(_)));
            ensure!(
                is_event == message.header.is_none(),
                "header of {message:?}"
            );
            message.message.context("an empty message")
        };
        let first = next().await?;
        ensure!(
            matches!(&first, Body::Checkpoint(c) if c.sequence == 1),
            "{first:?}"
        );
        let mut events = Vec::new();
        loop {
            match next().await? {
                Body::Event(event) => events.push(event.sequence),
                Body::Checkpoint(_) => {}
                Body::CaughtUp(caught_up) => {
                    ensure!(caught_up.sequence == 6, "{caught_up:?}");
                    break;
                }
                other @ (Body::FellBehind(_) | Body::IntentContinued(_) | Body::Events(_)) => {
                    bail!("{other:?}")
                }
            }
        }
        ensure!(events == [3, 5], "{events:?}");

        // The next one does not match, and still the stream tells that it is there.
        client
            .commit(EventDraft::new("odd").payload(&json!("last")))
            .await?;
        loop {
            match next().await? {
                Body::Checkpoint(checkpoint) if checkpoint.sequence == 7 => return Ok(()),
                Body::Checkpoint(checkpoint) => {
                    ensure!(checkpoint.sequence == 6, "{checkpoint:?}");
                }
                other => bail!("{other:?}"),
            }
        }
    })
    .await
}
