//! A node: three listeners, a replica, and the services over it.
//!
//! Order of a start: bind, HTTP, stores, peers, what the console calls, clients; the cluster forms while clients are
//! told that it has not yet. A node that joins a cluster asks for its id before the stores are opened; one that is
//! told neither an id nor a cluster has the id of its data directory; one that is told both how to form a cluster and
//! which to join finds out what there is to do. Order of a
//! stop: hand leadership over, let calls finish, end HTTP, stop answering peers, who vote for the next leader until
//! then, and stop Raft, which nobody asks any more.

mod bearer;
mod connection;
mod error;
mod front;
mod identity;
mod join;
mod listeners;
mod lost;
#[cfg(feature = "storage")]
mod memory;
mod place;
mod serve;
mod stores;

use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, Stream};
use toka_ledger::seam::{self, Seams};
use toka_raft::error::Damage;
use toka_raft::{FatalError, Replica, Storage, Transport};
pub use toka_trace::Tracer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic_health::server::health_reporter;

use self::bearer::Bearer;
use self::connection::tcp;
pub use self::error::{RunError, StartError};
use self::join::Others;
pub use self::listeners::{Addresses, Listeners, Wire, Wires};
use self::place::{Place, Rivals};
use self::serve::Stop;
use crate::api::{self, Audited, Bootstrap, Shared, VaultDirectory, VaultTime};
use crate::auth;
use crate::config::{Config, Limits};
use crate::console::Console;
use crate::http::Pages;
use crate::routing::Router;
use crate::sites::Sites;
use crate::status::Readiness;
use crate::transport::{self, Security};
use crate::{health, status};

/// What a node takes from outside: time, randomness, threads, the network, the disk.
#[derive(Clone, Debug)]
pub struct Outside {
    /// Time, randomness, threads.
    pub seams: Seams,
    /// How other nodes are reached.
    pub transport: Arc<dyn Transport>,
    /// What the stores lie on; absent: the disk, as the configuration says, or memory in a build without RocksDB.
    pub storage: Option<Arc<dyn Storage>>,
    /// What makes the spans of calls.
    pub tracer: Tracer,
}

impl Outside {
    /// The operating system's clock, randomness and threads, TCP, the disk; calls are not traced.
    #[must_use]
    pub fn system() -> Self {
        Self {
            seams: Seams::system(),
            transport: Arc::new(toka_raft::TcpTransport),
            storage: None,
            tracer: Tracer::off(),
        }
    }
}

/// A running node. Dropped without [`Node::shutdown`] or [`Node::halt`] it stops soon after, as in a
/// crash: threads may go on for a moment, and a process that ends in that moment is aborted by RocksDB.
pub struct Node {
    addresses: Addresses,
    shared: Arc<Shared>,
    readiness: watch::Receiver<Readiness>,
    limits: Limits,
    clients: Stop,
    peers: Stop,
    tasks: JoinSet<&'static str>,
    http: Stop,
    /// Cancelled when the node begins to stop: it begins nothing more of its own accord.
    stopping: CancellationToken,
    hands_over: bool,
    /// Of a node that is to form a cluster, as nobody has answered, and has nothing: where one turns out to be there,
    /// it gives up its data directory.
    rivals: Option<Rivals>,
    _all: DropGuard,
}

