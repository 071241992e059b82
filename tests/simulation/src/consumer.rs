//! Consumers of a group, and the keeper of a cursor: clients over the network, with an oracle of their own.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::TryStreamExt as _;
use toka_client::{
    Client, Consistency, ConsumerName, CursorName, Delivery, Error, Filter, GroupName,
    GroupSettings, GroupStart, List, Pull, Read, SettleOutcome, Verdict,
};
use toka_ledger::{Rejection, Violation};

use crate::hand::{Hand, count};
use crate::host::World;

/// The group's events; one in three of the clients' are.
const KIND: &str = "sim.c";
/// How long a consumer has.
const ACK_TIMEOUT_MS: u32 = 2_000;

fn settings() -> GroupSettings {
    GroupSettings {
        filter: Filter {
            kind_prefixes: vec![KIND.to_owned()],
            ..Filter::default()
        },
        ack_timeout_ms: ACK_TIMEOUT_MS,
        unacknowledged_max: 20,
        // Faults must not come to the parking place.
        deliveries_max: 1_000,
    }
}

/// What consumers have seen. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Book(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    /// By event and number of the delivery: from when to when nobody else may have it, in the vault's time.
    leases: BTreeMap<(u64, u32), (u64, u64)>,
    /// By event: the delivery whose acknowledgement was the one that counted.
    acknowledged: BTreeMap<u64, u32>,
    /// The vault's time that somebody has seen: whatever is asked of the vault from now on is done then or later.
    seen_unix_ms: u64,
}

impl Pages {
    /// What is wrong with a delivery that was made from then to then.
    fn wrong(&self, (sequence, delivery): (u64, u32), lease: (u64, u64)) -> Option<&'static str> {
        let overlaps = |earlier: (u64, u64), later: (u64, u64)| later.0 < earlier.1;
        let before = self.leases.range((sequence, 0)..(sequence, delivery));
        let after = self
            .leases
            .range((sequence, delivery.saturating_add(1))..=(sequence, u32::MAX));
        let acknowledged = self.acknowledged.get(&sequence);
        if self.leases.contains_key(&(sequence, delivery)) {
            return Some("was made twice");
        }
        // It is gone from the group: it cannot be parked, and so not be replayed either.
        if acknowledged.is_some_and(|by| delivery > *by) {
            return Some("is of an event that is acknowledged");
        }
        let mut others = before
            .map(|(_, earlier)| overlaps(*earlier, lease))
            .chain(after.map(|(_, later)| overlaps(lease, *later)));
        others
            .any(|is_overlap| is_overlap)
            .then_some("overlaps another one of its event")
    }
}

impl Book {
    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a delivery; what is wrong with it.
    fn got(&self, delivery: &Delivery) -> Option<String> {
        let key = (delivery.event.header.sequence, delivery.delivery);
        let until = delivery.deadline_unix_ms;
        let from = until.saturating_sub(ACK_TIMEOUT_MS.into());
        let mut pages = self.lock();
        let wrong = pages.wrong(key, (from, until));
        pages.leases.insert(key, (from, until));
        pages.seen_unix_ms = pages.seen_unix_ms.max(from);
        wrong.map(|wrong| format!("delivery {key:?} {wrong}"))
    }

    /// Its consumer is about to end the lease: not before now.
    fn settles(&self, delivery: &Delivery) {
        let key = (delivery.event.header.sequence, delivery.delivery);
        let mut pages = self.lock();
        let seen = pages.seen_unix_ms;
        if let Some(lease) = pages.leases.get_mut(&key) {
            lease.1 = lease.1.min(seen);
        }
    }

    /// Its consumer was told that this acknowledgement is what did it; what is wrong with that.
    fn acknowledges(&self, delivery: &Delivery) -> Option<String> {
        let (sequence, delivery) = (delivery.event.header.sequence, delivery.delivery);
        let mut pages = self.lock();
        if let Some(other) = pages.acknowledged.insert(sequence, delivery) {
            return Some(format!(
                "event {sequence} is done with twice, by deliveries {other} and {delivery}"
            ));
        }
        let of_event = pages.leases.range((sequence, 0)..=(sequence, u32::MAX));
        let last = of_event.last().map_or(0, |((_, last), _)| *last);
        (last > delivery).then(|| {
            format!(
                "event {sequence} is acknowledged by delivery {delivery}, and delivery {last} was made"
            )
        })
    }
}

/// One consumer.
pub(crate) struct Consumer {
    pub(crate) hand: Hand,
    pub(crate) client: Client,
    pub(crate) book: Book,
}

