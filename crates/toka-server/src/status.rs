//! Whether a node can serve, and why not: what readiness, health and metrics say.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::api::Shared;

/// Committed entries that a node may have left to apply and still be called ready.
const LAG_ENTRIES_MAX: u64 = 1_000;
/// How often readiness is looked at where nothing tells of a change.
const INTERVAL: Duration = Duration::from_millis(250);

/// Whether a node can serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Its stores are being opened.
    Starting,
    /// Its cluster has not formed.
    Forming,
    /// It applies again what it had before it was stopped.
    Recovering,
    /// It knows of no leader.
    NoLeader,
    /// It has this many committed entries left to apply.
    Behind(u64),
    /// It can.
    Ready,
    /// It is being stopped.
    Stopping,
    /// It must stop.
    Failed(String),
}

impl Readiness {
    pub(crate) fn of(shared: &Shared) -> Self {
        let status = shared.replica.status();
        if let Some(failure) = status.failure {
            return Self::Failed(failure);
        }
        if shared.draining.is_cancelled() {
            return Self::Stopping;
        }
        if status.cluster_id.is_none() {
            return Self::Forming;
        }
        if !shared.is_serving() {
            // Before the first leader there is nothing to recover.
            return if status.leader.is_some() {
                Self::Recovering
            } else {
                Self::NoLeader
            };
        }
        if status.leader.is_none() {
            return Self::NoLeader;
        }
        let applied = status.applied_index.unwrap_or(0);
        let lag = status.committed_index.unwrap_or(0).saturating_sub(applied);
        if lag > LAG_ENTRIES_MAX {
            Self::Behind(lag)
        } else {
            Self::Ready
        }
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting: the stores are being opened"),
            Self::Forming => {
                f.write_str("forming: waiting until every initial member is reachable")
            }
            Self::Recovering => f.write_str("recovering: applying what was committed before"),
            Self::NoLeader => f.write_str("no leader: an election is under way"),
            Self::Behind(entries) => write!(f, "behind: {entries} committed entries to apply"),
            Self::Ready => f.write_str("ready"),
            Self::Stopping => f.write_str("stopping"),
            Self::Failed(failure) => write!(f, "failed: {failure}"),
        }
    }
}

/// Keeps `readiness` up to date, for ever.
pub(crate) async fn follow(shared: Arc<Shared>, readiness: watch::Sender<Readiness>) {
    let mut leader = shared.replica.leader_watch();
    loop {
        let now = Readiness::of(&shared);
        readiness.send_if_modified(|known| {
            let changed = *known != now;
            if changed {
                tracing::info!(readiness = %now, "readiness");
                *known = now;
            }
            changed
        });
        // A leader watch that is closed changes at once, for ever: the pause bounds that too.
        let pause = tokio::time::sleep(INTERVAL);
        if leader.has_changed().is_ok() {
            tokio::select! {
                _ = leader.changed() => {}
                () = pause => {}
            }
        } else {
            pause.await;
        }
    }
}
