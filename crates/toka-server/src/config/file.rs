//! One layer of configuration, in which any value may be absent: the flags, the environment, or
//! the file. Layers are laid over each other here and nowhere else.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::{ConfigError, variable};
use super::member::InitialMember;
use super::tls::ClientAuth;
use super::units::{ByteSize, Span};

macro_rules! layer {
    ($($(#[$doc:meta])+ $key:ident: $type:ty,)+) => {
        /// A layer of the configuration. Keys are the same in the TOML file, in the environment
        /// (`TOKA_` and upper case) and among the flags (`--` and dashes).
        #[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
        #[serde(deny_unknown_fields)]
        pub struct ConfigFile {
            $($(#[$doc])+ pub $key: Option<$type>,)+
        }

        impl ConfigFile {
            /// Every key, in the order of the documentation.
            pub const KEYS: &[&str] = &[$(stringify!($key)),+];

            /// The layer that the environment gives; `lookup` is `std::env::var` and the like.
            ///
            /// # Errors
            /// [`ConfigError::Environment`], naming the variable whose value cannot be read.
            pub fn from_env(
                lookup: impl Fn(&str) -> Option<String>,
            ) -> Result<Self, ConfigError> {
                Ok(Self { $($key: read::<$type>(stringify!($key), &lookup)?,)+ })
            }

            /// Takes from `lower` what this layer lacks.
            #[must_use]
            pub fn or(self, lower: Self) -> Self {
                Self { $($key: self.$key.or(lower.$key),)+ }
            }
        }
    };
}

layer! {
    /// This node's id, from 1; never reused within a cluster.
    node_id: u64,
    /// Data directory.
    data: PathBuf,
    /// Where clients are listened for (gRPC and gRPC-web).
    listen: SocketAddr,
    /// Where other nodes are listened for (Raft).
    raft_listen: SocketAddr,
    /// Where HTTP is listened for (`/livez`, `/readyz`, `/metrics`, the console).
    http_listen: SocketAddr,
    /// Whether the console is there, and answers whoever may read.
    console: bool,
    /// Names at which browsers may call the node, and of pages that may.
    allowed_hosts: Vec<String>,
    /// `host:port` under which clients reach this node.
    advertise_client: String,
    /// `host:port` under which other nodes reach this node.
    advertise_raft: String,
    /// Listen to others than this machine although what is said is not encrypted, or nobody has to say who they are.
    insecure: bool,
    /// Certificate that clients are shown, PEM, with those between it and its CA.
    tls_cert: PathBuf,
    /// Its key, PEM.
    tls_key: PathBuf,
    /// CA of clients' certificates, PEM.
    tls_client_ca: PathBuf,
    /// Whether clients must show a certificate where `tls_client_ca` is given.
    tls_client_auth: ClientAuth,
    /// TLS for HTTP too, with the certificate that clients are shown.
    http_tls: bool,
    /// Certificate that this node shows to nodes, PEM.
    raft_tls_cert: PathBuf,
    /// Its key, PEM.
    raft_tls_key: PathBuf,
    /// CA of the nodes' certificates, PEM.
    raft_tls_ca: PathBuf,
    /// Names of which a node's certificate must have one.
    raft_tls_names: Vec<String>,
    /// The name that certificates of nodes have, in place of the host at which they are reached.
    raft_tls_server_name: String,
    /// Members of a cluster that forms, the same list on each.
    initial_members: Vec<InitialMember>,
    /// Client endpoints of a cluster that the node joins.
    join: Vec<String>,
    /// Stay a learner after joining: a read replica.
    learner: bool,
    /// Node whose place is taken by joining.
    replace: u64,
    /// Take the place of the member that has this node's addresses, by joining.
    replace_lost: bool,
    /// Callers have to show who they are, and may do only what they are granted.
    auth: bool,
    /// File with a token of which the holder may do everything.
    auth_root_token_file: PathBuf,
    /// Issuer of JWTs that are taken.
    jwt_issuer: String,
    /// Audience that JWTs must be for.
    jwt_audience: String,
    /// File with the public keys of the issuer.
    jwt_jwks_file: PathBuf,
    /// Claim of a JWT that names its roles.
    jwt_roles_claim: String,
    /// Roles of those who show a certificate with a name.
    certificate_roles: Vec<String>,
    /// Calls of one principal in a second.
    principal_requests_per_second: u32,
    /// Bytes to and from one principal in a second.
    principal_bytes_per_second: ByteSize,
    /// Open subscriptions of one principal.
    principal_subscriptions: u32,
    /// Calls of one principal that are open at once.
    principal_open_calls: u32,
    /// Calls with credentials that are not good, from one address in a second; 0: any number.
    failed_authentications_per_second: u32,
    /// Dimension of the embeddings of a vault that is created.
    dimension: u16,
    /// Model that makes the embeddings of a vault that is created.
    embedding_model: String,
    /// Cosine similarity from which an event joins a micro-cluster, in a vault that is created.
    intents_tau: f64,
    /// Relative similarity from which intents become one, in a vault that is created.
    intents_rho: f64,
    /// Coherence that is assumed of an intent without evidence, in a vault that is created.
    intents_prior: f64,
    /// Events that the prior counts for, in a vault that is created.
    intents_prior_events: u32,
    /// Similarity below which intents never become one, in a vault that is created.
    intents_floor: f64,
    /// Events at the origin of the mean, in a vault that is created.
    intents_mean_shrink: u32,
    /// Events that a micro-cluster's centre remembers, in a vault that is created.
    intents_count_cap: u32,
    /// Micro-clusters held at once, in a vault that is created.
    intents_micro_clusters_max: u32,
    /// Micro-clusters from which a macro-clustering runs beside `apply`, in a vault that is created.
    intents_background_micro_clusters: u32,
    /// Fewest embedded events that such a macro-clustering is given, in a vault that is created.
    intents_background_events: u32,
    /// Fewest embedded events between two saves of the intents, in a vault that is created.
    intents_save_events: u32,
    /// How often a leader says that it is there.
    heartbeat_interval: Span,
    /// Shortest wait before an election.
    election_timeout_min: Span,
    /// Longest wait before an election.
    election_timeout_max: Span,
    /// Silence after which a member is reported as unreachable.
    unreachable_after: Span,
    /// How often a node compares its state with that of the others.
    state_check_interval: Span,
    /// What a sync of the Raft log may take on the average before it is alarmed on.
    slow_sync: Span,
    /// Bytes that are kept free on the disk; with less, no commits are taken.
    disk_reserve: ByteSize,
    /// Time between two passes over everything that is stored; 0: none.
    scrub_interval: Span,
    /// Bytes that such a pass reads in a second; 0: any number.
    scrub_rate_limit: ByteSize,
    /// The highest feature level that the node says it knows.
    feature_level_max: u32,
    /// File with the text of a token that is made as long as no token can administer the vault.
    bootstrap_admin_token_file: PathBuf,
    /// How long a call that names no deadline may take.
    request_timeout: Span,
    /// How long a call may take whatever deadline it names.
    request_timeout_max: Span,
    /// How long a node that stops waits for calls in flight.
    shutdown_grace: Span,
    /// Open connections of clients.
    connections_max: usize,
    /// How long a new connection may take until it has said what it speaks.
    handshake_timeout: Span,
    /// Silence after which a connection is asked whether it lives.
    ping_interval: Span,
    /// How long it may take to answer.
    ping_timeout: Span,
    /// How long a connection or a stream may take nothing of what is there for it.
    stall_timeout: Span,
    /// How long a commit stream may send nothing.
    commit_stream_idle_timeout: Span,
    /// Open subscriptions.
    subscriptions_max: usize,
    /// Commits in progress, those in commit streams not counted.
    commits_max: usize,
    /// Open commit streams.
    commit_streams_max: usize,
    /// Commits in progress of one commit stream.
    commit_stream_window: usize,
    /// Reads of the storage at the same time.
    reads_max: usize,
    /// Calls at the same time on one connection.
    connection_streams_max: u32,
    /// Commits that wait for their log entry or its result.
    proposals_max: usize,
    /// Bytes of those commits.
    proposals_bytes_max: ByteSize,
    /// Log entries after which a snapshot is made.
    snapshot_log_entries: u64,
    /// Bytes of log entries after which a snapshot is made.
    snapshot_log_bytes: ByteSize,
    /// Log entries that are kept behind a snapshot, for followers that are behind.
    keep_log_entries: u64,
    /// Bytes of log entries that are kept behind a snapshot.
    keep_log_bytes: ByteSize,
    /// Block cache of the storage.
    cache_bytes: ByteSize,
    /// Collector that the spans of calls are sent to, by OTLP over gRPC.
    otlp_endpoint: String,
    /// How long it may take to take a batch of them.
    otlp_timeout: Span,
    /// Spans that may wait for it.
    otlp_queue_spans: usize,
    /// Part of the traces that begin at this node which is recorded.
    traces_sampler_ratio: f64,
}

impl ConfigFile {
    /// The layer that a TOML file gives.
    ///
    /// # Errors
    /// [`ConfigError::Read`] and [`ConfigError::File`]; an unknown key is an error that names it.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path)
    }

    /// The layer in `text`; `path` is for errors.
    ///
    /// # Errors
    /// [`ConfigError::File`]; an unknown key is an error that names it.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::File {
            path: path.to_owned(),
            detail: error.to_string(),
        })
    }
}

