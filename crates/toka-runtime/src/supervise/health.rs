//! How a unit is.

use std::fmt;

/// What a unit is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It gets ready: an agent folds its state.
    Starting,
    /// It does what it is there for.
    Running,
    /// It has ended, and is started again after a while.
    BackingOff,
    /// It has failed, and is not started again.
    Failed,
    /// It has ended as it should, or was told to stop.
    Stopped,
}

impl State {
    /// Whether it does not run and will not by itself.
    #[must_use]
    pub const fn is_over(self) -> bool {
        match self {
            Self::Starting | Self::Running | Self::BackingOff => false,
            Self::Failed | Self::Stopped => true,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::BackingOff => "backing off",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        })
    }
}

/// How a unit is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Its name.
    pub name: String,
    /// What it is at.
    pub state: State,
    /// How often it was started again.
    pub restarts: u64,
    /// Why it ended last, if that was a failure.
    pub last_error: Option<String>,
    /// The sequence of the last event that it has dealt with.
    pub position: u64,
    /// Events of the vault behind that one, wanted or not; absent where nobody has said how long the vault is.
    pub lag: Option<u64>,
}

impl Health {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: State::Starting,
            restarts: 0,
            last_error: None,
            position: 0,
            lag: None,
        }
    }
}
