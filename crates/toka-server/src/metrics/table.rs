//! Every metric that a node has. Names, types and labels are a part of the API; docs/metrics.md has the same table.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows, and begins anew at a restart.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Times, by fixed bounds.
    Histogram,
}

impl Kind {
    /// As Prometheus has it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// What it counts; empty: nothing, it is 0 or 1, or a number that stands for itself.
    pub(super) unit: &'static str,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

/// A line is: constant, type, name, unit, labels, and what it is.
macro_rules! metrics {
    ($($metric:ident: $kind:ident $name:literal $unit:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) static $metric: Metric = Metric {
            name: $name,
            kind: Kind::$kind,
            unit: $unit,
            labels: &[$($label),*],
            help: $help,
        };)*

        /// All of them, in the order in which they are written.
        pub(super) static ALL: &[&Metric] = &[$(&$metric),*];
    };
}

metrics! {
    READY: Gauge "toka_ready" "" []
        "1 if the node is ready to serve.";
    NODE_INFO: Gauge "toka_node_info" "" ["node_id", "cluster_id", "role", "version"]
        "The node's identities; always 1.";
    BUILD_INFO: Gauge "toka_build_info" "" ["version", "feature_level"]
        "The build, and the highest feature level that it knows; always 1.";
    REVISION: Gauge "toka_revision" "commands" []
        "Commands that were applied to the vault.";
    SEQUENCE: Gauge "toka_sequence" "events" []
        "Sequence of the last event.";
    ALARMS: Gauge "toka_alarms" "" []
        "Alarms that need an operator (`toka cluster status`); complete on the leader only.";
    ALARM: Gauge "toka_alarm" "" ["kind"]
        "Alarms of each kind; complete on the leader only.";

    COMMITS: Counter "toka_commits_total" "commits" []
        "Commits that this node has acknowledged while it led, those found as applied before included.";
    COMMITTED_EVENTS: Counter "toka_committed_events_total" "events" []
        "Events of the commits that this node has acknowledged.";
    COMMANDS_REJECTED: Counter "toka_commands_rejected_total" "commands" []
        "Commands that the vault refused, such as commits with unknown parents or preconditions that do not hold.";
    COMMANDS_FAILED: Counter "toka_commands_failed_total" "proposals" ["reason"]
        "Proposals without an outcome; nothing was acknowledged. `abandoned`: the caller waited no longer.";
    COMMIT_SECONDS: Histogram "toka_commit_duration_seconds" "seconds" []
        "From a command's arrival at the leader's queue to its outcome.";
    STAGE_SECONDS: Histogram "toka_commit_stage_duration_seconds" "seconds" ["stage"]
        "Stages of a commit: `queue` and `replicate` on the leader, `log` and `apply` on every node.";

    RAFT_TERM: Gauge "toka_raft_term" "" []
        "Raft term; it grows with each election.";
    RAFT_IS_LEADER: Gauge "toka_raft_is_leader" "" []
        "1 if the node leads.";
    RAFT_LEADER_ID: Gauge "toka_raft_leader_id" "" []
        "Node id of the leader; 0: none known.";
    RAFT_LEADER_CHANGES: Counter "toka_raft_leader_changes_total" "changes" []
        "How often the node has come to know of a leader, the first one after its start included.";
    RAFT_MEMBERS: Gauge "toka_raft_members" "nodes" []
        "Members of the cluster.";
    RAFT_VOTERS: Gauge "toka_raft_voters" "nodes" []
        "Members that vote.";
    RAFT_LEARNERS: Gauge "toka_raft_learners" "nodes" []
        "Members that do not vote.";
    RAFT_UNREACHABLE: Gauge "toka_raft_members_unreachable" "nodes" []
        "Members that do not answer the leader; known on the leader only.";
    RAFT_VOTERS_UNREACHABLE: Gauge "toka_raft_voters_unreachable" "nodes" []
        "Those of them that vote.";
    RAFT_JOINT: Gauge "toka_raft_joint" "" []
        "1 while the configuration is joint.";
    RAFT_LAST_LOG_INDEX: Gauge "toka_raft_last_log_index" "entries" []
        "Last entry of the log.";
    RAFT_COMMITTED_LOG_INDEX: Gauge "toka_raft_committed_log_index" "entries" []
        "Last committed entry.";
    RAFT_APPLIED_LOG_INDEX: Gauge "toka_raft_applied_log_index" "entries" []
        "Last applied entry.";
    RAFT_SNAPSHOT_LOG_INDEX: Gauge "toka_raft_snapshot_log_index" "entries" []
        "Last entry in the newest snapshot; 0: there is none.";
    RAFT_APPLY_LAG: Gauge "toka_raft_apply_lag_entries" "entries" []
        "Entries that the node knows to be committed and has not applied.";
    RAFT_APPLIED: Counter "toka_raft_applied_entries_total" "entries" []
        "Entries that were applied since the node was started.";
    MEMBER_LAG: Gauge "toka_raft_member_lag_entries" "entries" ["node_id"]
        "Entries of the leader's log that a member is not known to have; on the leader only.";
    MEMBER_ROUND_TRIP: Gauge "toka_raft_member_round_trip_seconds" "seconds" ["node_id"]
        "How long a member's last answer took; on the leader only.";
    MEMBER_CLOCK: Gauge "toka_raft_member_clock_offset_seconds" "seconds" ["node_id"]
        "How far a member's clock is ahead of the leader's; on the leader only.";

    SNAPSHOT_SECONDS: Histogram "toka_snapshot_duration_seconds" "seconds" []
        "Snapshots that were made: how long that took.";
    SNAPSHOTS_INSTALLED: Counter "toka_snapshots_installed_total" "snapshots" []
        "Snapshots of other nodes that took the place of the ledger.";
    BACKUP_END: Gauge "toka_backup_last_end_seconds" "unix seconds" []
        "When this node has last sent a backup to its end; 0: not since it was started.";
    SCRUB_RUNNING: Gauge "toka_scrub_running" "" []
        "1 while everything that is stored is read, to find damage.";
    SCRUB_PASSES: Counter "toka_scrub_passes_total" "passes" []
        "Passes that came to their end.";
    SCRUB_BYTES: Counter "toka_scrub_bytes_total" "bytes" []
        "Bytes that were read.";
    SCRUB_LAST_END: Gauge "toka_scrub_last_end_seconds" "unix seconds" []
        "When the last pass came to its end, also before a restart; 0: none has.";
    SCRUB_LAST_DURATION: Gauge "toka_scrub_last_duration_seconds" "seconds" []
        "How long the last pass took.";
    SCRUB_REBUILT: Counter "toka_scrub_snapshots_rebuilt_total" "snapshots" []
        "Damaged snapshots that were found, and made anew.";

    DISK_FREE: Gauge "toka_disk_free_bytes" "bytes" []
        "Bytes that are free on the disk of the data directory.";
    DISK_SIZE: Gauge "toka_disk_size_bytes" "bytes" []
        "Bytes that this disk has.";
    DISK_RESERVE: Gauge "toka_disk_reserve_bytes" "bytes" []
        "Bytes that are kept free: with less the node takes no commits.";
    LEDGER_DISK: Gauge "toka_ledger_disk_bytes" "bytes" []
        "Bytes of the ledger on disk, without the Raft log and snapshots.";
    STORAGE_RESPONSIVE: Gauge "toka_storage_responsive" "" []
        "1 if storage, intents, groups and cursors could be measured in 2 seconds; 0: there is nothing of them.";
    CACHE: Gauge "toka_rocksdb_block_cache_bytes" "bytes" []
        "Bytes of the block cache that are used.";
    CACHE_PINNED: Gauge "toka_rocksdb_block_cache_pinned_bytes" "bytes" []
        "Bytes of the block cache that cannot be given up at the moment.";
    CACHE_CAPACITY: Gauge "toka_rocksdb_block_cache_capacity_bytes" "bytes" []
        "Bytes that the block cache may have (`cache_bytes`).";
    CACHE_HITS: Counter "toka_rocksdb_block_cache_hits_total" "blocks" []
        "Blocks that were found in the block cache.";
    CACHE_MISSES: Counter "toka_rocksdb_block_cache_misses_total" "blocks" []
        "Blocks that had to be read.";
    MEMTABLE: Gauge "toka_rocksdb_memtable_bytes" "bytes" []
        "Bytes of the memory tables.";
    MEMTABLES_IMMUTABLE: Gauge "toka_rocksdb_memtables_immutable" "tables" []
        "Memory tables that are full and wait to be flushed.";
    FILES: Gauge "toka_rocksdb_files" "files" []
        "Table files.";
    FILE_BYTES: Gauge "toka_rocksdb_file_bytes" "bytes" []
        "Bytes of the table files.";
    FLUSHES_RUNNING: Gauge "toka_rocksdb_flushes_running" "flushes" []
        "Flushes under way.";
    COMPACTIONS_RUNNING: Gauge "toka_rocksdb_compactions_running" "compactions" []
        "Compactions under way.";
    COMPACTIONS_PENDING: Gauge "toka_rocksdb_compactions_pending" "tables" []
        "Tables that wait for a compaction.";
    COMPACTION_PENDING: Gauge "toka_rocksdb_compaction_pending_bytes" "bytes" []
        "About how many bytes compactions have left to rewrite.";
    WRITE_STOPPED: Gauge "toka_rocksdb_write_stopped" "" []
        "1 while writes wait until flushes or compactions have caught up.";
    STALLED: Counter "toka_rocksdb_stall_seconds_total" "seconds" []
        "How long writes have waited for flushes and compactions.";
    BACKGROUND_ERRORS: Counter "toka_rocksdb_background_errors_total" "errors" []
        "Flushes and compactions that have failed.";
    WRITTEN: Counter "toka_rocksdb_written_bytes_total" "bytes" []
        "Bytes that were written to memory tables.";
    FLUSHED: Counter "toka_rocksdb_flushed_bytes_total" "bytes" []
        "Bytes that flushes have written.";
    COMPACTED: Counter "toka_rocksdb_compacted_bytes_total" "bytes" []
        "Bytes that compactions have written.";
    COMPACTION_READ: Counter "toka_rocksdb_compaction_read_bytes_total" "bytes" []
        "Bytes that compactions have read.";

    INTENTS: Gauge "toka_intents" "intents" []
        "Intents, tentative ones included.";
    MICRO_CLUSTERS: Gauge "toka_micro_clusters" "clusters" []
        "Micro-clusters of the intents.";
    INTENTS_TABLE: Gauge "toka_intents_table_bytes" "bytes" []
        "Memory of the table that every embedded event is compared with.";
    INTENTS_OTHER: Gauge "toka_intents_other_bytes" "bytes" []
        "Memory of all else that the intents need.";

    CONNECTIONS: Gauge "toka_connections_open" "connections" []
        "Open connections of clients.";
    SUBSCRIPTIONS: Gauge "toka_subscriptions_open" "subscriptions" []
        "Open subscriptions.";
    SUBSCRIPTION_LAG: Gauge "toka_subscription_lag" "events" []
        "Events between the last one and those that subscriptions were sent, all together; they need not want them.";
    SUBSCRIPTION_LAG_MAX: Gauge "toka_subscription_lag_max" "events" []
        "The same of the subscription that is furthest behind.";
    EVENTS_SENT: Counter "toka_subscription_events_sent_total" "events" []
        "Events that were read for subscriptions, each time they were.";
    EVENTS_ENCODED: Counter "toka_subscription_events_encoded_total" "events" []
        "Events encoded for subscriptions: each once for all that want the same of it.";
    TRACE_SPANS_DROPPED: Counter "toka_trace_spans_dropped_total" "spans" []
        "Spans that were made and not exported: their queue was full, or the collector did not take them.";
    COMMIT_STREAMS: Gauge "toka_commit_streams_open" "streams" []
        "Open commit streams.";
    COMMITS_IN_PROGRESS: Gauge "toka_commits_in_progress" "commits" []
        "Commits under way, without streams.";
    BACKUPS: Gauge "toka_backups_open" "copies" []
        "Copies for backups that are being sent.";
    WALKS: Gauge "toka_walks_open" "walks" []
        "Walks through the graph of events.";
    VERIFICATIONS: Gauge "toka_verifications_open" "checks" []
        "Checks of everything that the node has.";
    PULLS: Gauge "toka_pulls_open" "calls" []
        "Consumers that wait for events of their groups, those whose calls were forwarded included.";
    LIMIT_USED: Gauge "toka_limit_used" "" ["limit"]
        "What is open of what is limited.";
    LIMIT_MAX: Gauge "toka_limit_max" "" ["limit"]
        "What may be open at the same time.";
    LIMIT_REFUSALS: Counter "toka_limit_refusals_total" "refusals" ["limit"]
        "What was refused as the limit was reached.";

    GRPC_CALLS: Counter "toka_grpc_calls_total" "calls" ["method", "code"]
        "Calls of clients that have ended, those forwarded by other nodes included. `CANCELLED`: the caller went away.";
    GRPC_SECONDS: Histogram "toka_grpc_call_duration_seconds" "seconds" ["method"]
        "How long calls took, to the last byte of the answer: those that stream last as long as they are open.";
    GRPC_IN_FLIGHT: Gauge "toka_grpc_calls_in_flight" "calls" ["method"]
        "Calls under way.";
    DENIED_CALLS: Counter "toka_denied_calls_total" "calls" ["credential"]
        "Calls that were denied, and what was denied in streams, by what the caller has shown; `anonymous`: nothing that counts.";
    THROTTLED_CALLS: Counter "toka_throttled_calls_total" "calls" ["limit"]
        "Calls that were refused as their principal, or their address, has come to a limit of its own; streams that wait are not among them.";

    TLS_NOT_AFTER: Gauge "toka_tls_certificate_not_after_seconds" "unix seconds" []
        "When the first of the node's certificates ends; of a node with TLS.";
    TLS_RELOAD_FAILURES: Gauge "toka_tls_reload_failures" "files" []
        "Files with certificates that have changed and cannot be used; of a node with TLS.";
    TLS_REFUSED: Counter "toka_tls_refused_connections_total" "connections" []
        "Callers who were refused in the handshake; of a node with TLS.";

    GROUPS: Gauge "toka_groups" "groups" []
        "Consumer groups.";
    GROUPS_OUTSTANDING: Gauge "toka_group_outstanding" "events" []
        "Events that consumer groups have outstanding, all together.";
    GROUPS_PARKED: Gauge "toka_group_parked" "events" []
        "Events that consumer groups have put aside, all together.";
    GROUPS_LAG: Gauge "toka_group_lag" "events" []
        "Events behind the positions of the consumer groups, all together; they need not want them.";
    GROUPS_LAG_MAX: Gauge "toka_group_lag_max" "events" []
        "Events behind the position of the consumer group that is furthest behind.";
    GROUP_OUTSTANDING: Gauge "toka_consumer_group_outstanding" "events" ["group"]
        "Events that a consumer group has outstanding.";
    GROUP_PARKED: Gauge "toka_consumer_group_parked" "events" ["group"]
        "Events that a consumer group has put aside.";
    GROUP_LAG: Gauge "toka_consumer_group_lag" "events" ["group"]
        "Events behind the position of a consumer group; it need not want them.";
    CURSOR_LAG: Gauge "toka_cursor_lag" "events" ["cursor"]
        "Events behind a cursor.";

    CPU: Counter "toka_process_cpu_seconds_total" "seconds" []
        "User and system time of the process.";
    RESIDENT: Gauge "toka_process_resident_memory_bytes" "bytes" []
        "Memory that the process holds.";
    VIRTUAL: Gauge "toka_process_virtual_memory_bytes" "bytes" []
        "Address space of the process.";
    OPEN_FILES: Gauge "toka_process_open_files" "files" []
        "Open files and sockets of the process.";
    OPEN_FILES_MAX: Gauge "toka_process_open_files_max" "files" []
        "Files and sockets that it may have open.";
    THREADS: Gauge "toka_process_threads" "threads" []
        "Threads of the process.";
    START: Gauge "toka_process_start_time_seconds" "unix seconds" []
        "When the process was started.";
}
