//! How far the open subscriptions are, for metrics.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use toka_raft::meters::Gauge;

/// The positions of the open subscriptions. Each sets its own without a lock.
#[derive(Debug, Default)]
pub(crate) struct Positions(Mutex<Vec<Weak<Gauge>>>);

impl Positions {
    /// Of one more, which is at `sequence`, for as long as it keeps what is returned.
    pub(super) fn begin(&self, sequence: u64) -> Arc<Gauge> {
        let position = Arc::new(Gauge::default());
        position.set(sequence);
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() == open.capacity() {
            open.retain(|one| one.strong_count() > 0);
        }
        open.push(Arc::downgrade(&position));
        position
    }

    /// Those of all that are open.
    pub(crate) fn all(&self) -> Vec<u64> {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.iter().filter_map(Weak::upgrade);
        open.map(|one| one.get()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_that_has_ended_has_no_position() {
        let positions = Positions::default();
        let first = positions.begin(3);
        let second = positions.begin(5);
        first.set(4);
        assert_eq!(positions.all(), [4, 5]);
        drop(second);
        assert_eq!(positions.all(), [4]);
    }
}
