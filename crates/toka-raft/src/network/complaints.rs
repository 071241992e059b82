//! Saying now and then what would otherwise be said with every heartbeat.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Between two complaints about one peer.
const INTERVAL: Duration = Duration::from_secs(30);

/// What this node had to complain about in each peer. At most one entry for each id that it has spoken to.
#[derive(Debug, Default)]
pub(crate) struct Complaints(Mutex<BTreeMap<u64, Reasons>>);

/// Reasons to complain that came one after the other.
#[derive(Clone, Copy, Debug)]
struct Reasons {
    first: Instant,
    last: Instant,
    /// When it was said last.
    said: Instant,
}

impl Complaints {
    /// If it is time to complain about `peer`: for how long there have been reasons to. The next time is a
    /// while later.
    pub(super) fn due(&self, peer: u64) -> Option<Duration> {
        self.due_at(peer, Instant::now())
    }

    fn due_at(&self, peer: u64, now: Instant) -> Option<Duration> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = Reasons {
            first: now,
            last: now,
            said: now,
        };
        let Some(reasons) = known.get_mut(&peer) else {
            known.insert(peer, new);
            return Some(Duration::ZERO);
        };
        if now.duration_since(reasons.last) >= INTERVAL {
            // All was well meanwhile.
            *reasons = new;
            return Some(Duration::ZERO);
        }
        reasons.last = now;
        if now.duration_since(reasons.said) < INTERVAL {
            return None;
        }
        reasons.said = now;
        Some(now.duration_since(reasons.first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_is_complained_about_now_and_then() {
        let (complaints, start) = (Complaints::default(), Instant::now());
        let none = Some(Duration::ZERO);
        assert_eq!(complaints.due_at(1, start), none);
        assert_eq!(complaints.due_at(1, start + INTERVAL / 2), None);
        assert_eq!(complaints.due_at(2, start + INTERVAL / 2), none);
        assert_eq!(complaints.due_at(1, start + INTERVAL), Some(INTERVAL));
        // It has accepted this node for a while.
        assert_eq!(complaints.due_at(1, start + 3 * INTERVAL), none);
    }
}
