//! Lineage against a naive model on random graphs, and its limits.

#[path = "../apply_support/mod.rs"]
mod apply_support;
mod bounds;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use apply_support::*;
use proptest::prelude::*;
use toka_ledger::command::ParentName;
use toka_ledger::read::lineage::{
    CommonAncestors, Difference, DifferenceQuery, Heads, Query, Relation, STEP_EVENTS_MAX, Walk,
};
use toka_ledger::{Error, EventHeader, Reader, Selector};

const KINDS: [&str; 4] = ["a", "a.b", "b", "ä"];

/// The sequences of each event's parents, and its kind; the first event has the sequence 1.
#[derive(Clone, Debug)]
struct Graph(Vec<(BTreeSet<u64>, usize)>);

impl Graph {
    fn vault(&self) -> Vault {
        let mut vault = Vault::new();
        let mut headers: Vec<Arc<EventHeader>> = Vec::new();
        for (n, (parents, kind)) in self.0.iter().enumerate() {
            let parents: Vec<_> = parents
                .iter()
                .map(|&parent| by_digest(&headers[parent as usize - 1]))
                .collect();
            let event = event(KINDS[*kind], &n.to_string()).child_of(parents);
            headers.push(vault.accept_event(event));
        }
        vault
    }

    fn last(&self) -> u64 {
        self.0.len() as u64
    }

    fn kind(&self, sequence: u64) -> &'static str {
        KINDS[self.0[sequence as usize - 1].1]
    }

    fn is_wanted(&self, sequence: u64, prefixes: &[String]) -> bool {
        let kind = self.kind(sequence);
        prefixes.is_empty() || prefixes.iter().any(|prefix| kind.starts_with(prefix))
    }

    fn neighbours(&self, of: u64, relation: Relation, until: u64) -> Vec<u64> {
        match relation {
            Relation::Ancestors => self.0[of as usize - 1].0.iter().copied().collect(),
            Relation::Descendants => (of + 1..=until)
                .filter(|child| self.0[*child as usize - 1].0.contains(&of))
                .collect(),
        }
    }

    /// Depths of all that can be reached.
    fn depths(&self, from: u64, relation: Relation, until: u64) -> BTreeMap<u64, u32> {
        let mut depths = BTreeMap::from([(from, 0)]);
        let mut waiting = VecDeque::from([from]);
        while let Some(at) = waiting.pop_front() {
            let depth = depths[&at] + 1;
            for neighbour in self.neighbours(at, relation, until) {
                if let std::collections::btree_map::Entry::Vacant(place) = depths.entry(neighbour) {
                    place.insert(depth);
                    waiting.push_back(neighbour);
                }
            }
        }
        depths
    }

    fn history(&self, of: u64) -> BTreeSet<u64> {
        let depths = self.depths(of, Relation::Ancestors, self.last());
        depths.into_keys().collect()
    }

    fn nearest_common(&self, first: u64, second: u64) -> Vec<u64> {
        let (first, second) = (self.history(first), self.history(second));
        let common: BTreeSet<u64> = first.intersection(&second).copied().collect();
        let is_behind = |at: u64| {
            let mut others = common.iter().filter(|other| **other != at);
            others.any(|other| self.history(*other).contains(&at))
        };
        let newest_first = common.iter().copied().rev();
        newest_first.filter(|at| !is_behind(*at)).collect()
    }
}

/// Graphs of up to 60 events, narrow or wide.
fn graph() -> impl Strategy<Value = Graph> {
    let event = (prop::collection::vec(1_u64..12, 0..4), 0..KINDS.len());
    (prop::collection::vec(event, 1..60), 1_u64..6).prop_map(|(events, stretch)| {
        let events = events.into_iter().enumerate().map(|(n, (back, kind))| {
            let sequence = n as u64 + 1;
            let parents = back.iter().map(|back| back * stretch);
            let parents = parents.filter_map(|back| sequence.checked_sub(back));
            (parents.filter(|parent| *parent > 0).collect(), kind)
        });
        Graph(events.collect())
    })
}

fn prefixes() -> impl Strategy<Value = Vec<String>> {
    let prefix = prop::sample::select(vec!["a", "a.", "b", "ä", "c"]);
    prop::collection::vec(prefix.prop_map(str::to_owned), 0..3)
}