impl Node {
    /// Binds the sockets and starts the node. Returns as soon as the stores are open: the cluster
    /// forms later ([`Node::ready`]).
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config, outside: Outside) -> Result<Self, StartError> {
        let listeners = Listeners::bind(&config).await?;
        Self::start_on(listeners, config, outside).await
    }

    /// As [`Node::start`], on sockets that are bound already.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_on(
        listeners: Listeners,
        config: Config,
        mut outside: Outside,
    ) -> Result<Self, StartError> {
        let addresses = listeners.addresses()?;
        let security = Security::of(config.tls.as_ref()).await?;
        let (for_clients, for_nodes) = transport::acceptors(security.as_deref());
        if let Some(security) = &security {
            outside.transport = security.transport();
        }
        let peers = listeners.raft.into_std();
        let peers = peers.map_err(|source| StartError::Bind {
            key: "raft_listen",
            address: addresses.raft,
            source,
        })?;
        let wires = Wires {
            clients: tcp(listeners.client, for_clients),
            peers: move || TcpListener::from_std(peers).map(|listener| tcp(listener, for_nodes)),
            http: Some(listeners.http),
            security,
        };
        // It is large, and whoever waits for it would be, too.
        Box::pin(Self::start_over(wires, addresses, config, outside)).await
    }

    /// As [`Node::start`], over connections that come in somewhere else; `addresses` are said to be the node's where
    /// the configuration advertises no others.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_over<S, C, A, R>(
        wires: Wires<C, R>,
        addresses: Addresses,
        config: Config,
        outside: Outside,
    ) -> Result<Self, StartError>
    where
        S: Wire,
        C: Stream<Item = io::Result<S>> + Send + 'static,
        A: Stream<Item = io::Result<S>> + Send + 'static,
        R: FnOnce() -> io::Result<A> + Send + 'static,
    {
        config.check()?;
        let resolved = config.resolve(addresses.client, addresses.raft)?;
        for warning in config.warnings() {
            tracing::warn!(warning, "configuration");
        }
        let bootstrap = config.bootstrap_admin_token_file.as_deref();
        let bootstrap = bootstrap.map(Bootstrap::read).transpose()?;
        let all = CancellationToken::new();
        let (readiness_known, readiness) = watch::channel(Readiness::Starting);
        let (security, has_console) = (wires.security.clone(), config.has_console());
        let pages = Pages::new(readiness.clone(), security, has_console);
        let mut tasks = JoinSet::new();
        let http_server = Stop::new(all.child_token(), &all);
        let bounds = config.connections;
        if let Some(listener) = wires.http {
            let served = serve::http(listener, pages.clone(), bounds, http_server.clone());
            tasks.spawn(named("HTTP", served));
        }
        if let Some(security) = wires.security {
            // Before the node has an id, too: it may wait long for its cluster.
            let watched = security.watch(Arc::clone(&outside.seams.clock), pages.alarm());
            tasks.spawn(until(all.clone(), watched));
        }

        let guard = all.clone().drop_guard();
        let storage = stores::storage(&config, &outside);
        let bearer = Bearer::of(&config)?;
        let place = place::find(&config, &resolved, &storage, &outside, &bearer).await?;
        let node_id = match (place, &config.join) {
            (Place::Known(node_id) | Place::Forms(node_id), _) => node_id,
            (Place::Joins, Some(join)) => {
                let others = Others {
                    join,
                    outside: &outside,
                    bearer: &bearer,
                };
                let level = config.storage.feature_level_max;
                let advertised = &resolved.advertised;
                join::node_id(others, &config.data, advertised, level, &storage).await?
            }
            (Place::Joins, None) => identity::of_directory(&config.data, &storage).await?,
        };
        let rivals = Rivals::of(place, &config, &resolved, &outside, &bearer);
        let sites = Sites::of(&config, &resolved.advertised.client_endpoint);
        let replica = stores::open(node_id, &config, resolved, storage, &outside).await?;
        // A restored vault is not given up.
        let rivals = rivals.filter(|_| replica.reader().position().revision == 0);
        let opened = replica.clone();
        let assembled = async move {
            let peers = Stop::new(all.child_token(), &all);
            serve::peers(wires.peers, &replica, bounds, peers.clone());
            let router = Router::new(
                node_id,
                replica.leader_watch(),
                replica.members_watch(),
                outside.transport,
                outside.tracer,
            );
            let clients = Stop::new(all.child_token(), &all);
            let shared = Arc::new(Shared::new(
                replica,
                router,
                &config,
                Arc::clone(&outside.seams.entropy),
                clients.connections.clone(),
                Arc::clone(&clients.refused),
                clients.gently.clone(),
            ));
            let (reporter, health) = health_reporter();
            let routes = serve::routes(&shared, health)?;
            let directory = VaultDirectory(shared.reader.auth_view());
            let denials = Audited::new(shared.audit.clone(), shared.denied.clone());
            let clock = VaultTime::of(&outside.seams.clock, &shared.reader);
            let throttled = shared.throttled.clone();
            let authorization = auth::guard(&config.auth, directory, denials, throttled, clock)?;
            let mut background: Vec<BoxFuture<'static, ()>> = vec![
                serve_when_ready(Arc::clone(&shared)).boxed(),
                status::follow(Arc::clone(&shared), readiness_known).boxed(),
                health::follow(reporter, readiness.clone()).boxed(),
                api::sweep(Arc::clone(&shared.streams)).boxed(),
                shared.audit.clone().run(Arc::clone(&shared)).boxed(),
            ];
            let stopping = CancellationToken::new();
            if let Some(first) = bootstrap {
                background.push(first.run(Arc::clone(&shared), stopping.clone()).boxed());
            }
            if let Some(authorization) = &authorization {
                background.extend(authorization.follow());
            }
            if let Some(console) = &pages.console {
                let (shared, guard) = (Arc::clone(&shared), authorization.clone());
                let called = serve::guarded(shared, guard, routes.clone());
                // Only this place sets it.
                let _ = console.set(Console::new(called, sites.clone()));
            }
            let served = serve::clients(
                wires.clients,
                Arc::clone(&shared),
                authorization,
                (routes, sites),
                clients.clone(),
            );
            tasks.spawn(named("clients", served));
            for task in background {
                tasks.spawn(until(all.clone(), task));
            }
            // Only this place sets it.
            let _ = pages.shared.set(Arc::clone(&shared));
            let Addresses { client, raft, http } = addresses;
            tracing::info!(node_id, %client, %raft, %http, "node started");
            Ok(Self {
                addresses,
                shared,
                readiness,
                limits: config.limits,
                clients,
                peers,
                tasks,
                http: http_server,
                stopping,
                hands_over: true,
                rivals,
                _all: guard,
            })
        };
        let assembled = assembled.await;
        if assembled.is_err() {
            let _ = opened.halt().await;
            opened.end_threads().await;
        }
        assembled
    }

    /// Keeps leadership to the end: where all nodes stop at once, nobody is left to take it over.
    #[must_use]
    pub fn without_hand_over(mut self) -> Self {
        self.hands_over = false;
        self
    }

    /// Where the node listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The replica underneath.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.shared.replica
    }

    /// What its services share.
    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Follows whether the node can serve.
    #[must_use]
    pub fn readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.clone()
    }

    /// Waits until the node can serve.
    ///
    /// # Errors
    /// Why it must stop.
    pub async fn ready(&self) -> Result<(), RunError> {
        let mut readiness = self.readiness.clone();
        let mut fatal = self.shared.replica.fatal();
        tokio::select! {
            biased;
            error = failed(&mut fatal) => Err(error.into()),
            ready = readiness.wait_for(|now| *now == Readiness::Ready) => {
                ready.map(drop).map_err(|_| RunError::Server { what: "readiness" })
            }
        }
    }

    /// Runs until `signal`, then stops in good order.
    ///
    /// # Errors
    /// Why the node ended before, or could not be closed.
    pub async fn run_until(mut self, signal: impl Future<Output = ()>) -> Result<(), RunError> {
        let mut fatal = self.shared.replica.fatal();
        let rivals = self.rivals.take();
        let (asked, replica) = (rivals.as_ref(), self.shared.replica.clone());
        let formed_without = async move {
            match asked {
                Some(rivals) => rivals.found(&replica).await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            biased;
            () = signal => None,
            error = failed(&mut fatal) => Some(RunError::Fatal(error)),
            () = formed_without => {
                let node_id = self.shared.replica.node_id();
                Some(RunError::FormedWithout { node_id })
            }
            Some(ended) = self.tasks.join_next() => {
                Some(RunError::Server { what: ended.unwrap_or("a task of the node") })
            }
        };
        self.stopping.cancel();
        match ended {
            None => self.shutdown().await.map_err(RunError::Fatal),
            Some(RunError::Fatal(removed @ FatalError::Removed { .. })) => {
                // Nothing has failed: clients are told to go on elsewhere.
                let node = self.without_hand_over();
                node.shutdown().await.map_err(RunError::Fatal)?;
                Err(removed.into())
            }
            Some(RunError::Fatal(damaged)) if damaged.damage() == Some(Damage::Ledger) => {
                // Nobody reads it any more, but Raft's own state is sound: another node is to lead.
                self.clients.cut().await;
                self.http.cut().await;
                self.shared.replica.hand_over().await;
                self.halt().await;
                Err(damaged.into())
            }
            Some(error) => {
                if rivals.is_some() && place::is_taken(&error) {
                    place::give_up(&self.shared.replica).await;
                }
                // What has failed cannot hand anything over; the others elect a leader by themselves.
                self.halt().await;
                Err(error)
            }
        }
    }

    /// Stops at once, without handing over or waiting for calls, and returns when nothing of the node
    /// runs any more.
    pub async fn halt(mut self) {
        self.stopping.cancel();
        self.clients.cut().await;
        self.http.cut().await;
        // What could not be written is in the log, which the next start reads.
        let _ = self.shared.replica.halt().await;
        self.peers.cut().await;
        self.tasks.shutdown().await;
        self.shared.replica.end_threads().await;
    }

    /// Stops in good order: leadership is handed over, calls in flight are finished, subscriptions
    /// end so that their clients go on elsewhere, the stores are closed.
    ///
    /// # Errors
    /// What could not be written at the end. Nothing acknowledged is lost by it.
    pub async fn shutdown(mut self) -> Result<(), FatalError> {
        let node_id = self.shared.replica.node_id();
        tracing::info!(node_id, "stopping");
        self.stopping.cancel();
        // While calls are still taken, so that commits in flight find the next leader.
        if self.hands_over {
            self.shared.replica.hand_over().await;
        }
        self.clients.gently.cancel();
        self.clients.connections.close();
        if timeout(self.limits.shutdown_grace, self.clients.connections.wait())
            .await
            .is_err()
        {
            tracing::warn!(node_id, "calls did not finish in time and are cut");
        }
        self.clients.cut().await;
        // The console reads the stores, too.
        self.http.cut().await;
        self.shared.replica.retire(self.hands_over).await;
        self.peers.cut().await;
        let closed = self.shared.replica.close().await;
        self.tasks.shutdown().await;
        self.shared.replica.end_threads().await;
        tracing::info!(node_id, "stopped");
        closed
    }
}

