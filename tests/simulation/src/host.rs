//! A machine with a node: a runtime of its own, whose time the simulation moves, and which dies at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use toka_ledger::dir::{DataDir, Mode};
use toka_ledger::disk::Disk as _;
use toka_raft::log_store::{LogOptions, TailLimits};
use toka_raft::transport::peer_server;
use toka_raft::{Config, FatalError, Replica};
use toka_server::node::Tracer;
use toka_server::{Addresses, Node as Server, Outside, Wires};
use tokio::runtime::{Builder, Handle, RngSeed, Runtime};

use crate::network::{Absence, Network};
use crate::oracle::Oracle;
use crate::outside::{NodeStorage, Now, Pace, WallClock, seams};
use crate::random::Random;
use crate::rights::Rights;
use crate::trace::Trace;

/// Every node's data directory, on its own disk.
const DATA: &str = "/vault";
/// Where a machine listens for other nodes,
pub(crate) fn raft_endpoint(name: &str) -> String {
    format!("{name}:7312")
}

/// and for clients.
pub(crate) fn client_endpoint(name: &str) -> String {
    format!("{name}:7311")
}

/// Rounds of a step: enough for what is due, what that wakes, and what that wakes.
const ROUNDS: u32 = 4;

/// What all machines share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) now: Now,
    pub(crate) network: Network,
    pub(crate) oracle: Oracle,
    pub(crate) rights: Rights,
    pub(crate) trace: Trace,
    pub(crate) directory: Directory,
}

/// A node that runs.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) node_id: u64,
    pub(crate) handle: Handle,
    pub(crate) replica: Replica,
    /// Clients may be served.
    pub(crate) is_ready: bool,
}

/// The nodes that run. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Directory(Arc<Mutex<BTreeMap<u64, Running>>>);

impl Directory {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, node_id: u64) -> Option<Running> {
        self.lock().get(&node_id).cloned()
    }

    /// Those that serve clients.
    pub(crate) fn ready(&self) -> Vec<Running> {
        let nodes = self.lock();
        nodes
            .values()
            .filter(|node| node.is_ready)
            .cloned()
            .collect()
    }

    /// The node that says it leads, of the highest term where there are several.
    pub(crate) fn leader(&self) -> Option<Running> {
        let leaders = self.ready().into_iter();
        leaders
            .filter(|node| node.replica.is_leader())
            .max_by_key(|node| node.replica.term())
    }
}

/// Lets a runtime do what is due at this moment. It never waits: its clock is the simulation's, which stands still
/// meanwhile.
pub(crate) fn step(runtime: &Runtime) {
    runtime.block_on(async {
        for _ in 0..ROUNDS {
            // With everything that is ready done, timers are looked at.
            tokio::task::yield_now().await;
        }
    });
}

/// A runtime of one thread, which chooses as the seed says.
pub(crate) fn runtime(random: &mut Random) -> Runtime {
    let mut seed = [0; 32];
    random.fill(&mut seed);
    let runtime = Builder::new_current_thread()
        .enable_time()
        .rng_seed(RngSeed::from_bytes(&seed))
        .build();
    runtime.expect("a runtime needs nothing")
}

/// Why a node has ended by itself.
#[derive(Clone)]
pub(crate) enum Failure {
    Start(String),
    Fatal(FatalError),
    /// It was asked to.
    Stopped,
}

/// A machine.
pub(crate) struct Host {
    pub(crate) node_id: u64,
    pub(crate) name: String,
    pub(crate) storage: NodeStorage,
    pub(crate) clock: WallClock,
    /// Its disk was made to fail: it may stop.
    pub(crate) is_failing: bool,
    /// It is being removed from the cluster.
    pub(crate) is_leaving: bool,
    /// It serves clients over the network.
    pub(crate) has_server: bool,
    config: Config,
    world: World,
    random: Random,
    runtime: Option<Runtime>,
    failure: Arc<Mutex<Option<Failure>>>,
    is_paused: bool,
}

