//! Waiting for nodes, wherever they run.

use std::time::Duration;

use toka_raft::Replica;
use tokio::time::Instant;

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const POLL: Duration = Duration::from_millis(10);

pub(crate) fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// Waits for `condition`.
pub(crate) async fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let until = deadline();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < until, "no {what} within {PATIENCE:?}");
        tokio::time::sleep(POLL).await;
    }
}

/// The leader, once all of `ids` agree on one of them; `replica` has the node of an id.
pub(crate) async fn leader_among<'r>(ids: &[u64], replica: impl Fn(u64) -> &'r Replica) -> u64 {
    let agreed = || {
        let known = |id: &u64| replica(*id).leader().map(|leader| leader.node_id);
        let first = known(&ids[0]).filter(|id| ids.contains(id))?;
        ids.iter()
            .all(|id| known(id) == Some(first))
            .then_some(first)
    };
    eventually("a leader", agreed).await
}
