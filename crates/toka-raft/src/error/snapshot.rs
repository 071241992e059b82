//! What can go wrong with a snapshot.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use toka_ledger::Digest;
use toka_ledger::read::Position;

use super::damage::damage_in;
use crate::codec::DecodeError;

/// Copies that a node sends at a time to nodes that ask for one.
pub(crate) const SENDING_MAX: usize = 2;

/// An error of a snapshot.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The disk failed.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The note beside the copy cannot be read.
    #[error("cannot use {}: {source}", path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: DecodeError,
    },
    /// The sender broke the protocol, or the network the data.
    #[error("transfer: {reason}")]
    Transfer {
        /// What is wrong.
        reason: String,
    },
    /// Another transfer to this node is running.
    #[error("this node is receiving another snapshot")]
    Busy,
    /// Other transfers from this node are running.
    #[error("this node is sending {SENDING_MAX} other copies")]
    Sending,
    /// The copy lacks entries that the receiver has purged.
    #[error("the copy ends at entry {last:?}, before entry {purged}, which this is to follow")]
    Behind {
        /// Last entry in the copy.
        last: Option<u64>,
        /// Last entry that the receiver has purged.
        purged: u64,
    },
    /// The copy's engine failed or found damage.
    #[error(transparent)]
    Ledger(#[from] toka_ledger::Error),
    /// The copy is not at the position that was promised.
    #[error(
        "the snapshot is at sequence {} with history root {} and state digest {}, but sequence {} with \
         {} and {} was announced",
        found.sequence, found.history_root, found.state_digest,
        expected.sequence, expected.history_root, expected.state_digest
    )]
    Position {
        /// What the manifest says.
        expected: Box<Position>,
        /// What the copy holds.
        found: Box<Position>,
    },
    /// The headers of the copy do not give its history root.
    #[error("the snapshot's {sequence} headers give the history root {computed}, not {expected}")]
    HistoryRoot {
        /// Sequence of the last event.
        sequence: u64,
        /// What the manifest says.
        expected: Digest,
        /// What the headers give.
        computed: Digest,
    },
    /// What the ledger has made durable is behind the copy, so the log must not be purged.
    #[error(
        "the snapshot covers entry {snapshot}, but the ledger is durable up to {flushed:?} only"
    )]
    NotDurable {
        /// Last entry in the copy.
        snapshot: u64,
        /// Last entry that a crash would leave.
        flushed: Option<u64>,
    },
    /// It does not fit on the disk, or there is no room on it for anything.
    #[error(
        "there is no room on the disk: {free_bytes} bytes are free, {needed_bytes} are needed, half of what is \
         kept free included"
    )]
    NoRoom {
        /// Bytes that can still be written.
        free_bytes: u64,
        /// Bytes that must be free for it.
        needed_bytes: u64,
    },
    /// There is nothing to copy.
    #[error("the vault has not been created yet")]
    Empty,
    /// It was given up before it was complete: the node stops, or nobody waits for it any more.
    #[error("the copy was given up before it was complete")]
    Stopped,
    /// The node has failed meanwhile.
    #[error("{0}")]
    Node(String),
}

impl SnapshotError {
    /// For `map_err`: a failure of `action` on `path`.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    /// Whether a copy that was received is not what its sender had, or the sender's is damaged.
    pub(crate) fn is_damaged_copy(&self) -> bool {
        match self {
            Self::Ledger(error) => error.is_damage(),
            Self::Position { .. } | Self::HistoryRoot { .. } => true,
            Self::File { .. }
            | Self::Contents { .. }
            | Self::Transfer { .. }
            | Self::Busy
            | Self::Sending
            | Self::Behind { .. }
            | Self::NotDurable { .. }
            | Self::NoRoom { .. }
            | Self::Stopped
            | Self::Empty
            | Self::Node(_) => false,
        }
    }

    /// Whether it is the note of a snapshot that a newer build has made.
    pub(crate) fn is_newer(&self) -> bool {
        matches!(self, Self::Contents { source, .. } if source.is_newer())
    }

    pub(crate) fn transfer(reason: impl Into<String>) -> Self {
        Self::Transfer {
            reason: reason.into(),
        }
    }
}

impl From<super::FatalError> for SnapshotError {
    fn from(error: super::FatalError) -> Self {
        match error {
            // What is damaged is noted, and told to whoever has sent it.
            super::FatalError::LedgerDamaged(error) => Self::Ledger(damage_in(&error)),
            error => Self::Node(error.to_string()),
        }
    }
}

impl From<toka_ledger::engine::EngineError> for SnapshotError {
    fn from(error: toka_ledger::engine::EngineError) -> Self {
        Self::Ledger(error.into())
    }
}
