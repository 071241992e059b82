//! Groups whose consumers ask for events, on the leader.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use toka_ledger::GroupName;
use tokio::sync::{Mutex as AsyncMutex, watch};

/// Those of a node. There is one for each group that somebody asks at the moment, so that there are no more than
/// calls.
#[derive(Debug, Default)]
pub(crate) struct Dispatchers(Mutex<BTreeMap<GroupName, Arc<Dispatcher>>>);

/// What the calls for one group share.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    /// Whoever plans a delivery, until it is made: two plans at once would be the same, and one of them for nothing.
    pub(crate) turn: AsyncMutex<()>,
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
        // This one and the map's: nobody else can get at it while the map is locked.
        if Arc::strong_count(&self.dispatcher) <= 2 {
            dispatchers.remove(&self.group);
        }
    }
}

impl Dispatchers {
    /// Joins those who ask for events of a group.
    pub(crate) fn enter(&self, group: &GroupName) -> Entered<'_> {
        let dispatcher = Arc::clone(self.lock().entry(group.clone()).or_default());
        Entered {
            dispatchers: self,
            group: group.clone(),
            dispatcher,
        }
    }

    /// Tells those who wait that something was done to the group.
    pub(crate) fn changed(&self, group: &GroupName) {
        if let Some(dispatcher) = self.lock().get(group) {
            dispatcher.changes.send_modify(|count| *count += 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<GroupName, Arc<Dispatcher>>> {
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
}
