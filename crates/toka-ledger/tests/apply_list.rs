//! Pages of the history against a naive model.

mod apply_support;

use std::sync::Arc;

use apply_support::*;
use proptest::prelude::*;
use toka_ledger::command::Command;
use toka_ledger::engine::Direction;
use toka_ledger::{EventHeader, Filter, Query, Reader};

const KINDS: [&str; 6] = ["a", "a.b", "a.b.c", "ab", "b", "ä"];
const VALUES: [&str; 3] = ["", "x", "xy"];

fn history(events: &[(usize, usize, usize)]) -> Vault {
    let mut vault = Vault::new();
    let commands: Vec<_> = events
        .iter()
        .enumerate()
        .map(|(n, &(kind, source, session))| {
            let mut event = event(KINDS[kind], &n.to_string()).tagged("session", VALUES[session]);
            event.attributes.source = VALUES.get(source).map(|source| (*source).to_owned());
            Command::Commit(commit([event]))
        })
        .collect();
    vault.apply(&commands);
    vault
}

/// All pages of a query, one after another.
fn all_pages(reader: &Reader, mut query: Query) -> Vec<Arc<EventHeader>> {
    let mut headers = Vec::new();
    loop {
        let page = reader.list(&query).expect("readable");
        assert!(page.headers.len() <= query.limit);
        headers.extend(page.headers);
        let Some(next) = page.next else {
            return headers;
        };
        match query.direction {
            Direction::Forward => {
                assert!(next > query.after);
                query.after = next;
            }
            Direction::Backward => {
                assert!(next < query.until);
                query.until = next;
            }
        }
    }
}

fn filter() -> impl Strategy<Value = Filter> {
    let prefix = prop::sample::select(vec!["a", "a.", "a.b", "b", "ä", "c", "", "ab"]);
    let attribute = (
        prop::sample::select(vec!["session", "source", "other"]),
        prop::sample::select(VALUES.to_vec()),
    );
    (
        prop::collection::vec(prefix, 0..3),
        prop::collection::vec(attribute, 0..3),
    )
        .prop_map(|(prefixes, attributes)| Filter {
            kind_prefixes: prefixes.into_iter().map(str::to_owned).collect(),
            attributes: attributes
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            ..Filter::default()
        })
}

fn query() -> impl Strategy<Value = Query> {
    let until = prop_oneof![0_u64..150, Just(u64::MAX)];
    let direction = prop_oneof![Just(Direction::Forward), Just(Direction::Backward)];
    (0_u64..150, until, filter(), direction, 1_usize..40).prop_map(
        |(after, until, filter, direction, limit)| Query {
            after,
            until,
            filter,
            direction,
            limit,
        },
    )
}

/// The same filter, written anew.
fn is_wanted(filter: &Filter, header: &EventHeader) -> bool {
    let of_kind = filter
        .kind_prefixes
        .iter()
        .any(|prefix| header.kind.as_str().starts_with(prefix));
    let has = |(name, value): &(String, String)| {
        header
            .attributes
            .iter()
            .any(|(other, held)| name == other && value == held)
    };
    (filter.kind_prefixes.is_empty() || of_kind) && filter.attributes.iter().all(has)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.div_ceil(5)))]
    #[test]
    fn pages_hold_exactly_the_wanted_events_in_order(
        events in prop::collection::vec((0..6_usize, 0..4_usize, 0..3_usize), 0..120),
        queries in prop::collection::vec(query(), 1..12),
    ) {
        let vault = history(&events);
        let reader = vault.ledger.reader();
        let everything = Query {
            after: 0,
            until: u64::MAX,
            filter: Filter::default(),
            direction: Direction::Forward,
            limit: 1_000,
        };
        let all = all_pages(&reader, everything);
        prop_assert_eq!(all.len(), events.len());
        for query in queries {
            let mut expected: Vec<_> = all
                .iter()
                .filter(|header| header.sequence > query.after && header.sequence <= query.until)
                .filter(|header| is_wanted(&query.filter, header))
                .cloned()
                .collect();
            if query.direction == Direction::Backward {
                expected.reverse();
            }
            prop_assert_eq!(all_pages(&reader, query.clone()), expected, "{:?}", query);
        }
    }
}

#[test]
fn a_call_looks_at_a_bounded_number_of_rows() {
    let mut vault = Vault::new();
    for thousand in 0..21 {
        let events = (0..1_000).map(|n| {
            let event = event("common", &format!("{thousand} {n}")).tagged("session", "long");
            if thousand == 20 && n == 999 {
                event.tagged("rare", "yes")
            } else {
                event
            }
        });
        vault.accept(commit(events));
    }
    let reader = vault.ledger.reader();
    let rare = ("rare".to_owned(), "yes".to_owned());
    let long = ("session".to_owned(), "long".to_owned());
    let query = Query {
        after: 0,
        until: u64::MAX,
        filter: Filter {
            kind_prefixes: vec![],
            attributes: vec![long, rare],
            ..Filter::default()
        },
        direction: Direction::Forward,
        limit: 10,
    };
    let page = reader.list(&query).expect("readable");
    assert_eq!((page.headers.len(), page.next), (0, Some(20_000)));
    let page = reader
        .list(&Query {
            after: 20_000,
            ..query
        })
        .expect("readable");
    assert_eq!(
        page.headers
            .iter()
            .map(|header| header.sequence)
            .collect::<Vec<_>>(),
        [21_000]
    );
    assert_eq!(page.next, None);
}

#[test]
fn very_many_kinds_are_listed_all_the_same() {
    let mut vault = Vault::new();
    vault.accept(commit(
        (0..200).map(|n| event(&format!("k.{}", n % 70), &n.to_string())),
    ));
    vault.accept_event(event("other", "1"));
    let query = Query {
        after: 0,
        until: u64::MAX,
        filter: Filter {
            kind_prefixes: vec!["k.".to_owned()],
            attributes: vec![],
            ..Filter::default()
        },
        direction: Direction::Backward,
        limit: 7,
    };
    let sequences: Vec<_> = all_pages(&vault.ledger.reader(), query)
        .iter()
        .map(|header| header.sequence)
        .collect();
    assert_eq!(sequences, (1..=200).rev().collect::<Vec<_>>());
}

#[test]
fn a_limit_out_of_range_is_brought_into_it() {
    let vault = history(&[(0, 0, 0); 3]);
    let query = |limit| Query {
        after: 0,
        until: u64::MAX,
        filter: Filter::default(),
        direction: Direction::Forward,
        limit,
    };
    let reader = vault.ledger.reader();
    assert_eq!(reader.list(&query(0)).expect("readable").headers.len(), 1);
    assert_eq!(
        reader
            .list(&query(usize::MAX))
            .expect("readable")
            .headers
            .len(),
        3
    );
}
