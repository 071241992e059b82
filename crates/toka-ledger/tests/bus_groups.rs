//! Consumer groups of an embedded vault.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use toka_ledger::bus::Delivered;
use toka_ledger::command::Verdict;
use toka_ledger::group::{self, SettleOutcome};
use toka_ledger::seam::{Clock, Seams};
use toka_ledger::{ConsumerName, CursorName, Error, GroupName, Rejection, VaultBus, Violation};

/// A clock that the test moves.
#[derive(Debug)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn unix_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Hand {
    fn forward(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

struct Test {
    vault: VaultBus,
    clock: Arc<Hand>,
}

const TIMEOUT: u64 = 1_000;

impl Test {
    /// A vault with a group and tasks at the sequences 1 to `tasks`.
    async fn with_tasks(tasks: u32) -> Self {
        let clock = Arc::new(Hand(AtomicU64::new(1_700_000_000_000)));
        let seams = Seams {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            ..Seams::system()
        };
        let vault = VaultBus::builder().seams(seams).open_in_memory();
        let vault = vault.expect("opened");
        let settings = group::Settings {
            ack_timeout_ms: 1_000,
            deliveries_max: 2,
            ..group::Settings::default()
        };
        let created = vault.create_group(&workers(), settings, 0).await;
        assert_eq!(created.expect("created").position, 0);
        for number in 0..tasks {
            let task = vault.event("task").payload(&number);
            task.commit().await.expect("committed");
        }
        Self { vault, clock }
    }

    async fn pull(&self, consumer: &str, max: usize) -> Vec<Delivered> {
        let consumer = ConsumerName::new(consumer).expect("valid");
        let pulled = self.vault.pull(&workers(), &consumer, max).await;
        pulled.expect("pulled")
    }

    async fn settle(&self, delivered: &Delivered, verdict: Verdict) -> SettleOutcome {
        let settlements = vec![delivered.settle(verdict)];
        let incarnation = delivered.incarnation;
        let group = workers();
        let settled = self.vault.settle(&group, incarnation, settlements);
        settled.await.expect("settled")[0]
    }

    fn group(&self) -> group::Group {
        self.vault.groups().expect("readable").remove(0)
    }
}

fn workers() -> GroupName {
    GroupName::new("workers").expect("valid")
}

fn places(delivered: &[Delivered]) -> Vec<(u64, u32)> {
    let place = |delivered: &Delivered| (delivered.header.sequence, delivered.delivery);
    delivered.iter().map(place).collect()
}

#[tokio::test]
async fn two_consumers_share_the_events() {
    let test = Test::with_tasks(3).await;
    let first = test.pull("a", 2).await;
    let second = test.pull("b", 2).await;
    assert_eq!(places(&first), [(1, 1), (2, 1)]);
    assert_eq!(places(&second), [(3, 1)]);
    assert_eq!(test.pull("a", 2).await, []);
    let acknowledged = test.settle(&first[0], Verdict::Acknowledge).await;
    assert_eq!(acknowledged, SettleOutcome::Done);
    assert_eq!(test.group().unacknowledged, 2);
}

#[tokio::test]
async fn consumers_that_pull_at_once_never_get_the_same_event() {
    let test = Test::with_tasks(40).await;
    let pulls = (0..8).map(|number| {
        let vault = test.vault.clone();
        tokio::spawn(async move {
            let consumer = ConsumerName::new(&format!("c-{number}")).expect("valid");
            vault.pull(&workers(), &consumer, 5).await.expect("pulled")
        })
    });
    let mut all = Vec::new();
    for pull in pulls.collect::<Vec<_>>() {
        all.extend(places(&pull.await.expect("no panic")));
    }
    all.sort_unstable();
    let expected = (1..=40).map(|sequence| (sequence, 1));
    assert_eq!(all, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn event_is_delivered_again_parked_and_replayed() {
    let test = Test::with_tasks(1).await;
    let first = test.pull("a", 1).await;
    test.clock.forward(TIMEOUT);
    let second = test.pull("b", 1).await;
    assert_eq!(places(&second), [(1, 2)]);
    let late = test.settle(&first[0], Verdict::Acknowledge).await;
    assert_eq!(late, SettleOutcome::Stale);
    let verdict = Verdict::Reject {
        delay_ms: 0,
        reason: "no water".to_owned(),
    };
    test.settle(&second[0], verdict).await;
    assert_eq!(test.pull("a", 1).await, []);
    let parked = test.vault.parked(&workers(), 0, 9).expect("readable");
    assert_eq!((parked.len(), &*parked[0].reason), (1, "no water"));
    let incarnation = test.group().incarnation;
    let group = workers();
    let replayed = test.vault.replay_parked(&group, incarnation, vec![]);
    assert_eq!(replayed.await.expect("replayed"), 1);
    assert_eq!(places(&test.pull("a", 1).await), [(1, 3)]);
    let discarded = test.vault.discard_parked(&group, incarnation, vec![1]);
    assert_eq!(discarded.await.expect("done"), 0);
}

#[tokio::test]
async fn effect_of_an_event_is_committed_exactly_once() {
    let test = Test::with_tasks(1).await;
    let slow = test.pull("slow", 1).await.remove(0);
    test.clock.forward(TIMEOUT);
    let fast = test.pull("fast", 1).await.remove(0);
    let done = |by: &'static str, delivered: &Delivered| {
        let event = test.vault.event("done").payload(by);
        event.parent(&delivered.header).acknowledge(delivered)
    };
    let refused = done("slow", &slow).commit().await;
    let Err(Error::Rejected(Rejection::Preconditions { violations })) = refused else {
        panic!("{refused:?}");
    };
    let expected = Violation::Delivery {
        group: workers(),
        sequence: 1,
        delivery: 1,
        actual: Some(2),
    };
    assert_eq!(violations, [expected]);
    done("fast", &fast).commit().await.expect("committed");
    // The answer was lost: again.
    let again = done("fast", &fast).commit().await.expect("known");
    assert!(again.deduplicated);
    assert_eq!(test.group().unacknowledged, 0);
}

#[tokio::test]
async fn group_that_is_gone_is_an_error() {
    let test = Test::with_tasks(1).await;
    let delivered = test.pull("a", 1).await.remove(0);
    test.vault.delete_group(&workers()).await.expect("deleted");
    let consumer = ConsumerName::new("a").expect("valid");
    let pulled = test.vault.pull(&workers(), &consumer, 1).await;
    let settlements = vec![delivered.settle(Verdict::Acknowledge)];
    let group = workers();
    let settled = test
        .vault
        .settle(&group, delivered.incarnation, settlements);
    for error in [pulled.expect_err("gone"), settled.await.expect_err("gone")] {
        let is_unknown = matches!(error, Error::Rejected(Rejection::UnknownGroup { .. }));
        assert!(is_unknown, "{error}");
    }
}

#[tokio::test]
async fn cursor_is_saved_and_deleted() {
    let test = Test::with_tasks(2).await;
    let name = CursorName::new("c").expect("valid");
    test.vault.save_cursor(&name, None, 2).await.expect("saved");
    let listed = test.vault.cursors(None, 9).expect("readable");
    assert_eq!(listed, [(name.clone(), 2)]);
    let refused = test.vault.save_cursor(&name, Some(1), 1).await;
    let Err(Error::Rejected(Rejection::Preconditions { .. })) = refused else {
        panic!("{refused:?}");
    };
    let deleted = test.vault.delete_cursor(&name, Some(2)).await;
    deleted.expect("deleted");
    assert_eq!(test.vault.cursor(&name).expect("readable"), None);
}

#[tokio::test]
async fn event_is_committed_while_nothing_of_its_prefix_has_come() {
    let test = Test::with_tasks(2).await;
    let next = |sequence| {
        let event = test.vault.event("task.next").salt(b"1");
        event.last_of_prefix("task", sequence)
    };
    assert!(next(1).commit().await.is_err());
    assert_eq!(next(2).commit().await.expect("committed").sequence, 3);
}
