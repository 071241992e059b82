//! Three node processes on loopback.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::progress::Progress;
use super::toka::{NodeStatus, Toka};
use crate::process::Process;

pub(crate) const NODES: u64 = 3;

const READY_LIMIT: Duration = Duration::from_secs(60);
const LEADER_LIMIT: Duration = Duration::from_secs(60);
/// For a node that was down: it may need a snapshot.
const CONVERGE_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
const HTTP_TIMEOUT: Duration = Duration::from_secs(2);
/// Ports to choose from.
const PORTS: std::ops::Range<u16> = 21_000..31_000;
/// Of a log that is shown with an error.
const LOG_TAIL_LINES: usize = 15;

/// A node's addresses, all on loopback.
#[derive(Debug, Clone, Copy)]
struct Addresses {
    client: SocketAddr,
    raft: SocketAddr,
    http: SocketAddr,
}

struct Node {
    id: u64,
    addresses: Addresses,
    /// `None` while it is down.
    process: Option<Process>,
}

/// The cluster; its processes are killed when it is dropped.
pub(crate) struct Cluster<'a> {
    toka: &'a Toka,
    directory: &'a Path,
    nodes: Vec<Node>,
}

impl<'a> Cluster<'a> {
    /// Starts all nodes with data under `directory` and waits until they are ready.
    pub(crate) fn start(toka: &'a Toka, directory: &'a Path) -> Result<Self> {
        let nodes = free_addresses()?
            .into_iter()
            .zip(1..)
            .map(|(addresses, id)| Node {
                id,
                addresses,
                process: None,
            })
            .collect();
        let mut cluster = Self {
            toka,
            directory,
            nodes,
        };
        for id in cluster.ids() {
            cluster.spawn(id)?;
        }
        for id in cluster.ids() {
            cluster.wait_ready(id)?;
        }
        Ok(cluster)
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    /// The client endpoint of one node.
    pub(crate) fn endpoint(&self, id: u64) -> String {
        self.node(id).addresses.client.to_string()
    }

    /// The client endpoints of all nodes, separated by commas.
    pub(crate) fn endpoints(&self) -> String {
        self.nodes
            .iter()
            .map(|node| node.addresses.client.to_string())
            .collect::<Vec<_>>()
            .join(",")
    }

    /// The process id of a node that runs.
    pub(crate) fn pid(&self, id: u64) -> Option<u32> {
        self.node(id).process.as_ref().map(Process::id)
    }

    /// Waits until the nodes name a leader.
    pub(crate) fn leader(&self) -> Result<u64> {
        let deadline = Instant::now() + LEADER_LIMIT;
        loop {
            let seen = self.toka.status(&self.endpoints());
            if let Ok(status) = &seen
                && let Some(leader) = status.leader_id.filter(|id| self.ids().contains(id))
            {
                return Ok(leader);
            }
            if Instant::now() >= deadline {
                bail!("no leader within {LEADER_LIMIT:?}; last answer: {seen:?}");
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, id: u64) -> Result<()> {
        match self.node_mut(id).process.take() {
            Some(mut process) => process.kill(),
            None => bail!("node {id} is not running"),
        }
    }

    /// Starts a node that is down, on its old data and addresses, and waits until it is ready.
    pub(crate) fn restart(&mut self, id: u64) -> Result<()> {
        self.spawn(id)?;
        self.wait_ready(id)
    }

    /// Waits until all nodes are at one position, with one history root and one state digest, and stay
    /// there from one look to the next.
    pub(crate) fn converge(&self) -> Result<Vec<NodeStatus>> {
        let deadline = Instant::now() + CONVERGE_LIMIT;
        let mut earlier = None;
        loop {
            let seen = self.toka.status(&self.endpoints());
            let agreed = seen
                .as_ref()
                .ok()
                .and_then(|status| agreed_sequence(&status.nodes));
            if let Ok(status) = &seen
                && agreed.is_some()
                && agreed == earlier
            {
                return Ok(status.nodes.clone());
            }
            if Instant::now() >= deadline {
                bail!("the nodes did not agree within {CONVERGE_LIMIT:?}; last answer: {seen:#?}");
            }
            earlier = agreed;
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// SIGTERM to each node in turn; a node that does not stop cleanly is reported and killed.
    pub(crate) fn stop(&mut self, progress: &Progress) {
        for node in &mut self.nodes {
            let Some(mut process) = node.process.take() else {
                continue;
            };
            match process.terminate(STOP_LIMIT) {
                Ok(status) if status.success() => {}
                Ok(status) => {
                    progress.say(&format!("warning: node {} ended with {status}", node.id));
                }
                Err(error) => progress.say(&format!("warning: node {}: {error:#}", node.id)),
            }
        }
    }

    fn spawn(&mut self, id: u64) -> Result<()> {
        let data = self.directory.join(format!("node-{id}"));
        let addresses: Vec<Addresses> = self.nodes.iter().map(|node| node.addresses).collect();
        let arguments = serve_arguments(id, &data, &addresses);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let process = self
            .toka
            .spawn(&arguments, &self.log_path(id), Stdio::null())?;
        self.node_mut(id).process = Some(process);
        Ok(())
    }

    fn wait_ready(&mut self, id: u64) -> Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        let log = self.log_path(id);
        let node = self.node_mut(id);
        let http = node.addresses.http;
        loop {
            if http_status(http, "/readyz").is_ok_and(|status| status == 200) {
                return Ok(());
            }
            let exited = match &mut node.process {
                Some(process) => process.try_wait()?,
                None => bail!("node {id} is not running"),
            };
            if let Some(status) = exited {
                bail!(
                    "node {id} ended with {status} before it was ready{}",
                    tail(&log)
                );
            }
            if Instant::now() >= deadline {
                bail!(
                    "node {id} was not ready within {READY_LIMIT:?}{}",
                    tail(&log)
                );
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    fn log_path(&self, id: u64) -> PathBuf {
        self.directory.join(format!("node-{id}.log"))
    }

    fn node(&self, id: u64) -> &Node {
        self.nodes
            .iter()
            .find(|node| node.id == id)
            .expect("ids come from the cluster")
    }

    fn node_mut(&mut self, id: u64) -> &mut Node {
        self.nodes
            .iter_mut()
            .find(|node| node.id == id)
            .expect("ids come from the cluster")
    }
}

/// The sequence that all nodes are at, if their digests are equal too.
fn agreed_sequence(nodes: &[NodeStatus]) -> Option<u64> {
    let first = nodes.first()?;
    let position = |node: &NodeStatus| {
        (
            node.sequence,
            node.history_root.clone(),
            node.state_digest.clone(),
        )
    };
    let all_known = first.history_root.is_some() && first.state_digest.is_some();
    let all_equal = nodes
        .iter()
        .all(|node| node.healthy && position(node) == position(first));
    (nodes.len() as u64 == NODES && all_known && all_equal).then_some(first.sequence)?
}

/// `addresses` are those of all nodes; node 1 comes first.
fn serve_arguments(id: u64, data: &Path, addresses: &[Addresses]) -> Vec<String> {
    let own = addresses[usize::try_from(id - 1).expect("ids are small")];
    let mut arguments: Vec<String> = vec![
        "serve".into(),
        "--node-id".into(),
        id.to_string(),
        "--data".into(),
        data.display().to_string(),
        "--listen".into(),
        own.client.to_string(),
        "--raft-listen".into(),
        own.raft.to_string(),
        "--http-listen".into(),
        own.http.to_string(),
    ];
    for (addresses, id) in addresses.iter().zip(1_u64..) {
        arguments.push("--initial-member".into());
        arguments.push(format!("{id}={},{}", addresses.raft, addresses.client));
    }
    arguments
}

/// Addresses that were free a moment ago.
///
/// Below the range of ephemeral ports, since a node that is killed must find its ports free again; all
/// are held at once, so that no two are the same.
fn free_addresses() -> Result<Vec<Addresses>> {
    let start = std::process::id() as usize;
    let mut held = Vec::new();
    for offset in 0..PORTS.len() {
        if held.len() == 3 * usize::try_from(NODES)? {
            break;
        }
        let port = PORTS.start + u16::try_from((start + offset) % PORTS.len())?;
        held.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
    }
    let ports: Vec<SocketAddr> = held
        .iter()
        .map(TcpListener::local_addr)
        .collect::<std::io::Result<_>>()?;
    let nodes: Vec<Addresses> = ports
        .chunks_exact(3)
        .map(|ports| Addresses {
            client: ports[0],
            raft: ports[1],
            http: ports[2],
        })
        .collect();
    if nodes.len() as u64 != NODES {
        bail!("too few free ports in {PORTS:?}");
    }
    Ok(nodes)
}

/// The status code of a GET request.
fn http_status(address: SocketAddr, path: &str) -> Result<u16> {
    let mut stream = TcpStream::connect_timeout(&address, HTTP_TIMEOUT)?;
    stream.set_read_timeout(Some(HTTP_TIMEOUT))?;
    // In one write: a server may answer and close before it has read a second one.
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    let code = answer.split_whitespace().nth(1).context("no status line")?;
    Ok(code.parse()?)
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let start = lines.len().saturating_sub(LOG_TAIL_LINES);
    format!(
        "; the end of {}:\n{}",
        log.display(),
        lines[start..].join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(sequence: u64, root: &str) -> NodeStatus {
        NodeStatus {
            node_id: 1,
            role: None,
            sequence: Some(sequence),
            history_root: Some(root.into()),
            state_digest: Some("s".into()),
            healthy: true,
        }
    }

    #[test]
    fn serve_names_every_member_on_every_node() {
        let addresses = free_addresses().expect("free ports");
        let arguments = serve_arguments(2, Path::new("/d"), &addresses);
        assert_eq!(arguments[..5], ["serve", "--node-id", "2", "--data", "/d"]);
        assert_eq!(arguments[6], addresses[1].client.to_string());
        let first = format!("1={},{}", addresses[0].raft, addresses[0].client);
        assert_eq!(arguments[11..13], ["--initial-member", &first]);
        assert_eq!(arguments.len(), 11 + 2 * 3);
    }

    #[test]
    fn nodes_agree_only_on_equal_digests() {
        let equal = [status(5, "r"), status(5, "r"), status(5, "r")];
        assert_eq!(agreed_sequence(&equal), Some(5));
        let diverged = [status(5, "r"), status(5, "x"), status(5, "r")];
        assert_eq!(agreed_sequence(&diverged), None);
        let behind = [status(5, "r"), status(4, "r"), status(5, "r")];
        assert_eq!(agreed_sequence(&behind), None);
        assert_eq!(agreed_sequence(&equal[..2]), None);
    }

    #[test]
    fn http_status_reads_the_code() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = [0; 1024];
            let read = stream.read(&mut request).expect("a request");
            stream
                .write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
                .expect("an answer");
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        assert_eq!(http_status(address, "/readyz").expect("a status"), 503);
        assert!(
            server
                .join()
                .expect("the server ends")
                .starts_with("GET /readyz HTTP/1.1\r\n")
        );
    }
}
