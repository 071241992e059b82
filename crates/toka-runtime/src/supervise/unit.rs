//! What a supervisor runs.

use std::fmt;

use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

/// Any error of a unit's own.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A run of a unit.
pub type Run<'a> = BoxFuture<'a, Result<(), Failure>>;

/// Something that runs until it is told to stop, or has nothing left to do.
pub trait Unit: Send + Sync + 'static {
    /// Runs. May be called again when it has ended, never before.
    fn run(&self, signals: Signals) -> Run<'_>;

    /// The sequence of the last event that it has dealt with; 0: none, or it deals with none.
    fn position(&self) -> u64 {
        0
    }
}

/// Between a unit that runs and its supervisor.
#[derive(Debug)]
pub struct Signals {
    stop: CancellationToken,
    started: watch::Sender<bool>,
}

impl Signals {
    pub(crate) const fn new(stop: CancellationToken, started: watch::Sender<bool>) -> Self {
        Self { stop, started }
    }

    /// Is cancelled when the unit is to stop.
    #[must_use]
    pub const fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// The unit is ready.
    pub fn started(&self) {
        self.started.send_replace(true);
    }
}

/// Why a unit has ended before it should.
#[derive(Debug)]
pub struct Failure {
    source: BoxError,
    is_retryable: bool,
}

impl Failure {
    /// One that may not come again.
    pub fn transient(source: impl Into<BoxError>) -> Self {
        Self {
            source: source.into(),
            is_retryable: true,
        }
    }

    /// One that comes again each time, such as a setting that cannot be.
    pub fn permanent(source: impl Into<BoxError>) -> Self {
        Self {
            source: source.into(),
            is_retryable: false,
        }
    }

    /// Whether it may do better if it is started again.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.is_retryable
    }

    pub(super) fn panicked(error: JoinError) -> Self {
        Self::transient(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.source()
    }
}
