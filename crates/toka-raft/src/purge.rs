//! How far the log is to be purged, between whoever decides it and whoever sends what is before that.
//!
//! openraft purges all that it is told or, as long as a stream still has to deliver some of it, nothing. So it is
//! told no more than can go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shared by both.
#[derive(Debug, Default)]
pub(crate) struct Purge {
    /// Last entry that goes unless a follower that moves is being sent it.
    upto: AtomicU64,
    /// Last entry that goes whether or not it is.
    at_once: AtomicU64,
    streams: Mutex<Streams>,
}

#[derive(Debug, Default)]
struct Streams {
    next: u64,
    /// Of each stream with requests under way, the entry before those that are.
    unanswered: BTreeMap<u64, u64>,
}

impl Purge {
    /// Last entry that goes, unless a follower that moves is being sent it.
    pub(crate) fn upto(&self) -> u64 {
        self.upto.load(Ordering::Relaxed)
    }

    /// Last entry that goes, whether or not a follower is being sent it.
    pub(crate) fn at_once(&self) -> u64 {
        self.at_once.load(Ordering::Relaxed)
    }

    /// Decides. Returns the last entry that can go now: of what follows, streams that may go on send some.
    pub(crate) fn set(&self, upto: u64, at_once: u64) -> u64 {
        let at_once = at_once.min(upto);
        self.upto.store(upto, Ordering::Relaxed);
        self.at_once.store(at_once, Ordering::Relaxed);
        let streams = self.streams();
        let may_go_on = streams
            .unanswered
            .values()
            .filter(|after| **after >= at_once);
        may_go_on.min().map_or(upto, |after| upto.min(*after))
    }

    /// A stream to a follower.
    pub(crate) fn stream(self: &Arc<Self>) -> StreamMark {
        let mut streams = self.streams();
        let number = streams.next;
        streams.next += 1;
        StreamMark {
            purge: Arc::clone(self),
            number,
        }
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a stream has under way; nothing once it is dropped.
#[derive(Debug)]
pub(crate) struct StreamMark {
    purge: Arc<Purge>,
    number: u64,
}

impl StreamMark {
    /// The entry before those that have no answer yet, if there are any.
    pub(crate) fn set(&self, unanswered_after: Option<u64>) {
        let unanswered = &mut self.purge.streams().unanswered;
        match unanswered_after {
            Some(after) => unanswered.insert(self.number, after),
            None => unanswered.remove(&self.number),
        };
    }
}

impl Drop for StreamMark {
    fn drop(&mut self) {
        self.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stream_that_may_go_on_sends_does_not_go() {
        let purge = Arc::new(Purge::default());
        assert_eq!(purge.set(100, 50), 100);
        let (moving, slow) = (purge.stream(), purge.stream());
        moving.set(Some(70));
        assert_eq!(purge.set(100, 50), 70);
        assert_eq!((purge.upto(), purge.at_once()), (100, 50));
        slow.set(Some(40));
        assert_eq!(purge.set(100, 50), 70, "it is given up for that");
        moving.set(Some(90));
        assert_eq!(purge.set(100, 50), 90);
        moving.set(None);
        assert_eq!(purge.set(100, 50), 100);
        moving.set(Some(60));
        drop(moving);
        assert_eq!(purge.set(100, 120), 100);
        assert_eq!(purge.at_once(), 100);
    }
}
