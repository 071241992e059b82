//! How a node of a cluster is set up, and its limits.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use toka_ledger::EmbeddingModel;
use toka_ledger::command::FEATURE_LEVEL;
use toka_ledger::intent::Parameters;

use crate::error::StartError;
use crate::type_config::Member;

/// Bytes of one message between nodes: a read of the log, plus the largest entry.
pub const PEER_MESSAGE_BYTES_MAX: usize = 72 << 20;
/// Bytes of a chunk of a snapshot.
pub const SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;

/// What a [`Replica`](crate::Replica) needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node. Fixed for ever for a data directory; never given to another one.
    pub node_id: u64,
    /// The members that form the cluster at its first start, the same on each of them. Ignored once
    /// the cluster is formed. None on a node that has joined one.
    pub initial_members: BTreeMap<u64, Member>,
    /// Where this node is reached, for as long as no membership says so.
    pub advertised: Member,
    /// Where this node keeps everything.
    pub data_dir: PathBuf,
    /// What the vault is created with, if this node is its first leader.
    pub creation: Creation,
    /// Timing of heartbeats and elections.
    pub election: Election,
    /// When to make snapshots, and how much of the log to keep.
    pub compaction: Compaction,
    /// Bounds of the proposer.
    pub proposing: Proposing,
    /// A stream of appends whose oldest request has waited this long for its answer is given up.
    /// Long enough for a follower's slow disk, short enough not to pin the log (docs/openraft.md,
    /// section 8, point 5).
    pub append_timeout: Duration,
    /// A member that has not answered the leader for this long is unreachable: the leader says so, and
    /// raises an alarm.
    pub unreachable_after: Duration,
    /// Bytes that are kept free on the disk: with less, no commits are taken. Absent: 1 GiB, or a
    /// twentieth of a smaller disk.
    pub disk_reserve_bytes: Option<u64>,
    /// The highest feature level that this node says it knows: while it is below the build's, the vault is not
    /// raised beyond it, so that the build before can be started again.
    pub feature_level_max: u32,
    /// A Raft log whose syncs take this long on the average of ten seconds is alarmed on.
    pub slow_sync: Duration,
    /// How often this node compares its state with that of the others.
    pub state_check_interval: Duration,
    /// How everything that is stored is read, to find damage.
    pub scrub: Scrub,
    /// Where Raft's tasks run.
    pub runtime: RuntimeChoice,
}

impl Config {
    /// The defaults for node `node_id` with its data in `data_dir`.
    #[must_use]
    pub fn new(node_id: u64, data_dir: PathBuf, initial_members: BTreeMap<u64, Member>) -> Self {
        let advertised = initial_members.get(&node_id).cloned();
        Self {
            node_id,
            advertised: advertised.unwrap_or_default(),
            initial_members,
            data_dir,
            creation: Creation::default(),
            election: Election::default(),
            compaction: Compaction::default(),
            proposing: Proposing::default(),
            append_timeout: Duration::from_secs(3),
            unreachable_after: Duration::from_secs(10),
            disk_reserve_bytes: None,
            feature_level_max: FEATURE_LEVEL,
            slow_sync: Duration::from_millis(100),
            state_check_interval: Duration::from_secs(5),
            scrub: Scrub::default(),
            runtime: RuntimeChoice::own(),
        }
    }

    /// The highest feature level that this node says it knows.
    pub(crate) fn level_known(&self) -> u32 {
        self.feature_level_max.min(FEATURE_LEVEL)
    }

    /// openraft's configuration.
    pub(crate) fn raft(&self) -> Result<openraft::Config, StartError> {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let election = &self.election;
        let timeout_max = ms(election.timeout_max);
        let config = openraft::Config {
            cluster_name: "toka".to_owned(),
            heartbeat_interval: ms(election.heartbeat),
            election_timeout_min: ms(election.timeout_min),
            election_timeout_max: timeout_max,
            // Snapshots and purges are ours (compaction.rs): by bytes, and never during a transfer.
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            // A node cut off from some peers only must not go on calling itself leader for ever
            // (docs/openraft.md, section 8, point 8). At least lease + election timeout.
            quorum_loss_probe_interval: Some(2 * timeout_max),
            enable_pre_vote: Some(true),
            // Otherwise a restarted leader goes on without an election, with a ledger that may have
            // lost what was not flushed, and answers linearizable reads from it (section 4, point 6).
            enable_leader_restore: Some(false),
            // A wiped voter must not be taken back (section 6).
            allow_log_reversion: Some(false),
            // It would block the Raft task, heartbeats included. Batches form in the proposer.
            api_batch_linger_ms: 0,
            // If this channel is full the Raft task blocks (section 8, point 1). A command in it is
            // small, since the worker reads the entries from the log again.
            state_machine_channel_size: Some(65_536),
            backoff: "20ms 50ms 100ms 200ms ...500ms".to_owned(),
            ..openraft::Config::default()
        };
        config.validate().map_err(|source| StartError::Config {
            source: Box::new(source),
        })
    }
}

