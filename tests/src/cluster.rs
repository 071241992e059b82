//! A cluster of `toka serve` processes.

mod hosts;
mod members;
mod node;
mod power;
mod state;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use toka_client::{Builder, Client, Config, Tls};
use tokio::sync::SemaphorePermit;

pub use self::node::Node;
pub use self::state::NodeState;
use crate::clock::Clock;
use crate::netns::Network;
use crate::process::{self, Process};
use crate::proxy::Proxy;
use crate::raft_log::Segment;
use crate::{slot, wait};

/// Longest wait for an election, a start or a catch-up on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Longest that one scenario takes; what hangs fails with logs instead of without.
const SCENARIO_MAX: Duration = Duration::from_secs(240);

/// Nodes 1 to n.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    /// Further arguments of every node.
    arguments: Vec<String>,
    /// Its own.
    host: Ipv4Addr,
    /// Where each node has a host of its own; absent: all are on loopback.
    network: Option<Network>,
    /// How its clients make TLS; absent: they speak plain text.
    tls: Option<Tls>,
    directory: TempDir,
    failed: bool,
    /// Absent where another cluster of the same test holds it.
    _slot: Option<SemaphorePermit<'static>>,
}

/// Runs a scenario on a cluster of `size` nodes that are ready. If it fails, the logs are shown.
pub async fn run(
    size: u64,
    arguments: &[&str],
    scenario: impl AsyncFnOnce(&mut Cluster) -> Result<()>,
) -> Result<()> {
    run_prepared(size, arguments, async |cluster: &mut Cluster| {
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        scenario(cluster).await
    })
    .await
}

/// As [`run`], with nodes that have not been started yet.
pub async fn run_prepared(
    size: u64,
    arguments: &[&str],
    scenario: impl AsyncFnOnce(&mut Cluster) -> Result<()>,
) -> Result<()> {
    let mut cluster = Cluster::prepare(size, arguments, Some(slot::take().await))?;
    let result = tokio::time::timeout(SCENARIO_MAX, scenario(&mut cluster)).await;
    let result = result.with_context(|| format!("the scenario hangs after {SCENARIO_MAX:?}"));
    let result = result.flatten();
    cluster.failed = result.is_err();
    result
}

/// As [`run_prepared`], with nodes that have a host of their own each in a network that can be cut. They all stand
/// behind proxies that [`Cluster::set_proxy`] has to start. The whole may take as long as `within`.
pub async fn run_in_network(
    size: u64,
    arguments: &[&str],
    within: Duration,
    scenario: impl AsyncFnOnce(&mut Cluster) -> Result<()>,
) -> Result<()> {
    let mut cluster = Cluster::prepare(0, arguments, Some(slot::take().await))?;
    cluster.network = Some(Network::start()?);
    for _ in 0..size {
        let id = cluster.add_host().await?;
        let node = cluster.new_node(id)?;
        cluster.nodes.push(node);
    }
    let result = tokio::time::timeout(within, scenario(&mut cluster)).await;
    let result = result.with_context(|| format!("the scenario hangs after {within:?}"));
    let result = result.flatten();
    cluster.failed = result.is_err();
    result
}

impl Cluster {
    /// Chooses addresses and directories; starts nothing.
    fn prepare(
        size: u64,
        arguments: &[&str],
        slot: Option<SemaphorePermit<'static>>,
    ) -> Result<Self> {
        let directory = TempDir::with_prefix("toka-test-")?;
        // 127.0.x.y stays free for everything else on the machine.
        let host = Ipv4Addr::new(
            127,
            rand::random_range(1..=254),
            rand::random_range(0..=255),
            rand::random_range(1..=254),
        );
        let addresses = free_addresses(host, size * 3)?;
        let nodes = (1..=size)
            .zip(addresses.chunks_exact(3))
            .map(|(id, ports)| Node::new(id, ports, directory.path()))
            .collect::<Result<_>>()?;
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        Ok(Self {
            nodes,
            arguments: arguments.collect(),
            host,
            network: None,
            tls: None,
            directory,
            failed: false,
            _slot: slot,
        })
    }

    /// Gives every node further arguments when it is started, and lets everybody who asks a node speak TLS.
    pub fn set_tls(&mut self, tls: &Tls, arguments: &[String]) -> Result<()> {
        self.arguments.extend(arguments.iter().cloned());
        self.tls = Some(tls.clone());
        self.nodes.iter_mut().try_for_each(|node| node.secure(tls))
    }