impl Host {
    pub(crate) fn new(mut config: Config, name: &str, world: &World, mut random: Random) -> Self {
        config.data_dir = PathBuf::from(DATA);
        let tail = TailLimits {
            bytes_max: 64 << 10,
            entries_max: random.between(4, 64) as usize,
        };
        let storage = NodeStorage {
            disk: toka_ledger::disk::MemoryDisk::new(),
            segment_bytes: 16 << random.between(10, 14),
            log: LogOptions { tail },
            pace: Pace::new(random.fork()),
        };
        Self {
            node_id: config.node_id,
            name: name.to_owned(),
            storage,
            clock: WallClock::new(world.now.clone()),
            is_failing: false,
            is_leaving: false,
            has_server: false,
            config,
            world: world.clone(),
            random,
            runtime: None,
            failure: Arc::default(),
            is_paused: false,
        }
    }

    /// Makes the data directory of a node that has been added to the cluster.
    pub(crate) fn join(&self, token: u128, cluster_id: u128) {
        let disk = Arc::new(self.storage.disk.clone());
        let mode = Mode::Joining { token };
        let data_dir = DataDir::open_or_create(disk, Path::new(DATA), mode);
        let joined =
            data_dir.and_then(|mut data_dir| data_dir.set_joined(cluster_id, self.node_id));
        joined.expect("the disk is sound");
    }

    pub(crate) fn is_running(&self) -> bool {
        self.runtime.is_some()
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Starts the node.
    pub(crate) fn start(&mut self) {
        assert!(self.runtime.is_none(), "the node runs");
        let runtime = runtime(&mut self.random);
        self.failure = Arc::default();
        (self.is_failing, self.is_paused) = (false, false);
        self.world
            .trace
            .line(format_args!("node {} starts", self.node_id));
        let node = Node {
            name: self.name.clone(),
            world: self.world.clone(),
            failure: Arc::clone(&self.failure),
        };
        let (config, storage) = (self.config.clone(), Arc::new(self.storage.clone()));
        let seams = seams(&self.clock, self.random.fork());
        let transport = Arc::new(self.world.network.transport(&self.name));
        if self.has_server {
            let outside = Outside {
                seams,
                transport,
                storage: Some(storage),
                tracer: Tracer::off(),
            };
            runtime.spawn(node.serve(config, outside));
            self.runtime = Some(runtime);
            return;
        }
        runtime.spawn(async move {
            let starting = Replica::start_with(config, seams, transport, storage);
            match Box::pin(starting).await {
                Ok(replica) => {
                    node.answer_peers(&replica);
                    node.run(replica, None).await;
                }
                Err(error) => node.fail(Failure::Start(error.to_string())),
            }
        });
        self.runtime = Some(runtime);
    }

    /// Lets it do what is due. After a pause, as after SIGCONT, its clocks have gone on.
    pub(crate) fn step(&self) {
        if let Some(runtime) = &self.runtime
            && !self.is_paused
        {
            step(runtime);
        }
    }

    pub(crate) fn pause(&mut self) {
        self.is_paused = true;
    }

    pub(crate) fn resume(&mut self) {
        self.is_paused = false;
    }

    /// Asks it to stop in good order; see [`Failure::Stopped`].
    pub(crate) fn stop(&self) {
        let Some(running) = self.world.directory.get(self.node_id) else {
            return;
        };
        let failure = Arc::clone(&self.failure);
        running.handle.spawn(async move {
            // What could not be written is in the log.
            let _ = running.replica.shutdown(true).await;
            let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
            *failure = Some(Failure::Stopped);
        });
    }

    /// Ends it at once. Its disk is what was synced, and of the rest what `keep` says.
    pub(crate) fn crash(&mut self, absence: Absence, keep: impl FnMut() -> bool) {
        self.world
            .trace
            .line(format_args!("node {} ends, {absence:?}", self.node_id));
        self.storage = self.storage.crash(keep);
        self.world.network.leave(&self.name, absence);
        let replica = self.world.directory.lock().remove(&self.node_id);
        drop(self.runtime.take());
        drop(replica);
    }

    /// Why it has ended by itself, if it has.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.clone()
    }

