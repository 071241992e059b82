//! Feature levels: which behaviour of `apply`, and which commands, a vault may use.
//!
//! | level | what is new |
//! |---|---|
//! | 1 | all of format 1 |
//! | 2 | commands that save and delete cursors; consumer groups; the preconditions `KindPrefixSequence` and `Acknowledge`; at most 100,000 cursors; an unknown event in a precondition is a violation |
//! | 3 | commands of tokens, roles and the audit |
//! | 4 | not released, only with the cargo feature `next-feature-level`: up to 128 preconditions a commit, where level 3 has 64 |
//!
//! A vault is created at a level, and raised by [`SetFeatureLevel`](super::SetFeatureLevel) when all its
//! members know a higher one. Below that level no command is proposed that needs it. CONTRIBUTING.md says
//! how a level is added.

use super::{Command, Commit, Precondition};
use crate::core::limits::PRECONDITIONS_RELEASED;

/// The newest feature level that this build applies.
pub const FEATURE_LEVEL: u32 = if cfg!(feature = "next-feature-level") {
    4
} else {
    3
};
/// The feature level that commands of cursors and consumer groups need, and the preconditions that came with them.
pub const COORDINATION_LEVEL: u32 = 2;
/// The feature level that commands of tokens, roles and the audit need.
pub const CREDENTIALS_LEVEL: u32 = 3;
/// The oldest feature level that this build applies.
pub const FEATURE_LEVEL_MIN: u32 = 1;

impl Command {
    /// The lowest feature level whose builds can all decode this command.
    #[must_use]
    pub fn level_needed(&self) -> u32 {
        match self {
            Self::Create(_) | Self::Label(_) | Self::SetFeatureLevel(_) => FEATURE_LEVEL_MIN,
            Self::Commit(commit) => commit.level_needed(),
            Self::SaveCursor(_)
            | Self::DeleteCursor(_)
            | Self::CreateGroup(_)
            | Self::DeleteGroup(_)
            | Self::Deliver(_)
            | Self::Settle(_)
            | Self::MoveParked(_)
            | Self::UpdateGroup(_) => COORDINATION_LEVEL,
            Self::CreateToken(_)
            | Self::RotateToken(_)
            | Self::RevokeToken(_)
            | Self::PutRole(_)
            | Self::DeleteRole(_)
            | Self::AppendAudit(_) => CREDENTIALS_LEVEL,
        }
    }
}

impl Commit {
    /// As [`Command::level_needed`].
    #[must_use]
    pub fn level_needed(&self) -> u32 {
        if self.preconditions.len() > PRECONDITIONS_RELEASED {
            return 4;
        }
        let preconditions = self.preconditions.iter();
        preconditions
            .map(Precondition::level_needed)
            .max()
            .unwrap_or(FEATURE_LEVEL_MIN)
    }
}

impl Precondition {
    const fn level_needed(&self) -> u32 {
        match self {
            Self::NoChild { .. }
            | Self::KindSequence { .. }
            | Self::TimePassed { .. }
            | Self::CursorMove { .. } => FEATURE_LEVEL_MIN,
            Self::KindPrefixSequence { .. } | Self::Acknowledge { .. } => COORDINATION_LEVEL,
        }
    }
}
