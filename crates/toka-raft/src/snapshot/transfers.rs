//! Who is sent a copy of the ledger, and what of the log each of them still needs.
//!
//! A copy is of use only as long as the log that follows on it is there (openraft #1706), also after it has
//! arrived: the receiver has to catch up with what was written meanwhile.
//!
//! Invariants: a transfer that fails or is refused takes nothing from another one to the same node; nothing stays
//! for a node that cannot be reached.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Who has got a copy, and then takes nothing of the log for so long, is not waited for any more.
const STALL: Duration = Duration::from_secs(60);

/// Transfers from this node.
#[derive(Debug, Default)]
pub(crate) struct Transfers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next_number: u64,
    by_number: BTreeMap<u64, Transfer>,
}

#[derive(Debug)]
struct Transfer {
    receiver: u64,
    /// Last entry that the receiver has, or will have with the copy.
    after: u64,
    /// When it was sent, or the receiver has taken more of the log. Absent while it is being sent.
    moved: Option<Instant>,
}

impl Transfers {
    /// A copy that ends with entry `after` is sent to node `receiver` while the value lives.
    pub(super) fn begin(self: &Arc<Self>, receiver: u64, after: u64) -> Sending {
        let mut state = self.lock();
        let number = state.next_number;
        state.next_number += 1;
        let transfer = Transfer {
            receiver,
            after,
            moved: None,
        };
        state.by_number.insert(number, transfer);
        Sending {
            transfers: Arc::clone(self),
            number,
        }
    }

    /// How many are under way.
    pub(super) fn under_way(&self) -> usize {
        let state = self.lock();
        let transfers = state.by_number.values();
        transfers
            .filter(|transfer| transfer.moved.is_none())
            .count()
    }

    /// The entry after which the log has to stay, if it could be purged up to `upto` and receivers have
    /// `matched` of it so far. Who has caught up is forgotten.
    pub(crate) fn needed_after(
        &self,
        upto: u64,
        matched: impl Fn(u64) -> Option<u64>,
        now: Instant,
    ) -> Option<u64> {
        let mut state = self.lock();
        state.by_number.retain(|_, transfer| {
            let Some(moved) = &mut transfer.moved else {
                return true;
            };
            let has = matched(transfer.receiver).unwrap_or(0);
            if has > transfer.after {
                transfer.after = has;
                *moved = now;
            }
            transfer.after < upto && now.duration_since(*moved) <= STALL
        });
        let transfers = state.by_number.values();
        transfers.map(|transfer| transfer.after).min()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Transfers::begin`].
#[derive(Debug)]
pub(super) struct Sending {
    transfers: Arc<Transfers>,
    number: u64,
}

impl Sending {
    /// The copy turns out to end with entry `after`.
    pub(super) fn ends_with(&self, after: u64) {
        self.update(|transfer| transfer.after = after);
    }

    /// Nothing of the copy has reached the receiver: nothing has to stay for it.
    pub(super) fn forget(&self) {
        self.transfers.lock().by_number.remove(&self.number);
    }

    fn update(&self, update: impl FnOnce(&mut Transfer)) {
        let mut state = self.transfers.lock();
        state.by_number.get_mut(&self.number).map(update);
    }
}

impl Drop for Sending {
    /// Even if it has failed: it is tried again soon, and perhaps taken up where it ended.
    fn drop(&mut self) {
        self.update(|transfer| transfer.moved = Some(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_stays_until_the_receiver_has_caught_up_with_it() {
        let transfers = Arc::new(Transfers::default());
        let start = Instant::now();
        let needed = |upto, has: u64| transfers.needed_after(upto, |_| Some(has), start);
        assert_eq!(needed(100, 0), None);
        let sending = transfers.begin(3, 40);
        assert_eq!(transfers.under_way(), 1);
        assert_eq!(needed(100, 0), Some(40));
        drop(sending);
        assert_eq!(transfers.under_way(), 0);
        assert_eq!(needed(100, 0), Some(40), "it has arrived, no more");
        assert_eq!(needed(200, 90), Some(90));
        assert_eq!(needed(200, 199), Some(199));
        assert_eq!(needed(200, 200), None);
        assert_eq!(needed(300, 200), None, "it is like any other follower now");
    }

    #[test]
    fn receiver_that_takes_nothing_is_not_waited_for() {
        let transfers = Arc::new(Transfers::default());
        drop(transfers.begin(3, 40));
        let sent = Instant::now();
        let needed = |after: Duration, has| transfers.needed_after(100, |_| has, sent + after);
        assert_eq!(needed(STALL / 2, None), Some(40));
        assert_eq!(needed(STALL / 2, Some(50)), Some(50));
        assert_eq!(needed(STALL, Some(50)), Some(50), "it has moved since");
        assert_eq!(needed(STALL * 2, Some(50)), None);
    }

    #[test]
    fn nothing_stays_for_a_receiver_that_was_not_reached() {
        let transfers = Arc::new(Transfers::default());
        let first = transfers.begin(3, 40);
        let second = transfers.begin(3, 60);
        first.forget();
        drop(first);
        let needed = || transfers.needed_after(100, |_| None, Instant::now());
        assert_eq!((needed(), transfers.under_way()), (Some(60), 1));
        second.forget();
        assert_eq!((needed(), transfers.under_way()), (None, 0));
    }

    #[test]
    fn transfer_that_is_refused_takes_nothing_from_another_one() {
        let transfers = Arc::new(Transfers::default());
        let first = transfers.begin(3, 40);
        let second = transfers.begin(3, u64::MAX);
        assert_eq!(transfers.under_way(), 2);
        drop(second);
        let needed = || transfers.needed_after(100, |_| None, Instant::now());
        assert_eq!((needed(), transfers.under_way()), (Some(40), 1));
        first.ends_with(60);
        assert_eq!(needed(), Some(60));
    }
}