impl Consumer {
    pub(crate) async fn run(mut self) {
        let (Ok(group), Ok(consumer)) = (
            GroupName::new("workers"),
            ConsumerName::new(&self.hand.name),
        ) else {
            return self.hand.world.oracle.fail("names are valid");
        };
        while !self.make(&group).await {
            self.hand.pause(200, 1_000).await;
        }
        let pull = Pull {
            max_events: 5,
            wait: Duration::from_millis(500),
            ..Pull::new(group.clone(), consumer)
        };
        loop {
            let is_last = self.hand.workload.is_over();
            match self.client.pull(&pull).await {
                Ok(deliveries) if deliveries.is_empty() => {
                    if is_last && self.is_drained(&group).await {
                        break;
                    }
                }
                Ok(deliveries) => {
                    for delivery in deliveries {
                        self.take(&group, &delivery).await;
                    }
                }
                Err(error) => self.hand.note(&error),
            }
            self.hand.pause(10, 300).await;
        }
        self.hand.workload.consuming.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the group is there; it is not before every member knows the feature level.
    async fn make(&self, group: &GroupName) -> bool {
        let settings = settings();
        let made = self
            .client
            .create_group(group, &settings, GroupStart::Beginning);
        match made.await {
            Ok(_) => true,
            Err(error) => {
                self.hand.note(&error);
                false
            }
        }
    }

    async fn take(&mut self, group: &GroupName, delivery: &Delivery) {
        let sequence = delivery.event.header.sequence;
        let World { oracle, trace, .. } = &self.hand.world;
        trace.line(format_args!(
            "{} gets {sequence}, delivery {}",
            self.hand.name, delivery.delivery
        ));
        oracle.see(&self.hand.name, &delivery.event.header);
        count(&self.hand.workload.consumed);
        if delivery.event.header.kind != KIND {
            oracle.fail(format!(
                "{} gets event {sequence} of another kind",
                self.hand.name
            ));
        }
        if let Some(wrong) = self.book.got(delivery) {
            oracle.fail(format!("{}: {wrong}", self.hand.name));
        }
        let verdict = match self.hand.random.between(0, 9) {
            // Until its time is over.
            0 => return,
            1 => Verdict::Reject {
                delay_ms: 10,
                reason: "not now".to_owned(),
            },
            _ => Verdict::Acknowledge,
        };
        self.book.settles(delivery);
        let is_done = verdict == Verdict::Acknowledge;
        let settlement = [(delivery.token(), verdict)];
        match self.client.settle(group, &settlement).await {
            Ok(outcomes) if is_done && outcomes == [SettleOutcome::Done] => {
                if let Some(wrong) = self.book.acknowledges(delivery) {
                    self.hand
                        .world
                        .oracle
                        .fail(format!("{}: {wrong}", self.hand.name));
                }
            }
            // Stale: by an earlier try, or it was late.
            Ok(_) => {}
            Err(error) => self.hand.note(&error),
        }
    }

    /// Whether nothing is left, now that nobody commits; then everything must have been delivered.
    async fn is_drained(&self, name: &GroupName) -> bool {
        let group = self.client.group(name, Consistency::Linearizable).await;
        match group {
            Ok(group) if group.unacknowledged == 0 && group.parked == 0 => {}
            Ok(_) => return false,
            Err(error) => {
                self.hand.note(&error);
                return false;
            }
        }
        let list = List {
            filter: settings().filter,
            page_size: 1_000,
            read: Read {
                consistency: Consistency::Linearizable,
                ..Read::default()
            },
            ..List::default()
        };
        let events: Result<Vec<_>, Error> = self.client.list_all(list).try_collect().await;
        match events {
            Ok(events) => {
                let pages = self.book.lock();
                let seen = |sequence: u64| {
                    let deliveries = (sequence, 0)..=(sequence, u32::MAX);
                    pages.leases.range(deliveries).next().is_some()
                };
                let mut sequences = events.iter().map(|event| event.header.sequence);
                if let Some(lost) = sequences.find(|sequence| !seen(*sequence)) {
                    let oracle = &self.hand.world.oracle;
                    oracle.fail(format!("the group has lost event {lost}"));
                }
                true
            }
            Err(error) => {
                self.hand.note(&error);
                false
            }
        }
    }
}

/// Moves a cursor on and on, and nobody else does.
pub(crate) struct Keeper {
    pub(crate) hand: Hand,
    pub(crate) client: Client,
}

impl Keeper {
    pub(crate) async fn run(mut self) {
        let Ok(name) = CursorName::new("keeper") else {
            return self.hand.world.oracle.fail("the name is valid");
        };
        let mut at = 0;
        loop {
            let is_last = self.hand.workload.is_over();
            let to = self.hand.world.oracle.floor().sequence;
            if to > at {
                at = self.move_to(&name, at, to).await;
            }
            if self.reads(&name, at).await && is_last {
                break;
            }
            self.hand.pause(50, 500).await;
        }
        self.hand.workload.consuming.fetch_sub(1, Ordering::Relaxed);
    }

    /// Moves the cursor until it is known to have moved; where it is then.
    async fn move_to(&mut self, name: &CursorName, from: u64, to: u64) -> u64 {
        loop {
            let World { oracle, trace, .. } = &self.hand.world;
            match self.client.save_cursor(name, Some(from), to).await {
                Ok(_) => return to,
                Err(Error::Rejected(Rejection::Preconditions { violations })) => {
                    // An earlier try has moved it.
                    let is_there = matches!(
                        &violations[..],
                        [Violation::Cursor { actual, .. }] if *actual == to
                    );
                    if !is_there {
                        oracle.fail(format!("cursor {from} to {to}: {violations:?}"));
                    }
                    return to;
                }
                Err(error) => {
                    trace.line(format_args!("cursor {from} to {to}: {error}"));
                    // A disk that is nearly full is a limit.
                    let is_passing =
                        matches!(error, Error::Refused { .. } | Error::LimitReached { .. });
                    if !error.is_retryable() && !is_passing {
                        oracle.fail(format!("cursor {from} to {to}: {error}"));
                    }
                }
            }
            self.hand.pause(50, 500).await;
        }
    }

    /// Whether the cursor could be read; it must be where it was put.
    async fn reads(&self, name: &CursorName, at: u64) -> bool {
        let World { oracle, trace, .. } = &self.hand.world;
        match self.client.cursor(name, Consistency::Linearizable).await {
            Ok(cursor) => {
                if cursor.unwrap_or(0) != at {
                    oracle.fail(format!("the cursor is at {cursor:?}, not at {at}"));
                }
                count(&self.hand.workload.reads);
                true
            }
            Err(error) => {
                trace.line(format_args!("cursor: {error}"));
                false
            }
        }
    }
}
