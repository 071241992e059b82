//! Configuration of a node: flags over `TOKA_*` environment over file over default.

mod auth;
mod connections;
mod creation;
mod dump;
mod error;
mod exposure;
mod file;
mod followed;
mod hosts;
mod join;
mod member;
#[cfg(test)]
mod tests;
mod timing;
mod tls;
mod tracing;
mod units;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toka_ledger::command::{FEATURE_LEVEL, FEATURE_LEVEL_MIN};
use toka_raft::Member;
use toka_raft::config::{Compaction, Creation, Scrub};
use toka_raft::limits::VOTERS_MAX;

pub use self::auth::{Auth, Jwt};
pub use self::connections::Connections;
pub use self::error::ConfigError;
pub use self::exposure::Protection;
pub use self::file::ConfigFile;
pub(crate) use self::followed::read_certificate_roles;
pub use self::hosts::AllowedHost;
pub use self::join::Join;
pub(crate) use self::member::check_endpoint;
pub use self::member::{InitialMember, MemberError};
pub use self::timing::Timing;
pub use self::tls::{ClientAuth, Tls};
pub use self::tracing::Tracing;
pub use self::units::{ByteSize, Span, UnitError};

/// Everything a node is told, checked but for what needs its bound ports.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// This node's id, from 1; never reused within a cluster. Absent: the data directory's, or it joins a
    /// cluster, which gives it one.
    pub node_id: Option<u64>,
    /// Data directory.
    pub data: PathBuf,
    /// Where clients are listened for; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where other nodes are listened for; port 0 takes a free one.
    pub raft_listen: SocketAddr,
    /// Where HTTP is listened for; port 0 takes a free one.
    pub http_listen: SocketAddr,
    /// Whether the console is there; absent: where HTTP is listened for on loopback alone.
    pub console: Option<bool>,
    /// Names at which browsers may call the node, besides localhost, IP addresses and the advertised one.
    pub allowed_hosts: Vec<AllowedHost>,
    /// `host:port` under which clients reach this node; absent: the bound address.
    pub advertise_client: Option<String>,
    /// `host:port` under which other nodes reach this node; absent: the bound address.
    pub advertise_raft: Option<String>,
    /// TLS for clients and between nodes; absent: everything is said in plain text.
    pub tls: Option<Tls>,
    /// The node listens to others than its own machine whatever its [`Protection`] lacks.
    pub insecure: bool,
    /// Members of a cluster that forms, by node id; empty: this node alone.
    pub initial_members: BTreeMap<u64, Member>,
    /// How the node becomes a member of a cluster that is there; absent: it takes part in forming one. With
    /// initial members besides, it forms one if it is among them and there is none yet, and else it joins.
    /// Of no effect once it is a member.
    pub join: Option<Join>,
    /// What is fixed when the vault is created; of no effect on one that is there.
    pub creation: Creation,
    /// Heartbeats and elections.
    pub timing: Timing,
    /// Bounds.
    pub limits: Limits,
    /// When connections and streams are cut off.
    pub connections: Connections,
    /// Log, snapshots and caches.
    pub storage: Storage,
    /// Who may call this node, and for what.
    pub auth: Auth,
    /// File with the text of a token (`toka_<id>_<secret>`), the same on every node: it is made, with the role `admin`,
    /// as long as the vault has no token with which it can be administered.
    pub bootstrap_admin_token_file: Option<PathBuf>,
    /// Whether calls are traced.
    pub tracing: Tracing,
}

/// What a node allows; above a limit calls get RESOURCE_EXHAUSTED with a hint when to retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a call that names no deadline may take.
    pub request_timeout: Duration,
    /// How long a call may take whatever deadline it names.
    pub request_timeout_max: Duration,
    /// How long a node that stops waits for calls in flight.
    pub shutdown_grace: Duration,
    /// Open subscriptions.
    pub subscriptions_max: usize,
    /// Commits in progress, those in commit streams not counted.
    pub commits_max: usize,
    /// Open commit streams.
    pub commit_streams_max: usize,
    /// Commits in progress of one commit stream.
    pub commit_stream_window: usize,
    /// Reads of the storage at the same time.
    pub reads_max: usize,
    /// Calls at the same time on one connection.
    pub connection_streams_max: u32,
    /// Commits that wait for their log entry or its result.
    pub proposals_max: usize,
    /// Bytes of those commits.
    pub proposals_bytes_max: u64,
}

