//! What those who were called have had against connections that were made to them.
//!
//! With TLS 1.3 a caller takes its connection for made before the other end has looked at its certificate. That it is
//! refused comes as an answer to what it sends first. Whoever drives the connection reads that and ends; whoever waits for
//! an answer may be told no more than that it has ended. So the reason is kept here.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Places of which a refusal is remembered.
const PLACES_MAX: usize = 256;
/// How long one explains why connections end: who goes on calling is refused again, and else it may be for another reason.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

/// The last refusal of each place that was called, by `host:port` as it was called. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Mutex<BTreeMap<String, Refusal>>>);

#[derive(Debug)]
struct Refusal {
    reason: String,
    at: Instant,
}

impl Refusals {
    /// What a place had, within the last minute, against the last connection that came to something; `None`: nothing.
    #[must_use]
    pub fn of(&self, place: &str) -> Option<String> {
        self.of_at(place, Instant::now())
    }

    fn of_at(&self, place: &str, now: Instant) -> Option<String> {
        let refusals = self.lock();
        let refusal = refusals.get(place)?;
        let age = now.saturating_duration_since(refusal.at);
        (age < REMEMBERED_FOR).then(|| refusal.reason.clone())
    }

    /// What a connection to a place finds out.
    pub(crate) fn note(&self, place: &str) -> Note {
        Note {
            refusals: self.clone(),
            place: place.to_owned(),
            is_taken: false,
        }
    }

    /// What is known of a place no longer holds.
    pub(crate) fn forget(&self, place: &str) {
        self.lock().remove(place);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Refusal>> {
        // Nothing panics while it is held, so a poisoned one guards a sound map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one connection finds out.
#[derive(Debug)]
pub(crate) struct Note {
    refusals: Refusals,
    place: String,
    is_taken: bool,
}

impl Note {
    /// The other end has refused it.
    pub(crate) fn refused(&self, reason: &io::Error) {
        let mut refusals = self.refusals.lock();
        if refusals.len() >= PLACES_MAX && !refusals.contains_key(&self.place) {
            refusals.pop_first();
        }
        let refusal = Refusal {
            reason: reason.to_string(),
            at: Instant::now(),
        };
        refusals.insert(self.place.clone(), refusal);
    }

    /// The other end has sent something.
    pub(crate) fn taken(&mut self) {
        if !self.is_taken {
            self.is_taken = true;
            self.refusals.forget(&self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(refusals: &Refusals, place: &str) {
        refusals.note(place).refused(&io::Error::other("no"));
    }

    #[test]
    fn refusal_holds_until_a_connection_to_the_same_place_is_taken() {
        let refusals = Refusals::default();
        refused(&refusals, "a:1");
        refusals.note("b:1").taken();
        assert_eq!(refusals.of("a:1").as_deref(), Some("no"));
        refusals.note("a:1").taken();
        assert_eq!(refusals.of("a:1"), None);
    }

    #[test]
    fn connection_that_was_taken_once_hides_no_later_refusal() {
        let refusals = Refusals::default();
        let mut long = refusals.note("a:1");
        long.taken();
        refused(&refusals, "a:1");
        long.taken();
        assert!(refusals.of("a:1").is_some());
    }

    #[test]
    fn old_refusal_explains_nothing() {
        let refusals = Refusals::default();
        let before = Instant::now();
        refused(&refusals, "a:1");
        assert!(refusals.of_at("a:1", before).is_some());
        let later = Instant::now() + REMEMBERED_FOR;
        assert_eq!(refusals.of_at("a:1", later), None);
    }

    #[test]
    fn places_are_bounded() {
        let refusals = Refusals::default();
        for port in 0..=PLACES_MAX {
            refused(&refusals, &format!("a:{port}"));
        }
        assert_eq!(refusals.lock().len(), PLACES_MAX);
    }
}
