//! Snapshots: copies of the ledger as directories, made, sent, received, checked, installed.
//!
//! Invariants: what stands under a final name is complete and durable; a directory in progress has
//! the suffix `.tmp` and is removed at the next start; a snapshot that was received is checked as a
//! whole before openraft hears of it.

mod build;
mod contents;
mod copy;
mod pull;
mod receive;
mod send;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod transfers;
mod verify;

pub use crate::error::SnapshotError;
pub(crate) use build::{Builder, Metrics, rebuild};
#[cfg(fuzzing)]
pub(crate) use contents::rewritten as rewritten_note;
pub(crate) use contents::{Contents, verify_note};
pub use copy::{CopyChunk, CopyFile, CopyReader, FileDigest, LedgerCopy};
pub(crate) use copy::{CopyDigests, copy};
pub(crate) use pull::{Asked, Pull, PullError, give};
pub(crate) use receive::Receiver;
#[cfg(fuzzing)]
pub(crate) use receive::check_manifest;
pub(crate) use send::{Outgoing, send};
pub use store::SnapshotDir;
pub(crate) use store::{Place, SnapshotStore};
pub(crate) use transfers::Transfers;
#[cfg(feature = "storage")]
pub(crate) use verify::snapshot_problems;
pub(crate) use verify::{open_as_ledger, verify};

/// The engine's files, inside the directory of a snapshot.
const LEDGER_DIR: &str = "ledger";

/// Whether a file of an engine is never written to once it is complete.
pub(crate) fn is_immutable(name: &str) -> bool {
    std::path::Path::new(name)
        .extension()
        .is_some_and(|extension| extension == "sst")
}

/// Whether a file of an engine belongs to its data, as opposed to locks and the engine's own notes.
pub(crate) fn is_part_of_copy(name: &str) -> bool {
    !(name == "LOCK" || name == "engine.lock" || name == "LOG" || name.starts_with("LOG.old"))
}
