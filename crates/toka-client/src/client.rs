//! The client and its making.

use std::sync::{Arc, OnceLock};

use toka_ledger::seam::{Entropy, SystemEntropy};
use toka_proto::convert::metadata::Leader;
use tokio::time::{Duration, Instant};

use crate::bearer::Bearer;
use crate::call::Shared;
use crate::channel::{Channels, TcpTransport, Transport, endpoint_of, speaks_tls};
use crate::config::Config;
use crate::error::Error;
use crate::pin::ClusterPin;
use crate::routes::Routes;
use crate::seen::Seen;
use crate::tls::Tls;

/// Endpoints of one client.
const ENDPOINTS_MAX: usize = 64;

/// A vault's cluster; cheap to clone, clones share connections and what is known of the leader.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    timeout: Duration,
}

impl Client {
    /// A client of the cluster that these endpoints (`host:port`) belong to, with the defaults of
    /// [`Config`]. Connects when it is used.
    ///
    /// # Errors
    /// [`Error::NoEndpoints`], [`Error::Endpoint`].
    pub async fn connect<E: Into<String>>(
        endpoints: impl IntoIterator<Item = E>,
    ) -> Result<Self, Error> {
        Self::builder().connect(endpoints).await
    }

    /// A client with other settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The same client with another deadline for its calls, retries included.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            timeout,
            ..self.clone()
        }
    }

    /// A client with the same settings and endpoints, and with connections of its own, as another program has.
    #[must_use]
    pub fn separate(&self) -> Self {
        let shared = &self.shared;
        Self {
            shared: Arc::new(Shared {
                bearer: shared.bearer.clone(),
                ..begin(
                    shared.routes.endpoints().to_vec(),
                    Arc::clone(shared.channels.transport()),
                    Arc::clone(&shared.entropy),
                    shared.config.clone(),
                    None,
                )
            }),
            timeout: self.timeout,
        }
    }

    /// How the client reaches nodes.
    #[must_use]
    pub fn transport(&self) -> &Arc<dyn Transport> {
        self.shared.channels.transport()
    }

    /// Endpoints that the client was given, as `host:port`.
    #[must_use]
    pub fn endpoints(&self) -> &[String] {
        self.shared.routes.endpoints()
    }

    /// The leader, as far as replies have named it.
    #[must_use]
    pub fn leader(&self) -> Option<Leader> {
        self.shared.routes.leader()
    }

    /// The cluster that this client is of, once that is known: [`Builder::cluster_id`], or that of the first reply.
    /// It never changes: a node of another one is not used ([`Error::OtherCluster`]).
    #[must_use]
    pub fn cluster_id(&self) -> Option<u128> {
        self.shared.pin.get()
    }

    /// The highest revision that a reply has shown; what [`ReadYourWrites`](crate::Consistency::ReadYourWrites) asks for.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.shared.seen.revision()
    }

    /// Says of which history the positions are that the program has stored, before the first call: moves of
    /// cursors, and subscriptions that start [after](crate::Start::After) a position, are refused where the vault
    /// has another one. Without it that is the history which the first reply shows, be it another one or not.
    ///
    /// # Errors
    /// [`Error::HistoryChanged`] if a reply has shown another one already.
    pub fn expect_history(&self, history_id: u128) -> Result<(), Error> {
        let actual = self.shared.seen.first_history_or(history_id);
        if actual == history_id {
            return Ok(());
        }
        Err(Error::HistoryChanged {
            expected: history_id,
            actual,
        })
    }

    /// When a call that starts now must be done.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }
}

