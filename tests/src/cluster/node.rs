//! One node: its addresses and directory outlive its process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use toka_client::{Config, TcpTransport, Tls, Transport as _};
use toka_proto::v1::cluster_service_client::ClusterServiceClient;
use toka_proto::v1::cursor_service_client::CursorServiceClient;
use toka_proto::v1::group_service_client::GroupServiceClient;
use toka_proto::v1::intent_service_client::IntentServiceClient;
use toka_proto::v1::lineage_service_client::LineageServiceClient;
use toka_proto::v1::vault_service_client::VaultServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::transport::{Channel, Endpoint};

use crate::power::Syncs;
use crate::process::Process;

/// A node on loopback answers at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Larger than everything that tests send or ask for.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// One node.
#[derive(Debug)]
pub struct Node {
    /// Node id.
    pub id: u64,
    /// For clients.
    pub client: SocketAddr,
    /// For the other nodes.
    pub raft: SocketAddr,
    /// Where it listens for the other nodes, if a proxy stands in front of it.
    pub(super) behind: Option<SocketAddr>,
    /// For `/readyz`.
    pub http: SocketAddr,
    /// Data directory.
    pub data: PathBuf,
    /// What it writes to standard output and error.
    pub log: PathBuf,
    /// What its process is started by, on a host of its own.
    pub(super) entered_by: Option<(PathBuf, Vec<String>)>,
    /// What it joins the cluster with; absent of a node that forms it.
    pub(super) joins_with: Option<Vec<String>>,
    /// Variables of its environment.
    pub(super) variables: Vec<(&'static str, PathBuf)>,
    /// The build of `toka` that it runs, if not the ordinary one.
    pub(super) build: Option<PathBuf>,
    /// How strace records what it syncs, if it does.
    pub(super) syncs: Option<Syncs>,
    /// How often it was started.
    pub(super) starts: u32,
    pub(super) process: Option<Process>,
    channel: Channel,
}

impl Node {
    pub(super) fn new(id: u64, ports: &[SocketAddr], directory: &Path) -> Result<Self> {
        let (client, raft, http) = (ports[0], ports[1], ports[2]);
        let endpoint = Endpoint::from_shared(format!("http://{client}"))?;
        Ok(Self {
            id,
            client,
            raft,
            behind: None,
            http,
            data: directory.join(format!("node-{id}")),
            log: directory.join(format!("node-{id}.log")),
            entered_by: None,
            joins_with: None,
            variables: Vec::new(),
            build: None,
            syncs: None,
            starts: 0,
            process: None,
            channel: endpoint.connect_timeout(CONNECT_TIMEOUT).connect_lazy(),
        })
    }

    /// Asks it over TLS from here on.
    pub(super) fn secure(&mut self, tls: &Tls) -> Result<()> {
        let config = Config {
            connect_timeout: CONNECT_TIMEOUT,
            ..Config::default()
        };
        let transport = TcpTransport::secured(&config, tls)?;
        self.channel = transport.channel(&self.client.to_string())?;
        Ok(())
    }

    /// Where clients reach it, `host:port`.
    pub fn endpoint(&self) -> String {
        self.client.to_string()
    }

    /// The vault, as this node and no other serves it.
    pub fn vault(&self) -> VaultServiceClient<Channel> {
        VaultServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Its intents.
    pub fn intents(&self) -> IntentServiceClient<Channel> {
        IntentServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Walks through its graph of events.
    pub fn lineage(&self) -> LineageServiceClient<Channel> {
        LineageServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Its cursors.
    pub fn cursors(&self) -> CursorServiceClient<Channel> {
        CursorServiceClient::new(self.channel.clone())
    }

    /// Its consumer groups.
    pub fn groups(&self) -> GroupServiceClient<Channel> {
        GroupServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The cluster, as this node sees it.
    pub fn cluster(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel.clone())
    }

    /// All of its metrics, in Prometheus' text format.
    pub async fn metrics(&self) -> Result<String> {
        let answer = get(self.http, "/metrics").await?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let lines = answer
            .lines()
            .filter(|line| line.starts_with("# ") || line.starts_with("toka_"));
        Ok(lines.flat_map(|line| [line, "\n"]).collect())
    }

    /// The value of one of its metrics that have no labels.
    pub async fn metric(&self, name: &str) -> Result<u64> {
        let answer = get(self.http, "/metrics").await?;
        let value = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(' ')?.to_owned());
        let found = answer.lines().find_map(value);
        let found = found.with_context(|| format!("there is no {name}: {answer}"))?;
        found.trim().parse::<u64>().context(found)
    }

    /// Where strace records what it syncs in its present life.
    pub(super) fn record(&self) -> PathBuf {
        self.log.with_extension(format!("{}.syncs", self.starts))
    }

    /// The arguments of `toka serve`, without the node's id and the members.
    pub(super) fn arguments(&self) -> Vec<String> {
        let raft_listen = self.behind.unwrap_or(self.raft);
        let mut arguments = [
            "serve",
            "--data",
            &self.data.display().to_string(),
            "--listen",
            &self.client.to_string(),
            "--raft-listen",
            &raft_listen.to_string(),
            "--http-listen",
            &self.http.to_string(),
        ]
        .map(str::to_owned)
        .to_vec();
        if !self.client.ip().is_loopback() {
            // A host of a network that nobody else is on.
            arguments.push("--insecure".to_owned());
        }
        if self.behind.is_some() {
            arguments.extend(["--advertise-raft".to_owned(), self.raft.to_string()]);
        }
        arguments
    }
}

/// One GET of `/readyz`.
pub(super) async fn readyz(http: SocketAddr) -> Result<()> {
    let answer = get(http, "/readyz").await?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(())
}

/// One GET; the whole answer.
async fn get(http: SocketAddr, path: &str) -> Result<String> {
    let mut connection = tokio::net::TcpStream::connect(http).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}