    /// Files of the data directory, for messages.
    pub(crate) fn files(&self) -> usize {
        self.storage
            .disk
            .list(Path::new(DATA))
            .map_or(0, |names| names.len())
    }
}

/// A node's tasks.
struct Node {
    name: String,
    world: World,
    failure: Arc<Mutex<Option<Failure>>>,
}

impl Node {
    fn fail(&self, failure: Failure) {
        let mut first = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(failure);
    }

    /// As `toka serve` does.
    async fn serve(self, config: Config, outside: Outside) {
        let network = self.world.network.clone();
        let (clients, peers) = (client_endpoint(&self.name), raft_endpoint(&self.name));
        let wires = Wires {
            clients: network.listen(&clients),
            peers: move || Ok(network.listen(&peers)),
            http: None,
            security: None,
        };
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let addresses = Addresses {
            client: nowhere,
            raft: nowhere,
            http: nowhere,
        };
        let config = server_config(&self.name, config);
        let starting = Server::start_over(wires, addresses, config, outside);
        match Box::pin(starting).await {
            Ok(server) => self.run(server.replica().clone(), Some(server)).await,
            Err(error) => self.fail(Failure::Start(error.to_string())),
        }
    }

    fn answer_peers(&self, replica: &Replica) {
        let accepted = self.world.network.listen(&raft_endpoint(&self.name));
        let server = peer_server().add_service(replica.peer_service());
        tokio::spawn(async move {
            // It ends with the machine.
            let _ = server.serve_with_incoming(accepted).await;
        });
    }

    /// Follows the node until it fails; its server, if it has one, lives as long.
    async fn run(self, replica: Replica, server: Option<Server>) {
        let (node_id, world) = (replica.node_id(), self.world.clone());
        let running = Running {
            node_id,
            handle: Handle::current(),
            replica: replica.clone(),
            is_ready: false,
        };
        world.directory.lock().insert(node_id, running);
        tokio::spawn(watch_position(world.clone(), replica.clone()));
        let watched = replica.clone();
        tokio::spawn(async move {
            if watched.ready().await.is_ok()
                && let Some(running) = world.directory.lock().get_mut(&node_id)
            {
                running.is_ready = true;
                world.trace.line(format_args!("node {node_id} is ready"));
            }
        });
        let mut fatal = replica.fatal();
        let failed = fatal.wait_for(Option::is_some).await;
        let failed = failed.ok().and_then(|failed| failed.clone());
        if let Some(error) = failed {
            self.fail(Failure::Fatal(error));
        }
        drop(server);
    }
}

/// A server's configuration that comes to the same for the replica.
fn server_config(name: &str, config: Config) -> toka_server::Config {
    let mut server = toka_server::Config::new(config.node_id, config.data_dir);
    server.advertise_client = Some(client_endpoint(name));
    server.advertise_raft = Some(raft_endpoint(name));
    server.initial_members = config.initial_members;
    server.storage.snapshot_log_entries = config.compaction.snapshot_log_entries;
    server.storage.keep_log_entries = config.compaction.keep_log_entries;
    server
}

/// Shows the oracle each position of a node, and its tokens and roles.
async fn watch_position(world: World, replica: Replica) {
    let (name, mut positions) = (replica.node_id().to_string(), replica.reader().watch());
    let view = replica.reader().auth_view();
    let mut last = 0;
    loop {
        let position = *positions.borrow_and_update();
        world.trace.line(format_args!(
            "node {name} at {} {} {:?}",
            position.revision, position.sequence, position.state_digest
        ));
        world.oracle.at(&name, &position);
        if let Some(wrong) = world.rights.look(position.revision, &view.all()) {
            world.oracle.fail(format!("node {name}: {wrong}"));
        }
        if position.revision < last {
            world.oracle.fail(format!(
                "node {name} went back from revision {last} to {position:?}"
            ));
        }
        last = position.revision;
        if positions.changed().await.is_err() {
            return;
        }
    }
}
