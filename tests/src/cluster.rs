//! A cluster of `toka serve` processes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use toka_client::Client;

use crate::process::Process;
use crate::wait;

/// Longest wait for an election, a start or a catch-up on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One node: its addresses and directory outlive its process.
#[derive(Debug)]
pub struct Node {
    /// Node id.
    pub id: u64,
    /// For clients.
    pub client: SocketAddr,
    /// For the other nodes.
    pub raft: SocketAddr,
    /// For `/readyz`.
    pub http: SocketAddr,
    /// Data directory.
    pub data: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

/// Nodes 1 to n.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    /// Further arguments of every node.
    arguments: Vec<String>,
    directory: TempDir,
}

impl Cluster {
    /// Starts `size` nodes and waits until all are ready.
    pub async fn start(size: u64) -> Result<Self> {
        Self::start_with(size, &[]).await
    }

    /// As [`Cluster::start`], every node with further `arguments`.
    pub async fn start_with(size: u64, arguments: &[&str]) -> Result<Self> {
        let mut cluster = Self::prepare(size, arguments)?;
        for id in 1..=size {
            cluster.launch(id)?;
        }
        for id in 1..=size {
            cluster.wait_ready(id).await?;
        }
        Ok(cluster)
    }

    /// Chooses addresses and directories; starts nothing.
    pub fn prepare(size: u64, arguments: &[&str]) -> Result<Self> {
        let directory = TempDir::with_prefix("toka-test-")?;
        // 127.0.x.y stays free for everything else on the machine.
        let host = Ipv4Addr::new(
            127,
            rand::random_range(1..=254),
            rand::random_range(0..=255),
            rand::random_range(1..=254),
        );
        // All are held at once, so that no port is given out twice.
        let listeners = (0..size * 3)
            .map(|_| TcpListener::bind((host, 0)))
            .collect::<Result<Vec<_>, _>>()
            .context("no loopback port")?;
        let addresses =
            listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
        let nodes = (1..=size)
            .zip(addresses.chunks_exact(3))
            .map(|(id, ports)| Node {
                id,
                client: ports[0],
                raft: ports[1],
                http: ports[2],
                data: directory.path().join(format!("node-{id}")),
                log: directory.path().join(format!("node-{id}.log")),
                process: None,
            })
            .collect();
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Ok(Self { nodes, arguments, directory })
    }

    /// Where the nodes' directories and logs are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The arguments of `toka serve` for node `id`.
    pub fn serve_arguments(&self, id: u64) -> Vec<String> {
        let node = self.node(id);
        let mut arguments: Vec<String> = [
            "serve",
            "--node-id",
            &id.to_string(),
            "--data",
            &node.data.display().to_string(),
            "--listen",
            &node.client.to_string(),
            "--raft-listen",
            &node.raft.to_string(),
            "--http-listen",
            &node.http.to_string(),
        ]
        .map(str::to_owned)
        .to_vec();
        for member in &self.nodes {
            arguments.push("--initial-member".to_owned());
            arguments.push(format!("{}={},{}", member.id, member.raft, member.client));
        }
        arguments.extend(self.arguments.iter().cloned());
        arguments
    }

    /// Starts the process of node `id`.
    pub fn launch(&mut self, id: u64) -> Result<()> {
        let arguments = self.serve_arguments(id);
        let node = self.node_mut(id);
        ensure!(node.process.is_none(), "node {id} runs already");
        node.process = Some(Process::start(&arguments, &node.log)?);
        Ok(())
    }

    /// Starts node `id` and waits until it is ready.
    pub async fn restart(&mut self, id: u64) -> Result<()> {
        self.launch(id)?;
        self.wait_ready(id).await
    }

    /// Waits for `/readyz` of node `id`.
    pub async fn wait_ready(&mut self, id: u64) -> Result<()> {
        let http = self.node(id).http;
        let ready = wait::until("ready", PATIENCE, || readyz(http)).await;
        let node = self.node_mut(id);
        let tail = || node.process.as_ref().map(Process::tail).unwrap_or_default();
        ready.with_context(|| format!("node {id} is not ready; its log ends:\n{}", tail()))
    }

    /// SIGKILL.
    pub fn kill(&mut self, id: u64) -> Result<()> {
        self.take_process(id)?.kill()
    }

    /// SIGTERM; the process must exit with 0.
    pub fn terminate(&mut self, id: u64) -> Result<()> {
        let mut process = self.take_process(id)?;
        let status = process.terminate(PATIENCE)?;
        ensure!(status.success(), "node {id} ended with {status}: {}", process.tail());
        Ok(())
    }

    /// The process of a running node, for what else a test wants to do to it.
    pub fn process(&mut self, id: u64) -> Result<&mut Process> {
        self.node_mut(id).process.as_mut().with_context(|| format!("node {id} does not run"))
    }

    /// Takes the process out: the harness regards the node as stopped.
    pub fn take_process(&mut self, id: u64) -> Result<Process> {
        self.node_mut(id).process.take().with_context(|| format!("node {id} does not run"))
    }

    /// Node `id`.
    pub fn node(&self, id: u64) -> &Node {
        &self.nodes[index(id)]
    }

    fn node_mut(&mut self, id: u64) -> &mut Node {
        &mut self.nodes[index(id)]
    }

    /// Ids of all nodes.
    pub fn ids(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    /// Client endpoints of all nodes.
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.client.to_string()).collect()
    }

    /// A client that knows all nodes.
    pub async fn client(&self) -> Result<Client> {
        Ok(Client::connect(self.endpoints()).await?)
    }

    /// A client that knows node `id` alone.
    pub async fn client_of(&self, id: u64) -> Result<Client> {
        Ok(Client::connect([self.node(id).client.to_string()]).await?)
    }
}

fn index(id: u64) -> usize {
    usize::try_from(id).expect("node ids are small") - 1
}

/// One GET of `/readyz`.
async fn readyz(http: SocketAddr) -> Result<()> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut connection = tokio::net::TcpStream::connect(http).await?;
    let request = b"GET /readyz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n";
    connection.write_all(request).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(())
}