    /// The address of loopback that its nodes have.
    pub fn host(&self) -> Ipv4Addr {
        self.host
    }

    /// Another cluster, for as long as this one runs; nothing is started.
    pub fn prepare_beside(&self, size: u64) -> Result<Self> {
        Self::prepare(size, &[], None)
    }

    /// Where the nodes' directories and logs are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The value of `--initial-member` for node `id`.
    pub fn member(&self, id: u64) -> String {
        let node = self.node(id);
        format!("{id}={},{}", node.raft, node.client)
    }

    /// The arguments of `toka serve` for node `id`.
    pub fn serve_arguments(&self, id: u64) -> Vec<String> {
        let node = self.node(id);
        let mut arguments = node.arguments();
        if let Some(joins_with) = &node.joins_with {
            arguments.extend(joins_with.iter().cloned());
        } else {
            arguments.extend(["--node-id".to_owned(), id.to_string()]);
            let formed = self.nodes.iter().filter(|node| node.joins_with.is_none());
            for node in formed {
                arguments.extend(["--initial-member".to_owned(), self.member(node.id)]);
            }
        }
        arguments.extend(self.arguments.iter().cloned());
        arguments
    }

    /// Starts the process of node `id`.
    pub fn launch(&mut self, id: u64) -> Result<()> {
        let arguments = self.serve_arguments(id);
        self.launch_as(id, &arguments)
    }

    /// Starts the process of node `id` with arguments of the test's own.
    pub fn launch_as(&mut self, id: u64, arguments: &[String]) -> Result<()> {
        let node = self.node_mut(id);
        ensure!(node.process.is_none(), "node {id} runs already");
        let variables: Vec<_> = node
            .variables
            .iter()
            .map(|(name, value)| (*name, value.as_path()))
            .collect();
        let mut program = node.build.clone().map_or_else(process::binary, Ok)?;
        let mut arguments = arguments.to_vec();
        node.starts += 1;
        if let Some(syncs) = node.syncs {
            arguments = crate::power::arguments(&node.record(), syncs, &program, &arguments)?;
            program = "strace".into();
        }
        if let Some((enter, words)) = &node.entered_by {
            let mut words = words.clone();
            words.push(program.display().to_string());
            words.append(&mut arguments);
            arguments = words;
            program = enter.into();
        }
        node.process = Some(Process::start_with(
            &program, &arguments, &variables, &node.log,
        )?);
        Ok(())
    }

    /// Lets everything that other nodes send to node `id`, and its answers, go through a proxy. To be called
    /// before it is started.
    pub async fn set_proxy(&mut self, id: u64) -> Result<Proxy> {
        let chosen = free_addresses(self.host, 1)?[0];
        let node = self.node_mut(id);
        let behind = *node.behind.get_or_insert(chosen);
        Proxy::start(node.raft, behind).await
    }

    /// Gives node `id`, when it is started, a clock that the test sets.
    pub fn set_clock(&mut self, id: u64, clock: &Clock) {
        self.node_mut(id).variables = clock.variables();
    }

    /// Gives node `id`, when it is started, another build of `toka`; absent: the ordinary one.
    pub fn set_build(&mut self, id: u64, build: Option<&Path>) {
        self.node_mut(id).build = build.map(Path::to_owned);
    }

    /// Starts all processes.
    pub fn launch_all(&mut self) -> Result<()> {
        self.ids().into_iter().try_for_each(|id| self.launch(id))
    }

    /// Starts node `id` and waits until it is ready.
    pub async fn restart(&mut self, id: u64) -> Result<()> {
        self.launch(id)?;
        self.wait_ready(id).await
    }

    /// Waits for `/readyz` of node `id`.
    pub async fn wait_ready(&mut self, id: u64) -> Result<()> {
        let node = self.node_mut(id);
        let http = node.http;
        let process = node
            .process
            .as_mut()
            .with_context(|| format!("node {id} does not run"))?;
        let ready = wait::until("ready", PATIENCE, async || node::readyz(http).await);
        tokio::select! {
            ready = ready => ready.with_context(|| format!("node {id}")),
            ended = process.wait(2 * PATIENCE) => {
                anyhow::bail!("node {id} ended with {} instead of getting ready", ended?)
            }
        }
    }

    /// Index up to which node `id` has purged its Raft log.
    pub fn purged(&self, id: u64) -> Result<u64> {
        Segment::newest(&self.node(id).data)?.purged()
    }

