//! Feature levels: which behaviour of `apply`, and which commands, a vault may use.
//!
//! | level | what is new |
//! |---|---|
//! | 1 | all of format 1 |
//! | 2 | not released, only with the cargo feature `next-feature-level`: up to 128 preconditions a commit, where level 1 has 64 |
//!
//! A vault is created at a level, and raised by [`SetFeatureLevel`](super::SetFeatureLevel) when all its
//! members know a higher one. Below that level no command is proposed that needs it. CONTRIBUTING.md says
//! how a level is added.

use super::{Command, Commit};
use crate::core::limits::PRECONDITIONS_LEVEL_1;

/// The newest feature level that this build applies.
pub const FEATURE_LEVEL: u32 = if cfg!(feature = "next-feature-level") {
    2
} else {
    1
};
/// The oldest feature level that this build applies.
pub const FEATURE_LEVEL_MIN: u32 = 1;

impl Command {
    /// The lowest feature level whose builds can all decode this command.
    #[must_use]
    pub const fn level_needed(&self) -> u32 {
        match self {
            Self::Create(_) | Self::Label(_) | Self::SetFeatureLevel(_) => FEATURE_LEVEL_MIN,
            Self::Commit(commit) => commit.level_needed(),
        }
    }
}

impl Commit {
    /// As [`Command::level_needed`].
    #[must_use]
    pub const fn level_needed(&self) -> u32 {
        if self.preconditions.len() > PRECONDITIONS_LEVEL_1 {
            2
        } else {
            FEATURE_LEVEL_MIN
        }
    }
}
