//! Cursors, and subscriptions that start at them, while nodes are cut off: a cursor is neither lost nor seen in the past,
//! and whoever keeps its place in one sees each event once.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use serde_json::json;
use toka_client::{
    Client, Consistency, CursorName, Error, EventDraft, EventHeader, Subscribe, Subscription,
};
use toka_ledger::{Rejection, Violation};
use toka_proto::convert::read;
use toka_proto::v1;
use toka_proto::v1::subscribe_response::Message;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::consumers::has_groups;
use toka_tests::history::{self, Acks};
use toka_tests::load::{Load, Manner, Pace};
use toka_tests::proxy::{Cut, Proxy, Quality};
use toka_tests::{request, seed, wait};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::Code;

/// Of a call that a node which is cut off cannot answer.
const DEADLINE: Duration = Duration::from_secs(2);
/// Events after which the agent moves its cursor, and begins anew.
const EVENTS_PER_LIFE: u64 = 10;
/// Few writers, who take their time: the agent has to keep up.
const PACE: Pace = Pace {
    writers: 3,
    pause: Duration::from_millis(80),
    manner: Manner::Strict,
};
/// Acknowledgements while a node is cut off.
const SOME: u64 = 60;

/// Puts a proxy in front of every node and starts them.
async fn start_behind_proxies(cluster: &mut Cluster) -> Result<Vec<Proxy>> {
    let mut proxies = Vec::new();
    for id in cluster.ids() {
        proxies.push(cluster.set_proxy(id).await?);
    }
    cluster.launch_all()?;
    cluster.wait_all_ready().await?;
    Ok(proxies)
}

/// Moves a cursor by node `id`, whoever leads.
async fn save_by(
    cluster: &Cluster,
    id: u64,
    name: &CursorName,
    from: u64,
    to: u64,
) -> Result<(), tonic::Status> {
    let save = v1::SaveCursorRequest {
        name: name.to_string(),
        from_sequence: Some(from),
        to_sequence: to,
        ..v1::SaveCursorRequest::default()
    };
    let save = request::within(DEADLINE, save);
    cluster.node(id).cursors().save_cursor(save).await.map(drop)
}

/// Where node `id` says that a cursor is.
async fn read_by(cluster: &Cluster, id: u64, name: &CursorName) -> Result<u64, tonic::Status> {
    let get = v1::GetCursorRequest {
        name: name.to_string(),
        read: Some(request::read(read::Consistency::Linearizable)),
        ..v1::GetCursorRequest::default()
    };
    let get = request::within(DEADLINE, get);
    let answer = cluster.node(id).cursors().get_cursor(get).await?;
    let cursor = answer.into_inner().cursor;
    Ok(cursor.unwrap_or_default().sequence)
}

/// Where node `id` lets a subscription begin that starts at a cursor.
async fn start_by(cluster: &Cluster, id: u64, name: &CursorName) -> Result<u64, tonic::Status> {
    let subscribe = v1::SubscribeRequest {
        start: Some(v1::subscribe_request::Start::Cursor(name.to_string())),
        read: Some(request::read(read::Consistency::Linearizable)),
        ..v1::SubscribeRequest::default()
    };
    let subscribe = request::within(DEADLINE, subscribe);
    let stream = cluster.node(id).vault().subscribe(subscribe).await?;
    let first = stream.into_inner().message().await?;
    match first.and_then(|first| first.message) {
        Some(Message::Checkpoint(checkpoint)) => Ok(checkpoint.sequence),
        other => Err(tonic::Status::internal(format!("{other:?} came first"))),
    }
}

