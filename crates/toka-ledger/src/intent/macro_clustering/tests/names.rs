//! Which ids the groups keep.

use proptest::prelude::*;

use super::*;
use crate::intent::IntentId;

fn ids<const N: usize>(ids: [u64; N]) -> Vec<IntentId> {
    ids.map(IntentId).to_vec()
}

#[test]
fn an_unchanged_grouping_keeps_its_ids() {
    let named = name_groups(&[0, 0, 2], &ids([5, 5, 3]), &[1, 1, 9], 8);
    let expected = Regrouping {
        intents: ids([5, 5, 3]),
        retired: Vec::new(),
        next: 8,
    };
    assert_eq!(named, expected);
}

#[test]
fn a_group_takes_the_intent_with_which_it_shares_most_events() {
    let named = name_groups(&[0, 0, 0], &ids([1, 2, 1]), &[3, 5, 3], 8);
    assert_eq!(named.intents, ids([1, 1, 1]));
    assert_eq!(named.retired, [(IntentId(2), IntentId(1))]);
}

#[test]
fn of_equal_shares_a_group_takes_the_lower_intent() {
    let named = name_groups(&[0, 0], &ids([2, 1]), &[4, 4], 8);
    assert_eq!(named.intents, ids([1, 1]));
}

#[test]
fn the_larger_part_of_a_split_intent_keeps_the_id() {
    let named = name_groups(&[0, 1, 2], &ids([4, 4, 4]), &[2, 7, 3], 8);
    // Fresh ids go to the groups by size, too.
    assert_eq!(named.intents, ids([9, 4, 8]));
    assert_eq!((named.retired, named.next), (Vec::new(), 10));
}

#[test]
fn of_equal_groups_the_lower_row_goes_first() {
    let named = name_groups(&[0, 1], &ids([4, 4]), &[7, 7], 8);
    assert_eq!(named.intents, ids([4, 8]));
}

#[test]
fn a_group_whose_first_choice_is_taken_takes_its_second() {
    let named = name_groups(&[0, 1, 1], &ids([4, 4, 6]), &[9, 5, 2], 8);
    assert_eq!(named.intents, ids([4, 6, 6]));
}

#[test]
fn a_retired_intent_is_succeeded_by_the_lower_of_equal_holders() {
    // The groups of rows 0 and 1 keep 1 and 2; each takes half of 3.
    let named = name_groups(&[0, 1, 1, 0], &ids([2, 1, 3, 3]), &[9, 8, 2, 2], 8);
    assert_eq!(named.intents, ids([2, 1, 1, 2]));
    assert_eq!(named.retired, [(IntentId(3), IntentId(1))]);
}

#[test]
fn a_retired_intent_is_succeeded_by_a_kept_one_beside_fresh_ones() {
    // Rows 0 and 1 keep 1 and 2, which row 2 also has: it takes a fresh one. 3 goes with row 3.
    let named = name_groups(&[0, 1, 2, 1], &ids([1, 2, 1, 3]), &[9, 8, 5, 1], 8);
    assert_eq!(named.intents, ids([1, 2, 8, 2]));
    assert_eq!(named.retired, [(IntentId(3), IntentId(2))]);
}

proptest! {
    #[test]
    fn ids_are_kept_once_and_successors_are_in_use(
        rows in proptest::collection::vec((0_usize..30, 0_u64..12, 0_u64..5), 1..60)
    ) {
        let lowest = |row: usize| {
            let same = rows.iter().position(|other| other.0 == rows[row].0);
            u32::try_from(same.expect("the row itself")).expect("small")
        };
        let groups: Vec<u32> = (0..rows.len()).map(lowest).collect();
        let old: Vec<IntentId> = rows.iter().map(|row| IntentId(row.1)).collect();
        let events: Vec<u64> = rows.iter().map(|row| row.2).collect();
        let named = name_groups(&groups, &old, &events, 12);

        for a in 0..rows.len() {
            for b in 0..rows.len() {
                let one = named.intents[a] == named.intents[b];
                prop_assert_eq!(one, groups[a] == groups[b]);
            }
        }
        prop_assert!(named.intents.iter().all(|id| id.0 < named.next));
        let mut gone: Vec<IntentId> = old.clone();
        gone.retain(|id| !named.intents.contains(id));
        gone.sort();
        gone.dedup();
        let retired: Vec<IntentId> = named.retired.iter().map(|(old, _)| *old).collect();
        prop_assert_eq!(retired, gone);
        for (retired, successor) in &named.retired {
            prop_assert!(old.contains(successor));
            let mut holders = named.intents.iter().zip(&old);
            prop_assert!(holders.any(|(new, old)| new == successor && old == retired));
        }
    }
}
