//! What can go wrong with the Raft log. Every error here stops the node.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::codec::DecodeError;
use crate::type_config::LogId;

/// An error of the Raft log.
///
/// None can be retried: after a failed write or sync it is unknown what is on disk.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum LogError {
    /// The log holds less than this node may have acknowledged.
    #[error(
        "the Raft log in {dir} is damaged in segment {segment} at byte {offset}: {damage}. This node \
         may have acknowledged entries that it can no longer read, so it must not vote again: replace \
         it under a new node id, with an empty data directory and `toka serve --join ENDPOINT --replace \
         ID`"
    )]
    Damaged {
        /// Directory of the log.
        dir: PathBuf,
        /// Number of the segment.
        segment: u64,
        /// Byte in the segment.
        offset: u64,
        /// What is wrong there.
        damage: Damage,
    },
    /// There is no log where there was one.
    #[error(
        "the Raft log in {dir} is gone. This node may have voted, or acknowledged entries, that it no \
         longer knows of, so it must not vote again: replace it under a new node id, with an empty data \
         directory and `toka serve --join ENDPOINT --replace ID`"
    )]
    Missing {
        /// Directory of the log.
        dir: PathBuf,
    },
    /// The log is of a later release.
    #[error("{path} has format version {version}, which this release does not know")]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// The version found.
        version: u8,
    },
    /// A record whose checksum is right is of a later release. Nothing is lost: that release can read it.
    #[error(
        "{path} has at byte {offset} what a newer build has written: {source}. Nothing is damaged: start that \
         build again"
    )]
    Newer {
        /// The segment.
        path: PathBuf,
        /// Byte in the segment.
        offset: u64,
        /// What is not known.
        source: DecodeError,
    },
    /// Another process has the log open.
    #[error("the Raft log in {dir} is in use by another process")]
    InUse {
        /// Directory of the log.
        dir: PathBuf,
    },
    /// The disk failed.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The operating system's error.
        source: Arc<io::Error>,
    },
    /// Entries do not follow the log's last one. A broken promise of the caller.
    #[error("entry {found} does not follow the log's last entry, index {expected} is next")]
    Hole {
        /// The index that would follow.
        expected: u64,
        /// The entry that was to be appended.
        found: LogId,
    },
    /// An entry is larger than the log takes.
    #[error("entry {log_id} has {bytes} bytes, the limit is {bytes_max}")]
    EntryTooLarge {
        /// The entry.
        log_id: LogId,
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The log has been closed.
    #[error("the Raft log is closed")]
    Closed,
}

/// Proof that the log is damaged, as opposed to torn by a crash.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Damage {
    /// A later frame is only written after this one was synced.
    #[error(
        "frame {frame} cannot be read, but frame {later}, written after it was durable, follows"
    )]
    LaterFrame {
        /// The unreadable frame.
        frame: u64,
        /// The one that follows.
        later: u64,
    },
    /// The mark says that the frame was durable.
    #[error("frame {frame} cannot be read, but frames up to {durable} are recorded as durable")]
    DurableFrame {
        /// The unreadable frame.
        frame: u64,
        /// Last frame known to be durable.
        durable: u64,
    },
    /// A later segment is only begun after this one is complete.
    #[error("frame {frame} cannot be read, but a later segment begins with frame {later}")]
    LaterSegment {
        /// The unreadable frame.
        frame: u64,
        /// First frame of the later segment.
        later: u64,
    },
    /// The segment's first page cannot be read, and it was in use.
    #[error("the segment's header cannot be read")]
    SegmentHeader,
    /// The segment does not continue the one before it.
    #[error("the segment does not continue the one before it")]
    SegmentChain,
    /// Segments that hold entries are gone.
    #[error("entries from index {first_index} on are missing")]
    MissingEntries {
        /// First missing index.
        first_index: u64,
    },
    /// A record whose checksum is right makes no sense.
    #[error("a record cannot be decoded: {0}")]
    Record(#[from] DecodeError),
    /// A record that was good when it was written has changed.
    #[error("the record of entry {index} does not match its checksum")]
    Checksum {
        /// The entry.
        index: u64,
    },
    /// The medium does not give back what was written to it.
    #[error("the disk cannot read it: {0}")]
    Unreadable(String),
    /// Records contradict each other.
    #[error("a record contradicts those before it")]
    Contradiction,
}

impl From<LogError> for io::Error {
    fn from(error: LogError) -> Self {
        Self::other(error)
    }
}

/// Adds what was tried and where to an operating system's error.
pub(crate) trait IoContext<T> {
    fn doing(self, doing: &'static str, path: &std::path::Path) -> Result<T, LogError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &std::path::Path) -> Result<T, LogError> {
        self.map_err(|source| LogError::Io {
            doing,
            path: path.to_owned(),
            source: Arc::new(source),
        })
    }
}