/// Makes a client.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `connect`"]
pub struct Builder {
    config: Config,
    entropy: Arc<dyn Entropy>,
    transport: Option<Arc<dyn Transport>>,
    tls: Option<Tls>,
    bearer: Option<Bearer>,
    sends_token_in_plaintext: bool,
    cluster_id: Option<u128>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            config: Config::default(),
            entropy: Arc::new(SystemEntropy),
            transport: None,
            tls: None,
            bearer: None,
            sends_token_in_plaintext: false,
            cluster_id: None,
        }
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

    /// Speaks TLS with all nodes. An endpoint that begins with `https://` says so too, for nodes whose certificates a CA
    /// of the system has signed.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Shows this token with each call. Without TLS it is sent to this machine alone, unless
    /// [`Builder::send_token_in_plaintext`] says otherwise, or a transport is given, which has to see to that itself.
    pub fn bearer(mut self, bearer: Bearer) -> Self {
        self.bearer = Some(bearer);
        self
    }

    /// Sends the token without TLS to other machines too, where everybody on the way can read it.
    pub fn send_token_in_plaintext(mut self) -> Self {
        self.sends_token_in_plaintext = true;
        self
    }

    /// Sets how endpoints are reached, whatever else was said of TLS; TCP if nothing is said.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Sets the cluster that the client is of; nodes of another one are not used. Without it that is the cluster
    /// which the first reply names.
    pub fn cluster_id(mut self, cluster_id: u128) -> Self {
        self.cluster_id = Some(cluster_id);
        self
    }

    /// The client. Connects when it is used.
    ///
    /// # Errors
    /// [`Error::NoEndpoints`] if there are none, [`Error::Endpoint`] for one that is no `host:port`, or says `http://` where
    /// TLS is to be spoken, [`Error::Tls`] if certificates cannot be used, [`Error::PlaintextToken`].
    // Asynchronous, since connections are made on the runtime that this runs on.
    #[allow(clippy::unused_async)]
    pub async fn connect<E: Into<String>>(
        self,
        endpoints: impl IntoIterator<Item = E>,
    ) -> Result<Client, Error> {
        let mut written = Vec::new();
        for endpoint in endpoints.into_iter().take(ENDPOINTS_MAX) {
            let endpoint = endpoint_of(&endpoint.into())?;
            if !written.contains(&endpoint) {
                written.push(endpoint);
            }
        }
        if written.is_empty() {
            return Err(Error::NoEndpoints);
        }
        let is_secured = speaks_tls(&written, self.tls.is_some())?;
        let transport: Arc<dyn Transport> = match self.transport {
            Some(transport) => transport,
            None if is_secured => {
                let tls = self.tls.unwrap_or_default();
                Arc::new(TcpTransport::secured(&self.config, &tls)?)
            }
            None if self.bearer.is_some() && !self.sends_token_in_plaintext => {
                let transport = TcpTransport::new(&self.config).on_loopback_only();
                // Said before the first call.
                for (endpoint, _) in &written {
                    transport.channel(endpoint)?;
                }
                Arc::new(transport)
            }
            None => Arc::new(TcpTransport::new(&self.config)),
        };
        let mut known: Vec<String> = Vec::new();
        for (endpoint, _) in written {
            if !known.contains(&endpoint) {
                known.push(endpoint);
            }
        }
        let timeout = self.config.timeout;
        let shared = Shared {
            bearer: self.bearer,
            ..begin(known, transport, self.entropy, self.config, self.cluster_id)
        };
        Ok(Client {
            shared: Arc::new(shared),
            timeout,
        })
    }
}

/// What a client has that has not asked anybody yet.
fn begin(
    endpoints: Vec<String>,
    transport: Arc<dyn Transport>,
    entropy: Arc<dyn Entropy>,
    config: Config,
    cluster_id: Option<u128>,
) -> Shared {
    let mut start = [0; 4];
    entropy.fill(&mut start);
    Shared {
        routes: Routes::new(endpoints, u32::from_le_bytes(start), config.leader_avoid),
        channels: Channels::new(transport),
        seen: Seen::default(),
        pin: ClusterPin::new(cluster_id),
        bearer: None,
        entropy,
        first_timeout: OnceLock::new(),
        config,
    }
}
