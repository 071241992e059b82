//! Subscriptions that promise more than they have delivered, go back, or lose something.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rand::Rng as _;
use serde_json::json;
use toka_client::{
    Client, Consistency, EventDraft, Filter, Message, Start, Subscribe, Subscription,
};
use toka_proto::convert::read;
use toka_proto::v1;
use toka_proto::v1::subscribe_response::Message as Body;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::history::{self, Acks};
use toka_tests::proxy::{Cut, Quality};
use toka_tests::traffic::Traffic;
use toka_tests::{request, wait};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::{Code, Streaming};

/// Of a call that a node which is cut off cannot answer.
const DEADLINE: Duration = Duration::from_secs(2);

/// A subscriber, who checks that nothing comes at or before what was promised to be complete.
struct Watcher {
    /// Sequences of the events that came.
    events: JoinHandle<Result<Vec<u64>>>,
    /// How often it was promised that everything up to a sequence had come.
    promises: watch::Receiver<u64>,
    /// It ends once it was promised this.
    end: watch::Sender<Option<u64>>,
}

impl Watcher {
    fn start(mut subscription: Subscription) -> Self {
        let (count, promises) = watch::channel(0);
        let (end, mut until) = watch::channel(None::<u64>);
        let events = tokio::spawn(async move {
            let (mut events, mut promised): (Vec<u64>, u64) = (Vec::new(), 0);
            loop {
                if until.borrow().is_some_and(|end| promised >= end) {
                    return Ok(events);
                }
                let message = tokio::select! {
                    message = subscription.next() => message?,
                    changed = until.changed() => {
                        changed?;
                        continue;
                    }
                };
                match message {
                    Message::Event(event) => {
                        let (at, last) = (event.header.sequence, events.last().copied());
                        ensure!(
                            at > promised && last.is_none_or(|last| at > last),
                            "event {at} after {last:?} and the promise of {promised}"
                        );
                        events.push(at);
                    }
                    Message::Checkpoint { sequence, .. } | Message::CaughtUp { sequence, .. } => {
                        let last = events.last().copied().unwrap_or(0);
                        ensure!(sequence >= promised, "{sequence} after {promised}");
                        ensure!(sequence >= last, "{sequence} after event {last}");
                        promised = sequence;
                        count.send_modify(|count| *count += 1);
                    }
                    Message::FellBehind { .. } => {}
                    other => bail!("{other:?} is not expected"),
                }
            }
        });
        Self {
            events,
            promises,
            end,
        }
    }

    /// Waits for so many promises.
    async fn is_promised(&mut self, count: u64) -> Result<()> {
        let promised = self.promises.wait_for(|promises| *promises >= count);
        let promised = tokio::time::timeout(PATIENCE, promised).await;
        let goes_on = promised.context("nothing is promised")?.is_ok();
        if !goes_on {
            (&mut self.events).await??;
            bail!("the subscription has ended");
        }
        Ok(())
    }

    /// Waits until everything up to `sequence` is promised to have come; the sequences of what did.
    async fn finish(self, sequence: u64) -> Result<Vec<u64>> {
        self.end.send_replace(Some(sequence));
        let events = tokio::time::timeout(PATIENCE, self.events).await;
        events.context("the subscription does not get to the end")??
    }
}

/// etcd #15220: a progress notification named a revision whose events had not been sent yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_of_a_watch_never_runs_ahead_of_its_events() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        let filter = Filter {
            kind_prefixes: vec!["load.a".to_owned()],
            ..Filter::default()
        };
        let mut watchers = Vec::new();
        for id in cluster.ids() {
            let subscribe = Subscribe {
                filter: filter.clone(),
                ..Subscribe::from(Start::Beginning)
            };
            let subscription = cluster.client_of(id).await?.subscribe(subscribe).await?;
            watchers.push(Watcher::start(subscription));
        }
        cluster.client().await?.transfer_leadership(None).await?;
        // The first two come as soon as it has caught up, the others while events are committed.
        for watcher in &mut watchers {
            watcher.is_promised(4).await?;
        }
        let pause = traffic.pause().await?;
        let log = history::check(cluster, pause.acks()).await?;
        let of_log = log.iter().filter(|header| filter.matches_header(header));
        let of_log: Vec<u64> = of_log.map(|header| header.sequence).collect();
        ensure!(!of_log.is_empty(), "nothing matches");
        for watcher in watchers {
            let events = watcher.finish(log.len() as u64).await?;
            ensure!(events == of_log, "other events than in the log");
        }
        pause.check(cluster).await?;
        Ok(())
    })
    .await
}

/// Commits one event after the other, each in a log entry of its own.
async fn commit_some(client: &Client, acks: &Acks, count: u64) -> Result<()> {
    for _ in 0..count {
        let draft = EventDraft::new("some").payload(&json!({"number": acks.count()}));
        acks.record(0, &client.commit(draft).await?);
    }
    Ok(())
}

