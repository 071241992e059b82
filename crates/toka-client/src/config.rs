//! Settings of a client.

use tokio::time::Duration;

/// Largest message that is sent or taken, bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Settings of a client; the defaults suit a network within a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long a call takes at most, with all its retries.
    pub timeout: Duration,
    /// How long one try takes at most before another node is asked. It is doubled after each try
    /// that ran into it, so that a slow network is not a failure.
    pub attempt_timeout: Duration,
    /// How long a connection takes to be made at most.
    pub connect_timeout: Duration,
    /// Shortest wait before a retry; doubled from try to try, and shortened at random.
    pub backoff_min: Duration,
    /// Longest wait before a retry.
    pub backoff_max: Duration,
    /// Tries of one call at most.
    pub attempts_max: u32,
    /// How often an open connection is asked whether it still works, and how long it may take to
    /// answer.
    pub keepalive: Duration,
    /// A subscription that hears nothing for this long goes to another node. Nodes send at least a
    /// checkpoint every two seconds.
    pub idle_timeout: Duration,
    /// A subscription whose node has known of no leader for this long goes to another one, if there is one: the node may
    /// be cut off from the others, which go on without it.
    pub leaderless_max: Duration,
    /// How long a subscription or a commit stream looks for a node before it fails.
    pub resume_timeout: Duration,
    /// Commits of a commit stream without an answer at most; also the node's bound.
    pub stream_window: usize,
    /// How long the leader's address is not used after it could not be reached.
    pub leader_avoid: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(15),
            attempt_timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(2),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_secs(1),
            attempts_max: 1_000,
            keepalive: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(6),
            leaderless_max: Duration::from_secs(10),
            resume_timeout: Duration::from_secs(60),
            stream_window: 256,
            leader_avoid: Duration::from_secs(5),
        }
    }
}
