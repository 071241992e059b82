//! NATS JetStream, driven by the crate `async-nats`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use async_nats::jetstream::consumer::{DeliverPolicy, push};
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::jetstream::{self, Context};
use futures::StreamExt as _;
use tempfile::TempDir;
use toka_measure::subscribers::Deliveries;
use toka_measure::{Events, Meter, Pace, Server, Turn, commits, gap, load, ports};

use crate::calls::{Calls, FAILOVER_CLIENTS, FAILOVER_LIMIT};

const NODES: usize = 3;
/// Connections to the stream's leader, among which clients are divided.
const CONNECTIONS: usize = 8;
const READY_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// One try while a leader is missing.
const TRY_LIMIT: Duration = Duration::from_millis(300);
const STREAM: &str = "bench";
const SUBJECT: &str = "bench.commit";

pub(crate) struct Store {
    /// Of clients, by node.
    urls: Vec<String>,
    /// To the stream's leader as of the start.
    connections: Vec<Context>,
    // Before the directory, so that the processes end first.
    servers: Vec<Server>,
    directory: TempDir,
}

impl Store {
    /// `synced`: each message is synced before it is acknowledged.
    pub(crate) async fn start(program: &Path, parent: &Path, synced: bool) -> Result<Self> {
        let directory = TempDir::with_prefix_in("nats-", parent)?;
        let addresses = ports::free(2 * NODES)?;
        let (clients, routes) = addresses.split_at(NODES);
        let url = |address| format!("nats://{address}");
        let all_routes: Vec<_> = routes.iter().map(url).collect();
        let sync = if synced { "sync_interval: always" } else { "" };
        let mut servers = Vec::new();
        for (id, (client, route)) in (1..).zip(clients.iter().zip(routes)) {
            let name = format!("node-{id}");
            let data = directory.path().join(&name);
            let file = directory.path().join(format!("{name}.conf"));
            let config = format!(
                "server_name: {name}\nlisten: \"{client}\"\njetstream {{\n  store_dir: \"{}\"\n  max_file_store: \
                 100GB\n  {sync}\n}}\ncluster {{\n  name: bench\n  listen: \"{route}\"\n  routes: [{}]\n}}\n",
                data.display(),
                all_routes.join(", ")
            );
            std::fs::write(&file, config)
                .with_context(|| format!("cannot write {}", file.display()))?;
            let arguments = vec!["--config".into(), file.into_os_string()];
            let log = directory.path().join(format!("{name}.log"));
            let mut server = Server::new(name, program, arguments, log);
            server.start()?;
            servers.push(server);
        }
        let mut store = Self {
            urls: clients.iter().map(url).collect(),
            connections: Vec::new(),
            servers,
            directory,
        };
        store.create().await?;
        let leader = store.leader().await?;
        for _ in 0..CONNECTIONS {
            let client = async_nats::connect(store.urls[leader].as_str()).await?;
            store.connections.push(jetstream::new(client));
        }
        Ok(store)
    }

    pub(crate) fn meter(&self, pace: &Arc<Pace>) -> Meter {
        let pids = self.servers.iter().filter_map(Server::pid).collect();
        Meter::start(pids, Some(self.directory.path()), pace)
    }

