//! When connections and streams that do nothing, or nothing useful, are cut off.

use std::time::Duration;

use super::{COUNT_MAX, ConfigError, ConfigFile, Span};
use crate::limits::PEER_PROOF_TIMEOUT;

/// Connections of clients, unless told otherwise: more than there are streams for, if each had one of its own.
/// Other nodes, who forward their clients' calls, are among them.
const CONNECTIONS_MAX: usize = 4_096;
/// A client says at once what it speaks; a slow network takes a few seconds.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// A consumer may be busy with what it has, but what waits for it is held in memory.
const STALL_TIMEOUT: Duration = Duration::from_secs(120);
/// A stream that is idle holds one of few places; its client opens another when there is something to send.
const COMMIT_STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// With less, healthy streams end all the time.
const STREAM_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// When connections and streams are cut off. A subscription that waits for events is not idle: it is told
/// every second where it is, and its connection answers pings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Open connections of clients; further ones are closed at once.
    pub max: usize,
    /// How long a new connection may take until it has said what it speaks: the preface of HTTP/2, or the
    /// whole head of a first request of HTTP/1.
    pub handshake_timeout: Duration,
    /// A connection that sends nothing for this long is asked whether it lives (HTTP/2 only),
    pub ping_interval: Duration,
    /// and is closed if it does not answer within this.
    pub ping_timeout: Duration,
    /// How long a connection, or a stream, may take nothing of what is there for it.
    pub stall_timeout: Duration,
    /// How long a commit stream may send nothing while nothing of it is in progress.
    pub commit_stream_idle_timeout: Duration,
    /// How long a connection of another node may take until it has shown that it is one. No setting: tests want less.
    pub peer_proof_timeout: Duration,
}

impl Connections {
    pub(super) fn of(layer: &ConfigFile) -> Self {
        let span = |value: Option<Span>, default| value.map_or(default, |span| span.0);
        Self {
            max: layer.connections_max.unwrap_or(CONNECTIONS_MAX),
            handshake_timeout: span(layer.handshake_timeout, HANDSHAKE_TIMEOUT),
            ping_interval: span(layer.ping_interval, PING_INTERVAL),
            ping_timeout: span(layer.ping_timeout, PING_TIMEOUT),
            stall_timeout: span(layer.stall_timeout, STALL_TIMEOUT),
            commit_stream_idle_timeout: span(
                layer.commit_stream_idle_timeout,
                COMMIT_STREAM_IDLE_TIMEOUT,
            ),
            peer_proof_timeout: PEER_PROOF_TIMEOUT,
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Self {
            max,
            handshake_timeout,
            ping_interval,
            ping_timeout,
            stall_timeout,
            commit_stream_idle_timeout,
            peer_proof_timeout: _,
        } = *self;
        if !(1..=COUNT_MAX).contains(&max) {
            let detail = format!("{max} is not between 1 and {COUNT_MAX}");
            return Err(ConfigError::invalid("connections_max", detail));
        }
        let times = [
            ("handshake_timeout", handshake_timeout),
            ("ping_interval", ping_interval),
            ("ping_timeout", ping_timeout),
            ("stall_timeout", stall_timeout),
            ("commit_stream_idle_timeout", commit_stream_idle_timeout),
        ];
        if let Some((key, _)) = times.iter().find(|(_, time)| time.is_zero()) {
            return Err(ConfigError::invalid(key, "is 0"));
        }
        // Those of streams.
        let short = times[3..]
            .iter()
            .find(|(_, time)| *time < STREAM_TIMEOUT_MIN);
        match short {
            Some((key, time)) => {
                let detail = format!("{time:?} is less than {STREAM_TIMEOUT_MIN:?}");
                Err(ConfigError::invalid(key, detail))
            }
            None => Ok(()),
        }
    }

    /// For other nodes, who are trusted: one that is busy with its disk is not cut off sooner than by default,
    /// whatever holds for clients.
    pub(crate) fn of_peers(&self) -> Self {
        Self {
            stall_timeout: self.stall_timeout.max(STALL_TIMEOUT),
            ..*self
        }
    }
}
