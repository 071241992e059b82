//! Sets of descendants that a filter is made of.

use super::*;

/// A chain of every third event.
fn chain(vault: &mut Vault, from: u64, until: u64, last: &mut Arc<EventHeader>) {
    for number in from..=until {
        let event = event("k", &number.to_string());
        let event = match number.is_multiple_of(3) {
            true => event.child_of([by_id(last)]),
            false => event,
        };
        let header = vault.accept_event(event);
        if number.is_multiple_of(3) {
            *last = header;
        }
    }
}

#[test]
fn a_set_of_descendants_follows_a_history_that_went_far_ahead() {
    let mut vault = Vault::new();
    let mut last = vault.accept_event(event("k", "root"));
    let filter = Filter {
        descendants_of: Some(Selector::Sequence(1)),
        ..Filter::default()
    };
    let query = Query {
        filter,
        ..Query::default()
    };
    let mut until = 1;
    // Farther than the headers since are worth a look, and less far.
    for events in [30, 2_000, 500, 6_000] {
        chain(&mut vault, until + 1, until + events, &mut last);
        until += events;
        let expected: Vec<_> = (2..=until).filter(|n| n.is_multiple_of(3)).collect();
        let pages = all_pages(&vault.ledger.reader(), &query, usize::MAX);
        assert_eq!(sequences(&pages), expected);
    }
}

#[test]
fn a_set_of_descendants_is_made_as_far_as_it_is_needed_and_is_bounded() {
    let mut vault = Vault::new();
    let reader = vault.ledger.reader();
    // A hundred descendants.
    reader.narrow(Bounds {
        step_rows: 8,
        descendants_bytes: 250,
        ..Bounds::WIDE
    });
    let mut last = vault.accept_event(event("k", "root"));
    chain(&mut vault, 2, 3_000, &mut last);
    let mut query = Query {
        filter: Filter {
            descendants_of: Some(Selector::Sequence(1)),
            ..Filter::default()
        },
        limit: 10,
        ..Query::default()
    };
    let page = reader.list(&query).expect("ten are few");
    let expected: Vec<_> = (1..=10).map(|n| 3 * n).collect();
    assert_eq!(sequences(&page.headers), expected);
    query.direction = Direction::Backward;
    for _ in 0..2 {
        let refused = reader.list(&query).expect_err("a thousand are many");
        assert!(
            matches!(refused, Error::DescendantsLimit { bytes_max: 250 }),
            "{refused}"
        );
    }
}

#[test]
fn an_event_that_is_not_there_has_no_descendants_to_filter_by() {
    let mut vault = Vault::new();
    vault.accept_event(event("k", "1"));
    for absent in [0, 2] {
        let query = Query {
            filter: Filter {
                descendants_of: Some(Selector::Sequence(absent)),
                ..Filter::default()
            },
            ..Query::default()
        };
        let error = vault.ledger.reader().list(&query).expect_err("not there");
        assert_eq!(
            error.to_string(),
            format!("there is no event at sequence {absent}")
        );
    }
}
