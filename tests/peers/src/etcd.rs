//! etcd, driven by the crate `etcd-client`.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use etcd_client::{Client, EventType, GetOptions, WatchOptions};
use futures::{StreamExt as _, stream};
use tempfile::TempDir;
use toka_measure::subscribers::Deliveries;
use toka_measure::{Events, Meter, Pace, Plan, Server, Turn, gap, load, ports, reads};

use crate::calls::{Calls, FAILOVER_CLIENTS, FAILOVER_LIMIT};

const NODES: usize = 3;
/// Connections to the leader, among which clients are divided; one alone is slower.
const CONNECTIONS: usize = 8;
/// For a cluster to take puts.
const READY_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// One try while a leader is missing; the next goes to another node.
const TRY_LIMIT: Duration = Duration::from_millis(300);
/// The default of 2 GiB is less than a run writes.
const QUOTA_BYTES: u64 = 32 << 30;
const PREFIX: &str = "bench/";

pub(crate) struct Store {
    /// Of clients, by node.
    endpoints: Vec<String>,
    /// To the leader as of the start.
    connections: Vec<Client>,
    // Before the directory, so that the processes end first.
    servers: Vec<Server>,
    directory: TempDir,
}

impl Store {
    pub(crate) async fn start(program: &Path, parent: &Path) -> Result<Self> {
        let directory = TempDir::with_prefix_in("etcd-", parent)?;
        let addresses = ports::free(2 * NODES)?;
        let (clients, peers) = addresses.split_at(NODES);
        let url = |address| format!("http://{address}");
        let members: Vec<_> = (1..)
            .zip(peers)
            .map(|(id, peer)| format!("node-{id}={}", url(peer)))
            .collect();
        let mut servers = Vec::new();
        for (id, (client, peer)) in (1..).zip(clients.iter().zip(peers)) {
            let name = format!("node-{id}");
            let settings = [
                ("--name", name.clone()),
                (
                    "--data-dir",
                    directory.path().join(&name).display().to_string(),
                ),
                ("--listen-client-urls", url(client)),
                ("--advertise-client-urls", url(client)),
                ("--listen-peer-urls", url(peer)),
                ("--initial-advertise-peer-urls", url(peer)),
                ("--initial-cluster", members.join(",")),
                ("--initial-cluster-state", "new".to_owned()),
                ("--quota-backend-bytes", QUOTA_BYTES.to_string()),
                ("--log-level", "error".to_owned()),
            ];
            let arguments = settings
                .into_iter()
                .flat_map(|(name, value)| [OsString::from(name), OsString::from(value)]);
            let log = directory.path().join(format!("{name}.log"));
            let mut server = Server::new(name, program, arguments.collect(), log);
            server.start()?;
            servers.push(server);
        }
        let mut store = Self {
            endpoints: clients.iter().map(url).collect(),
            connections: Vec::new(),
            servers,
            directory,
        };
        store.ready().await?;
        let leader = store.leader().await?;
        for _ in 0..CONNECTIONS {
            let connection = Client::connect([&store.endpoints[leader]], None).await?;
            store.connections.push(connection);
        }
        Ok(store)
    }

    pub(crate) fn meter(&self, pace: &Arc<Pace>) -> Meter {
        let pids = self.servers.iter().filter_map(Server::pid).collect();
        Meter::start(pids, Some(self.directory.path()), pace)
    }

