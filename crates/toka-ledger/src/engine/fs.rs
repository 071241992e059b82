//! File system steps that both engines need.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::EngineError;

/// Makes names that were added to or removed from `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), EngineError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(EngineError::io("sync", dir))
}

/// The directory that holds `path`.
pub(super) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
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
