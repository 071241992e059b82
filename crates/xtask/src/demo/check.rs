//! Nothing acknowledged is missing, doubled or out of order.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};

use super::event::Event;
use super::import::Ack;
use super::toka::Entry;

/// A node's list of all events: sequences from 1 to `last_sequence` without gap or repeat, in order, and
/// no id or digest twice.
pub(crate) fn check_list(name: &str, entries: &[Entry], last_sequence: u64) -> Result<()> {
    let mut ids = BTreeSet::new();
    let mut digests = BTreeSet::new();
    for (entry, expected) in entries.iter().zip(1..) {
        ensure!(
            entry.sequence == expected,
            "{name}: sequence {} where {expected} should be",
            entry.sequence
        );
        ensure!(
            ids.insert(&entry.id),
            "{name}: id {} is there twice",
            entry.id
        );
        ensure!(
            digests.insert(&entry.digest),
            "{name}: digest {} is there twice",
            entry.digest
        );
    }
    ensure!(
        entries.len() as u64 == last_sequence,
        "{name}: {} events, but the cluster is at sequence {last_sequence}",
        entries.len()
    );
    Ok(())
}

/// Two lists of all events are the same.
pub(crate) fn check_equal(
    name: &str,
    entries: &[Entry],
    other: &str,
    others: &[Entry],
) -> Result<()> {
    for (entry, other_entry) in entries.iter().zip(others) {
        ensure!(
            entry == other_entry,
            "{name} and {other} differ: {entry:?} and {other_entry:?}"
        );
    }
    ensure!(
        entries.len() == others.len(),
        "{name} has {} events, {other} {}",
        entries.len(),
        others.len()
    );
    Ok(())
}

/// Every event is acknowledged once, after its parents; every acknowledgement is in the list as it said.
///
/// `entries` has passed [`check_list`].
pub(crate) fn check_acks(
    name: &str,
    entries: &[Entry],
    events: &[Event],
    acks: &[Ack],
) -> Result<()> {
    let mut acked: BTreeMap<&str, &Ack> = BTreeMap::new();
    for ack in acks {
        let earlier = acked.insert(&ack.reference, ack);
        ensure!(earlier.is_none(), "{} is acknowledged twice", ack.reference);
    }
    ensure!(
        acked.len() == events.len(),
        "{} events were sent and {} acknowledged",
        events.len(),
        acked.len()
    );
    let mut taken = BTreeSet::new();
    for event in events {
        let Some(ack) = acked.get(event.reference.as_str()) else {
            bail!("{} was sent and not acknowledged", event.reference);
        };
        ensure!(
            taken.insert(ack.sequence),
            "{}: another event was acknowledged with sequence {} too",
            event.reference,
            ack.sequence
        );
        let entry = find(name, entries, ack)?;
        ensure!(
            entry.id == ack.id && entry.digest == ack.digest && entry.kind == event.kind,
            "{name}: {} of kind {} was acknowledged at sequence {} with id {} and digest {}, but what is \
             stored there is {entry:?}",
            event.reference,
            event.kind,
            ack.sequence,
            ack.id,
            ack.digest
        );
        for parent in &event.parents {
            let parent_ack = acked
                .get(parent.as_str())
                .context("a parent was not acknowledged")?;
            ensure!(
                parent_ack.sequence < ack.sequence,
                "{} has sequence {}, its parent {parent} {}",
                event.reference,
                ack.sequence,
                parent_ack.sequence
            );
        }
    }
    Ok(())
}

fn find<'a>(name: &str, entries: &'a [Entry], ack: &Ack) -> Result<&'a Entry> {
    ack.sequence
        .checked_sub(1)
        .and_then(|index| entries.get(usize::try_from(index).ok()?))
        .with_context(|| {
            format!(
                "{name}: {} is acknowledged at sequence {} and missing",
                ack.reference, ack.sequence
            )
        })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::event::for_test;
    use super::*;

    fn list(length: u64) -> Vec<Entry> {
        (1..=length)
            .map(|sequence| Entry {
                id: format!("id{sequence}"),
                sequence,
                digest: format!("digest{sequence}"),
                kind: "test".into(),
            })
            .collect()
    }

    fn ack(reference: &str, sequence: u64) -> Ack {
        Ack {
            reference: reference.into(),
            id: format!("id{sequence}"),
            sequence,
            digest: format!("digest{sequence}"),
            at: Instant::now(),
        }
    }

    fn events() -> Vec<Event> {
        vec![for_test("a", &[], 1), for_test("b", &["a"], 2)]
    }

    fn fails(result: Result<()>, expected: &str) {
        let error = result.expect_err("the check fails").to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn whole_history_passes() {
        let entries = list(3);
        check_list("node 1", &entries, 3).expect("the list is whole");
        check_acks("node 1", &entries, &events(), &[ack("a", 1), ack("b", 3)])
            .expect("all is there");
        check_equal("node 1", &entries, "node 2", &list(3)).expect("they are equal");
    }

    #[test]
    fn gap_repeat_disorder_and_short_list_fail() {
        let mut gap = list(4);
        gap.remove(1);
        fails(check_list("n", &gap, 4), "sequence 3 where 2 should be");
        let mut disorder = list(3);
        disorder.swap(0, 1);
        fails(
            check_list("n", &disorder, 3),
            "sequence 2 where 1 should be",
        );
        let mut doubled = list(3);
        doubled[2].digest = doubled[0].digest.clone();
        fails(
            check_list("n", &doubled, 3),
            "digest digest1 is there twice",
        );
        let mut doubled = list(3);
        doubled[2].id = doubled[0].id.clone();
        fails(check_list("n", &doubled, 3), "id id1 is there twice");
        fails(check_list("n", &list(3), 4), "3 events");
    }

    #[test]
    fn differing_lists_fail() {
        let mut other = list(3);
        other[1].kind = "other".into();
        fails(check_equal("n", &list(3), "m", &other), "differ");
        fails(check_equal("n", &list(3), "m", &list(2)), "n has 3 events");
    }

    #[test]
    fn acknowledged_and_missing_fails() {
        let acks = [ack("a", 1), ack("b", 3)];
        fails(check_acks("n", &list(2), &events(), &acks), "missing");
        let mut entries = list(3);
        entries[2].digest = "another".into();
        fails(check_acks("n", &entries, &events(), &acks), "stored there");
    }

    #[test]
    fn unacknowledged_and_twice_acknowledged_fail() {
        let entries = list(3);
        fails(
            check_acks("n", &entries, &events(), &[ack("a", 1)]),
            "2 events were sent",
        );
        let twice = [ack("a", 1), ack("a", 2)];
        fails(
            check_acks("n", &entries, &events(), &twice),
            "acknowledged twice",
        );
        let other = [ack("a", 1), ack("c", 2)];
        fails(
            check_acks("n", &entries, &events(), &other),
            "not acknowledged",
        );
        let same = [ack("a", 1), ack("b", 1)];
        fails(
            check_acks("n", &entries, &events(), &same),
            "sequence 1 too",
        );
    }

    #[test]
    fn child_before_its_parent_fails() {
        let acks = [ack("a", 3), ack("b", 1)];
        fails(
            check_acks("n", &list(3), &events(), &acks),
            "its parent a 3",
        );
    }
}
