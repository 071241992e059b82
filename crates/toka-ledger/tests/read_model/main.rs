//! All reads and subscriptions, with all filters and bounds in any combination, against a naive model.

#[path = "../apply_support/mod.rs"]
mod apply_support;
mod descendants;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

use apply_support::*;
use futures::FutureExt as _;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use toka_ledger::command::Commit;
use toka_ledger::engine::Direction;
use toka_ledger::feed::{Message, Subscription};
use toka_ledger::intent::IntentId;
use toka_ledger::read::Bounds;
use toka_ledger::{Error, EventHeader, Filter, Query, Reader, Selector, Start};

const KINDS: [&str; 5] = ["a", "a.b", "a.b.c", "ab", "b"];
const SESSIONS: [&str; 3] = ["", "x", "xy"];
/// Vectors that are of one intent each.
const AXES: usize = 3;

#[derive(Clone, Debug)]
struct Drawn {
    kind: usize,
    session: usize,
    axis: Option<usize>,
    parents: Vec<Index>,
    later_ms: u64,
}

/// Which events; the indexes are over all events, or all intents, there are.
#[derive(Clone, Debug)]
struct Asked {
    prefixes: Vec<&'static str>,
    session: Option<usize>,
    intents: Vec<Index>,
    root: Option<(Index, usize)>,
}

/// Which of them, and how they are read.
#[derive(Clone, Debug)]
struct Part {
    after: u64,
    until: Option<u64>,
    from_ms: Option<u64>,
    until_ms: Option<u64>,
    is_backward: bool,
    limit: usize,
    /// How often a page is told to go on.
    patience: usize,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    (
        0..KINDS.len(),
        0..SESSIONS.len(),
        option::weighted(0.5, 0..AXES),
        vec(any::<Index>(), 0..3),
        0..3_u64,
    )
        .prop_map(|(kind, session, axis, parents, later_ms)| Drawn {
            kind,
            session,
            axis,
            parents,
            later_ms,
        })
}

fn asked() -> impl Strategy<Value = Asked> {
    let prefix = select(vec!["a", "a.", "a.b", "b", "c", "", "ab"]);
    (
        vec(prefix, 0..3),
        option::of(0..SESSIONS.len()),
        vec(any::<Index>(), 0..2),
        option::of((any::<Index>(), 0..3_usize)),
    )
        .prop_map(|(prefixes, session, intents, root)| Asked {
            prefixes,
            session,
            intents,
            root,
        })
}

fn bounds() -> impl Strategy<Value = Part> {
    (
        prop_oneof![Just(0), 0..90_u64],
        option::of(0..90_u64),
        option::of(0..90_u64),
        option::of(0..90_u64),
        any::<bool>(),
        1..40_usize,
        1..4_usize,
    )
        .prop_map(
            |(after, until, from_ms, until_ms, is_backward, limit, patience)| Part {
                after,
                until,
                from_ms,
                until_ms,
                is_backward,
                limit,
                patience,
            },
        )
}

/// Bounds with which a few events are more than fit anywhere.
fn narrow() -> impl Strategy<Value = Bounds> {
    (1..24_usize, 1..9_usize, 4..40_usize, 1..9_usize, 1..20_u64).prop_map(
        |(ring_events, follow_events, scan_rows, step_rows, rescan_events)| Bounds {
            ring_events,
            follow_events,
            scan_rows,
            step_rows,
            rescan_events,
            ..Bounds::WIDE
        },
    )
}

fn start() -> impl Strategy<Value = Start> {
    prop_oneof![
        Just(Start::Beginning),
        Just(Start::Now),
        (0..60_u64).prop_map(Start::After),
        (0..90_u64).prop_map(|ms| Start::At(NOW + ms)),
    ]
}

struct Model {
    vault: Vault,
    now_ms: u64,
    events: Vec<Arc<EventHeader>>,
    /// Of each event, as of the last commit.
    intents: Vec<Option<IntentId>>,
    /// An event came into another intent after it was committed.
    is_regrouped: bool,
}

impl Model {
    fn new(bounds: Bounds) -> Self {
        let vault = Vault::new();
        vault.ledger.reader().narrow(bounds);
        Self {
            vault,
            now_ms: 0,
            events: Vec::new(),
            intents: Vec::new(),
            is_regrouped: false,
        }
    }