/// Log, snapshots and caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Log entries after which a snapshot is made.
    pub snapshot_log_entries: u64,
    /// Bytes of log entries after which a snapshot is made.
    pub snapshot_log_bytes: u64,
    /// Log entries that are kept behind a snapshot, for followers that are behind.
    pub keep_log_entries: u64,
    /// Bytes of log entries that are kept behind a snapshot.
    pub keep_log_bytes: u64,
    /// Block cache of the storage, bytes; absent: a quarter of the memory that the node's control group may take, 64 MiB
    /// to 4 GiB; where it has no limit, a sixteenth of the machine's, 64 MiB to 1 GiB.
    pub cache_bytes: Option<u64>,
    /// Bytes that are kept free on the disk; absent: 1 GiB, or a twentieth of a smaller disk.
    pub disk_reserve_bytes: Option<u64>,
    /// How everything that is stored is read, to find damage.
    pub scrub: Scrub,
    /// The highest feature level that this node says it knows; at most the build's.
    pub feature_level_max: u32,
}

impl Config {
    /// Lays the layers over each other and checks the result.
    ///
    /// # Errors
    /// [`ConfigError::Missing`] and [`ConfigError::Invalid`], naming the key.
    pub fn merge(
        flags: ConfigFile,
        environment: ConfigFile,
        file: ConfigFile,
    ) -> Result<Self, ConfigError> {
        Self::from_layer(flags.or(environment).or(file))
    }

    /// A node on loopback with the default ports and without initial members.
    #[must_use]
    pub fn new(node_id: u64, data: PathBuf) -> Self {
        let layer = ConfigFile {
            node_id: Some(node_id),
            data: Some(data),
            ..ConfigFile::default()
        };
        Self::unchecked(layer).expect("node id and data directory are given")
    }

    fn from_layer(layer: ConfigFile) -> Result<Self, ConfigError> {
        let config = Self::unchecked(layer)?;
        config.check()?;
        Ok(config)
    }

    fn unchecked(layer: ConfigFile) -> Result<Self, ConfigError> {
        let join = join::join(&layer)?;
        let data = layer
            .data
            .clone()
            .ok_or_else(|| ConfigError::missing("data"))?;
        Ok(Self {
            node_id: layer.node_id,
            join,
            data,
            listen: layer.listen.unwrap_or(loopback(7311)),
            raft_listen: layer.raft_listen.unwrap_or(loopback(7312)),
            http_listen: layer.http_listen.unwrap_or(loopback(7313)),
            console: layer.console,
            allowed_hosts: hosts::allowed_hosts(
                layer.allowed_hosts.as_deref().unwrap_or_default(),
            )?,
            tls: tls::tls(&layer)?,
            insecure: layer.insecure.unwrap_or(false),
            creation: creation::creation(&layer)?,
            timing: Timing::of(&layer),
            limits: limits(&layer),
            connections: Connections::of(&layer),
            storage: storage(&layer),
            auth: auth::auth(&layer)?,
            tracing: Tracing::of(&layer),
            initial_members: member_map(layer.initial_members.unwrap_or_default())?,
            advertise_client: layer.advertise_client,
            advertise_raft: layer.advertise_raft,
            bootstrap_admin_token_file: layer.bootstrap_admin_token_file,
        })
    }

