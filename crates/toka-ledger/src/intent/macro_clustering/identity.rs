//! Which intent a group is: ids follow the events.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::intent::IntentId;

/// The intents after a macro-clustering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regrouping {
    /// Of each micro-cluster.
    pub intents: Vec<IntentId>,
    /// Each intent that no group kept, by id, with its successor: the intent that holds most of its
    /// events, of equal ones the lowest.
    ///
    /// A successor is never fresh: a group that holds events of an intent which none kept found an
    /// old id to take. Following successors ends, since a successor is in use after this
    /// regrouping, and a retired intent is not, and never will be again (fresh ids were not used
    /// before). So what is retired here leads to an intent that, if at all, is retired later.
    pub retired: Vec<(IntentId, IntentId)>,
    /// The next fresh id.
    pub next: u64,
}

/// Names the groups of a macro-clustering.
///
/// For each micro-cluster: `groups` has its group, `old` its intent until now, `events` how many
/// events it holds. The largest group goes first (of equal ones the lowest) and takes the intent with
/// which it shares most events (of equal ones the lowest) and that none took before; if there is none, it
/// takes a fresh id from `next`, which is above all ids in use or retired.
#[must_use]
pub fn name_groups(groups: &[u32], old: &[IntentId], events: &[u64], next: u64) -> Regrouping {
    let mut next = next;
    let names = names(groups, old, events, &mut next);
    let intents: Vec<IntentId> = groups.iter().map(|group| names[group]).collect();
    let kept: BTreeSet<&IntentId> = names.values().collect();
    // By old intent, then by new one: the first of equal shares is that of the lowest.
    let mut successors: BTreeMap<IntentId, (IntentId, u64)> = BTreeMap::new();
    for ((old, new), events) in shares(old, &intents, events) {
        if !kept.contains(&old) {
            let best = successors.entry(old).or_insert((new, events));
            if events > best.1 {
                *best = (new, events);
            }
        }
    }
    let retired = successors.into_iter().map(|(old, (new, _))| (old, new));
    Regrouping {
        retired: retired.collect(),
        intents,
        next,
    }
}

fn names(
    groups: &[u32],
    old: &[IntentId],
    events: &[u64],
    next: &mut u64,
) -> BTreeMap<u32, IntentId> {
    let shares = shares(groups, old, events);
    let mut sizes: BTreeMap<u32, u64> = BTreeMap::new();
    for (&group, &events) in groups.iter().zip(events) {
        *sizes.entry(group).or_default() += events;
    }
    let mut largest_first: Vec<(u32, u64)> = sizes.into_iter().collect();
    largest_first.sort_by_key(|&(group, size)| (Reverse(size), group));

    let mut taken = BTreeSet::new();
    let mut names = BTreeMap::new();
    for (group, _) in largest_first {
        let range = (group, IntentId(0))..=(group, IntentId(u64::MAX));
        let free = shares
            .range(range)
            .filter(|((_, id), _)| !taken.contains(id));
        let best = free.max_by_key(|((_, id), events)| (**events, Reverse(*id)));
        let name = best.map_or_else(
            || {
                *next += 1;
                IntentId(*next - 1)
            },
            |((_, id), _)| *id,
        );
        taken.insert(name);
        names.insert(group, name);
    }
    names
}

/// Events that each two of `a` and `b` share.
fn shares<A: Copy + Ord, B: Copy + Ord>(a: &[A], b: &[B], events: &[u64]) -> BTreeMap<(A, B), u64> {
    let mut shares = BTreeMap::new();
    for ((&a, &b), &events) in a.iter().zip(b).zip(events) {
        *shares.entry((a, b)).or_default() += events;
    }
    shares
}
