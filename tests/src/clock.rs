//! A clock that a test sets, for one process: libfaketime answers in the place of the C library.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A process's wall clock. Its monotonic clock is left alone.
#[derive(Debug)]
pub struct Clock {
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// A clock that is right, kept in a file called `name` in `directory`.
    pub fn new(directory: &Path, name: &str) -> Result<Self> {
        let clock = Self {
            file: directory.join(name),
            library: library()?,
        };
        clock.set("+0")?;
        Ok(clock)
    }

    /// Sets it to the right time and `offset`, such as `+365d` or `-10s`. It is noticed within a second.
    pub fn set(&self, offset: &str) -> Result<()> {
        // At once: half of an offset would be another one.
        let new = self.file.with_extension("new");
        std::fs::write(&new, offset)?;
        Ok(std::fs::rename(new, &self.file)?)
    }

    pub(crate) fn variables(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("LD_PRELOAD", self.library.clone()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone()),
            ("FAKETIME_CACHE_DURATION", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("FAKETIME_DONT_RESET", "1".into()),
        ]
    }
}

/// The variant for programs with threads, where distributions put it.
fn library() -> Result<PathBuf> {
    let name = "faketime/libfaketimeMT.so.1";
    let mut directories = vec![PathBuf::from("/usr/lib64"), PathBuf::from("/usr/lib")];
    let below = std::fs::read_dir("/usr/lib")?.flatten();
    directories.extend(below.map(|entry| entry.path()));
    let mut paths = directories.iter().map(|directory| directory.join(name));
    let found = paths.find(|path| path.exists());
    found.context("libfaketime is missing; `cargo xtask setup` installs it")
}