/// What is fixed for the life of a vault. The same on every initial member: the first leader decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Creation {
    /// Dimension of all embeddings; absent: the first embedded event's.
    pub dimension: Option<u16>,
    /// Model that makes the embeddings; absent: the first one that an embedded event names.
    pub model: Option<EmbeddingModel>,
    /// Settings of the intents.
    pub intents: Parameters,
}

/// Timing of heartbeats and elections. The defaults suit a local network: a new leader is there 0.65
/// to 0.8 s after the old one has fallen silent, and sooner if its process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Election {
    /// Time between heartbeats.
    pub heartbeat: Duration,
    /// Shortest random part of the wait before an election.
    pub timeout_min: Duration,
    /// Longest random part; also the time that a follower trusts a silent leader.
    pub timeout_max: Duration,
}

impl Default for Election {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            timeout_min: Duration::from_millis(250),
            timeout_max: Duration::from_millis(400),
        }
    }
}

/// When the ledger is flushed, a snapshot made and the log purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// The ledger is flushed after this many bytes of applied entries,
    pub flush_bytes: u64,
    /// or this long after the first one that is not flushed.
    pub flush_interval: Duration,
    /// A snapshot is made after this many bytes of entries since the last one,
    pub snapshot_log_bytes: u64,
    /// or this many entries.
    pub snapshot_log_entries: u64,
    /// Of the entries that a snapshot covers, at most this many bytes are kept,
    pub keep_log_bytes: u64,
    /// and at most this many entries. What is kept spares a follower that was away for a while the
    /// transfer of a snapshot; it should cover the write rate times the time of a transfer.
    pub keep_log_entries: u64,
}

impl Default for Compaction {
    fn default() -> Self {
        Self {
            flush_bytes: 32 << 20,
            flush_interval: Duration::from_secs(30),
            snapshot_log_bytes: 256 << 20,
            snapshot_log_entries: 200_000,
            keep_log_bytes: 256 << 20,
            keep_log_entries: 200_000,
        }
    }
}

/// How everything that is stored is read from time to time, to find damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrub {
    /// Time between two passes, also over restarts; the first one begins a tenth of it after the first start.
    /// Absent: there are none, unless another node finds damage in what this one sends.
    pub interval: Option<Duration>,
    /// Bytes that are read in a second; 0: as many as the disk gives.
    pub rate_bytes: u64,
}

impl Default for Scrub {
    fn default() -> Self {
        Self {
            interval: Some(Duration::from_secs(24 * 3_600)),
            rate_bytes: 16 << 20,
        }
    }
}

/// Bounds of the proposer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposing {
    /// Commits that wait for their entry or its result.
    pub queue_commits: usize,
    /// Encoded bytes of those commits.
    pub queue_bytes: usize,
    /// Commits of one entry.
    pub entry_commits: usize,
    /// Bytes after which an entry takes no further commit. One commit may be larger.
    pub entry_bytes: usize,
    /// Entries proposed and not applied yet.
    pub entries_in_flight: usize,
    /// With so many of them not committed yet, the next one is gathered until one is, unless the last one was full:
    /// group commit. At least 1.
    pub entries_uncommitted: usize,
    /// An entry that takes longer than this to be committed does not hold up the next one any more, so that on a long
    /// link, or with a slow disk, a commit does not wait for two round trips. Four times as long, if one was committed within
    /// this time in the last ten seconds: then it is load that holds entries up.
    pub gather_max: Duration,
    /// Entries that the ledger may lag behind the commit position before commits are refused.
    pub apply_lag_entries: u64,
    /// Longest wait for an entry's result; after it the commit's fate is unknown.
    pub timeout: Duration,
}

impl Default for Proposing {
    fn default() -> Self {
        Self {
            queue_commits: 16_384,
            queue_bytes: 64 << 20,
            entry_commits: 1_024,
            entry_bytes: 1 << 20,
            entries_in_flight: 8,
            // An entry costs each node some 50 us of processor time, and the disks a write and a sync, however few
            // commits it has. While one is on its way the next one grows; what is committed is applied meanwhile.
            entries_uncommitted: 1,
            gather_max: Duration::from_millis(5),
            apply_lag_entries: 4_096,
            timeout: Duration::from_secs(10),
        }
    }
}

/// Where Raft's tasks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// On threads of their own, which client requests cannot keep busy: a task that is runnable and
    /// does not run sends no heartbeat (docs/openraft.md, section 8, point 2).
    Own {
        /// Number of threads.
        threads: usize,
    },
    /// On the runtime that calls [`Replica::start_with`](crate::Replica::start_with), and blocking work
    /// inline: for a simulation, which has one thread.
    Current,
}

impl RuntimeChoice {
    /// As many threads of their own as suit this machine. Everything that blocks, the log and the ledger above all, has
    /// threads besides. Where two cores or fewer have it all to do, a second one would only be woken for what
    /// the first hands over: an entry passes a dozen tasks, and within one thread a task is handed over for nothing.
    #[must_use]
    pub fn own() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::Own {
            threads: if cores > 2 { 2 } else { 1 },
        }
    }
}