    fn commit(&mut self, drawn: &[Drawn]) {
        for drawn in drawn {
            self.now_ms += drawn.later_ms;
            let number = self.events.len();
            let mut event = event(KINDS[drawn.kind], &number.to_string())
                .tagged("session", SESSIONS[drawn.session]);
            if let Some(axis) = drawn.axis {
                let mut components = [0.0; AXES];
                components[axis] = 1.0;
                event = event.embedded(&components);
            }
            if number > 0 {
                let parents: BTreeSet<_> =
                    drawn.parents.iter().map(|of| of.index(number)).collect();
                event = event.child_of(parents.into_iter().map(|of| by_id(&self.events[of])));
            }
            let commit = Commit {
                unix_ms: NOW + self.now_ms,
                ..commit([event])
            };
            self.events.extend(self.vault.accept(commit));
        }
        let reader = self.reader();
        let intent = |header: &Arc<EventHeader>| {
            let micro = header.micro_cluster;
            micro.and_then(|of| reader.intent_of(of))
        };
        let intents: Vec<_> = self.events.iter().map(intent).collect();
        self.is_regrouped |= !intents.starts_with(&self.intents);
        self.intents = intents;
    }

    fn reader(&self) -> Reader {
        self.vault.ledger.reader()
    }

    fn filter(&self, asked: &Asked) -> Filter {
        let intents = self.reader().intents();
        let root = asked.root.filter(|_| !self.events.is_empty());
        Filter {
            kind_prefixes: asked.prefixes.iter().map(ToString::to_string).collect(),
            attributes: asked
                .session
                .map(|of| ("session".to_owned(), SESSIONS[of].to_owned()))
                .into_iter()
                .collect(),
            intents: match intents.len() {
                0 => Vec::new(),
                count => asked
                    .intents
                    .iter()
                    .map(|of| intents[of.index(count)].intent)
                    .collect(),
            },
            descendants_of: root.map(|(of, how)| {
                let header = &self.events[of.index(self.events.len())];
                match how {
                    0 => Selector::Id(header.id),
                    1 => Selector::Sequence(header.sequence),
                    _ => Selector::Digest(header.digest),
                }
            }),
            ..Filter::default()
        }
    }

    /// The events that the filter wants, in order.
    fn matches(&self, filter: &Filter) -> Vec<Arc<EventHeader>> {
        let reader = self.reader();
        let intents: BTreeSet<IntentId> = filter
            .intents
            .iter()
            .filter_map(|&of| reader.resolve_intent(of))
            .collect();
        let family = filter.descendants_of.map(|of| self.family(&of));
        let is_wanted = |header: &EventHeader| {
            let prefixes = &filter.kind_prefixes;
            let kind = header.kind.as_str();
            let intent = header.micro_cluster.and_then(|of| reader.intent_of(of));
            (prefixes.is_empty() || prefixes.iter().any(|of| kind.starts_with(of)))
                && filter
                    .attributes
                    .iter()
                    .all(|(name, value)| header.attributes.pairs.get(name) == Some(value))
                && (filter.intents.is_empty() || intent.is_some_and(|of| intents.contains(&of)))
                && family
                    .as_ref()
                    .is_none_or(|family| family.contains(&header.sequence))
        };
        let events = self.events.iter();
        events.filter(|header| is_wanted(header)).cloned().collect()
    }

    fn family(&self, of: &Selector) -> BTreeSet<u64> {
        let is_root = |header: &EventHeader| match of {
            Selector::Id(id) => header.id == *id,
            Selector::Sequence(sequence) => header.sequence == *sequence,
            Selector::Digest(digest) => header.digest == *digest,
        };
        let root = self.events.iter().find(|header| is_root(header));
        let root = root.expect("it is one of these").sequence;
        let mut family = BTreeSet::new();
        for header in &self.events {
            let mut parents = header.parents.iter().map(|parent| parent.id.sequence());
            if parents.any(|of| of == root || family.contains(&of)) {
                family.insert(header.sequence);
            }
        }
        family
    }

