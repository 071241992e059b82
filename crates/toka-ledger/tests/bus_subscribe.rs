//! Subscriptions: no gap, repeat or reordering, whatever the pace.

use std::sync::Arc;

use futures::StreamExt;
use proptest::prelude::*;
use toka_ledger::command::{Command, Create, FEATURE_LEVEL};
use toka_ledger::engine::Durability;
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::feed::{Message, Subscription};
use toka_ledger::intent::Parameters;
use toka_ledger::prepare::prepare_commit;
use toka_ledger::read::{Bounds, RING_EVENTS_MAX};
use toka_ledger::{
    Error, EventDraft, EventHeader, Filter, Ledger, LogMark, Selector, Start, VaultBus,
};

fn vault() -> VaultBus {
    VaultBus::builder().open_in_memory().expect("opened")
}

async fn commit(vault: &VaultBus, from: u64, count: u64) {
    for chunk in (from..from + count).collect::<Vec<_>>().chunks(1_000) {
        let drafts = chunk.iter().map(|n| draft(*n));
        vault.commit_batch(drafts).await.expect("committed");
    }
}

/// The event that becomes the one at sequence `n`.
fn draft(n: u64) -> EventDraft {
    let kind = ["a", "a.b", "a.c", "b", "b.a"][(n % 5) as usize];
    let event = EventDraft::new(kind)
        .salt(&n.to_be_bytes())
        .attribute("third", (n % 3).to_string());
    if n.is_multiple_of(7) {
        event.source("seven")
    } else {
        event
    }
}

async fn next_event(subscription: &mut Subscription) -> u64 {
    loop {
        match subscription.next().await.expect("open") {
            Message::Event(header) => return header.sequence,
            Message::CaughtUp | Message::FellBehind | Message::Continued { .. } => {}
        }
    }
}

fn is_pending(subscription: &mut Subscription) -> bool {
    futures::FutureExt::now_or_never(subscription.next()).is_none()
}

#[tokio::test]
async fn subscription_is_told_when_it_has_caught_up_once() {
    let vault = vault();
    commit(&vault, 1, 3).await;
    let mut events = vault
        .reader()
        .subscribe(Start::Beginning, Filter::default());
    for sequence in 1..=3 {
        assert_eq!(events.position(), sequence - 1);
        let message = events.next().await.expect("open");
        assert!(matches!(&message, Message::Event(header) if header.sequence == sequence));
    }
    assert_eq!(events.next().await.expect("open"), Message::CaughtUp);
    assert!(is_pending(&mut events));
    commit(&vault, 4, 1).await;
    assert!(matches!(
        events.next().await.expect("open"),
        Message::Event(_)
    ));
    assert!(is_pending(&mut events));
    assert_eq!(events.position(), 4);
}

#[tokio::test]
async fn subscriber_that_the_ring_left_behind_reads_from_storage() {
    let vault = vault();
    let mut events = vault.reader().subscribe(Start::Now, Filter::default());
    assert_eq!(events.next().await.expect("open"), Message::CaughtUp);
    let count = RING_EVENTS_MAX as u64 + 900;
    commit(&vault, 1, count).await;
    assert_eq!(events.next().await.expect("open"), Message::FellBehind);
    for sequence in 1..=count {
        let message = events.next().await.expect("open");
        assert!(
            matches!(&message, Message::Event(h) if h.sequence == sequence),
            "{message:?}"
        );
    }
    assert_eq!(events.next().await.expect("open"), Message::CaughtUp);
}

#[tokio::test]
async fn subscription_after_a_future_sequence_waits_for_it() {
    let vault = vault();
    let mut events = vault.reader().subscribe(Start::After(5), Filter::default());
    commit(&vault, 1, 5).await;
    assert_eq!(events.next().await.expect("open"), Message::CaughtUp);
    commit(&vault, 6, 1).await;
    assert_eq!(next_event(&mut events).await, 6);
}

#[tokio::test]
async fn position_moves_past_events_that_do_not_match() {
    let vault = vault();
    let filter = Filter {
        kind_prefixes: vec!["none".to_owned()],
        ..Filter::default()
    };
    let mut events = vault.reader().subscribe(Start::Beginning, filter);
    commit(&vault, 1, 50).await;
    assert_eq!(events.next().await.expect("open"), Message::CaughtUp);
    assert_eq!(events.position(), 50);
    commit(&vault, 51, 1).await;
    assert!(is_pending(&mut events));
    assert_eq!(events.position(), 51);
}