/// All of a walk: sequences and depths, and whether it was complete.
fn walked(mut walk: Walk) -> (Vec<(u64, u32)>, bool) {
    let mut all = Vec::new();
    while let Some(relatives) = walk.step().expect("readable") {
        assert!(relatives.len() <= STEP_EVENTS_MAX);
        let relatives = relatives.iter();
        all.extend(relatives.map(|relative| (relative.header.sequence, relative.depth)));
    }
    (all, walk.is_complete())
}

fn all_of_difference(mut difference: Difference) -> (Vec<u64>, bool) {
    let mut all = Vec::new();
    while let Some(headers) = difference.step().expect("readable") {
        all.extend(headers.iter().map(|header| header.sequence));
    }
    (all, difference.is_complete())
}

fn all_of_common(mut search: CommonAncestors) -> Vec<u64> {
    let mut all = Vec::new();
    while let Some(headers) = search.step().expect("readable") {
        all.extend(headers.iter().map(|header| header.sequence));
    }
    assert!(search.is_complete());
    all
}

fn all_heads(reader: &Reader, mut heads: Heads) -> Vec<u64> {
    let mut all = Vec::new();
    loop {
        let page = reader.heads(&heads).expect("readable");
        assert!(page.headers.len() <= heads.limit);
        all.extend(page.headers.iter().map(|header| header.sequence));
        let Some(next) = page.next else {
            return all;
        };
        assert!(next < heads.from);
        (heads.from, heads.as_of) = (next, page.as_of);
    }
}

fn difference(without: u64, of: u64) -> DifferenceQuery {
    DifferenceQuery {
        without: Selector::Sequence(without),
        of: Selector::Sequence(of),
        until: u64::MAX,
        events_max: u64::MAX,
        kind_prefixes: Vec::new(),
    }
}

fn heads(kind_prefixes: Vec<String>, limit: usize) -> Heads {
    Heads {
        as_of: u64::MAX,
        from: u64::MAX,
        kind_prefixes,
        limit,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.div_ceil(4)))]
    #[test]
    fn walks_come_to_every_relative_once_in_order(
        graph in graph(),
        walks in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>(), 0_u32..8, 0_u64..40, prefixes()),
            1..12,
        ),
    ) {
        let vault = graph.vault();
        let reader = vault.ledger.reader();
        for (event, until, upwards, depth_max, events_max, kind_prefixes) in walks {
            let until = until.index(graph.0.len()) as u64 + 1;
            let event = event.index(until as usize) as u64 + 1;
            let relation = if upwards { Relation::Ancestors } else { Relation::Descendants };
            let mut expected: Vec<(u32, u64)> = graph
                .depths(event, relation, until)
                .into_iter()
                .map(|(sequence, depth)| (depth, sequence))
                .collect();
            expected.sort_unstable();
            let reachable = expected.len();
            expected.retain(|(depth, sequence)| {
                *depth <= depth_max && graph.is_wanted(*sequence, &kind_prefixes)
            });
            expected.truncate(events_max as usize);
            let expected: Vec<_> = expected.into_iter().map(|(depth, at)| (at, depth)).collect();
            let query = Query {
                until,
                depth_max,
                events_max,
                kind_prefixes: kind_prefixes.clone(),
                ..Query::new(Selector::Sequence(event), relation)
            };
            let (all, is_complete) = walked(reader.walk(&query).expect("it is there"));
            prop_assert_eq!(&all, &expected, "{:?}", query);
            if is_complete && kind_prefixes.is_empty() {
                prop_assert_eq!(all.len(), reachable, "{:?}", query);
            }
            let unlimited = Query {
                depth_max: u32::MAX,
                events_max: u64::MAX,
                ..query
            };
            prop_assert!(walked(reader.walk(&unlimited).expect("it is there")).1);
        }
    }

    #[test]
    fn differences_are_what_one_history_has_alone(
        graph in graph(),
        pairs in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), prefixes(), 0_u64..40),
            1..12,
        ),
    ) {
        let vault = graph.vault();
        let reader = vault.ledger.reader();
        for (without, of, kind_prefixes, events_max) in pairs {
            let without = without.index(graph.0.len()) as u64 + 1;
            let of = of.index(graph.0.len()) as u64 + 1;
            let (left_out, wanted) = (graph.history(without), graph.history(of));
            let mut expected: Vec<u64> = wanted.difference(&left_out).copied().collect();
            expected.reverse();
            expected.retain(|at| graph.is_wanted(*at, &kind_prefixes));
            let query = DifferenceQuery { kind_prefixes, ..difference(without, of) };
            let all = all_of_difference(reader.difference(&query).expect("both are there"));
            prop_assert_eq!(&all, &(expected.clone(), true), "{:?}", query);
            let few = DifferenceQuery { events_max, ..query };
            let (some, _) = all_of_difference(reader.difference(&few).expect("both are there"));
            expected.truncate(events_max as usize);
            prop_assert_eq!(some, expected);
        }
    }

    #[test]
    fn nearest_common_ancestors_are_behind_no_other_common_one(
        graph in graph(),
        pairs in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..12),
    ) {
        let vault = graph.vault();
        let reader = vault.ledger.reader();
        for (first, second) in pairs {
            let first = first.index(graph.0.len()) as u64 + 1;
            let second = second.index(graph.0.len()) as u64 + 1;
            let search = reader.common_ancestors(
                &Selector::Sequence(first),
                &Selector::Sequence(second),
                u64::MAX,
            );
            let all = all_of_common(search.expect("both are there"));
            prop_assert_eq!(all, graph.nearest_common(first, second), "{} {}", first, second);
        }
    }

    #[test]
    fn heads_are_the_events_without_children_on_any_pages(
        graph in graph(),
        as_of in any::<prop::sample::Index>(),
        kind_prefixes in prefixes(),
        limit in 1_usize..8,
    ) {
        let vault = graph.vault();
        let reader = vault.ledger.reader();
        let as_of = as_of.index(graph.0.len()) as u64 + 1;
        let expected: Vec<u64> = (1..=as_of)
            .rev()
            .filter(|at| graph.neighbours(*at, Relation::Descendants, as_of).is_empty())
            .filter(|at| graph.is_wanted(*at, &kind_prefixes))
            .collect();
        let heads = Heads { as_of, ..heads(kind_prefixes, limit) };
        prop_assert_eq!(all_heads(&reader, heads), expected);
    }
}

