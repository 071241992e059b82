//! How a vault is verified.

use std::sync::Arc;

use super::report::Report;
use crate::seam::{Entropy, InlineThreads, SystemEntropy, SystemThreads, Threads};

/// Threads that read ahead, at most.
pub const THREADS_MAX: usize = 64;

/// Is told how many bytes were read, by any thread, and may take its time; `false` ends the verification.
pub type Pace = Arc<dyn Fn(u64) -> bool + Send + Sync>;

/// Is told what was found by a verification that did not come to its end.
pub type Ended = Arc<dyn Fn(&Report) + Send + Sync>;

/// What is done about blocks of storage that memory has copies of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocks {
    /// All rows are read past the caches first: a block may have been damaged since it was read.
    Reread,
    /// Nothing. For storage that was opened just now: what it has in memory it has just read.
    AsRead,
    /// As `AsRead`, and whole files are read besides, with what no row needs (filters, properties, the
    /// list of files), at no pace and in one go.
    WholeFiles,
}

/// How a vault is verified.
#[derive(Clone)]
pub struct Options {
    /// Threads that read ahead of the one that calls, at most [`THREADS_MAX`], beside one that goes through the indexes;
    /// with 1 there are none, and the one that calls does everything.
    pub threads: usize,
    /// What starts them, and the threads of macro-clusterings. With [`InlineThreads`] there must be one thread.
    pub seam: Arc<dyn Threads>,
    /// What keys the sums of rows, for which nobody can have chosen rows then. No report depends on it.
    pub entropy: Arc<dyn Entropy>,
    /// What is done about caches.
    pub blocks: Blocks,
    /// What holds the reading back, and may end it.
    pub pace: Option<Pace>,
    /// What is told of a verification that the pace, or an error, has ended.
    pub ended: Option<Ended>,
}

impl Default for Options {
    /// One thread, past all caches, as fast as it goes.
    fn default() -> Self {
        Self {
            threads: 1,
            seam: Arc::new(InlineThreads),
            entropy: Arc::new(SystemEntropy),
            blocks: Blocks::Reread,
            pace: None,
            ended: None,
        }
    }
}

impl Options {
    /// With so many threads of the operating system's, for storage that was opened just now.
    #[must_use]
    pub fn parallel(threads: usize) -> Self {
        Self {
            threads,
            seam: Arc::new(SystemThreads),
            entropy: Arc::new(SystemEntropy),
            blocks: Blocks::AsRead,
            pace: None,
            ended: None,
        }
    }

    /// Takes note of `bytes` that were read; `false` if it is to end.
    pub(super) fn go_on(pace: Option<&Pace>, bytes: u64) -> bool {
        pace.is_none_or(|pace| pace(bytes))
    }
}
