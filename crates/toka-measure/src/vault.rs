//! A vault's cluster of `toka serve` processes on loopback.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use toka_client::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::error::Error;
use crate::meter::Meter;
use crate::pace::Pace;
use crate::ports;
use crate::reads;
use crate::server::Server;
use crate::usage::disk_bytes;

/// Addresses of one node.
const PORTS_A_NODE: usize = 3;
/// For a node to be ready, and for a cluster to have a leader. A long log may have to be applied again.
const READY_LIMIT: Duration = Duration::from_secs(300);
/// For a node to end after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// How often a node that starts is asked.
const POLL: Duration = Duration::from_millis(2);
/// For one such question.
const ASK_LIMIT: Duration = Duration::from_secs(1);
/// Longest head of an answer to it.
const ANSWER_BYTES: usize = 64;

#[derive(Debug)]
struct Node {
    id: u64,
    client: SocketAddr,
    raft: SocketAddr,
    http: SocketAddr,
    data: PathBuf,
}

/// The nodes; their processes are killed when it is dropped, and its directory is removed.
#[derive(Debug)]
pub struct Vault {
    nodes: Vec<Node>,
    // Before the directory, so that the processes end first.
    servers: Vec<Server>,
    directory: TempDir,
}

/// Bytes on the disk of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskBytes {
    /// Of its ledger and what belongs to it.
    pub ledger: u64,
    /// Of its Raft log.
    pub raft_log: u64,
    /// Of its snapshots, which share files with the ledger.
    pub snapshots: u64,
}

impl Vault {
    /// Starts `nodes` of them with further `arguments` of `serve`, in a new directory below `parent`, and waits until
    /// they are ready.
    ///
    /// # Errors
    /// Something of a node cannot be made, or a node ends or is not ready in time.
    pub async fn start(
        program: &Path,
        nodes: u64,
        parent: &Path,
        arguments: &[OsString],
    ) -> Result<Self, Error> {
        let directory = TempDir::with_prefix_in("toka-bench-", parent)
            .map_err(Error::file("make a directory in", parent))?;
        let addresses = ports::free(PORTS_A_NODE * nodes as usize)?;
        let nodes: Vec<_> = (1..)
            .zip(addresses.chunks_exact(PORTS_A_NODE))
            .map(|(id, addresses)| Node {
                id,
                client: addresses[0],
                raft: addresses[1],
                http: addresses[2],
                data: directory.path().join(format!("node-{id}")),
            })
            .collect();
        let server = |node| {
            let arguments = serve(node, &nodes, arguments);
            let node: &Node = node;
            let log = directory.path().join(format!("node-{}.log", node.id));
            Server::new(format!("node {}", node.id), program, arguments, log)
        };
        let servers = nodes.iter().map(server).collect();
        let mut vault = Self {
            nodes,
            servers,
            directory,
        };
        for server in &mut vault.servers {
            server.start()?;
        }
        vault.all_ready().await?;
        Ok(vault)
    }