/// A subscription to everything after `sequence`, on a node that does not ask how far others are.
fn after(sequence: u64) -> v1::SubscribeRequest {
    v1::SubscribeRequest {
        start: Some(v1::subscribe_request::Start::AfterSequence(sequence)),
        read: Some(request::read(read::Consistency::Local)),
        ..v1::SubscribeRequest::default()
    }
}

/// Reads up to event `last`, and checks that the first is the one after `sequence` and none is missing.
async fn read_on(
    mut stream: Streaming<v1::SubscribeResponse>,
    sequence: u64,
    last: u64,
) -> Result<()> {
    let mut position = sequence;
    while position < last {
        let message = tokio::time::timeout(PATIENCE, stream.message()).await;
        let message = message.with_context(|| format!("silence after {position}"))??;
        match message.and_then(|message| message.message) {
            Some(Body::Event(event)) => {
                let at = event.sequence;
                ensure!(at == position + 1, "event {at} after {position}");
                position = at;
            }
            Some(Body::Checkpoint(v1::Checkpoint { sequence, .. })) => {
                ensure!(
                    sequence == position,
                    "checkpoint {sequence} after {position}"
                );
            }
            Some(Body::CaughtUp(_) | Body::FellBehind(_)) => {}
            other => bail!("{other:?} after {position}"),
        }
    }
    Ok(())
}

/// etcd #15271 and #20221, both with the failpoint `blackholeUntilSnapshot`: a watch on a member that was
/// cut off until it needed a snapshot went back in time; one that was to begin at a revision which the
/// member did not have yet got older events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_on_a_member_that_gets_a_snapshot_never_travels_back() -> Result<()> {
    let settings = ["--snapshot-log-entries", "40", "--keep-log-entries", "10"];
    cluster::run_prepared(3, &settings, async |cluster: &mut Cluster| {
        let proxy = cluster.set_proxy(3).await?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        cluster.led_by_another_than(3).await?;
        let (client, acks) = (cluster.client().await?, Acks::default());
        commit_some(&client, &acks, 20).await?;
        cluster.converged(acks.count()).await?;
        let subscribe = Subscribe {
            consistency: Consistency::Local,
            ..Subscribe::from(Start::Beginning)
        };
        let subscription = cluster.client_of(3).await?.subscribe(subscribe).await?;
        let mut watcher = Watcher::start(subscription);
        watcher.is_promised(2).await?;

        let has = cluster.state(3).await?.node.last_log_index;
        let leader = cluster.leader().await?;
        proxy.set(Quality::cut(Cut::Both));
        wait::until("the log is purged beyond it", PATIENCE, async || {
            commit_some(&client, &acks, 40).await?;
            let purged = cluster.purged(leader)?;
            ensure!(purged > has, "purged up to {purged}, and it has {has}");
            Ok(())
        })
        .await?;
        let future = acks.count() - 5;
        let vault = cluster.node(3).vault();
        let early = request::within(DEADLINE, after(future));
        let status = request::refusal(vault.clone().subscribe(early).await)?;
        ensure!(
            matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded),
            "{status:?}"
        );
        proxy.set(Quality::default());
        let stream = wait::until("a stream from there on", PATIENCE, async || {
            Ok(vault.clone().subscribe(after(future)).await?.into_inner())
        })
        .await?;
        commit_some(&client, &acks, 5).await?;
        read_on(stream, future, acks.count()).await?;
        cluster.logs(3, "snapshot installed").await?;
        // What nobody has cannot be followed from.
        let nowhere = vault.clone().subscribe(after(acks.count() + 1_000)).await;
        let status = request::refusal(nowhere)?;
        ensure!(status.code() == Code::OutOfRange, "{status:?}");

        let events = watcher.finish(acks.count()).await?;
        let all: Vec<u64> = (1..=acks.count()).collect();
        ensure!(events == all, "the watch has seen {events:?}");
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}

/// etcd #17529: events were lost to a watch whose client read so slowly that its stream was full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_that_is_not_read_for_a_while_loses_nothing() -> Result<()> {
    /// Together more than what a connection and a node hold for one subscriber.
    const EVENTS: u64 = 300;
    const EVENT_BYTES: usize = 32 << 10;
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let (client, acks) = (cluster.client().await?, Acks::default());
        commit_some(&client, &acks, 1).await?;
        cluster.converged(acks.count()).await?;
        let follower = *cluster.followers().await?.first().context("no follower")?;
        let subscribe = v1::SubscribeRequest {
            include: Some(v1::Include {
                payload: true,
                ..v1::Include::default()
            }),
            ..after(0)
        };
        let stream = cluster.node(follower).vault().subscribe(subscribe).await?;
        for _ in 0..EVENTS {
            let mut payload = vec![0; EVENT_BYTES];
            rand::rng().fill_bytes(&mut payload);
            let draft = EventDraft::new("some").payload_bytes(payload);
            acks.record(0, &client.commit(draft).await?);
        }
        read_on(stream.into_inner(), 0, acks.count()).await?;
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}