    fn check_pages(&self, asked: &Asked, bounds: &Part) {
        let (reader, filter) = (self.reader(), self.filter(asked));
        let mut query = Query {
            after: bounds.after,
            until: bounds.until.unwrap_or(u64::MAX),
            filter,
            direction: match bounds.is_backward {
                true => Direction::Backward,
                false => Direction::Forward,
            },
            limit: bounds.limit,
        };
        let mut expected = self.matches(&query.filter);
        expected.retain(|header| {
            let ms = header.unix_ms - NOW;
            header.sequence > query.after
                && header.sequence <= query.until
                && bounds.from_ms.is_none_or(|from| ms >= from)
                && bounds.until_ms.is_none_or(|until| ms <= until)
        });
        if bounds.is_backward {
            expected.reverse();
        }
        if let Some(from) = bounds.from_ms {
            query.after = query
                .after
                .max(reader.last_before(NOW + from).expect("readable"));
        }
        if let Some(until) = bounds.until_ms {
            query.until = query
                .until
                .min(reader.last_before(NOW + until + 1).expect("readable"));
        }
        let pages = all_pages(&reader, &query, bounds.patience);
        assert_eq!(sequences(&pages), sequences(&expected), "{query:?}");
        assert_eq!(pages, expected);
    }
}

fn sequences(headers: &[Arc<EventHeader>]) -> Vec<u64> {
    headers.iter().map(|header| header.sequence).collect()
}

/// All pages of a query, one after another, each of which is told to go on `patience` times.
fn all_pages(reader: &Reader, query: &Query, patience: usize) -> Vec<Arc<EventHeader>> {
    let (mut query, mut headers) = (query.clone(), Vec::new());
    loop {
        let left = Cell::new(patience);
        let go_on = || {
            let told = left.get() > 0;
            left.set(left.get().saturating_sub(1));
            told
        };
        let page = reader.list_while(&query, &go_on).expect("readable");
        assert!(page.headers.len() <= query.limit);
        headers.extend(page.headers);
        let Some(next) = page.next else {
            return headers;
        };
        match query.direction {
            Direction::Forward => {
                assert!(next >= query.after);
                query.after = next;
            }
            Direction::Backward => {
                assert!(next <= query.until);
                query.until = next;
            }
        }
    }
}

/// What a subscription delivers before it waits.
fn delivered(subscription: &mut Subscription) -> Vec<u64> {
    let mut events = Vec::new();
    while let Some(message) = subscription.next().now_or_never() {
        if let Message::Event(header) = message.expect("open") {
            events.push(header.sequence);
        }
    }
    events
}

struct Follower {
    subscription: Subscription,
    start: Start,
    /// The last event when it began.
    head: u64,
    filter: Filter,
    seen: Vec<u64>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.div_ceil(3)))]

    #[test]
    fn pages_hold_exactly_the_wanted_events_in_order(
        narrow in narrow(),
        steps in vec((vec(drawn(), 0..40), vec((asked(), bounds()), 0..6)), 1..4),
    ) {
        let mut model = Model::new(narrow);
        for (events, queries) in steps {
            model.commit(&events);
            for (asked, bounds) in queries {
                model.check_pages(&asked, &bounds);
            }
        }
    }

    #[test]
    fn subscriptions_deliver_exactly_the_wanted_events_in_order(
        narrow in narrow(),
        steps in vec((vec(drawn(), 1..25), option::of((start(), asked())), any::<bool>()), 1..8),
    ) {
        let mut model = Model::new(narrow);
        let mut followers: Vec<Follower> = Vec::new();
        for (events, new, is_read) in steps {
            model.commit(&events);
            if let Some((start, asked)) = new {
                let filter = model.filter(&asked);
                followers.push(Follower {
                    subscription: model.reader().subscribe(start, filter.clone()),
                    start,
                    head: model.events.len() as u64,
                    filter,
                    seen: Vec::new(),
                });
            }
            if is_read {
                for follower in &mut followers {
                    let new = delivered(&mut follower.subscription);
                    follower.seen.extend(new);
                }
            }
        }
        for mut follower in followers {
            let new = delivered(&mut follower.subscription);
            follower.seen.extend(new);
            let has_intents = !follower.filter.intents.is_empty();
            if has_intents && model.is_regrouped {
                // An event is of the intent that it was of when it was looked at.
                follower.filter.intents.clear();
            }
            let mut expected = model.matches(&follower.filter);
            if has_intents && model.is_regrouped {
                prop_assert!(follower.seen.is_sorted_by(|a, b| a < b));
                expected.retain(|header| follower.seen.contains(&header.sequence));
            }
            expected.retain(|header| match follower.start {
                Start::Beginning => true,
                Start::Now => header.sequence > follower.head,
                Start::After(sequence) => header.sequence > sequence,
                Start::At(unix_ms) => header.unix_ms >= unix_ms,
            });
            prop_assert_eq!(
                follower.seen,
                sequences(&expected),
                "{:?} {:?}",
                follower.start,
                follower.filter
            );
        }
    }
}