    /// Makes the stream, once the nodes have found each other.
    async fn create(&mut self) -> Result<()> {
        let until = Instant::now() + READY_LIMIT;
        loop {
            let create = async {
                let context = jetstream::new(async_nats::connect(&self.urls[..]).await?);
                let config = Config {
                    name: STREAM.to_owned(),
                    subjects: vec![SUBJECT.to_owned()],
                    storage: StorageType::File,
                    num_replicas: NODES,
                    ..Config::default()
                };
                context.create_stream(config).await?;
                anyhow::Ok(())
            };
            let error = match create.await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            for server in &mut self.servers {
                server.check()?;
            }
            if Instant::now() >= until {
                return Err(error.context("JetStream makes no stream"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The place of the stream's leader among the nodes, once all replicas are current.
    async fn leader(&self) -> Result<usize> {
        let until = Instant::now() + READY_LIMIT;
        let context = jetstream::new(self.connect_any().await?);
        loop {
            if let Ok(stream) = context.get_stream(STREAM).await
                && let Some(cluster) = &stream.cached_info().cluster
                && let Some(leader) = &cluster.leader
                && cluster.replicas.len() + 1 == NODES
                && cluster.replicas.iter().all(|replica| replica.current)
            {
                let mut servers = self.servers.iter();
                let place = servers.position(|server| server.name() == leader);
                return place.with_context(|| format!("there is no node {leader}"));
            }
            if Instant::now() >= until {
                bail!("the stream has no leader, or no three replicas, after {READY_LIMIT:?}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// A client that goes on with another node when its own is gone.
    async fn connect_any(&self) -> Result<async_nats::Client> {
        let addresses = self.urls.iter().map(|url| url.parse());
        let addresses: Vec<async_nats::ServerAddr> = addresses.collect::<Result<_, _>>()?;
        Ok(async_nats::connect(addresses).await?)
    }

    fn connection(&self, client: usize) -> Context {
        self.connections[client % self.connections.len()].clone()
    }

    pub(crate) async fn unary(
        &self,
        events: Events,
        pace: &Arc<Pace>,
        clients: u32,
    ) -> Result<Calls> {
        let connections: Vec<_> = (0..clients as usize)
            .map(|client| self.connection(client))
            .collect();
        let operation = move |client: u32, turn: Turn| {
            let context = connections[client as usize].clone();
            async move {
                let value = events.value(turn.number, turn.due);
                publish(&context, value).await.map(|()| 1)
            }
        };
        Ok(load::closed(pace, clients, operation).await?)
    }

    /// Messages are sent on without waiting for acknowledgements, as many at once from each connection as a commit
    /// stream of Toka Vault has.
    pub(crate) async fn stream(
        &self,
        events: Events,
        pace: &Arc<Pace>,
        in_flight: u32,
    ) -> Result<Calls> {
        let shares = load::shares(in_flight, commits::STREAM_IN_FLIGHT);
        let senders = shares.into_iter().enumerate().map(|(sender, share)| {
            let context = self.connection(sender);
            let send = move |turn: Turn| {
                let context = context.clone();
                async move {
                    let value = events.value(turn.number, turn.due);
                    let sent = context.publish(SUBJECT, value.into()).await;
                    let acknowledgement = sent.map_err(|error| error.to_string())?;
                    Ok(async move {
                        let acknowledged = acknowledgement.await;
                        acknowledged.map(|_| 1).map_err(|error| error.to_string())
                    })
                }
            };
            (send, share)
        });
        Ok(load::pipelined(pace, senders.collect()).await?)
    }

    pub(crate) async fn subscribe(&self) -> Result<Deliveries<String>> {
        let client = self.connect_any().await?;
        let deliver_subject = client.new_inbox();
        let stream = jetstream::new(client).get_stream(STREAM).await?;
        let config = push::OrderedConfig {
            deliver_subject,
            deliver_policy: DeliverPolicy::New,
            ..push::OrderedConfig::default()
        };
        let messages = stream.create_consumer(config).await?.messages().await?;
        let deliveries = messages.filter_map(async |message| match message {
            Ok(message) => Events::due(&message.payload).map(Ok),
            Err(error) => Some(Err(error.to_string())),
        });
        Ok(deliveries.boxed())
    }

    pub(crate) async fn failover(&mut self, events: Events) -> Result<Duration> {
        let leader = self.leader().await?;
        let mut contexts = Vec::new();
        for _ in 0..CONNECTIONS {
            contexts.push(jetstream::new(self.connect_any().await?));
        }
        let operation = move |client: u32, number: u64| {
            let context = contexts[client as usize % contexts.len()].clone();
            async move {
                let value = events.value(number, Instant::now());
                let published = tokio::time::timeout(TRY_LIMIT, publish(&context, value));
                published.await.map_err(|_| "no answer".to_owned())?
            }
        };
        let server = &mut self.servers[leader];
        let kill = async { server.kill() };
        let gap = gap::longest(FAILOVER_CLIENTS, FAILOVER_LIMIT, operation, kill).await?;
        self.servers[leader].start().context("starting it again")?;
        // Until all replicas are current again.
        self.leader().await?;
        Ok(gap)
    }
}

async fn publish(context: &Context, value: Vec<u8>) -> Result<(), String> {
    let sent = context.publish(SUBJECT, value.into()).await;
    let acknowledgement = sent.map_err(|error| error.to_string())?;
    let acknowledged = acknowledgement.await;
    acknowledged.map(drop).map_err(|error| error.to_string())
}
