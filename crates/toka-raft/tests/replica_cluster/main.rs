//! Three real nodes in one process: RocksDB, a log on disk, gRPC over loopback.

#[path = "../support/mod.rs"]
mod support;

mod failures;
mod forming;
mod group_commit;
mod harness;
mod membership;
mod reads;
mod replication;
mod snapshots;
