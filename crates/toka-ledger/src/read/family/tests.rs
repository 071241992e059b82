use super::*;
use crate::engine::memory::MemoryEngine;
use crate::engine::{Batch, Durability};

fn set(root: u64, head: u64) -> Set {
    Family::new(root, head, DESCENDANTS_BYTES_MAX)
        .set
        .into_inner()
}

#[test]
fn a_walk_is_complete_up_to_the_event_that_it_has_come_to() {
    let mut set = set(5, 90);
    assert_eq!(set.complete(), 5);
    set.insert(20);
    set.insert(30);
    set.walked = Some(0);
    assert_eq!(set.complete(), 20);
    set.walked = Some(1);
    assert_eq!(set.complete(), 30);
    set.walked = Some(2);
    assert_eq!(set.complete(), 90);
    // A second walk knows what the first has found.
    set.floor = 90;
    set.head = 120;
    set.walked = None;
    assert_eq!(set.complete(), 90);
    set.insert(100);
    set.walked = Some(2);
    assert_eq!(set.complete(), 100);
}

#[test]
fn one_step_looks_at_a_bounded_number_of_rows() {
    let engine = MemoryEngine::new();
    let mut batch = Batch::new();
    for child in 2..=101_u64 {
        batch.put(Table::Children, children::key(1, "k", child), Bytes::new());
    }
    engine
        .write(batch, Durability::Volatile)
        .expect("in memory");
    let mut set = set(1, 200);
    set.walk(&engine, 30).expect("readable");
    assert_eq!((set.count, set.walked, set.complete()), (30, None, 1));
    set.walk(&engine, 30).expect("readable");
    assert_eq!((set.count, set.walked), (60, None));
    // The others, that there are no more, and that none of them has any.
    set.walk(&engine, 41).expect("readable");
    assert_eq!((set.count, set.walked), (100, Some(0)));
    set.walk(&engine, 100).expect("readable");
    assert_eq!((set.next(), set.complete()), (None, 200));
}

#[test]
fn enough_is_counted_as_far_as_the_set_is_complete() {
    let mut set = set(1, 90);
    for member in [10, 20, 30] {
        set.insert(member);
    }
    let enough = |set: &Set, after, members| {
        let extent = Extent {
            until: 90,
            enough: Some((after, members)),
        };
        set.has_enough(25, extent)
    };
    assert!(enough(&set, 0, 2) && !enough(&set, 0, 3));
    assert!(enough(&set, 10, 1) && !enough(&set, 20, 1));
    assert!(!enough(&set, 25, 0), "a page would come no further");
}

#[test]
fn sets_that_were_not_used_for_longest_are_dropped() {
    let sets = Families::default();
    let family = |root| sets.family(root, root, DESCENDANTS_BYTES_MAX);
    for root in 1..=SETS_MAX as u64 {
        family(root);
    }
    family(1);
    family(99_999);
    let kept = sets.sets.lock();
    assert!(kept.by_root.contains_key(&1) && !kept.by_root.contains_key(&2));
    assert_eq!(kept.by_root.len(), SETS_MAX);
    assert_eq!(kept.by_root.len(), kept.by_use.len());
    drop(kept);

    let large = family(99_999);
    large
        .bytes
        .store(DESCENDANTS_KEPT_BYTES_MAX + 1, Ordering::Relaxed);
    sets.count(99_999, &large);
    let kept = sets.sets.lock();
    assert_eq!((kept.by_root.len(), kept.by_use.len()), (1, 1));
    assert_eq!(kept.bytes, DESCENDANTS_KEPT_BYTES_MAX + 1);
}

#[test]
fn of_a_set_that_is_too_large_only_that_is_kept() {
    let sets = Families::default();
    let family = sets.family(7, 100, 64);
    for member in 8..=99 {
        family.set.lock().insert(member);
    }
    family.set.lock().is_too_large = true;
    family.bytes.store(1_000, Ordering::Relaxed);
    sets.count(7, &family);
    assert_eq!(sets.sets.lock().bytes, 0);
    let left = sets.family(7, 100, 64);
    let set = left.set.lock();
    assert!(set.is_too_large && set.members.is_empty());
    assert!(family.contains(99), "whoever reads it still has it");
}

#[test]
fn members_come_in_either_order() {
    let family = Family::new(1, 100, DESCENDANTS_BYTES_MAX);
    for member in [3, 4, 9, 70_000, 1 << 40] {
        family.set.lock().insert(member);
    }
    let family = Arc::new(family);
    let members = |after, until, direction| -> Vec<u64> {
        Arc::clone(&family)
            .members(after, until, direction)
            .collect()
    };
    assert_eq!(members(3, 70_000, Direction::Forward), [4, 9, 70_000]);
    assert_eq!(members(3, 70_000, Direction::Backward), [70_000, 9, 4]);
    assert_eq!(members(9, 50, Direction::Forward), [0_u64; 0]);
    assert_eq!(family.count(0, u64::MAX), 5);
}