    /// Whether every running node has purged its Raft log beyond `index`.
    pub fn check_purged(&self, index: u64) -> Result<()> {
        for id in self.running() {
            let purged = self.purged(id)?;
            ensure!(
                purged > index,
                "node {id}: purged up to {purged}, not beyond {index}"
            );
        }
        Ok(())
    }

    /// Waits for `/readyz` of all nodes.
    pub async fn wait_all_ready(&mut self) -> Result<()> {
        for id in self.ids() {
            self.wait_ready(id).await?;
        }
        Ok(())
    }

    /// Waits for `/readyz` of all nodes that run.
    pub async fn wait_all_running_ready(&mut self) -> Result<()> {
        for id in self.running() {
            self.wait_ready(id).await?;
        }
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self, id: u64) -> Result<()> {
        self.take_process(id)?.kill()
    }

    /// SIGTERM; the process must exit with 0.
    pub async fn terminate(&mut self, id: u64) -> Result<()> {
        let mut process = self.take_process(id)?;
        let status = process.terminate(PATIENCE).await?;
        ensure!(status.success(), "node {id} ended with {status}");
        Ok(())
    }

    /// Starts node `id`, which must refuse to run, and returns what it says.
    pub async fn refuses_to_start(&mut self, id: u64) -> Result<String> {
        let arguments = self.serve_arguments(id);
        self.refuses_to_start_as(id, &arguments).await
    }

    /// As [`Cluster::refuses_to_start`], with arguments of the test's own.
    pub async fn refuses_to_start_as(&mut self, id: u64, arguments: &[String]) -> Result<String> {
        let before = self.log(id).len();
        self.launch_as(id, arguments)?;
        let status = self.take_process(id)?.wait(PATIENCE).await?;
        let said = self.log(id).split_off(before);
        ensure!(
            status.code().is_some_and(|code| code != 0),
            "node {id} ended with {status}: {said}"
        );
        Ok(said)
    }

    /// The process of a running node, for what else a test wants to do to it.
    pub fn process(&mut self, id: u64) -> Result<&mut Process> {
        let process = self.node_mut(id).process.as_mut();
        process.with_context(|| format!("node {id} does not run"))
    }

    /// The process of node `id`, which the test looks after from now on.
    pub fn take_process(&mut self, id: u64) -> Result<Process> {
        let process = self.node_mut(id).process.take();
        process.with_context(|| format!("node {id} does not run"))
    }

    /// Everything that node `id` has logged.
    pub fn log(&self, id: u64) -> String {
        std::fs::read_to_string(&self.node(id).log).unwrap_or_default()
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

    /// Ids of all nodes that run.
    pub fn running(&self) -> Vec<u64> {
        let running = self.nodes.iter().filter(|node| node.process.is_some());
        running.map(|node| node.id).collect()
    }

    /// Client endpoints of all nodes.
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(Node::endpoint).collect()
    }

    /// A client that knows all nodes and has much time.
    pub async fn client(&self) -> Result<Client> {
        Ok(self.builder().connect(self.endpoints()).await?)
    }

    /// A client that knows node `id` alone. It still takes commits and linearizable reads to the leader
    /// once it knows it; [`Node::vault`] does not. Its subscriptions stay there also while the node is cut off.
    pub async fn client_of(&self, id: u64) -> Result<Client> {
        let config = Config {
            leaderless_max: Duration::MAX,
            ..Config::default()
        };
        let builder = self.builder().config(config).timeout(PATIENCE);
        Ok(builder.connect([self.node(id).endpoint()]).await?)
    }

    fn builder(&self) -> Builder {
        let builder = Client::builder().timeout(PATIENCE);
        match &self.tls {
            Some(tls) => builder.tls(tls.clone()),
            None => builder,
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.failed && !std::thread::panicking() {
            return;
        }
        for node in &self.nodes {
            println!(
                "--- node {} ends with:\n{}",
                node.id,
                process::tail(&node.log)
            );
        }
        self.directory.disable_cleanup(true);
        println!(
            "--- everything is kept in {}",
            self.directory.path().display()
        );
    }
}

/// All are held at once, so that no port is given out twice.
fn free_addresses(host: Ipv4Addr, count: u64) -> Result<Vec<SocketAddr>> {
    let listeners = (0..count)
        .map(|_| TcpListener::bind((host, 0)))
        .collect::<Result<Vec<_>, _>>()
        .context("no loopback port")?;
    let addresses = listeners.iter().map(TcpListener::local_addr);
    Ok(addresses.collect::<Result<_, _>>()?)
}

fn index(id: u64) -> usize {
    usize::try_from(id).expect("node ids are small") - 1
}