    /// Checks what can be checked before the ports are bound.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`], naming the key.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.node_id == Some(0) {
            return Err(ConfigError::invalid("node_id", "is 0; ids start at 1"));
        }
        for (key, endpoint) in [
            ("advertise_client", &self.advertise_client),
            ("advertise_raft", &self.advertise_raft),
        ] {
            if let Some(endpoint) = endpoint {
                check_endpoint(endpoint).map_err(|detail| {
                    ConfigError::invalid(key, format!("{endpoint:?}: {detail}"))
                })?;
            }
        }
        self.check_exposure()?;
        self.check_membership()?;
        self.timing.check()?;
        self.check_level()?;
        self.connections.check()?;
        self.tracing.check()?;
        self.check_limits()
    }

    fn check_membership(&self) -> Result<(), ConfigError> {
        let invalid = |detail: String| Err(ConfigError::invalid("initial_members", detail));
        match (self.node_id, &self.join) {
            (Some(_), Some(_)) => Err(ConfigError::invalid(
                "node_id",
                "a node that joins is given its id by the cluster: leave node_id or join out",
            )),
            (None, Some(join))
                if !self.initial_members.is_empty()
                    && (join.learner || join.replaces.is_some()) =>
            {
                invalid(
                    "a node that may form the cluster is no learner, and takes nobody's place that is named: leave \
                     initial_members, or learner and replace, out"
                        .to_owned(),
                )
            }
            (Some(id), None)
                if !self.initial_members.is_empty() && !self.initial_members.contains_key(&id) =>
            {
                let listed: Vec<String> = self.initial_members.keys().map(u64::to_string).collect();
                invalid(format!("node {id} is not among {}", listed.join(", ")))
            }
            // Without either the data directory says it, or nobody.
            (Some(_), None) | (None, _) => Ok(()),
        }
    }

    fn check_level(&self) -> Result<(), ConfigError> {
        let level = self.storage.feature_level_max;
        if !(FEATURE_LEVEL_MIN..=FEATURE_LEVEL).contains(&level) {
            return Err(ConfigError::invalid(
                "feature_level_max",
                format!("is {level}; this build knows {FEATURE_LEVEL_MIN} to {FEATURE_LEVEL}"),
            ));
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        for (key, value) in [
            ("subscriptions_max", limits.subscriptions_max),
            ("commits_max", limits.commits_max),
            ("commit_streams_max", limits.commit_streams_max),
            ("commit_stream_window", limits.commit_stream_window),
            ("reads_max", limits.reads_max),
            ("proposals_max", limits.proposals_max),
        ] {
            if !(1..=COUNT_MAX).contains(&value) {
                return Err(ConfigError::invalid(
                    key,
                    format!("{value} is not between 1 and {COUNT_MAX}"),
                ));
            }
        }
        if limits.connection_streams_max == 0 {
            return Err(ConfigError::invalid("connection_streams_max", "is 0"));
        }
        if limits.request_timeout.is_zero() {
            return Err(ConfigError::invalid("request_timeout", "is 0"));
        }
        if limits.request_timeout_max < limits.request_timeout {
            return Err(ConfigError::invalid(
                "request_timeout_max",
                format!(
                    "{} is below request_timeout, {}",
                    Span(limits.request_timeout_max),
                    Span(limits.request_timeout)
                ),
            ));
        }
        Ok(())
    }

    /// What is allowed and yet hardly meant, one sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self.exposure_warning().into_iter().collect();
        let members = self.initial_members.len();
        if members > 0 && members.is_multiple_of(2) {
            warnings.push(format!(
                "{members} initial members tolerate no more failures than {}; use 1, 3, 5 or 7",
                members - 1
            ));
        }
        if members > VOTERS_MAX {
            warnings.push(format!(
                "{members} initial members; above {VOTERS_MAX} every commit gets slower, and none can be \
                 added"
            ));
        }
        warnings
    }

    /// What this node advertises, and the members of a cluster that forms, once the ports are
    /// bound to `client` and `raft`.
    ///
    /// # Errors
    /// [`ConfigError`] if the node listens on all interfaces and does not say under which address
    /// it can be reached, or if the list of members says otherwise than the node itself.
    pub fn resolve(&self, client: SocketAddr, raft: SocketAddr) -> Result<Resolved, ConfigError> {
        let client_endpoint =
            advertised("advertise_client", self.advertise_client.as_deref(), client)?;
        let raft_endpoint = advertised("advertise_raft", self.advertise_raft.as_deref(), raft)?;
        let advertised = Member::new(raft_endpoint, client_endpoint);
        let mut initial_members = self.initial_members.clone();
        let Some(node_id) = self.node_id else {
            return Ok(Resolved {
                advertised,
                initial_members,
            });
        };
        if initial_members.is_empty() {
            initial_members.insert(node_id, advertised.clone());
        }
        match initial_members.get(&node_id) {
            Some(listed) if *listed == advertised => Ok(Resolved {
                advertised,
                initial_members,
            }),
            Some(listed) => Err(ConfigError::invalid(
                "initial_members",
                format!(
                    "node {node_id} is listed with {listed} and advertises {advertised}; \
                     set advertise_raft and advertise_client to what is listed"
                ),
            )),
            None => Err(ConfigError::invalid(
                "initial_members",
                format!("node {node_id} is not among them"),
            )),
        }
    }
}

