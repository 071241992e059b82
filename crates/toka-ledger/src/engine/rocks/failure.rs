//! What RocksDB's errors mean.

use std::io;
use std::path::Path;

use rocksdb::ErrorKind;

use super::super::{EngineError, Table};

pub(super) fn open_error(path: &Path, error: rocksdb::Error) -> EngineError {
    let message = error.as_ref();
    let is_locked =
        message.contains("lock hold by current process") || message.contains("While lock file");
    match error.kind() {
        ErrorKind::IOError if is_locked => EngineError::Locked {
            path: path.to_owned(),
        },
        // Other tables than ours, or options of a newer RocksDB.
        ErrorKind::InvalidArgument | ErrorKind::NotSupported => EngineError::WrongFormat {
            path: path.to_owned(),
            detail: error.into_string(),
        },
        _ => engine_error("open", path, None, error),
    }
}

/// How a text begins that says of damage.
const CORRUPTION: &str = "Corruption";
/// What is said of a file that is gone.
const GONE: &str = "No such file or directory";
/// What is said of a sector that the disk cannot read or write (with glibc, with musl).
const FAILING: [&str; 2] = ["Input/output error", "I/O error"];
/// What RocksDB (11.8, env/io_posix.cc, env/fs_posix.cc) tried to do when it was reading. It also reads when it
/// is told to write: in a compaction, whose failure comes with the next write, and for a copy.
const READING: [&str; 6] = [
    "While pread",
    "While mmap read",
    "While reading file sequentially",
    "While open a file for random read",
    "While opening a file for sequentially reading",
    "While opening file for sequentially read",
];
/// What it tried to do with a name of a file for a copy: it fails if the file is gone, but a disk that fails then
/// could not write the directory, and says nothing of the file.
const LINKING: &str = "while link file to";

/// Whether RocksDB did not get what was written: as good as damaged. It hands the cause over as text only.
fn is_lost(action: &str, message: &str) -> bool {
    let says = |text: &&str| message.contains(text);
    let is_reading = action == "read" || READING.iter().any(says);
    if message.contains(GONE) {
        return is_reading || message.contains(LINKING);
    }
    is_reading && FAILING.iter().any(says)
}

/// What RocksDB says in words of reading.
pub(super) fn read_error(path: &Path, message: String) -> EngineError {
    let action = "read";
    if message.starts_with(CORRUPTION) || is_lost(action, &message) {
        return EngineError::corruption(path, None, message);
    }
    EngineError::io(action, path)(io::Error::other(message))
}

pub(super) fn engine_error(
    action: &'static str,
    path: &Path,
    table: Option<Table>,
    error: rocksdb::Error,
) -> EngineError {
    if error.kind() == ErrorKind::Corruption || is_lost(action, error.as_ref()) {
        return EngineError::Corruption {
            path: path.to_owned(),
            table,
            detail: error.as_ref().to_owned(),
            source: Some(Box::new(error)),
        };
    }
    // RocksDB hands the cause over as text only.
    let kind = if error.as_ref().contains("No space left on device") {
        io::ErrorKind::StorageFull
    } else {
        io::ErrorKind::Other
    };
    EngineError::Io {
        action,
        path: path.to_owned(),
        source: io::Error::new(kind, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_lost_and_what_cannot_be_written_is_not() {
        let lost = [
            "IO error: While pread offset 0 len 4096: /d/000033.sst: Input/output error",
            "IO error: No such file or directory: While open a file for random read: /d/000033.sst: No such file \
             or directory",
            "IO error: No such file or directory: while link file to /copy/000033.sst: /d/000033.sst: No such file \
             or directory",
        ];
        for action in ["read", "copy", "write to", "flush", "open"] {
            assert!(
                lost.iter().all(|message| is_lost(action, message)),
                "{action}"
            );
        }
        let failed = [
            "IO error: While appending to file: /d/000033.sst: Input/output error",
            "IO error: While fsync: a file: Input/output error",
            "IO error: While fdatasync: /d/000033.sst: I/O error",
            "IO error: While open a file for appending: /d/000033.sst: Input/output error",
            "IO error: No such file or directory: While open a file for appending: /d/000033.sst: No such file or \
             directory",
            "IO error: While mkdir: /copy: Input/output error",
            "IO error: While renaming a file to /d/CURRENT: /d/000034.dbtmp: Input/output error",
            "IO error: while link file to /copy/000033.sst: /d/000033.sst: Input/output error",
            "IO error: While pread offset 0 len 4096: /d/000033.sst: Cannot allocate memory",
        ];
        for action in ["copy", "write to", "flush", "open"] {
            assert!(
                !failed.iter().any(|message| is_lost(action, message)),
                "{action}"
            );
        }
    }
}
