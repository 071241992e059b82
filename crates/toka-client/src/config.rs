//! Settings of a client.

use std::sync::Arc;

use tokio::time::Duration;
use toka_ledger::seam::{Entropy, SystemEntropy};

use crate::call::{Seen, Shared};
use crate::channel::{Channels, TcpTransport, Transport, endpoint_of};
use crate::routes::Routes;
use crate::{Client, Error};

/// Largest message that is sent or taken, bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Endpoints of one client.
const ENDPOINTS_MAX: usize = 64;

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
            resume_timeout: Duration::from_secs(60),
            stream_window: 256,
            leader_avoid: Duration::from_secs(5),
        }
    }
}

/// Makes a client.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `connect`"]
pub struct Builder {
    config: Config,
    entropy: Arc<dyn Entropy>,
    transport: Option<Arc<dyn Transport>>,
}

impl Default for Builder {
    fn default() -> Self {
        Self { config: Config::default(), entropy: Arc::new(SystemEntropy), transport: None }
    }
}

impl Builder {
    /// Replaces all settings.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets how long a call takes at most, with all its retries.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = timeout;
        self
    }

    /// Sets where jitter and salts come from.
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// Sets how endpoints are reached; TCP if nothing else is said.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// The client. Connects when it is used.
    ///
    /// # Errors
    /// [`Error::NoEndpoints`] if there are none, [`Error::Endpoint`] for one that is no `host:port`.
    // Asynchronous, since connections are made on the runtime that this runs on.
    #[allow(clippy::unused_async)]
    pub async fn connect<E: Into<String>>(
        self,
        endpoints: impl IntoIterator<Item = E>,
    ) -> Result<Client, Error> {
        let mut known: Vec<String> = Vec::new();
        for endpoint in endpoints.into_iter().take(ENDPOINTS_MAX) {
            let endpoint = endpoint_of(&endpoint.into())?;
            if !known.contains(&endpoint) {
                known.push(endpoint);
            }
        }
        if known.is_empty() {
            return Err(Error::NoEndpoints);
        }
        let mut start = [0; 4];
        self.entropy.fill(&mut start);
        let transport =
            self.transport.unwrap_or_else(|| Arc::new(TcpTransport::new(&self.config)));
        let timeout = self.config.timeout;
        let shared = Shared {
            routes: Routes::new(known, u32::from_le_bytes(start), self.config.leader_avoid),
            channels: Channels::new(transport),
            seen: Seen::default(),
            entropy: self.entropy,
            config: self.config,
        };
        Ok(Client { shared: Arc::new(shared), timeout })
    }
}
