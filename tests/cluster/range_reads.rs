//! Reads and subscriptions by time, by descendants and from a cursor: the same on every node, and without a gap
//! or a repeat when nodes die and are cut off.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use futures::TryStreamExt as _;
use serde_json::json;
use toka_client::{
    Client, Consistency, CursorName, EventDraft, EventHeader, Filter, List, Message, Precondition,
    Read, Selector, Start, Subscribe, Subscription,
};
use toka_proto::convert::status::{self, Detail};
use toka_proto::v1;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::proxy::{Cut, Quality};
use toka_tests::{history, request};
use tonic::Code;

/// Events that are committed between two blows.
const SHARE: u64 = 60;

/// Commits `count` events, of which every other one is a child of the last child: a line of descent from the first
/// event ever.
struct Writer {
    client: Client,
    last: Option<EventHeader>,
    number: u64,
}

impl Writer {
    async fn commit(&mut self, count: u64) -> Result<u64> {
        let mut sequence = 0;
        for _ in 0..count {
            let draft = EventDraft::new("line").payload(&json!({"number": self.number}));
            let is_child = self.number.is_multiple_of(2);
            let draft = match &self.last {
                Some(last) if is_child => draft.parent(last),
                _ => draft,
            };
            let header = self.client.commit(draft).await?;
            sequence = header.sequence;
            if is_child {
                self.last = Some(header);
            }
            self.number += 1;
        }
        Ok(sequence)
    }

    async fn start(cluster: &Cluster) -> Result<Self> {
        Ok(Self {
            client: cluster.client().await?,
            last: None,
            number: 0,
        })
    }
}

/// Everything that descends from the first event.
fn descendants(log: &[EventHeader]) -> BTreeSet<u64> {
    let mut family = BTreeSet::new();
    for header in log {
        let mut parents = header.parents.iter().map(|parent| parent.id.sequence());
        if parents.any(|parent| parent == 1 || family.contains(&parent)) {
            family.insert(header.sequence);
        }
    }
    family
}

/// A subscription and what it has delivered.
struct Follower {
    subscription: Subscription,
    events: Vec<u64>,
}

impl Follower {
    async fn start(client: &Client, subscribe: Subscribe) -> Result<Self> {
        Ok(Self {
            subscription: client.subscribe(subscribe).await?,
            events: Vec::new(),
        })
    }

    async fn follow(&mut self, sequence: u64) -> Result<()> {
        while self.subscription.position() < sequence {
            let next = tokio::time::timeout(PATIENCE, self.subscription.next()).await;
            let position = self.subscription.position();
            match next.with_context(|| format!("silence after {position}"))?? {
                Message::Event(event) => self.events.push(event.header.sequence),
                Message::CaughtUp { .. }
                | Message::Checkpoint { .. }
                | Message::FellBehind { .. } => {}
                other => anyhow::bail!("{other:?} is not expected"),
            }
        }
        Ok(())
    }
}

fn by_descent() -> Subscribe {
    Subscribe {
        filter: family_of_first(),
        ..Subscribe::from(Start::Beginning)
    }
}

fn family_of_first() -> Filter {
    Filter {
        descendants_of: Some(Selector::Sequence(1)),
        ..Filter::default()
    }
}

fn linearizable() -> Read {
    Read {
        consistency: Consistency::Linearizable,
        ..Read::default()
    }
}

fn worker() -> CursorName {
    CursorName::new("worker").expect("a valid name")
}

