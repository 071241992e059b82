//! What consumers were given and what they were told, and whether both are as a group promises.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use toka_client::{Delivery, GroupSettings};

/// What consumers have seen of a group's deliveries. Clones share it.
#[derive(Clone, Debug)]
pub struct Witness(Arc<Mutex<State>>);

/// An event, and which of its deliveries.
type Key = (u64, u32);

#[derive(Debug)]
struct State {
    ack_timeout_ms: u64,
    leases: BTreeMap<Key, Lease>,
    /// By event: the delivery whose acknowledgement was the one that counted.
    acknowledged: BTreeMap<u64, u32>,
    /// The vault's time that somebody has seen: whatever is asked of the vault from now on is done then or later.
    seen_unix_ms: u64,
    /// The first thing that was wrong.
    trouble: Option<String>,
}

/// In the vault's time, milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
struct Lease {
    from_unix_ms: u64,
    /// Nobody else may have the event before.
    until_unix_ms: u64,
    /// Whether it was given to the consumer as soon as it was made: what it held may have been extended meanwhile, and
    /// `from_unix_ms` is then too late.
    is_fresh: bool,
    /// When its consumer has begun to settle it, at the earliest.
    settled_unix_ms: Option<u64>,
}

/// How much was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witnessed {
    /// Events.
    pub events: usize,
    /// Deliveries of them.
    pub deliveries: usize,
}

fn key(delivery: &Delivery) -> Key {
    (delivery.event.header.sequence, delivery.delivery)
}

impl Witness {
    /// Of a group in which a consumer has so long.
    #[must_use]
    pub fn new(settings: &GroupSettings) -> Self {
        Self(Arc::new(Mutex::new(State::new(
            settings.ack_timeout_ms.into(),
        ))))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A consumer has got an event. `is_fresh`: it was not held for the consumer before.
    pub fn got(&self, delivery: &Delivery, is_fresh: bool) {
        let until_unix_ms = delivery.deadline_unix_ms;
        self.lock().got(key(delivery), until_unix_ms, is_fresh);
    }

    /// A consumer is about to end its lease.
    pub fn settles(&self, delivery: &Delivery) {
        self.lock().settles(key(delivery));
    }

    /// An event is done with: its consumer was told that its acknowledgement is what did it.
    pub fn acknowledged(&self, delivery: &Delivery) {
        self.lock().acknowledged(key(delivery));
    }

    /// An event is to be delivered again, and not before `delay` has passed: its consumer was told so.
    pub fn rejected(&self, delivery: &Delivery, delay: Duration) {
        self.lock().rejected(key(delivery), delay);
    }

    /// How many events are done with, as far as consumers were told.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().acknowledged.len()
    }

    /// Checks all of it: each of the `wanted` events (ascending) was delivered and no other one, none to two consumers
    /// at a time, none after it was acknowledged, and first deliveries came in order.
    pub fn check(&self, wanted: &[u64]) -> Result<Witnessed> {
        self.lock().check(wanted)
    }
}

impl State {
    const fn new(ack_timeout_ms: u64) -> Self {
        Self {
            ack_timeout_ms,
            leases: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            seen_unix_ms: 0,
            trouble: None,
        }
    }

    fn note(&mut self, trouble: String) {
        self.trouble.get_or_insert(trouble);
    }

    fn got(&mut self, key: Key, until_unix_ms: u64, is_fresh: bool) {
        let from_unix_ms = until_unix_ms.saturating_sub(self.ack_timeout_ms);
        if is_fresh {
            self.seen_unix_ms = self.seen_unix_ms.max(from_unix_ms);
        }
        let lease = Lease {
            from_unix_ms,
            until_unix_ms,
            is_fresh,
            settled_unix_ms: None,
        };
        if self.leases.insert(key, lease).is_some() {
            self.note(format!(
                "delivery {} of event {} was made twice",
                key.1, key.0
            ));
        }
    }

    fn settles(&mut self, key: Key) {
        let seen = self.seen_unix_ms;
        if let Some(lease) = self.leases.get_mut(&key) {
            lease.settled_unix_ms = Some(seen);
            lease.until_unix_ms = lease.until_unix_ms.min(seen);
        }
    }

    fn acknowledged(&mut self, (sequence, delivery): Key) {
        if let Some(other) = self.acknowledged.insert(sequence, delivery) {
            self.note(format!(
                "event {sequence} was done with twice: by deliveries {other} and {delivery}"
            ));
        }
    }

    fn rejected(&mut self, key: Key, delay: Duration) {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        if let Some(lease) = self.leases.get_mut(&key)
            && let Some(settled) = lease.settled_unix_ms
        {
            lease.until_unix_ms = settled.saturating_add(delay_ms);
        }
    }

    fn check(&self, wanted: &[u64]) -> Result<Witnessed> {
        if let Some(trouble) = &self.trouble {
            anyhow::bail!("{trouble}");
        }
        let seen: BTreeSet<u64> = self.leases.keys().map(|(sequence, _)| *sequence).collect();
        let wanted: BTreeSet<u64> = wanted.iter().copied().collect();
        let missing: Vec<_> = wanted.difference(&seen).collect();
        // An answer that was lost may have had an event that the vault has settled since; not without a consumer
        // that says so.
        ensure!(missing.is_empty(), "never delivered: {missing:?}");
        let others: Vec<_> = seen.difference(&wanted).collect();
        ensure!(others.is_empty(), "delivered and not wanted: {others:?}");
        self.check_overlaps()?;
        self.check_ends()?;
        self.check_order()?;
        Ok(Witnessed {
            events: seen.len(),
            deliveries: self.leases.len(),
        })
    }