/// A value that an environment variable holds.
trait FromVariable: Sized {
    fn from_variable(text: &str) -> Result<Self, String>;
}

macro_rules! from_variable {
    ($($type:ty),+) => {
        $(impl FromVariable for $type {
            fn from_variable(text: &str) -> Result<Self, String> {
                <$type>::from_str(text).map_err(|error| format!("{text:?}: {error}"))
            }
        })+
    };
}

from_variable!(
    bool, u16, u32, u64, f64, usize, String, PathBuf, SocketAddr, Span, ByteSize, ClientAuth
);

impl FromVariable for Vec<String> {
    /// Separated by commas or spaces.
    fn from_variable(text: &str) -> Result<Self, String> {
        let parts = text.split([',', ' ', '\n']);
        Ok(parts
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect())
    }
}

impl FromVariable for Vec<InitialMember> {
    /// Members stand behind each other with spaces or semicolons between them.
    fn from_variable(text: &str) -> Result<Self, String> {
        text.split([';', ' ', '\n'])
            .filter(|member| !member.is_empty())
            .map(|member| {
                member
                    .parse()
                    .map_err(|error: super::member::MemberError| error.to_string())
            })
            .collect()
    }
}

fn read<T: FromVariable>(
    key: &str,
    lookup: &impl Fn(&str) -> Option<String>,
) -> Result<Option<T>, ConfigError> {
    let variable = variable(key);
    // An empty variable counts as unset: that is how a deployment switches one off.
    let Some(text) = lookup(&variable).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    T::from_variable(&text)
        .map(Some)
        .map_err(|detail| ConfigError::Environment { variable, detail })
}
