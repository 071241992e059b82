//! Steps on the file system.

use std::fs::{self, File};
#[cfg(target_os = "linux")]
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::super::EngineError;

/// Made and removed again, to find out what the file system can. RocksDB does not know the name, and leaves it alone.
#[cfg(target_os = "linux")]
const PROBE_FILE: &str = "direct-io.probe";

/// Makes names that were added to or removed from `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), EngineError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(EngineError::io("sync", dir))
}

/// Fails where `path` is taken.
pub(super) fn require_absent(path: &Path) -> Result<(), EngineError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(EngineError::AlreadyExists {
            path: path.to_owned(),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(EngineError::io("look at", path)(error)),
    }
}

/// Whether files in `dir` can be written past the system's cache.
#[cfg(target_os = "linux")]
pub(super) fn takes_direct_io(dir: &Path) -> bool {
    let path = dir.join(PROBE_FILE);
    let direct = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let opened = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .custom_flags(direct)
        .open(&path);
    // It may have been made even where it cannot be opened.
    let _ = fs::remove_file(&path);
    opened.is_ok()
}

/// Elsewhere it is done in other ways, which are not worth it.
#[cfg(not(target_os = "linux"))]
pub(super) fn takes_direct_io(_: &Path) -> bool {
    false
}
