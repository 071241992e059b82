//! When this node last heard from a leader, and what tells that the leader is gone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::{Duration, Instant};

/// The last message of a leader, and its term.
///
/// openraft goes on naming a leader until there is another one: with pre-votes, a node that is cut off
/// from the others keeps its term and its vote, and would name the dead one for ever.
#[derive(Debug, Default)]
pub(crate) struct Contact {
    state: Mutex<State>,
    /// The term of the leader whose stream of appends has ended last.
    ended: watch::Sender<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    last: Option<(u64, Instant)>,
    /// The term of a leader whose process has ended, as far as this node can tell.
    gone: Option<u64>,
}

impl Contact {
    /// A leader of `term` has sent something.
    pub(crate) fn heard(&self, term: u64) {
        self.heard_at(term, Instant::now());
    }

    fn heard_at(&self, term: u64, at: Instant) {
        let mut state = self.state();
        if state.last.is_none_or(|(known, _)| known <= term) {
            *state = State {
                last: Some((term, at)),
                gone: None,
            };
        }
    }

    /// Nobody listens any more where the leader of `term` was. Holds until it is heard after all.
    pub(crate) fn gone(&self, term: u64) {
        self.state().gone = Some(term);
    }

    /// Whether [`Contact::gone`] holds of the leader of `term`.
    pub(crate) fn is_gone(&self, term: u64) -> bool {
        self.state().gone == Some(term)
    }

    /// Whether the leader of `term` has sent something in the last `time`, and is not gone.
    pub(crate) fn is_recent(&self, term: u64, time: Duration) -> bool {
        let State { last, gone } = *self.state();
        let is_heard = last.is_some_and(|(known, at)| known == term && at.elapsed() <= time);
        is_heard && gone != Some(term)
    }

    /// A stream of appends that begins.
    pub(crate) fn stream(self: &Arc<Self>) -> AppendStream {
        AppendStream {
            contact: Arc::clone(self),
            term: None,
        }
    }

    /// The term of a leader, each time that its stream of appends has ended.
    pub(crate) fn ended(&self) -> watch::Receiver<u64> {
        self.ended.subscribe()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A leader's stream of appends, which lasts as long as it leads and has a connection. It is told when this is dropped,
/// so also when the connection breaks and nobody reads the stream any more.
pub(crate) struct AppendStream {
    contact: Arc<Contact>,
    term: Option<u64>,
}

impl AppendStream {
    /// As [`Contact::heard`], over this stream.
    pub(crate) fn heard(&mut self, term: u64) {
        self.contact.heard(term);
        self.term = Some(term);
    }
}

impl Drop for AppendStream {
    fn drop(&mut self) {
        let latest = self.contact.state().last.map(|(term, _)| term);
        if let Some(term) = self.term.filter(|term| latest == Some(*term)) {
            self.contact.ended.send_replace(term);
        }
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

    #[test]
    fn leader_that_is_gone_is_not_recent_until_it_is_heard_again() {
        let contact = Contact::default();
        contact.heard(1);
        contact.gone(1);
        assert!(contact.is_gone(1) && !contact.is_recent(1, TIME));
        contact.heard(1);
        assert!(!contact.is_gone(1) && contact.is_recent(1, TIME));
    }

    #[test]
    fn end_of_the_leaders_stream_is_told_and_that_of_an_earlier_one_is_not() {
        let contact = Arc::<Contact>::default();
        let mut ended = contact.ended();
        let (mut old, mut new) = (contact.stream(), contact.stream());
        old.heard(1);
        new.heard(2);
        drop(old);
        drop(contact.stream());
        assert!(!ended.has_changed().expect("the sender is there"));
        drop(new);
        assert!(ended.has_changed().expect("the sender is there"));
        assert_eq!(*ended.borrow_and_update(), 2);
    }
}