    /// Waits until every node takes puts.
    async fn ready(&mut self) -> Result<()> {
        let until = Instant::now() + READY_LIMIT;
        for (endpoint, server) in self.endpoints.iter().zip(&mut self.servers) {
            loop {
                let put = async {
                    let mut client = Client::connect([endpoint], None).await?;
                    client.put("ready", "", None).await
                };
                if let Ok(Ok(_)) = tokio::time::timeout(TRY_LIMIT, put).await {
                    break;
                }
                server.check()?;
                if Instant::now() >= until {
                    bail!("{endpoint} takes no puts after {READY_LIMIT:?}");
                }
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// The place of the leader among the nodes.
    async fn leader(&self) -> Result<usize> {
        let until = Instant::now() + READY_LIMIT;
        loop {
            for (place, endpoint) in self.endpoints.iter().enumerate() {
                let mut client = Client::connect([endpoint], None).await?;
                let status = client.status().await?;
                let id = status.header().map(etcd_client::ResponseHeader::member_id);
                if id == Some(status.leader()) {
                    return Ok(place);
                }
            }
            if Instant::now() >= until {
                bail!("etcd has no leader after {READY_LIMIT:?}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn connection(&self, client: u32) -> Client {
        self.connections[client as usize % self.connections.len()].clone()
    }

    pub(crate) async fn unary(
        &self,
        events: Events,
        pace: &Arc<Pace>,
        clients: u32,
    ) -> Result<Calls> {
        let connections: Vec<_> = (0..clients).map(|client| self.connection(client)).collect();
        let operation = move |client: u32, turn: Turn| {
            let mut connection = connections[client as usize].clone();
            async move {
                let value = events.value(turn.number, turn.due);
                let put = connection.put(key(&events, turn.number), value, None);
                put.await.map(|_| 1).map_err(|error| error.to_string())
            }
        };
        Ok(load::closed(pace, clients, operation).await?)
    }

    /// Puts `stock` events that can be read.
    pub(crate) async fn stock(&self, events: Events, stock: u64) -> Result<()> {
        let pace = Pace::start(Plan {
            operations_max: Some(stock),
            ..Plan::closed(Duration::ZERO, Duration::from_secs(3_600))
        });
        let counted = self.unary(events, &pace, 256).await?;
        match counted.first_error {
            None => Ok(()),
            Some(error) => bail!("etcd: {error}"),
        }
    }

    /// Gets of what the node has, whatever the others have.
    pub(crate) async fn get(
        &self,
        events: Events,
        stock: u64,
        pace: &Arc<Pace>,
        clients: u32,
    ) -> Result<Calls> {
        let connections: Vec<_> = (0..clients).map(|client| self.connection(client)).collect();
        let length = usize::try_from(stock)?;
        let operation = move |client: u32, turn: Turn| {
            let mut connection = connections[client as usize].clone();
            async move {
                let number = reads::place(turn.number, length) as u64;
                let options = GetOptions::new().with_serializable();
                let got = connection.get(key(&events, number), Some(options)).await;
                match got {
                    Ok(got) if got.kvs().len() == 1 => Ok(1),
                    Ok(_) => Err(format!("event {number} is missing")),
                    Err(error) => Err(error.to_string()),
                }
            }
        };
        Ok(load::closed(pace, clients, operation).await?)
    }

    pub(crate) async fn subscribe(&self) -> Result<Deliveries<String>> {
        let mut client = Client::connect(&self.endpoints, None).await?;
        let options = WatchOptions::new().with_prefix();
        let watch = client.watch(PREFIX, Some(options)).await?;
        let deliveries = watch.flat_map(|response| {
            let due = match response {
                Ok(response) => response
                    .events()
                    .iter()
                    .filter(|event| event.event_type() == EventType::Put)
                    .filter_map(|event| Events::due(event.kv()?.value()).map(Ok))
                    .collect(),
                Err(error) => vec![Err(error.to_string())],
            };
            stream::iter(due)
        });
        Ok(deliveries.boxed())
    }

    pub(crate) async fn failover(&mut self, events: Events) -> Result<Duration> {
        self.ready().await?;
        let leader = self.leader().await?;
        let mut nodes = Vec::new();
        for endpoint in &self.endpoints {
            nodes.push(Client::connect([endpoint], None).await?);
        }
        // Each client stays with a node until that fails it.
        let current: Vec<_> = (0..FAILOVER_CLIENTS)
            .map(|client| Arc::new(AtomicUsize::new(client as usize)))
            .collect();
        let operation = move |client: u32, number: u64| {
            let current = Arc::clone(&current[client as usize]);
            let place = current.load(Ordering::Relaxed) % nodes.len();
            let mut node = nodes[place].clone();
            async move {
                let value = events.value(number, Instant::now());
                let put = node.put(key(&events, number), value, None);
                match tokio::time::timeout(TRY_LIMIT, put).await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(_)) | Err(_) => {
                        current.fetch_add(1, Ordering::Relaxed);
                        Err(())
                    }
                }
            }
        };
        let server = &mut self.servers[leader];
        let kill = async { server.kill() };
        let gap = gap::longest(FAILOVER_CLIENTS, FAILOVER_LIMIT, operation, kill).await?;
        self.servers[leader].start().context("starting it again")?;
        self.ready().await?;
        Ok(gap)
    }
}

/// In the order of numbers, as they would be kept.
fn key(events: &Events, number: u64) -> String {
    format!("{PREFIX}{:016x}/{number:016x}", events.run)
}