#[tokio::test]
async fn stream_ends_with_the_vault() {
    let vault = vault();
    let events = vault.subscribe();
    commit(&vault, 1, 10).await;
    vault.close().await;
    let sequences: Vec<u64> = events
        .map(|header| header.expect("open").sequence)
        .collect()
        .await;
    assert_eq!(sequences, (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn recv_tells_that_the_vault_closed() {
    let vault = vault();
    let mut events = vault.subscribe();
    drop(vault);
    assert!(matches!(events.recv().await, Err(Error::Closed)));
}

/// A ledger with the first `events` events of the one history, and its engine.
fn replica(events: u64) -> (Ledger, Arc<MemoryEngine>) {
    let engine = Arc::new(MemoryEngine::new());
    let mut ledger =
        Ledger::open(engine.clone(), Arc::new(toka_ledger::seam::SystemThreads)).expect("opened");
    let create = Create {
        cluster_id: 1,
        history_id: 1,
        feature_level: FEATURE_LEVEL,
        dimension: None,
        model: None,
        intents: Parameters::default(),
        unix_ms: 1,
    };
    apply(&mut ledger, Command::Create(create));
    for n in 1..=events {
        apply_event(&mut ledger, n);
    }
    (ledger, engine)
}

fn apply_event(ledger: &mut Ledger, n: u64) {
    let commit = prepare_commit([draft(n)], Vec::new(), n).expect("valid");
    apply(ledger, Command::Commit(commit));
}

fn apply(ledger: &mut Ledger, command: Command) {
    ledger
        .apply(&[command], LogMark::default(), Durability::Volatile)
        .expect("applied");
}

#[tokio::test]
async fn subscription_goes_on_when_a_snapshot_is_installed() {
    let (mut ledger, _) = replica(3);
    let mut events = ledger
        .reader()
        .subscribe(Start::Beginning, Filter::default());
    for sequence in 1..=3 {
        assert_eq!(next_event(&mut events).await, sequence);
    }
    assert_eq!(events.next().await.expect("open"), Message::CaughtUp);
    assert!(is_pending(&mut events));
    let (_, newer) = replica(700);
    ledger.install(newer).expect("installed");
    apply_event(&mut ledger, 701);
    for sequence in 4..=701 {
        assert_eq!(next_event(&mut events).await, sequence);
    }
    assert_eq!(events.next().await.expect("open"), Message::CaughtUp);
}

#[tokio::test]
async fn catching_up_gets_ahead_while_every_look_up_is_outdated_by_a_commit() {
    use std::future::poll_fn;
    use std::task::Poll;

    let behind = RING_EVENTS_MAX as u64 + 500;
    let (mut ledger, _) = replica(behind);
    let filter = Filter {
        descendants_of: Some(Selector::Sequence(1)),
        ..Filter::default()
    };
    let mut events = ledger.reader().subscribe(Start::Beginning, filter);
    let mut last = behind;
    poll_fn(|cx| {
        if events.position() >= behind {
            return Poll::Ready(());
        }
        assert!(last < behind + 100, "still at {}", events.position());
        // What was begun by the last poll has ended: the vault has moved on since.
        last += 1;
        apply_event(&mut ledger, last);
        let message = events.poll_message(cx);
        assert!(message.is_pending(), "nothing matches: {message:?}");
        Poll::Pending
    })
    .await;
}

#[tokio::test]
async fn subscribers_that_are_not_asked_keep_nobody_from_reading() {
    let vault = vault();
    vault.reader().narrow(Bounds {
        ring_events: 4,
        ..Bounds::WIDE
    });
    commit(&vault, 1, 100).await;
    let mut idle: Vec<_> = (0..100)
        .map(|_| vault.subscribe_from(Start::Beginning, Filter::default()))
        .collect();
    for events in &mut idle {
        // Each begins to read, and is not asked again.
        let _ = futures::FutureExt::now_or_never(events.recv());
    }
    let mut events = vault.subscribe_from(Start::Beginning, Filter::default());
    for sequence in 1..=100 {
        assert_eq!(events.recv().await.expect("open").sequence, sequence);
    }
    drop(idle);
}

#[test]
fn subscription_needs_no_tokio_runtime() {
    let vault = vault();
    futures::executor::block_on(async {
        commit(&vault, 1, 600).await;
        let mut events = vault.subscribe_from(Start::Beginning, Filter::default());
        for sequence in 1..=600 {
            assert_eq!(events.recv().await.expect("open").sequence, sequence);
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn subscribers_follow_concurrent_committers() {
    const EVENTS: u64 = 4 * 500;
    let vault = vault();
    let committers = (0..4_u32).map(|committer| {
        let vault = vault.clone();
        tokio::spawn(async move {
            for n in 0..500_u32 {
                vault
                    .event("n")
                    .payload(&(committer, n))
                    .commit()
                    .await
                    .expect("committed");
            }
        })
    });
    let committers: Vec<_> = committers.collect();
    let subscribers: Vec<_> = (0..4)
        .map(|_| {
            let mut events = vault.subscribe_from(Start::Beginning, Filter::default());
            tokio::spawn(async move {
                for sequence in 1..=EVENTS {
                    assert_eq!(events.recv().await.expect("open").sequence, sequence);
                }
            })
        })
        .collect();
    for task in committers.into_iter().chain(subscribers) {
        task.await.expect("no panic");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Commit(u64),
    Subscribe(Start, Filter),
    /// Subscriber, messages; and whether a call is dropped first.
    Read(prop::sample::Index, usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let start = prop_oneof![
        Just(Start::Beginning),
        Just(Start::Now),
        (0_u64..6_000).prop_map(Start::After),
    ];
    let prefixes = prop::collection::vec(
        prop::sample::select(vec!["", "a", "a.", "a.b", "b", "c"]).prop_map(str::to_owned),
        0..3,
    );
    let attributes = prop::sample::subsequence(
        vec![
            ("third".to_owned(), "1".to_owned()),
            ("source".to_owned(), "seven".to_owned()),
        ],
        0..=2,
    );
    let filter = (prefixes, attributes).prop_map(|(kind_prefixes, attributes)| Filter {
        kind_prefixes,
        attributes,
        ..Filter::default()
    });
    prop_oneof![
        4 => prop_oneof![8 => 1_u64..40, 2 => 500_u64..3_000].prop_map(Step::Commit),
        2 => (start, filter).prop_map(|(start, filter)| Step::Subscribe(start, filter)),
        6 => (any::<prop::sample::Index>(), 1_usize..3_000, any::<bool>())
            .prop_map(|(who, count, dropped)| Step::Read(who, count, dropped)),
    ]
}

/// A subscription beside what it must deliver.
struct Follower {
    subscription: Subscription,
    start: u64,
    filter: Filter,
    received: Vec<u64>,
}

impl Follower {
    fn expected(&self, history: &[EventHeader]) -> Vec<u64> {
        let wanted = history
            .iter()
            .filter(|h| h.sequence > self.start && self.filter.matches_header(h));
        wanted.map(|header| header.sequence).collect()
    }

    /// Reads up to `count` of the events that there are.
    async fn read(&mut self, history: &[EventHeader], count: usize, drop_first: bool) {
        if drop_first
            && let Some(message) = futures::FutureExt::now_or_never(self.subscription.next())
            && let Message::Event(header) = message.expect("open")
        {
            self.received.push(header.sequence);
        }
        let expected = self.expected(history);
        let until = expected.len().min(self.received.len() + count);
        while self.received.len() < until {
            let sequence = next_event(&mut self.subscription).await;
            self.received.push(sequence);
            let position = self.subscription.position();
            assert!(position >= sequence);
            let passed = expected
                .iter()
                .filter(|sequence| **sequence <= position)
                .count();
            assert_eq!(
                passed,
                self.received.len(),
                "all up to the position were delivered"
            );
        }
        assert_eq!(self.received, expected[..until]);
    }
}

async fn run(steps: Vec<Step>) {
    let vault = vault();
    let mut history: Vec<EventHeader> = Vec::new();
    let mut followers: Vec<Follower> = Vec::new();
    for step in steps {
        match step {
            Step::Commit(count) => {
                let from = history.len() as u64 + 1;
                commit(&vault, from, count).await;
                history.extend(vault.range(from..).map(|header| header.expect("read")));
            }
            Step::Subscribe(start, filter) => followers.push(Follower {
                subscription: vault.reader().subscribe(start, filter.clone()),
                start: match start {
                    Start::Beginning => 0,
                    Start::Now => history.len() as u64,
                    Start::After(sequence) => sequence,
                    Start::At(_) => unreachable!("not drawn"),
                },
                filter,
                received: Vec::new(),
            }),
            Step::Read(who, count, drop_first) if !followers.is_empty() => {
                who.get_mut(&mut followers)
                    .read(&history, count, drop_first)
                    .await;
            }
            Step::Read(..) => {}
        }
    }
    for follower in &mut followers {
        follower.read(&history, usize::MAX / 2, false).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.div_ceil(5)))]

    #[test]
    fn every_subscriber_gets_exactly_its_events(steps in prop::collection::vec(step(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(run(steps));
    }
}