/// Moves the cursor to `to`, which makes one event.
async fn move_cursor(client: &Client, to: u64) -> Result<()> {
    let moved = Precondition::CursorMove {
        name: worker(),
        from: 0,
        to,
    };
    client
        .commit_batch(vec![EventDraft::new("moved")], vec![moved])
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_by_time_descent_and_cursor_outlive_their_nodes() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let mut writer = Writer::start(cluster).await?;
        writer.commit(SHARE).await?;
        let client = cluster.client().await?;
        move_cursor(&client, 17).await?;
        let middle = client
            .get(&Selector::Sequence(30), &linearizable())
            .await?
            .header
            .unix_ms;
        let subscribes = [
            Subscribe::from(Start::At(middle)),
            by_descent(),
            Subscribe::from_cursor(worker()),
        ];
        let mut followers = Vec::new();
        for subscribe in subscribes {
            followers.push(Follower::start(&cluster.client().await?, subscribe).await?);
        }
        for _ in 0..2 {
            let reached = writer.commit(SHARE).await?;
            for follower in &mut followers {
                follower.follow(reached).await?;
            }
            // Whichever node serves the first; the leader is among those in turn.
            let endpoint = followers[0].subscription.endpoint().map(str::to_owned);
            let endpoint = endpoint.context("no node serves it")?;
            let ids = cluster.ids();
            let serves = |id: &&u64| cluster.node(**id).endpoint() == endpoint;
            let id = *ids.iter().find(serves).context("nobody is there")?;
            cluster.kill(id)?;
            let reached = writer.commit(SHARE).await?;
            for follower in &mut followers {
                follower.follow(reached).await?;
            }
            cluster.restart(id).await?;
        }
        let leader = cluster.leader().await?;
        cluster.kill(leader)?;
        let reached = writer.commit(SHARE).await?;
        for follower in &mut followers {
            follower.follow(reached).await?;
        }
        cluster.restart(leader).await?;

        let log = history::same_log(cluster, reached).await?;
        let expected = |wanted: &dyn Fn(&EventHeader) -> bool| -> Vec<u64> {
            let wanted = log.iter().filter(|header| wanted(header));
            wanted.map(|header| header.sequence).collect()
        };
        let family = descendants(&log);
        ensure!(family.len() > 100, "{} descend from it", family.len());
        let expected = [
            expected(&|header| header.unix_ms >= middle),
            expected(&|header| family.contains(&header.sequence)),
            expected(&|header| header.sequence > 17),
        ];
        for (follower, expected) in followers.iter().zip(expected) {
            ensure!(
                follower.events == expected,
                "{:?} has had {:?}, not {expected:?}",
                follower.subscription,
                follower.events
            );
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscription_by_descent_goes_on_when_its_node_is_no_longer_cut_off() -> Result<()> {
    cluster::run_prepared(3, &[], async |cluster: &mut Cluster| {
        let proxy = cluster.set_proxy(3).await?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        cluster.led_by_another_than(3).await?;
        let mut writer = Writer::start(cluster).await?;
        let reached = writer.commit(SHARE).await?;
        cluster.converged(reached).await?;
        let client = cluster.client_of(3).await?;
        let mut follower = Follower::start(&client, by_descent()).await?;
        follower.follow(reached).await?;
        proxy.set(Quality::cut(Cut::Both));
        writer.commit(SHARE).await?;
        proxy.set(Quality::default());
        let reached = writer.commit(SHARE).await?;
        follower.follow(reached).await?;
        let log = history::same_log(cluster, reached).await?;
        let expected: Vec<u64> = descendants(&log).into_iter().collect();
        ensure!(
            follower.events == expected,
            "{:?}, not {expected:?}",
            follower.events
        );
        Ok(())
    })
    .await
}

/// Pages of the same list that come from another node each time.
async fn pages_of_all_nodes(cluster: &Cluster, list: &List) -> Result<Vec<u64>> {
    let (ids, mut page, mut sequences) = (cluster.ids(), None, Vec::new());
    for id in ids.iter().cycle() {
        let client = cluster.client_of(*id).await?;
        let read = client.list(list, page.as_deref()).await?;
        sequences.extend(read.events.iter().map(|event| event.header.sequence));
        page = read.next;
        if page.is_none() {
            break;
        }
    }
    Ok(sequences)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_by_time_and_descent_are_paged_over_any_nodes() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let mut writer = Writer::start(cluster).await?;
        let reached = writer.commit(80).await?;
        cluster.converged(reached).await?;
        let log = history::same_log(cluster, reached).await?;
        let (from, until) = (log[19].unix_ms, log[59].unix_ms);
        let family = descendants(&log);
        for descending in [false, true] {
            let list = List {
                filter: family_of_first(),
                from_unix_ms: Some(from),
                until_unix_ms: Some(until),
                descending,
                page_size: 7,
                ..List::default()
            };
            let mut expected: Vec<u64> = log
                .iter()
                .filter(|header| from <= header.unix_ms && header.unix_ms <= until)
                .map(|header| header.sequence)
                .filter(|sequence| family.contains(sequence))
                .collect();
            if descending {
                expected.reverse();
            }
            let listed = pages_of_all_nodes(cluster, &list).await?;
            ensure!(listed == expected, "{listed:?}, not {expected:?}");
        }

        // A page is bounded by its bytes, and has one event whatever they are.
        let narrow = List {
            page_bytes: 1,
            ..List::default()
        };
        let page = writer.client.list(&narrow, None).await?;
        ensure!(page.events.len() == 1, "{} events", page.events.len());
        ensure!(page.next.is_some(), "there is more");
        let all: Vec<_> = writer.client.list_all(narrow).try_collect().await?;
        ensure!(all.len() as u64 == reached, "{} events", all.len());

        // What ends where nothing is has not got no end.
        for (until, until_unix_ms) in [(Some(0), None), (None, Some(0))] {
            let empty = List {
                until,
                until_unix_ms,
                ..List::default()
            };
            let page = writer.client.list(&empty, None).await?;
            ensure!(page.events.is_empty() && page.next.is_none(), "{page:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_that_the_vault_does_not_have_are_named() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let mut writer = Writer::start(cluster).await?;
        let last = writer.commit(5).await?;
        for id in cluster.ids() {
            let mut vault = cluster.node(id).vault();
            let list = v1::ListRequest {
                after_sequence: 50,
                ..v1::ListRequest::default()
            };
            let refused = request::refusal(vault.list(request::within(PATIENCE, list)).await)?;
            let selector = Selector::Sequence(50);
            let get = request::get(
                &selector,
                toka_proto::convert::read::Consistency::Linearizable,
            );
            let missed = request::refusal(vault.get(request::within(PATIENCE, get)).await)?;
            for status in [refused, missed] {
                let expected = Detail::PositionOutOfRange {
                    sequence: 50,
                    first: 1,
                    last,
                };
                let detail = status::parse(&status).detail;
                ensure!(detail == Some(expected), "node {id}: {status:?}");
            }
            // The end is in the vault: nothing comes after it yet.
            let end = v1::ListRequest {
                after_sequence: last,
                ..v1::ListRequest::default()
            };
            let page = vault.list(request::within(PATIENCE, end)).await?;
            ensure!(page.into_inner().events.is_empty(), "node {id}");

            let subscribe = v1::SubscribeRequest {
                start: Some(v1::subscribe_request::Start::Cursor("nobody".to_owned())),
                ..v1::SubscribeRequest::default()
            };
            let refused = vault.subscribe(request::within(PATIENCE, subscribe)).await;
            let status = refused.err().context("there is no such cursor")?;
            ensure!(status.code() == Code::NotFound, "node {id}: {status:?}");

            let absent = List {
                filter: Filter {
                    descendants_of: Some(Selector::Sequence(50)),
                    ..Filter::default()
                },
                read: Read {
                    consistency: Consistency::Local,
                    ..Read::default()
                },
                ..List::default()
            };
            let listed = cluster.client_of(id).await?.list(&absent, None).await;
            ensure!(
                matches!(&listed, Err(toka_client::Error::NotFound { name }) if name == "at sequence 50"),
                "node {id}: {listed:?}"
            );
        }
        Ok(())
    })
    .await
}