    /// Where clients reach the nodes, `host:port`.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        let endpoints = self.nodes.iter().map(|node| node.client.to_string());
        endpoints.collect()
    }

    /// The ids of the nodes.
    #[must_use]
    pub fn ids(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    /// The processes that run.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.servers.iter().filter_map(Server::pid).collect()
    }

    /// Measures what the nodes spend on a load.
    #[must_use]
    pub fn meter(&self, pace: &Arc<Pace>) -> Meter {
        Meter::start(self.pids(), Some(self.directory.path()), pace)
    }

    /// A client of all nodes.
    ///
    /// # Errors
    /// [`Error::Client`].
    pub async fn client(&self) -> Result<Client, Error> {
        Ok(Client::connect(self.endpoints()).await?)
    }

    /// Where clients reach one node, `host:port`.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn endpoint(&self, id: u64) -> Result<String, Error> {
        Ok(self.nodes[self.place(id)?].client.to_string())
    }

    /// One node alone.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn node(&self, id: u64) -> Result<reads::Node, Error> {
        let endpoint = self.endpoint(id)?;
        reads::Node::at(&endpoint).map_err(|_| Error::NotRunning { node_id: id })
    }

    /// The leader, as soon as the nodes agree on one that answers.
    ///
    /// # Errors
    /// [`Error::TooLate`].
    pub async fn leader(&self, client: &Client) -> Result<u64, Error> {
        let until = Instant::now() + READY_LIMIT;
        loop {
            let status = client.cluster_status().await?;
            let mut agreed = status.nodes.iter().filter(|node| node.node.healthy);
            if let Some(leader) = status.leader_id
                && agreed.any(|node| node.node.node_id == leader)
                && status
                    .nodes
                    .iter()
                    .all(|node| !node.node.healthy || node.node.leader_id == Some(leader))
            {
                return Ok(leader);
            }
            if Instant::now() >= until {
                return Err(too_late("the cluster", "a leader"));
            }
            tokio::time::sleep(10 * POLL).await;
        }
    }

    /// SIGKILL to a node.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Process`].
    pub fn kill(&mut self, id: u64) -> Result<(), Error> {
        let place = self.place(id)?;
        self.servers[place].kill()
    }

    /// SIGTERM to a node, without waiting for its end.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Process`].
    pub fn terminate(&self, id: u64) -> Result<(), Error> {
        self.servers[self.place(id)?].terminate()
    }

    /// Waits for the end of a node that was told to end.
    ///
    /// # Errors
    /// [`Error::TooLate`].
    pub async fn ended(&mut self, id: u64) -> Result<(), Error> {
        let place = self.place(id)?;
        self.servers[place].ended(STOP_LIMIT).await.map(drop)
    }

    /// Starts a node again, on its data. Does not wait for it.
    ///
    /// # Errors
    /// [`Error::NotRunning`] if there is no such node, [`Error::Process`].
    pub fn start_again(&mut self, id: u64) -> Result<(), Error> {
        let place = self.place(id)?;
        self.servers[place].start()
    }

    /// # Errors
    /// [`Error::Ended`] if a node was started and has ended since.
    pub fn check(&mut self, id: u64) -> Result<(), Error> {
        let place = self.place(id)?;
        self.servers[place].check()
    }

    /// Waits until a node is ready: it serves, knows the leader, and has applied what is committed.
    ///
    /// # Errors
    /// [`Error::Ended`], [`Error::TooLate`].
    pub async fn ready(&mut self, id: u64) -> Result<(), Error> {
        let place = self.place(id)?;
        let http = self.nodes[place].http;
        let until = Instant::now() + READY_LIMIT;
        while !is_ready(http).await {
            self.servers[place].check()?;
            if Instant::now() >= until {
                return Err(too_late(self.servers[place].name(), "readiness"));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Waits until all nodes are ready.
    ///
    /// # Errors
    /// As [`Vault::ready`].
    pub async fn all_ready(&mut self) -> Result<(), Error> {
        for id in self.ids() {
            self.ready(id).await?;
        }
        Ok(())
    }

    /// What each node has on its disk.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn disk_bytes(&self) -> Result<Vec<DiskBytes>, Error> {
        let of = |node: &Node| {
            let raft_log = disk_bytes(&node.data.join("raft"))?;
            let snapshots = disk_bytes(&node.data.join("snapshots"))?;
            let all = disk_bytes(&node.data)?;
            Ok(DiskBytes {
                ledger: all.saturating_sub(raft_log + snapshots),
                raft_log,
                snapshots,
            })
        };
        self.nodes.iter().map(of).collect()
    }

    /// SIGTERM to all nodes, one after the other, and waits for their end.
    ///
    /// # Errors
    /// [`Error::TooLate`]; dropping it kills what is left.
    pub async fn stop(mut self) -> Result<(), Error> {
        for id in self.ids() {
            self.terminate(id)?;
            self.ended(id).await?;
        }
        Ok(())
    }

    fn place(&self, id: u64) -> Result<usize, Error> {
        let place = self.nodes.iter().position(|node| node.id == id);
        place.ok_or(Error::NotRunning { node_id: id })
    }
}

fn too_late(name: &str, what: &'static str) -> Error {
    Error::TooLate {
        name: name.to_owned(),
        what,
        limit: READY_LIMIT,
    }
}

/// Arguments of `toka` for one of `nodes`.
fn serve(node: &Node, nodes: &[Node], further: &[OsString]) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["serve".into()];
    let settings = [
        ("--node-id", node.id.to_string().into()),
        ("--data", node.data.clone().into_os_string()),
        ("--listen", node.client.to_string().into()),
        ("--raft-listen", node.raft.to_string().into()),
        ("--http-listen", node.http.to_string().into()),
    ];
    for (name, value) in settings {
        arguments.extend([name.into(), value]);
    }
    for member in nodes {
        let member = format!("{}={},{}", member.id, member.raft, member.client);
        arguments.extend(["--initial-member".into(), member.into()]);
    }
    arguments.extend_from_slice(further);
    arguments
}

/// Whether `/readyz` says so.
async fn is_ready(http: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(http).await?;
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut head = [0; ANSWER_BYTES];
        let read = stream.read(&mut head).await?;
        std::io::Result::Ok(head[..read].starts_with(b"HTTP/1.1 200"))
    };
    matches!(tokio::time::timeout(ASK_LIMIT, ask).await, Ok(Ok(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_told_of_all_members() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let node = |id: u16| Node {
            id: id.into(),
            client: address(10 * id),
            raft: address(10 * id + 1),
            http: address(10 * id + 2),
            data: format!("/d/{id}").into(),
        };
        let nodes = [node(1), node(2)];
        let arguments = serve(&nodes[1], &nodes, &["--log-json".into()]);
        let text = arguments.join(" ".as_ref());
        assert_eq!(
            text,
            "serve --node-id 2 --data /d/2 --listen 127.0.0.1:20 --raft-listen 127.0.0.1:21 --http-listen \
             127.0.0.1:22 --initial-member 1=127.0.0.1:11,127.0.0.1:10 --initial-member \
             2=127.0.0.1:21,127.0.0.1:20 --log-json"
        );
    }
}