/// Opens the services once the cluster has formed and the vault is there. Ends only if they cannot
/// be opened, and the node with it.
async fn serve_when_ready(shared: Arc<Shared>) {
    // What fails before is fatal, and reported as that.
    if shared.replica.ready().await.is_ok() {
        let reader = shared.reader.clone();
        match seam::off_reactor(move || reader.settings()).await {
            Ok(Ok(Some(settings))) => {
                // There is one: nothing is ready before.
                let cluster_id = shared.replica.cluster_id().unwrap_or_default();
                shared.serve(settings.history_id_in(cluster_id));
            }
            Ok(Ok(None)) => return tracing::error!("the vault has no settings"),
            Ok(Err(error)) => return tracing::error!(%error, "settings cannot be read"),
            Err(error) => return tracing::error!(%error, "settings were not read"),
        }
    }
    std::future::pending::<()>().await;
}

/// The first error after which the node must stop.
async fn failed(fatal: &mut watch::Receiver<Option<FatalError>>) -> FatalError {
    match fatal.wait_for(Option::is_some).await {
        Ok(error) => error.clone().expect("waited for"),
        // The replica is gone, and its owner with it.
        Err(_) => std::future::pending().await,
    }
}

async fn named(name: &'static str, task: impl Future<Output = ()>) -> &'static str {
    task.await;
    name
}

async fn until(stop: CancellationToken, task: impl Future<Output = ()>) -> &'static str {
    tokio::select! {
        () = stop.cancelled() => {}
        () = task => {}
    }
    "background tasks"
}
