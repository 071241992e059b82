//! Groups whose consumers ask for events, on the leader.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use toka_ledger::GroupName;
use toka_ledger::group::NotDue;
use tokio::sync::{Mutex as AsyncMutex, watch};

/// Those of a node. There is one for each group that somebody asks at the moment, so that there are no more than
/// calls.
#[derive(Debug, Default)]
pub(crate) struct Dispatchers(Mutex<BTreeMap<GroupName, Shared>>);

/// A dispatcher, and how many calls have it.
#[derive(Debug, Default)]
struct Shared {
    dispatcher: Arc<Dispatcher>,
    calls: usize,
}

/// Whoever has it plans a delivery, until it is made.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    term: u64,
    not_due: Option<NotDue>,
}

impl Turn {
    /// What the last delivery of this node's term `term` has left: other leaders have made deliveries since an earlier
    /// one. It is gone then, until [`Turn::keep`].
    pub(crate) fn take(&mut self, term: u64) -> Option<NotDue> {
        let known = self.not_due.take().filter(|_| self.term == term);
        self.term = term;
        known
    }

    /// For the next one whose turn it is.
    pub(crate) fn keep(&mut self, not_due: Option<NotDue>) {
        self.not_due = not_due;
    }
}

/// What the calls for one group share.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    /// Of whoever plans a delivery, until it is made: two plans at once would be the same, and one of them for nothing.
    pub(crate) turn: AsyncMutex<Turn>,
    /// Whoever watches the vault. Those who wait behind it are not woken by what is only enough for one.
    pub(crate) watch: AsyncMutex<()>,
    changes: watch::Sender<u64>,
}

impl Default for Dispatcher {
    fn default() -> Self {
        Self {
            turn: AsyncMutex::default(),
            watch: AsyncMutex::default(),
            changes: watch::Sender::new(0),
        }
    }
}

impl Dispatcher {
    /// Follows what this node does to the group beside deliveries.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// A call for a group.
#[derive(Debug)]
pub(crate) struct Entered<'a> {
    dispatchers: &'a Dispatchers,
    group: GroupName,
    dispatcher: Arc<Dispatcher>,
}

impl std::ops::Deref for Entered<'_> {
    type Target = Dispatcher;

    fn deref(&self) -> &Dispatcher {
        &self.dispatcher
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut dispatchers = self.dispatchers.lock();
        // Counted under the lock: of two calls that end at once the later one is the last.
        if let Some(shared) = dispatchers.get_mut(&self.group) {
            shared.calls -= 1;
            if shared.calls == 0 {
                dispatchers.remove(&self.group);
            }
        }
    }
}

impl Dispatchers {
    /// Joins those who ask for events of a group.
    pub(crate) fn enter(&self, group: &GroupName) -> Entered<'_> {
        let mut dispatchers = self.lock();
        let shared = dispatchers.entry(group.clone()).or_default();
        shared.calls += 1;
        let dispatcher = Arc::clone(&shared.dispatcher);
        Entered {
            dispatchers: self,
            group: group.clone(),
            dispatcher,
        }
    }

    /// Tells those who wait that something was done to the group.
    pub(crate) fn changed(&self, group: &GroupName) {
        if let Some(shared) = self.lock().get(group) {
            shared.dispatcher.changes.send_modify(|count| *count += 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<GroupName, Shared>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dispatcher_is_there_as_long_as_somebody_asks() {
        let dispatchers = Dispatchers::default();
        let group = GroupName::new("work").expect("valid");
        let first = dispatchers.enter(&group);
        let second = dispatchers.enter(&group);
        assert!(Arc::ptr_eq(&first.dispatcher, &second.dispatcher));
        drop(first);
        assert_eq!(dispatchers.lock().len(), 1);
        let changes = second.changes();
        dispatchers.changed(&group);
        assert!(changes.has_changed().expect("the sender is there"));
        drop(second);
        assert!(dispatchers.lock().is_empty());
        dispatchers.changed(&group);
    }

    /// Each has its share of the dispatcher when the other one is counted.
    #[test]
    fn dispatcher_is_gone_also_if_somebody_else_has_a_share_of_it() {
        let dispatchers = Dispatchers::default();
        let entered = dispatchers.enter(&GroupName::new("work").expect("valid"));
        let share = Arc::clone(&entered.dispatcher);
        drop(entered);
        assert!(dispatchers.lock().is_empty());
        drop(share);
    }

    #[test]
    fn what_is_due_is_known_for_a_term_and_until_it_is_taken() {
        let known = NotDue {
            incarnation: 1,
            version: 2,
            before_unix_ms: 3,
        };
        let mut turn = Turn::default();
        assert_eq!(turn.take(1), None);
        turn.keep(Some(known));
        assert_eq!(turn.take(1), Some(known));
        assert_eq!(turn.take(1), None);
        turn.keep(Some(known));
        assert_eq!(turn.take(2), None);
    }
}
