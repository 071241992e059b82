//! Whether a node can serve, and why not: what readiness, health and metrics say.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use toka_raft::{Role, Status};
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

/// The node in Prometheus' text format. Names and meanings are part of the API (docs/operations.md).
pub(crate) fn metrics(shared: &Shared, readiness: &Readiness) -> String {
    let status = shared.replica.status();
    let mut text = String::new();
    for (name, kind, help, value) in values(shared, &status, readiness) {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"
        );
    }
    let _ = writeln!(
        text,
        "# HELP toka_node_info The node's identities; always 1.\n# TYPE toka_node_info gauge\n\
         toka_node_info{{node_id=\"{}\",cluster_id=\"{:032x}\",role=\"{}\",version=\"{}\"}} 1",
        status.node_id,
        status.cluster_id.unwrap_or(0),
        role(status.role),
        env!("CARGO_PKG_VERSION"),
    );
    text
}

type Value = (&'static str, &'static str, &'static str, u64);

fn values(shared: &Shared, status: &Status, readiness: &Readiness) -> [Value; 15] {
    let gates = &shared.gates;
    let count = |open: usize| u64::try_from(open).unwrap_or(u64::MAX);
    let leader_id = status.leader.as_ref().map_or(0, |leader| leader.node_id);
    let is_leader = u64::from(status.role == Role::Leader);
    let is_ready = u64::from(*readiness == Readiness::Ready);
    [
        (
            "toka_ready",
            "gauge",
            "1 if the node is ready to serve.",
            is_ready,
        ),
        (
            "toka_revision",
            "counter",
            "Commands applied.",
            status.position.revision,
        ),
        (
            "toka_sequence",
            "counter",
            "Sequence of the last event.",
            status.position.sequence,
        ),
        ("toka_raft_term", "counter", "Raft term.", status.term),
        (
            "toka_raft_is_leader",
            "gauge",
            "1 if the node leads.",
            is_leader,
        ),
        (
            "toka_raft_leader_id",
            "gauge",
            "Node id of the leader; 0: none known.",
            leader_id,
        ),
        (
            "toka_raft_last_log_index",
            "gauge",
            "Index of the last entry of the log.",
            status.last_log_index.unwrap_or(0),
        ),
        (
            "toka_raft_committed_log_index",
            "counter",
            "Index of the last entry known to be committed.",
            status.committed_index.unwrap_or(0),
        ),
        (
            "toka_raft_applied_log_index",
            "counter",
            "Index of the last applied entry.",
            status.applied_index.unwrap_or(0),
        ),
        (
            "toka_raft_snapshot_log_index",
            "gauge",
            "Index of the last entry in the newest snapshot; 0: none.",
            status.snapshot_index.unwrap_or(0),
        ),
        (
            "toka_raft_members",
            "gauge",
            "Members of the cluster.",
            count(status.members.len()),
        ),
        (
            "toka_ledger_disk_bytes",
            "gauge",
            "Bytes of the ledger on disk.",
            status.disk_bytes,
        ),
        (
            "toka_subscriptions_open",
            "gauge",
            "Open subscriptions.",
            count(gates.subscriptions.open()),
        ),
        (
            "toka_commit_streams_open",
            "gauge",
            "Open commit streams.",
            count(gates.commit_streams.open()),
        ),
        (
            "toka_commits_in_progress",
            "gauge",
            "Commits in progress outside of streams.",
            count(gates.commits.open()),
        ),
    ]
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Stopped => "stopped",
    }
}