/// A node that cannot know may say so, but nothing else than what is the case.
fn is_or_cannot_say(found: Result<u64, tonic::Status>, actual: u64) -> Result<()> {
    match found {
        Ok(found) => ensure!(found == actual, "{found}, and it is {actual}"),
        Err(status) => ensure!(
            matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded),
            "{status:?}"
        ),
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursor_is_neither_lost_nor_seen_in_the_past_on_a_node_that_hears_nothing() -> Result<()> {
    cluster::run_prepared(3, &[], async |cluster: &mut Cluster| {
        let proxies = start_behind_proxies(cluster).await?;
        let client = cluster.client().await?;
        for number in 0..10 {
            let event = EventDraft::new("any").payload(&json!({ "number": number }));
            client.commit(event).await?;
        }
        has_groups(&client).await?;
        let (reader, own) = (CursorName::new("reader")?, CursorName::new("own")?);
        client.save_cursor(&reader, Some(0), 3).await?;
        cluster.converged(10).await?;
        let far = cluster.followers().await?[0];
        let others = cluster.ids().into_iter().filter(|id| *id != far);
        let others = others.map(|id| cluster.node(id).endpoint());
        let near = Client::builder().timeout(PATIENCE).connect(others).await?;
        let proxy = &proxies[usize::try_from(far)? - 1];

        proxy.set(Quality::cut(Cut::Both));
        put(&near, &reader, 3, 7).await?;
        for _ in 0..3 {
            is_or_cannot_say(read_by(cluster, far, &reader).await, 7)?;
            is_or_cannot_say(start_by(cluster, far, &reader).await, 7)?;
        }
        // It was at 3 as far as this node knows.
        let refused = save_by(cluster, far, &reader, 3, 5).await;
        ensure!(refused.is_err(), "a cursor that is at 7 was moved from 3");
        // Forwarded it may arrive.
        let saved = save_by(cluster, far, &own, 0, 4).await;
        put(&near, &reader, 7, 8).await?;

        proxy.set(Quality::default());
        cluster.converged(10).await?;
        let kept = near.cursor(&own, Consistency::Linearizable).await?;
        let is_kept = kept == Some(4) || (saved.is_err() && kept.is_none());
        ensure!(is_kept, "{saved:?}, and it is at {kept:?}");
        let mut expected = vec![(reader.clone(), 8)];
        expected.extend(kept.map(|at| (own.clone(), at)));
        expected.sort();
        for id in cluster.ids() {
            let client = cluster.client_of(id).await?;
            let found = client.cursors(Consistency::Linearizable).await?;
            ensure!(found == expected, "node {id}: {found:?}, not {expected:?}");
            let subscribe = Subscribe::from_cursor(reader.clone());
            let mut subscription = client.subscribe(subscribe).await?;
            ensure!(subscription.position() == 8, "node {id}: {subscription:?}");
            let next = subscription.next_event().await?.header.sequence;
            ensure!(next == 9, "node {id}: event {next}");
        }
        Ok(())
    })
    .await
}

/// It follows from where its cursor is, moves that behind every few events, and begins anew, each time with another
/// client.
struct Agent {
    at: watch::Receiver<u64>,
    /// It ends there.
    end: watch::Sender<Option<u64>>,
    events: JoinHandle<Result<Vec<EventHeader>>>,
}

impl Agent {
    /// Begins at `at`, where the cursor is.
    fn start(homes: Vec<Client>, name: CursorName, at: u64) -> Self {
        let (moved, position) = watch::channel(at);
        let (end, until) = watch::channel(None);
        let events = tokio::spawn(follow(homes, name, moved, until));
        Self {
            at: position,
            end,
            events,
        }
    }

    /// Waits until its cursor is at `sequence`, or behind it.
    async fn gets_to(&mut self, sequence: u64) -> Result<()> {
        let gets = self.at.wait_for(|at| *at >= sequence);
        let gets = tokio::time::timeout(PATIENCE, gets).await;
        let goes_on = gets
            .with_context(|| format!("the agent does not get to {sequence}"))?
            .is_ok();
        if !goes_on {
            (&mut self.events).await??;
            anyhow::bail!("the agent has ended");
        }
        Ok(())
    }

    /// Lets it get to `last`; the events that it has seen.
    async fn finish(self, last: u64) -> Result<Vec<EventHeader>> {
        self.end.send_replace(Some(last));
        let events = tokio::time::timeout(PATIENCE, self.events).await;
        events.context("the agent does not get to the end")??
    }
}

async fn follow(
    homes: Vec<Client>,
    name: CursorName,
    moved: watch::Sender<u64>,
    mut end: watch::Receiver<Option<u64>>,
) -> Result<Vec<EventHeader>> {
    let (mut events, mut at) = (Vec::new(), *moved.borrow());
    for home in homes.iter().cycle() {
        let mut subscription = subscribed(home, &name).await?;
        let position = subscription.position();
        ensure!(position == at, "the cursor is at {position}, not at {at}");
        let mut to = at;
        while to < at + EVENTS_PER_LIFE {
            if end.borrow().is_some_and(|end| to >= end) {
                break;
            }
            let event = tokio::select! {
                event = subscription.next_event() => event,
                changed = end.changed() => {
                    changed?;
                    continue;
                }
            };
            let header = match event {
                Ok(event) => event.header,
                Err(error) if error.is_retryable() => continue,
                Err(error) => return Err(error.into()),
            };
            let sequence = header.sequence;
            ensure!(sequence == to + 1, "event {sequence} came after {to}");
            events.push(header);
            to = sequence;
        }
        if to > at {
            put(home, &name, at, to).await?;
            at = to;
            moved.send_replace(at);
        }
        if end.borrow().is_some_and(|end| at >= end) {
            break;
        }
    }
    Ok(events)
}

/// A subscription from the cursor on. That there is no such cursor is an error at once.
async fn subscribed(client: &Client, name: &CursorName) -> Result<Subscription> {
    loop {
        let subscribe = Subscribe::from_cursor(name.clone());
        match client.subscribe(subscribe).await {
            Ok(subscription) => return Ok(subscription),
            Err(error) if error.is_retryable() => tokio::time::sleep(wait::STEP).await,
            Err(error) => return Err(error).context("at the cursor"),
        }
    }
}

/// Moves the cursor, until it is known to have moved. Nobody else does.
async fn put(client: &Client, name: &CursorName, from: u64, to: u64) -> Result<()> {
    loop {
        let error = match client.save_cursor(name, Some(from), to).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if let Error::Rejected(Rejection::Preconditions { violations }) = &error
            && let [Violation::Cursor { actual, .. }] = &violations[..]
            && *actual == to
        {
            // An earlier try has moved it.
            return Ok(());
        }
        if !error.is_retryable() {
            return Err(error).with_context(|| format!("from {from} to {to}"));
        }
        tokio::time::sleep(wait::STEP).await;
    }
}

/// The last event that writers were told of.
fn last(acks: &Acks) -> u64 {
    let sequences = acks.all().into_iter().map(|ack| ack.sequence);
    sequences.max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_that_keeps_its_place_in_a_cursor_sees_each_event_once_through_partitions()
-> Result<()> {
    const CUTS: [Cut; 3] = [Cut::Both, Cut::ToNode, Cut::FromNode];
    let seed = seed::draw();
    let mut rng = seed::rng(seed, 0);
    cluster::run_prepared(3, &[], async |cluster: &mut Cluster| {
        let proxies = start_behind_proxies(cluster).await?;
        let client = cluster.client().await?;
        has_groups(&client).await?;
        let load = Load::go_on(Acks::default(), 0, cluster, PACE, seed).await?;
        load.acks().more(1, PATIENCE).await?;
        let name = CursorName::new("agent")?;
        client.save_cursor(&name, Some(0), 1).await?;
        let mut homes = Vec::new();
        for id in cluster.ids() {
            homes.push(cluster.client_of(id).await?);
        }
        let mut agent = Agent::start(homes, name, 1);
        for round in 0..5 {
            let proxy = &proxies[rng.random_range(0..proxies.len())];
            let cut = CUTS[round % CUTS.len()];
            proxy.set(Quality::cut(cut));
            let goes_on = load.acks().more(SOME, PATIENCE).await;
            goes_on.with_context(|| format!("round {round}: {cut:?}"))?;
            let reached = last(load.acks());
            // It may be at the node that hears nothing.
            proxy.set(Quality::default());
            let gets = agent.gets_to(reached / EVENTS_PER_LIFE * EVENTS_PER_LIFE);
            gets.await
                .with_context(|| format!("round {round}: {cut:?}"))?;
        }
        // The leader reaches nobody, and is replaced.
        let leader = cluster.leader().await?;
        for (id, proxy) in (1..).zip(&proxies) {
            if id != leader {
                proxy.set(Quality::cut(Cut::Both));
            }
        }
        wait::until("another leader, or none", PATIENCE, async || {
            let known = cluster.state(leader).await?.node.leader_id;
            ensure!(known != Some(leader), "node {leader} leads");
            Ok(())
        })
        .await?;
        for proxy in &proxies {
            proxy.set(Quality::default());
        }
        load.acks().more(SOME, PATIENCE).await?;
        let acks = load.stop().await?;
        let log = history::check(cluster, &acks).await?;
        let events = agent.finish(log.len() as u64).await?;
        ensure!(events[..] == log[1..], "the agent has seen another history");
        Ok(())
    })
    .await
}
