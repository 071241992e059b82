//! What a walk and a search may look at and remember.

use super::*;

/// Events one after the other, each the child of the one before; the first of them of `before`, if that is given.
pub(crate) fn chain(vault: &mut Vault, events: u64, mut before: Option<ParentName>) {
    const BATCH: u64 = 1_000;
    for first in (0..events).step_by(BATCH as usize) {
        let batch = (first..events.min(first + BATCH)).map(|n| {
            let parent = match n - first {
                0 => before,
                of_batch => Some(ParentName::Batch(of_batch as u16 - 1)),
            };
            event("link", &n.to_string()).child_of(parent)
        });
        let headers = vault.accept(commit(batch));
        before = headers.last().map(|header| by_digest(header));
    }
}

#[test]
fn chain_is_walked_to_its_end_in_the_memory_of_a_few_events() {
    let mut vault = Vault::new();
    chain(&mut vault, 3_000, None);
    let reader = vault.ledger.reader();
    for (relation, from) in [(Relation::Ancestors, 3_000), (Relation::Descendants, 1)] {
        let walk = reader.walk(&Query::new(Selector::Sequence(from), relation));
        let (all, is_complete) = walked(walk.expect("it is there").remember_at_most(2));
        assert!(is_complete);
        let depths: Vec<u32> = all.iter().map(|(_, depth)| *depth).collect();
        assert_eq!(depths, (0..3_000).collect::<Vec<_>>());
    }
    let long = reader.difference(&difference(1, 3_000));
    let (all, _) = all_of_difference(long.expect("both are there").remember_at_most(2));
    assert_eq!(all, (2..=3_000).rev().collect::<Vec<_>>());
}

/// An event with 600 children, of which the last has a child itself.
fn fan() -> Vault {
    let mut vault = Vault::new();
    let root = vault.accept_event(event("root", ""));
    let children = (0..600).map(|n| event("leaf", &n.to_string()).child_of([by_digest(&root)]));
    let children = vault.accept(commit(children));
    let last = by_digest(children.last().expect("there are some"));
    vault.accept_event(event("end", "").child_of([last]));
    vault
}

#[test]
fn walk_that_would_remember_too_much_ends_with_a_limit_that_names_it() {
    let vault = fan();
    let reader = vault.ledger.reader();
    let query = Query::new(Selector::Sequence(1), Relation::Descendants);
    let mut walk = reader
        .walk(&query)
        .expect("it is there")
        .remember_at_most(599);
    let error = loop {
        match walk.step() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended"),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(
            error,
            Error::LineageLimit {
                limit: "remembered_events",
                max: 599
            }
        ),
        "{error}"
    );
    assert!(
        error.to_string().contains("599 remembered events"),
        "{error}"
    );
    assert!(!error.is_retryable());
    assert!(matches!(walk.step(), Ok(None)));
    assert!(!walk.is_complete());

    let walk = reader
        .walk(&query)
        .expect("it is there")
        .remember_at_most(601);
    assert_eq!(walked(walk).0.len(), 602);
}

#[test]
fn walk_reads_headers_of_wanted_descendants_alone_and_goes_through_the_others() {
    let vault = fan();
    let reader = vault.ledger.reader();
    let query = Query {
        kind_prefixes: vec!["end".to_owned()],
        ..Query::new(Selector::Sequence(1), Relation::Descendants)
    };
    let mut walk = reader.walk(&query).expect("it is there");
    let mut found = Vec::new();
    while let Some(relatives) = walk.step().expect("readable") {
        found.extend(relatives);
    }
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].header.sequence, found[0].depth), (602, 2));
    assert_eq!(walk.visited(), 602);
}

#[test]
fn steps_are_bounded_and_what_comes_during_a_walk_is_not_seen() {
    let mut vault = fan();
    let reader = vault.ledger.reader();
    let query = Query::new(Selector::Sequence(1), Relation::Descendants);
    let mut walk = reader.walk(&query).expect("it is there");
    assert_eq!(
        walk.step().expect("readable").map(|found| found.len()),
        Some(1)
    );
    let late = event("late", "").child_of([ParentName::Digest(
        reader
            .header(&Selector::Sequence(1))
            .expect("readable")
            .expect("it is there")
            .digest,
    )]);
    vault.accept_event(late);
    let mut empty_steps = 0;
    let mut count = 1;
    while let Some(found) = walk.step().expect("readable") {
        assert!(found.len() <= STEP_EVENTS_MAX);
        empty_steps += usize::from(found.is_empty());
        count += found.len();
    }
    assert!(empty_steps > 0, "600 rows were read in one step");
    assert_eq!(count, 602);
    assert_eq!(
        walked(reader.walk(&query).expect("it is there")).0.len(),
        603
    );
}

#[test]
fn common_ancestor_is_found_without_walking_what_lies_behind_it() {
    let mut vault = Vault::new();
    chain(&mut vault, 2_000, None);
    let fork = ParentName::Digest(
        vault
            .ledger
            .reader()
            .header(&Selector::Sequence(2_000))
            .expect("readable")
            .expect("it is there")
            .digest,
    );
    let left = vault.accept_event(event("left", "").child_of([fork]));
    let right = vault.accept_event(event("right", "").child_of([fork]));
    let reader = vault.ledger.reader();
    let (left, right) = (Selector::Id(left.id), Selector::Id(right.id));
    let mut search = reader
        .common_ancestors(&left, &right, u64::MAX)
        .expect("both are there");
    let found = search.step().expect("readable").expect("one");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].sequence, 2_000);
    assert!(matches!(search.step(), Ok(None)));
    assert_eq!(search.visited(), 3);
}

#[test]
fn search_for_common_ancestors_has_a_bound_that_its_error_names() {
    let mut vault = Vault::new();
    chain(&mut vault, 20, None);
    vault.accept_event(event("alone", ""));
    let reader = vault.ledger.reader();
    let (first, second) = (Selector::Sequence(20), Selector::Sequence(21));
    let search = || {
        reader
            .common_ancestors(&first, &second, u64::MAX)
            .expect("both are there")
    };
    // Nothing is left of one history: there is nothing in common.
    assert_eq!(all_of_common(search().visit_at_most(1)), [0_u64; 0]);

    let other = Selector::Sequence(1);
    let search = reader
        .common_ancestors(&first, &other, u64::MAX)
        .expect("both are there");
    let error = search.visit_at_most(5).step().expect_err("20 are needed");
    assert!(
        matches!(
            error,
            Error::LineageLimit {
                limit: "visited_events",
                max: 5
            }
        ),
        "{error}"
    );
}