/// What a [`Config`] means once the ports are bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Where this node can be reached.
    pub advertised: Member,
    /// Members of a cluster that forms, this node among them; empty: it joins one, or has been in one.
    pub initial_members: BTreeMap<u64, Member>,
}

/// Highest value of a limit that counts: what a counting semaphore can hold, with room.
const COUNT_MAX: usize = 1 << 20;
fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn advertised(
    key: &'static str,
    given: Option<&str>,
    bound: SocketAddr,
) -> Result<String, ConfigError> {
    match given {
        Some(endpoint) => Ok(endpoint.to_owned()),
        None if bound.ip().is_unspecified() => Err(ConfigError::invalid(
            key,
            format!("the node listens on all interfaces ({bound}); say under which it is reached"),
        )),
        None => Ok(bound.to_string()),
    }
}

fn member_map(members: Vec<InitialMember>) -> Result<BTreeMap<u64, Member>, ConfigError> {
    const KEY: &str = "initial_members";
    let mut map: BTreeMap<u64, Member> = BTreeMap::new();
    for InitialMember { node_id, member } in members {
        let taken = map.values().any(|other| {
            other.raft_endpoint == member.raft_endpoint
                || other.client_endpoint == member.client_endpoint
        });
        if taken {
            return Err(ConfigError::invalid(
                KEY,
                format!("an endpoint of node {node_id} is another node's too: {member}"),
            ));
        }
        if map.insert(node_id, member).is_some() {
            return Err(ConfigError::invalid(
                KEY,
                format!("node {node_id} is listed twice"),
            ));
        }
    }
    Ok(map)
}

fn limits(layer: &ConfigFile) -> Limits {
    let span =
        |value: Option<Span>, default_s| value.map_or(Duration::from_secs(default_s), |s| s.0);
    Limits {
        request_timeout: span(layer.request_timeout, 10),
        request_timeout_max: span(layer.request_timeout_max, 60),
        shutdown_grace: span(layer.shutdown_grace, 10),
        subscriptions_max: layer.subscriptions_max.unwrap_or(1_024),
        commits_max: layer.commits_max.unwrap_or(8_192),
        commit_streams_max: layer.commit_streams_max.unwrap_or(1_024),
        commit_stream_window: layer.commit_stream_window.unwrap_or(256),
        reads_max: layer.reads_max.unwrap_or(64),
        connection_streams_max: layer.connection_streams_max.unwrap_or(4_096),
        proposals_max: layer.proposals_max.unwrap_or(16_384),
        proposals_bytes_max: layer.proposals_bytes_max.map_or(64 << 20, |size| size.0),
    }
}

fn scrub(layer: &ConfigFile) -> Scrub {
    let default = Scrub::default();
    let interval = layer.scrub_interval.map(|span| span.0);
    Scrub {
        interval: interval.map_or(default.interval, |interval| {
            (!interval.is_zero()).then_some(interval)
        }),
        rate_bytes: layer
            .scrub_rate_limit
            .map_or(default.rate_bytes, |size| size.0),
    }
}

fn storage(layer: &ConfigFile) -> Storage {
    let default = Compaction::default();
    let bytes = |value: Option<ByteSize>, default| value.map_or(default, |size| size.0);
    Storage {
        snapshot_log_entries: layer
            .snapshot_log_entries
            .unwrap_or(default.snapshot_log_entries),
        snapshot_log_bytes: bytes(layer.snapshot_log_bytes, default.snapshot_log_bytes),
        keep_log_entries: layer.keep_log_entries.unwrap_or(default.keep_log_entries),
        keep_log_bytes: bytes(layer.keep_log_bytes, default.keep_log_bytes),
        cache_bytes: layer.cache_bytes.map(|size| size.0),
        disk_reserve_bytes: layer.disk_reserve.map(|size| size.0),
        scrub: scrub(layer),
        feature_level_max: layer.feature_level_max.unwrap_or(FEATURE_LEVEL),
    }
}
