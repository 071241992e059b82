//! Heartbeats, elections, and how long what else may take.

use std::time::Duration;

use toka_raft::config::Election;

use super::{ConfigError, ConfigFile, Span};

/// A node that is restarted is back sooner.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(10);
/// Far above what a healthy disk takes, and below the shortest wait before an election.
const SLOW_SYNC: Duration = Duration::from_millis(100);
/// How often a node compares its state with that of the others, unless told otherwise,
const STATE_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// and at most.
const STATE_CHECK_MIN: Duration = Duration::from_millis(100);

/// Heartbeats and elections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often a leader says that it is there.
    pub heartbeat_interval: Duration,
    /// Shortest wait before an election.
    pub election_timeout_min: Duration,
    /// Longest wait before an election.
    pub election_timeout_max: Duration,
    /// A member that has not answered the leader for this long is reported as unreachable.
    pub unreachable_after: Duration,
    /// How often this node compares its state with that of the others.
    pub state_check_interval: Duration,
    /// What a sync of the Raft log may take on the average before it is alarmed on.
    pub slow_sync: Duration,
}

impl Timing {
    pub(super) fn of(layer: &ConfigFile) -> Self {
        let Election {
            heartbeat,
            timeout_min,
            timeout_max,
        } = Election::default();
        let span = |value: Option<Span>, default| value.map_or(default, |span| span.0);
        Self {
            heartbeat_interval: span(layer.heartbeat_interval, heartbeat),
            election_timeout_min: span(layer.election_timeout_min, timeout_min),
            election_timeout_max: span(layer.election_timeout_max, timeout_max),
            unreachable_after: span(layer.unreachable_after, UNREACHABLE_AFTER),
            state_check_interval: span(layer.state_check_interval, STATE_CHECK_INTERVAL),
            slow_sync: span(layer.slow_sync, SLOW_SYNC),
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Timing {
            heartbeat_interval,
            election_timeout_min,
            election_timeout_max,
            unreachable_after,
            state_check_interval,
            slow_sync,
        } = *self;
        if slow_sync.is_zero() {
            return Err(ConfigError::invalid("slow_sync", "is 0"));
        }
        if state_check_interval < STATE_CHECK_MIN {
            return Err(ConfigError::invalid(
                "state_check_interval",
                format!("is below {}", Span(STATE_CHECK_MIN)),
            ));
        }
        if heartbeat_interval.is_zero() {
            return Err(ConfigError::invalid("heartbeat_interval", "is 0"));
        }
        if election_timeout_min <= heartbeat_interval {
            return Err(ConfigError::invalid(
                "election_timeout_min",
                format!(
                    "{} is not above heartbeat_interval, {}",
                    Span(election_timeout_min),
                    Span(heartbeat_interval)
                ),
            ));
        }
        if election_timeout_max <= election_timeout_min {
            return Err(ConfigError::invalid(
                "election_timeout_max",
                format!(
                    "{} is not above election_timeout_min, {}",
                    Span(election_timeout_max),
                    Span(election_timeout_min)
                ),
            ));
        }
        if unreachable_after <= election_timeout_max {
            return Err(ConfigError::invalid(
                "unreachable_after",
                format!(
                    "{} is not above election_timeout_max, {}",
                    Span(unreachable_after),
                    Span(election_timeout_max)
                ),
            ));
        }
        Ok(())
    }
}