#[test]
fn heads_as_of_long_ago_are_told_by_the_first_child_of_each_kind() {
    let mut vault = Vault::new();
    let hub = vault.accept_event(event("hub", ""));
    for first in [0, 500] {
        let children = (first..first + 500).map(|n| {
            let kind = ["a", "b"][n % 2];
            event(kind, &n.to_string()).child_of([by_id(&hub)])
        });
        vault.accept(commit(children));
    }
    let heads = Heads {
        as_of: 1,
        ..heads(Vec::new(), 10)
    };
    // It is asked after more looks than this takes.
    let reader = vault.ledger.reader();
    let page = reader.heads_while(&heads, &|| false).expect("readable");
    let found: Vec<_> = page.headers.iter().map(|header| header.sequence).collect();
    assert_eq!((found, page.next), (vec![1], None));
}

#[test]
fn a_page_of_heads_ends_when_it_is_told_to() {
    let mut vault = Vault::new();
    vault.accept(commit((0..500).map(|n| event("k", &n.to_string()))));
    let reader = vault.ledger.reader();
    let heads = heads(Vec::new(), 1_000);
    let page = reader.heads_while(&heads, &|| false).expect("readable");
    let (found, next) = (page.headers.len() as u64, page.next.expect("more"));
    assert!(found < 500 && next == 500 - found, "{found} {next}");
}

#[test]
fn events_that_are_not_there_are_named() {
    let mut vault = Vault::new();
    bounds::chain(&mut vault, 3, None);
    let reader = vault.ledger.reader();
    let name = |error: Error| match error {
        Error::NotFound { name } => name,
        other => panic!("{other}"),
    };
    let missing = Query::new(Selector::Sequence(4), Relation::Ancestors);
    assert_eq!(
        name(reader.walk(&missing).expect_err("not there")),
        "at sequence 4"
    );
    let later = Query {
        until: 2,
        ..Query::new(Selector::Sequence(3), Relation::Ancestors)
    };
    assert_eq!(
        name(reader.walk(&later).expect_err("later")),
        "at sequence 3"
    );
    let unknown = difference(1, 9);
    assert_eq!(
        name(reader.difference(&unknown).expect_err("not there")),
        "at sequence 9"
    );
}
