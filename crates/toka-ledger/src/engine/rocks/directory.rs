//! Steps on the file system.

use std::fs::{self, File};
use std::path::Path;

use super::super::EngineError;

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
