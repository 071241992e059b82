//! Which errors say that the data are a newer build's. Nothing is wrong with them, so nothing is noted in the data
//! directory: that build can go on with it.

use super::{FatalError, StartError};
use crate::log_store::LogError;

impl LogError {
    /// Whether the log has what only a newer build can read.
    #[must_use]
    pub const fn is_beyond_build(&self) -> bool {
        matches!(self, Self::UnknownVersion { .. } | Self::Newer { .. })
    }
}

impl FatalError {
    /// Whether the node must stop because its data are of a feature level, or of a format, that this build does
    /// not know.
    #[must_use]
    pub fn is_beyond_build(&self) -> bool {
        match self {
            Self::Log(error) => error.is_beyond_build(),
            Self::Ledger(error) => error.is_beyond_build(),
            Self::Entry { source, .. } => {
                matches!(source, toka_ledger::codec::DecodeError::Version { .. })
            }
            Self::State(error) => error.is_newer(),
            Self::Start(error) => error.is_beyond_build(),
            _ => false,
        }
    }
}

impl StartError {
    /// Whether the node does not start because its data are of a feature level, or of a format, that this build
    /// does not know.
    #[must_use]
    pub fn is_beyond_build(&self) -> bool {
        match self {
            Self::FeatureLevel { .. } | Self::Newer { .. } => true,
            Self::Log(error) => error.is_beyond_build(),
            Self::Ledger(error) => error.is_beyond_build(),
            _ => false,
        }
    }
}
