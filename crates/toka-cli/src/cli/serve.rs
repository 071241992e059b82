//! Flags of `toka serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use toka_server::config::{ByteSize, ClientAuth, ConfigFile, InitialMember, Span};

/// Of settings that only the vault's creation reads.
const CREATION: &str = "Fixed when the vault is created, the same on every initial member";

/// Of settings that say who may call.
const ACCESS: &str = "Who may call this node, and for what";
/// Of what keeps others away.
const SECURITY: &str = "Security";

/// Settings of a node. Each is also an environment variable (`--node-id`: `TOKA_NODE_ID`) and a
/// key of the file (`node_id`); flags win over the environment, the environment over the file.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// TOML file with the same settings, named with underscores.
    #[arg(long, env = "TOKA_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Write log lines as JSON.
    #[arg(long, env = "TOKA_LOG_JSON")]
    pub(crate) log_json: bool,
    /// Print the settings that hold, as TOML that --config takes, and stop.
    #[arg(long)]
    pub(crate) dump_config: bool,
    /// This node's number, from 1, never used again in the cluster; a node that joins is given one, and one that
    /// is started again has it in its data directory.
    #[arg(long, value_name = "N")]
    node_id: Option<u64>,
    /// Address for clients [default: 127.0.0.1:7311].
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// Address for the other nodes [default: 127.0.0.1:7312].
    #[arg(long, value_name = "IP:PORT")]
    raft_listen: Option<SocketAddr>,
    /// Address for /metrics, /livez, /readyz and the console [default: 127.0.0.1:7313].
    #[arg(long, value_name = "IP:PORT")]
    http_listen: Option<SocketAddr>,
    /// Whether the console is there, for browsers, at /console/ [default: where --http-listen is on loopback].
    #[arg(long, value_name = "WHETHER", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    console: Option<bool>,
    /// Name at which browsers may call this node where nobody has to show who they are, besides localhost, IP addresses
    /// and --advertise-client, and of a page from elsewhere that may; `*.DOMAIN` too. More than one separated by commas.
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    allowed_host: Vec<String>,
    /// Where clients reach this node [default: where it listens].
    #[arg(long, value_name = "HOST:PORT")]
    advertise_client: Option<String>,
    /// Where the other nodes reach this one [default: where it listens].
    #[arg(long, value_name = "HOST:PORT")]
    advertise_raft: Option<String>,
    /// Listen to other machines without TLS, or without authentication: everybody who reaches the node may read and write
    /// everything, and take part as a node where there is no TLS.
    #[arg(long, help_heading = SECURITY)]
    insecure: bool,
    /// Certificate for clients and those between it and its CA, PEM. Read again when it changes, as all of these files
    /// are. TLS needs --tls-key and --raft-tls-ca besides.
    #[arg(long, value_name = "FILE", help_heading = SECURITY)]
    tls_cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE", help_heading = SECURITY)]
    tls_key: Option<PathBuf>,
    /// CA of clients' certificates, PEM [default: clients show none].
    #[arg(long, value_name = "FILE", help_heading = SECURITY)]
    tls_client_ca: Option<PathBuf>,
    /// With --tls-client-ca: whether clients must show a certificate, `required` or `optional` [default: required].
    #[arg(long, value_name = "WHETHER", help_heading = SECURITY)]
    tls_client_auth: Option<ClientAuth>,
    /// TLS at the port for HTTP too, with the certificate for clients.
    #[arg(long, help_heading = SECURITY)]
    http_tls: bool,
    /// Certificate for nodes, at both ends, PEM [default: that for clients].
    #[arg(long, value_name = "FILE", help_heading = SECURITY)]
    raft_tls_cert: Option<PathBuf>,
    /// Its key, PEM [default: that for clients].
    #[arg(long, value_name = "FILE", help_heading = SECURITY)]
    raft_tls_key: Option<PathBuf>,
    /// CA of the nodes' certificates, PEM: whoever has one of them is a node.
    #[arg(long, value_name = "FILE", help_heading = SECURITY)]
    raft_tls_ca: Option<PathBuf>,
    /// Name that the certificate of a node that calls must have, such as `*.vault.svc`; more than one, separated by
    /// commas: one of them [default: any].
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = SECURITY)]
    raft_tls_names: Vec<String>,
    /// Name that the certificate of a node that is called must have [default: the host at which it is reached].
    #[arg(long, value_name = "NAME", help_heading = SECURITY)]
    raft_tls_server_name: Option<String>,
    /// A node of the first start; may be repeated, the same list on each node. In the environment
    /// (`TOKA_INITIAL_MEMBERS`) separated by semicolons.
    #[arg(long, value_name = "ID=RAFT_ENDPOINT,CLIENT_ENDPOINT")]
    initial_member: Vec<InitialMember>,
    /// Join the cluster that has this client endpoint; more than one separated by commas. The node becomes
    /// a learner, catches up and votes by itself. Of no effect once it is a member. With --initial-member: form the
    /// cluster if this node's addresses are among them and there is none yet, else join.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    join: Vec<String>,
    /// With --join: stay a learner, a read replica.
    #[arg(long)]
    learner: bool,
    /// With --join: take the place of this member, which is removed.
    #[arg(long, value_name = "NODE_ID")]
    replace: Option<u64>,
    /// With --join: if a member has this node's addresses, its data is lost, and this node takes its place. Only
    /// where nobody else ever has these addresses, as of the pods of a StatefulSet.
    #[arg(long)]
    replace_lost: bool,
    /// Callers have to show who they are, by a token, a JWT or a certificate, and may do only what they are granted.
    #[arg(long, help_heading = ACCESS)]
    auth: bool,
    /// File with a token whose holder may do everything; the same on each node.
    #[arg(long, value_name = "FILE", help_heading = ACCESS)]
    auth_root_token_file: Option<PathBuf>,
    /// Issuer of the JWTs that are taken.
    #[arg(long, value_name = "TEXT", help_heading = ACCESS)]
    jwt_issuer: Option<String>,
    /// Audience that they must be for.
    #[arg(long, value_name = "TEXT", help_heading = ACCESS)]
    jwt_audience: Option<String>,
    /// File with the issuer's public keys, a JWK set; read anew when it changes.
    #[arg(long, value_name = "FILE", help_heading = ACCESS)]
    jwt_jwks_file: Option<PathBuf>,
    /// Claim with the names of the roles, `/realm_access/roles` where it is within another one [default: toka_roles].
    #[arg(long, value_name = "NAME", help_heading = ACCESS)]
    jwt_roles_claim: Option<String>,
    /// Role of who shows a client certificate with this name; may be repeated.
    #[arg(long, value_name = "NAME=ROLE", help_heading = ACCESS)]
    certificate_role: Vec<String>,
    /// Calls of one principal in a second, where nothing else is said of it [default: no limit].
    #[arg(long, value_name = "N", help_heading = ACCESS)]
    principal_requests_per_second: Option<u32>,
    /// Bytes to and from one principal in a second [default: no limit].
    #[arg(long, value_name = "SIZE", help_heading = ACCESS)]
    principal_bytes_per_second: Option<ByteSize>,
    /// Open subscriptions of one principal [default: no limit].
    #[arg(long, value_name = "N", help_heading = ACCESS)]
    principal_subscriptions: Option<u32>,
    /// Calls of one principal that are open at once, subscriptions, commit streams and pulls that wait among them
    /// [default: no limit].
    #[arg(long, value_name = "N", help_heading = ACCESS)]
    principal_open_calls: Option<u32>,
    /// With --auth: calls with a token or a JWT that is not good which are looked at from one address in a second; above
    /// that its calls are refused for a moment, but for those with a good token, or with a JWT that was found good before;
    /// 0: any number [default: 50].
    #[arg(long, value_name = "N", help_heading = ACCESS)]
    failed_authentications_per_second: Option<u32>,
    /// Dimension of all embeddings; fixed when the vault is created [default: the first one's].
    #[arg(long, value_name = "N", help_heading = CREATION)]
    dimension: Option<u16>,
    /// Model that makes all embeddings [default: the first embedded event's].
    #[arg(long, value_name = "NAME", help_heading = CREATION)]
    embedding_model: Option<String>,
    /// Cosine similarity from which an event joins a micro-cluster [default: 0.5].
    #[arg(long, value_name = "X", help_heading = CREATION)]
    intents_tau: Option<f64>,
    /// Relative similarity from which intents become one [default: 0.85].
    #[arg(long, value_name = "X", help_heading = CREATION)]
    intents_rho: Option<f64>,
    /// Coherence assumed of an intent without evidence [default: 0.15].
    #[arg(long, value_name = "X", help_heading = CREATION)]
    intents_prior: Option<f64>,
    /// Events that the prior counts for [default: 8].
    #[arg(long, value_name = "N", help_heading = CREATION)]
    intents_prior_events: Option<u32>,
    /// Similarity below which intents never become one, divided by rho [default: 0.05].
    #[arg(long, value_name = "X", help_heading = CREATION)]
    intents_floor: Option<f64>,
    /// Events at the origin of the mean of all embeddings [default: 64].
    #[arg(long, value_name = "N", help_heading = CREATION)]
    intents_mean_shrink: Option<u32>,
    /// Events that a micro-cluster's centre remembers, a power of two [default: 1024].
    #[arg(long, value_name = "N", help_heading = CREATION)]
    intents_count_cap: Option<u32>,
    /// Micro-clusters held at once [default: 4096].
    #[arg(long, value_name = "N", help_heading = CREATION)]
    intents_micro_clusters_max: Option<u32>,
    /// Micro-clusters from which they are grouped beside commits [default: 2048].
    #[arg(long, value_name = "N", help_heading = CREATION)]
    intents_background_micro_clusters: Option<u32>,
    /// Fewest embedded events that this is given [default: 1024].
    #[arg(long, value_name = "N", help_heading = CREATION)]
    intents_background_events: Option<u32>,
    /// Fewest embedded events between two saves of the intents [default: 16384].
    #[arg(long, value_name = "N", help_heading = CREATION)]
    intents_save_events: Option<u32>,
    /// Time between heartbeats [default: 100ms].
    #[arg(long, value_name = "TIME")]
    heartbeat_interval: Option<Span>,
    /// Shortest time without a leader before an election [default: 250ms].
    #[arg(long, value_name = "TIME")]
    election_timeout_min: Option<Span>,
    /// Longest time without a leader before an election [default: 400ms].
    #[arg(long, value_name = "TIME")]
    election_timeout_max: Option<Span>,
    /// Silence after which a member is reported as unreachable [default: 10s].
    #[arg(long, value_name = "TIME")]
    unreachable_after: Option<Span>,
    /// How often this node compares its state with that of the others [default: 5s].
    #[arg(long, value_name = "TIME")]
    state_check_interval: Option<Span>,
    /// Time that a sync of the Raft log may take on the average before it is alarmed on [default: 100ms].
    #[arg(long, value_name = "TIME")]
    slow_sync: Option<Span>,
    /// Room that is kept free on the disk; with less, no commits are taken
    /// [default: 1GiB, or a twentieth of a smaller disk].
    #[arg(long, value_name = "BYTES")]
    disk_reserve: Option<ByteSize>,
    /// Time between two passes that read everything that is stored, to find damage; 0s: none
    /// [default: 24h].
    #[arg(long, value_name = "TIME")]
    scrub_interval: Option<Span>,
    /// Bytes that such a pass reads in a second; 0: any number [default: 16MiB].
    #[arg(long, value_name = "SIZE")]
    scrub_rate_limit: Option<ByteSize>,
    /// Highest feature level that this node says it knows: below the build's, it keeps the vault from being
    /// raised, so that the build before can be started again [default: the build's].
    #[arg(long, value_name = "LEVEL")]
    feature_level_max: Option<u32>,
    /// File with the text of a token, `toka_<id>_<secret>`, the same for every node: the cluster makes it, with the role
    /// admin, while it has no token with which it can be administered. `toka auth token generate` writes one.
    #[arg(long, value_name = "FILE", help_heading = ACCESS)]
    bootstrap_admin_token_file: Option<PathBuf>,
    /// How long a call that names no deadline may take [default: 10s].
    #[arg(long, value_name = "TIME")]
    request_timeout: Option<Span>,
    /// How long any call may take [default: 60s].
    #[arg(long, value_name = "TIME")]
    request_timeout_max: Option<Span>,
    /// How long a node that stops waits for calls in flight [default: 10s].
    #[arg(long, value_name = "TIME")]
    shutdown_grace: Option<Span>,
    /// Open connections of clients; further ones are closed at once [default: 4096].
    #[arg(long, value_name = "N")]
    connections_max: Option<usize>,
    /// How long a new connection may take until it has said what it speaks [default: 10s].
    #[arg(long, value_name = "TIME")]
    handshake_timeout: Option<Span>,
    /// Silence after which a connection is asked whether it lives [default: 20s].
    #[arg(long, value_name = "TIME")]
    ping_interval: Option<Span>,
    /// How long it may take to answer [default: 10s].
    #[arg(long, value_name = "TIME")]
    ping_timeout: Option<Span>,
    /// How long a connection or a stream may take nothing of what is there for it [default: 2m].
    #[arg(long, value_name = "TIME")]
    stall_timeout: Option<Span>,
    /// How long a commit stream may send nothing [default: 5m].
    #[arg(long, value_name = "TIME")]
    commit_stream_idle_timeout: Option<Span>,
    /// Open subscriptions [default: 1024].
    #[arg(long, value_name = "N")]
    subscriptions_max: Option<usize>,
    /// Commits in progress, those of commit streams not counted [default: 8192].
    #[arg(long, value_name = "N")]
    commits_max: Option<usize>,
    /// Open commit streams [default: 1024].
    #[arg(long, value_name = "N")]
    commit_streams_max: Option<usize>,
    /// Commits in progress of one commit stream [default: 256].
    #[arg(long, value_name = "N")]
    commit_stream_window: Option<usize>,
    /// Reads of the storage at the same time [default: 64].
    #[arg(long, value_name = "N")]
    reads_max: Option<usize>,
    /// Calls at the same time on one connection [default: 4096].
    #[arg(long, value_name = "N")]
    connection_streams_max: Option<u32>,
    /// Commits that wait for their log entry or its result [default: 16384].
    #[arg(long, value_name = "N")]
    proposals_max: Option<usize>,
    /// Bytes of those commits [default: 64MiB].
    #[arg(long, value_name = "SIZE")]
    proposals_bytes_max: Option<ByteSize>,
    /// Log entries after which a snapshot is made and the log is purged [default: 200000].
    #[arg(long, value_name = "N")]
    snapshot_log_entries: Option<u64>,
    /// Bytes of log entries after which a snapshot is made and the log is purged [default: 256MiB].
    #[arg(long, value_name = "SIZE")]
    snapshot_log_bytes: Option<ByteSize>,
    /// Log entries that are kept behind a snapshot, for followers that are behind [default: 200000].
    #[arg(long, value_name = "N")]
    keep_log_entries: Option<u64>,
    /// Bytes of log entries that are kept behind a snapshot [default: 256MiB].
    #[arg(long, value_name = "SIZE")]
    keep_log_bytes: Option<ByteSize>,
    /// Block cache of the storage [default: a quarter of the memory limit; a sixteenth of the memory where there is none].
    #[arg(long, value_name = "SIZE")]
    cache_bytes: Option<ByteSize>,
    /// With --otlp-endpoint: how long the collector may take to take a batch of spans [default: 10s].
    #[arg(long, value_name = "TIME")]
    otlp_timeout: Option<Span>,
    /// With --otlp-endpoint: spans that may wait for the collector; further ones are dropped [default: 8192].
    #[arg(long, value_name = "N")]
    otlp_queue_spans: Option<usize>,
    /// With --otlp-endpoint: part of the calls that is traced, 0 to 1, where the caller has not decided
    /// [default: 1].
    #[arg(long, value_name = "X")]
    traces_sampler_ratio: Option<f64>,
}

