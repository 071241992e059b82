//! Bugs that the simulation of whole clusters can switch on, to show that it would find them. Only a build for the
//! simulation has them (`--cfg simulation`, tests/simulation).

use std::sync::atomic::{AtomicU8, Ordering};

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Appends to the Raft log are reported as durable before they are synced.
    AcknowledgeBeforeFlush = 1,
    /// The Raft log is purged up to a snapshot that a crash would not leave.
    PurgeBeforeSnapshot = 2,
    /// Entries are applied before this node's own log has them durably.
    ApplyAheadOfLog = 3,
    /// A follower forgets within a term whom it has voted for: it votes for every candidate, and follows each that
    /// is elected.
    VoteTwice = 4,
    /// The commands of an entry are applied in the order of a hash map.
    HashMapOrder = 5,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::AcknowledgeBeforeFlush,
        Self::PurgeBeforeSnapshot,
        Self::ApplyAheadOfLog,
        Self::VoteTwice,
        Self::HashMapOrder,
    ];

    /// What it is called on a command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AcknowledgeBeforeFlush => "acknowledge-before-flush",
            Self::PurgeBeforeSnapshot => "purge-before-snapshot",
            Self::ApplyAheadOfLog => "apply-ahead-of-log",
            Self::VoteTwice => "vote-twice",
            Self::HashMapOrder => "hash-map-order",
        }
    }

    /// Switches it on, for the rest of the process.
    pub fn switch_on(self) {
        ON.store(self as u8, Ordering::Relaxed);
    }

    /// Whether it is switched on.
    #[must_use]
    pub fn is_on(self) -> bool {
        ON.load(Ordering::Relaxed) == self as u8
    }
}

/// The one that is switched on; 0: none.
static ON: AtomicU8 = AtomicU8::new(0);