    /// Nobody has got an event before the lease of the one before was over, or could have been settled.
    fn check_overlaps(&self) -> Result<()> {
        let later = self.leases.iter().skip(1);
        for ((key, earlier), (next, later)) in self.leases.iter().zip(later) {
            let is_overlap = key.0 == next.0 && later.from_unix_ms < earlier.until_unix_ms;
            ensure!(
                !is_overlap,
                "event {}: delivery {} is {earlier:?}, delivery {} {later:?}",
                key.0,
                key.1,
                next.1
            );
        }
        Ok(())
    }

    /// What was acknowledged is gone from the group: it cannot be parked, and so not be replayed either.
    fn check_ends(&self) -> Result<()> {
        for (&sequence, &delivery) in &self.acknowledged {
            let of_event = self.leases.range((sequence, 0)..=(sequence, u32::MAX));
            let last = of_event.last().map_or(0, |((_, last), _)| *last);
            ensure!(
                last <= delivery,
                "event {sequence} was acknowledged by delivery {delivery}, and delivery {last} was made"
            );
        }
        Ok(())
    }

    fn check_order(&self) -> Result<()> {
        let is_first = |((_, delivery), lease): &(&Key, &Lease)| *delivery == 1 && lease.is_fresh;
        let mut last = 0;
        for ((sequence, _), lease) in self.leases.iter().filter(is_first) {
            ensure!(
                lease.from_unix_ms >= last,
                "event {sequence} was delivered before one that stands before it"
            );
            last = lease.from_unix_ms;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of every lease, milliseconds.
    const TIME: u64 = 100;

    /// Of deliveries that were made at these times.
    fn state(leases: &[(Key, u64)]) -> State {
        let mut state = State::new(TIME);
        for (key, from) in leases {
            state.got(*key, from + TIME, true);
        }
        state
    }

    fn fails(state: &State, wanted: &[u64], expected: &str) {
        let error = format!("{:#}", state.check(wanted).expect_err("the check fails"));
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn leases_that_end_before_the_next_pass() {
        let mut state = state(&[((1, 1), 1_000), ((2, 1), 1_050), ((1, 2), 1_100)]);
        state.settles((2, 1));
        state.acknowledged((2, 1));
        state.acknowledged((1, 2));
        let witnessed = state.check(&[1, 2]).expect("all is well");
        let expected = Witnessed {
            events: 2,
            deliveries: 3,
        };
        assert_eq!(witnessed, expected);
    }

    #[test]
    fn event_that_is_missing_or_not_wanted_is_found() {
        let state = state(&[((1, 1), 1_000)]);
        fails(&state, &[1, 2], "never delivered: [2]");
        fails(&state, &[], "not wanted: [1]");
    }

    #[test]
    fn two_consumers_at_a_time_are_found() {
        fails(
            &state(&[((1, 1), 1_000), ((1, 2), 1_099)]),
            &[1],
            "delivery 2",
        );
        let mut twice = state(&[((1, 1), 1_000)]);
        twice.got((1, 1), 1_500, true);
        fails(&twice, &[1], "made twice");
    }

    #[test]
    fn delivery_from_before_the_consumer_began_to_settle_is_found() {
        let settled = |from: u64| {
            let mut state = state(&[((1, 1), 1_000), ((2, 1), 1_050)]);
            // The vault is at 1,050 already.
            state.settles((1, 1));
            state.got((1, 2), from + TIME, true);
            state
        };
        settled(1_050).check(&[1, 2]).expect("it was settled then");
        fails(&settled(1_049), &[1, 2], "delivery 2");
    }

    #[test]
    fn delivery_before_its_delay_has_passed_is_found() {
        let rejected = |from: u64| {
            let mut state = state(&[((1, 1), 1_000)]);
            state.settles((1, 1));
            state.rejected((1, 1), Duration::from_millis(300));
            state.got((1, 2), from + TIME, true);
            state
        };
        rejected(1_300).check(&[1]).expect("not before");
        fails(&rejected(1_299), &[1], "delivery 2");
    }

    #[test]
    fn delivery_after_the_acknowledgement_is_found_whichever_is_seen_first() {
        let mut known = state(&[((1, 1), 1_000)]);
        known.settles((1, 1));
        known.acknowledged((1, 1));
        known.got((1, 2), 2_000, true);
        fails(&known, &[1], "acknowledged by delivery 1");
        let mut late = state(&[((1, 1), 1_000), ((1, 2), 2_000)]);
        late.acknowledged((1, 1));
        fails(&late, &[1], "acknowledged by delivery 1");
        let mut twice = state(&[((1, 1), 1_000), ((1, 2), 2_000)]);
        twice.acknowledged((1, 1));
        twice.acknowledged((1, 2));
        fails(&twice, &[1], "done with twice");
    }

    #[test]
    fn first_deliveries_out_of_order_are_found() {
        let mut wrong = state(&[((1, 1), 1_050), ((2, 1), 1_000)]);
        fails(&wrong, &[1, 2], "event 2 was delivered before");
        // Of one that was held nobody can say when its lease began.
        wrong.leases.clear();
        wrong.got((1, 1), 1_150, false);
        wrong.got((2, 1), 1_100, true);
        wrong.check(&[1, 2]).expect("it may have been extended");
    }
}