impl Serve {
    pub(crate) fn layer(self, data: Option<PathBuf>, otlp_endpoint: Option<String>) -> ConfigFile {
        ConfigFile {
            node_id: self.node_id,
            data,
            listen: self.listen,
            raft_listen: self.raft_listen,
            http_listen: self.http_listen,
            console: self.console,
            allowed_hosts: Some(self.allowed_host).filter(|hosts| !hosts.is_empty()),
            advertise_client: self.advertise_client,
            advertise_raft: self.advertise_raft,
            insecure: self.insecure.then_some(true),
            tls_cert: self.tls_cert,
            tls_key: self.tls_key,
            tls_client_ca: self.tls_client_ca,
            tls_client_auth: self.tls_client_auth,
            http_tls: self.http_tls.then_some(true),
            raft_tls_cert: self.raft_tls_cert,
            raft_tls_key: self.raft_tls_key,
            raft_tls_ca: self.raft_tls_ca,
            raft_tls_names: Some(self.raft_tls_names).filter(|names| !names.is_empty()),
            raft_tls_server_name: self.raft_tls_server_name,
            initial_members: Some(self.initial_member).filter(|members| !members.is_empty()),
            join: Some(self.join).filter(|endpoints| !endpoints.is_empty()),
            learner: self.learner.then_some(true),
            replace: self.replace,
            replace_lost: self.replace_lost.then_some(true),
            auth: self.auth.then_some(true),
            auth_root_token_file: self.auth_root_token_file,
            jwt_issuer: self.jwt_issuer,
            jwt_audience: self.jwt_audience,
            jwt_jwks_file: self.jwt_jwks_file,
            jwt_roles_claim: self.jwt_roles_claim,
            certificate_roles: Some(self.certificate_role).filter(|roles| !roles.is_empty()),
            principal_requests_per_second: self.principal_requests_per_second,
            principal_bytes_per_second: self.principal_bytes_per_second,
            principal_subscriptions: self.principal_subscriptions,
            principal_open_calls: self.principal_open_calls,
            failed_authentications_per_second: self.failed_authentications_per_second,
            dimension: self.dimension,
            embedding_model: self.embedding_model,
            intents_tau: self.intents_tau,
            intents_rho: self.intents_rho,
            intents_prior: self.intents_prior,
            intents_prior_events: self.intents_prior_events,
            intents_floor: self.intents_floor,
            intents_mean_shrink: self.intents_mean_shrink,
            intents_count_cap: self.intents_count_cap,
            intents_micro_clusters_max: self.intents_micro_clusters_max,
            intents_background_micro_clusters: self.intents_background_micro_clusters,
            intents_background_events: self.intents_background_events,
            intents_save_events: self.intents_save_events,
            heartbeat_interval: self.heartbeat_interval,
            election_timeout_min: self.election_timeout_min,
            election_timeout_max: self.election_timeout_max,
            unreachable_after: self.unreachable_after,
            state_check_interval: self.state_check_interval,
            slow_sync: self.slow_sync,
            disk_reserve: self.disk_reserve,
            scrub_interval: self.scrub_interval,
            scrub_rate_limit: self.scrub_rate_limit,
            feature_level_max: self.feature_level_max,
            bootstrap_admin_token_file: self.bootstrap_admin_token_file,
            request_timeout: self.request_timeout,
            request_timeout_max: self.request_timeout_max,
            shutdown_grace: self.shutdown_grace,
            connections_max: self.connections_max,
            handshake_timeout: self.handshake_timeout,
            ping_interval: self.ping_interval,
            ping_timeout: self.ping_timeout,
            stall_timeout: self.stall_timeout,
            commit_stream_idle_timeout: self.commit_stream_idle_timeout,
            subscriptions_max: self.subscriptions_max,
            commits_max: self.commits_max,
            commit_streams_max: self.commit_streams_max,
            commit_stream_window: self.commit_stream_window,
            reads_max: self.reads_max,
            connection_streams_max: self.connection_streams_max,
            proposals_max: self.proposals_max,
            proposals_bytes_max: self.proposals_bytes_max,
            snapshot_log_entries: self.snapshot_log_entries,
            snapshot_log_bytes: self.snapshot_log_bytes,
            keep_log_entries: self.keep_log_entries,
            keep_log_bytes: self.keep_log_bytes,
            cache_bytes: self.cache_bytes,
            otlp_endpoint,
            otlp_timeout: self.otlp_timeout,
            otlp_queue_spans: self.otlp_queue_spans,
            traces_sampler_ratio: self.traces_sampler_ratio,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    /// What a help says that holds unless it is given.
    fn told(help: &str) -> Option<&str> {
        let (_, told) = help.trim_end_matches('.').rsplit_once("[default: ")?;
        told.strip_suffix(']')
    }

    /// Whether two texts say the same: `60s` and `1m`, `1` and `1.0`.
    fn is_same(told: &str, holds: &str) -> bool {
        let spans = (told.parse::<Span>(), holds.parse::<Span>());
        let sizes = (told.parse::<ByteSize>(), holds.parse::<ByteSize>());
        let numbers = (told.parse::<f64>(), holds.parse::<f64>());
        told == holds
            || matches!(spans, (Ok(told), Ok(holds)) if told == holds)
            || matches!(sizes, (Ok(told), Ok(holds)) if told == holds)
            || matches!(numbers, (Ok(told), Ok(holds)) if told == holds)
    }

    #[test]
    fn help_tells_the_defaults_that_hold() {
        let given = ConfigFile {
            node_id: Some(1),
            data: Some(PathBuf::from("/vault")),
            ..ConfigFile::default()
        };
        let dump = given.dump().expect("valid");
        let holds = |key: &str| {
            let mut lines = dump.lines().filter_map(|line| line.split_once(" = "));
            let (_, value) = lines.find(|(name, _)| *name == key)?;
            Some(value.trim_matches('"'))
        };
        let mut compared = 0;
        for flag in Serve::augment_args(Command::new("serve")).get_arguments() {
            let key = flag.get_id().as_str();
            let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
            if let (Some(told), Some(holds)) = (told(&help), holds(key)) {
                assert!(is_same(told, holds), "{key}: {told}, and not {holds}");
                compared += 1;
            }
        }
        assert!(compared >= 40, "{compared} settings are compared");
    }
}
