//! When this node last heard from a leader.

use std::sync::{Mutex, PoisonError};

use tokio::time::{Duration, Instant};

/// The last message of a leader, and its term.
///
/// openraft goes on naming a leader until there is another one: with pre-votes, a node that is cut off
/// from the others keeps its term and its vote, and would name the dead one for ever.
#[derive(Debug, Default)]
pub(crate) struct Contact {
    last: Mutex<Option<(u64, Instant)>>,
}

impl Contact {
    /// A leader of `term` has sent something.
    pub(crate) fn heard(&self, term: u64) {
        self.heard_at(term, Instant::now());
    }

    fn heard_at(&self, term: u64, at: Instant) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|(known, _)| known <= term) {
            *last = Some((term, at));
        }
    }

    /// Whether the leader of `term` has sent something in the last `time`.
    pub(crate) fn is_recent(&self, term: u64, time: Duration) -> bool {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|(known, at)| known == term && at.elapsed() <= time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(1);

    #[test]
    fn leader_that_is_silent_is_not_recent() {
        let contact = Contact::default();
        assert!(!contact.is_recent(1, TIME));
        let long_ago = Instant::now().checked_sub(2 * TIME);
        contact.heard_at(1, long_ago.expect("the machine runs for longer"));
        assert!(!contact.is_recent(1, TIME));
        contact.heard(1);
        assert!(contact.is_recent(1, TIME));
    }

    #[test]
    fn deposed_leader_does_not_count() {
        let contact = Contact::default();
        contact.heard(2);
        contact.heard(1);
        assert!(contact.is_recent(2, TIME));
        assert!(!contact.is_recent(1, TIME));
        assert!(!contact.is_recent(3, TIME));
    }
}
