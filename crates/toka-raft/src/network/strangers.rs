//! Members at whose addresses nodes of another cluster are, as after a recovery: they are asked ever more rarely.
//!
//! Nobody tells a member of a cluster that was recovered elsewhere, or whose machines were given to another one, and
//! it would go on asking for votes for ever.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// First and longest pause before a node that has refused this one as of another cluster is asked again. Short enough
/// for a member that comes back to its address.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Nodes of other clusters, by the id of the member that was at their address. At most one entry for each member that
/// this node has spoken to.
#[derive(Debug, Default)]
pub(crate) struct Strangers(Mutex<BTreeMap<u64, Stranger>>);

#[derive(Clone, Copy, Debug)]
struct Stranger {
    cluster_id: u128,
    pause: Duration,
    /// It is not asked before.
    until: Instant,
}

impl Strangers {
    /// At the address of member `node_id` is a node of the cluster `cluster_id`.
    pub(crate) fn found(&self, node_id: u64, cluster_id: u128) {
        if self.found_at(node_id, cluster_id, Instant::now()) {
            tracing::error!(
                node_id,
                cluster_id = format!("{cluster_id:032x}"),
                "a node of another cluster is at the address of this member; it is asked again now and then. If this \
                 node's cluster was recovered or restored as that one, stop this node, empty its data directory, and \
                 let it join that one"
            );
        }
    }

    /// The member itself has answered, or called.
    pub(crate) fn answered(&self, node_id: u64) {
        if self.lock().remove(&node_id).is_some() {
            tracing::info!(node_id, "a member is at its address again");
        }
    }

    /// The cluster of the node at the address of member `node_id`, while that is not to be asked.
    pub(crate) fn resting(&self, node_id: u64) -> Option<u128> {
        self.resting_at(node_id, Instant::now())
    }

    /// Whether it is at the address of member `node_id`, as far as is known.
    #[cfg(test)]
    pub(crate) fn knows(&self, node_id: u64) -> bool {
        self.lock().contains_key(&node_id)
    }

    fn resting_at(&self, node_id: u64, now: Instant) -> Option<u128> {
        let known = self.lock();
        let stranger = known.get(&node_id)?;
        (now < stranger.until).then_some(stranger.cluster_id)
    }

    /// Whether it is news.
    fn found_at(&self, node_id: u64, cluster_id: u128, now: Instant) -> bool {
        let mut known = self.lock();
        let before = known
            .get(&node_id)
            .filter(|stranger| stranger.cluster_id == cluster_id);
        let is_news = before.is_none();
        let pause = match before {
            // Asked before that by something else: the answer to another message.
            Some(stranger) if now < stranger.until => return false,
            Some(stranger) => (stranger.pause * 2).min(PAUSE_MAX),
            None => PAUSE_MIN,
        };
        let stranger = Stranger {
            cluster_id,
            pause,
            until: now + pause,
        };
        known.insert(node_id, stranger);
        is_news
    }

    // Nothing panics while the lock is held, so a poisoned one guards a sound map.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Stranger>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_of_another_cluster_is_news_once_and_asked_ever_more_rarely() {
        let (strangers, mut now) = (Strangers::default(), Instant::now());
        assert_eq!(strangers.resting_at(1, now), None);
        assert!(strangers.found_at(1, 7, now));
        for pause in [1, 2, 4, 8, 10, 10].map(Duration::from_secs) {
            assert!(!strangers.found_at(1, 7, now), "it was said");
            let before = pause - Duration::from_millis(1);
            assert_eq!(strangers.resting_at(1, now + before), Some(7));
            now += pause;
            assert_eq!(strangers.resting_at(1, now), None);
            assert!(!strangers.found_at(1, 7, now), "it was said");
        }
        assert_eq!(strangers.resting_at(2, now), None);
    }

    #[test]
    fn member_that_is_back_or_another_cluster_is_news_again() {
        let (strangers, now) = (Strangers::default(), Instant::now());
        assert!(strangers.found_at(1, 7, now));
        assert!(strangers.found_at(1, 8, now));
        strangers.answered(1);
        assert_eq!(strangers.resting_at(1, now), None);
        assert!(strangers.found_at(1, 8, now));
    }
}
