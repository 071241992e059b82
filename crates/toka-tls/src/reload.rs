//! What is made of files, and made again when they change.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::material::File;

/// Makes something of the contents of files, in their order.
type Make<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, Error> + Send + Sync>;

/// What became of a look at the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// They are as they were.
    Unchanged,
    /// They have changed, and what is made of them is in use from here on.
    Replaced,
    /// They cannot be used, for this reason, which is told once; what was there before is still in use.
    Kept(String),
}

/// What is made of files. They are compared by what they hold: the files of a Kubernetes secret are swapped under a
/// symbolic link, and times of change tell little there.
pub struct Reloading<T> {
    files: Vec<File>,
    make: Make<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    current: Arc<T>,
    /// Of what was looked at last, usable or not; absent: it could not be read.
    seen: Option<blake3::Hash>,
    failure: Option<String>,
}

impl<T> Reloading<T> {
    /// Reads the files for the first time. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error`], as `make` says or reading does.
    pub fn open(
        files: Vec<File>,
        make: impl Fn(&[Vec<u8>]) -> Result<T, Error> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let contents = read(&files)?;
        let current = Arc::new(make(&contents)?);
        Ok(Self {
            files,
            make: Box::new(make),
            state: Mutex::new(State {
                current,
                seen: Some(fingerprint(&contents)),
                failure: None,
            }),
        })
    }

    /// What is in use.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.lock().current)
    }

    /// Why the files as they are now are not in use; absent: they are.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    /// Looks at the files again. Blocks on the disk.
    pub fn refresh(&self) -> Refreshed {
        let contents = match read(&self.files) {
            Ok(contents) => contents,
            Err(error) => return self.failed(None, &error),
        };
        let seen = fingerprint(&contents);
        if self.lock().seen == Some(seen) {
            return Refreshed::Unchanged;
        }
        match (self.make)(&contents) {
            Ok(made) => {
                *self.lock() = State {
                    current: Arc::new(made),
                    seen: Some(seen),
                    failure: None,
                };
                Refreshed::Replaced
            }
            Err(error) => self.failed(Some(seen), &error),
        }
    }

    fn failed(&self, seen: Option<blake3::Hash>, error: &Error) -> Refreshed {
        let reason = error.to_string();
        let mut state = self.lock();
        state.seen = seen;
        if state.failure.as_ref() == Some(&reason) {
            return Refreshed::Unchanged;
        }
        state.failure = Some(reason.clone());
        Refreshed::Kept(reason)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing panics while the lock is held, so a poisoned one guards a sound state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Reloading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloading")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

fn read(files: &[File]) -> Result<Vec<Vec<u8>>, Error> {
    files.iter().map(File::read).collect()
}

/// Of all contents and where each ends.
fn fingerprint(contents: &[Vec<u8>]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for content in contents {
        hasher.update(&(content.len() as u64).to_le_bytes());
        hasher.update(content);
    }
    hasher.finalize()
}
