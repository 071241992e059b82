//! What all services of a node share.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use toka_ledger::command::{COORDINATION_LEVEL, FEATURE_LEVEL_MIN};
use toka_ledger::seam::Entropy;
use toka_ledger::{Error, Position, Reader, Rejection, seam};
use toka_proto::convert::commit::cursor_histories;
use toka_proto::convert::read::{self, Header, ReadOptions};
use toka_proto::convert::{ident, metadata, status};
use toka_proto::v1;
use toka_raft::meters::{Counter, Gauge};
use toka_raft::{Consistency, Replica};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::codegen::http::HeaderValue;
use tonic::{Request, Status};

use super::credentials::{Audit, Denied};
use super::dispatchers::Dispatchers;
use super::encoded::Encoded;
use super::gate::Gates;
use super::positions::Positions;
use super::stalled::Streams;
use crate::auth::{Access, Throttled};
use crate::calls::Calls;
use crate::config::{Config, Connections, Limits};
use crate::limits::RETRY_AFTER;
use crate::refusal;
use crate::routing::{Call, Router};

/// What all services of a node share.
pub(crate) struct Shared {
    pub(crate) replica: Replica,
    pub(crate) reader: Reader,
    pub(crate) router: Router,
    pub(crate) limits: Limits,
    pub(crate) connections: Connections,
    pub(crate) gates: Gates,
    /// Answers that are sent one by one.
    pub(crate) streams: Arc<Streams>,
    /// Events of subscriptions.
    pub(crate) encoded: Encoded,
    /// Groups whose consumers ask for events, on the leader.
    pub(crate) dispatchers: Dispatchers,
    /// Connections of clients.
    pub(crate) open_connections: TaskTracker,
    /// Those that were closed as there were too many.
    pub(crate) connections_refused: Arc<Counter>,
    /// Their calls.
    pub(crate) calls: Arc<Calls>,
    /// How far the open subscriptions are.
    pub(crate) positions: Positions,
    /// Events that were read for subscriptions.
    pub(crate) events_sent: Counter,
    /// When a backup was last sent to its end, seconds since the Unix epoch; 0: none was.
    pub(crate) backup_ended_unix_s: Gauge,
    /// Cancelled when streams have to end.
    pub(crate) draining: CancellationToken,
    reads: Arc<Semaphore>,
    /// Randomness for secrets.
    pub(crate) entropy: Arc<dyn Entropy>,
    /// What this node has seen, for the audit.
    pub(crate) audit: Audit,
    /// Calls that were denied.
    pub(crate) denied: Denied,
    /// Calls that were refused as their principal has used what it may.
    pub(crate) throttled: Throttled,
    /// A feature level that the vault is known to have.
    level_known: AtomicU32,
    /// Identity of the history, once the node serves.
    history_id: OnceLock<u128>,
    /// A node never changes its cluster.
    cluster_header: OnceLock<HeaderValue>,
}

impl Shared {
    pub(crate) fn new(
        replica: Replica,
        router: Router,
        config: &Config,
        entropy: Arc<dyn Entropy>,
        open_connections: TaskTracker,
        connections_refused: Arc<Counter>,
        draining: CancellationToken,
    ) -> Self {
        let (limits, connections) = (config.limits, config.connections);
        Self {
            reader: replica.reader(),
            replica,
            router,
            gates: Gates::new(&limits),
            streams: Arc::new(Streams::new(connections.stall_timeout)),
            encoded: Encoded::default(),
            dispatchers: Dispatchers::default(),
            open_connections,
            connections_refused,
            calls: Arc::new(Calls::new()),
            positions: Positions::default(),
            events_sent: Counter::default(),
            backup_ended_unix_s: Gauge::default(),
            reads: Arc::new(Semaphore::new(limits.reads_max)),
            entropy,
            audit: Audit::default(),
            denied: Denied::default(),
            throttled: Throttled::default(),
            level_known: AtomicU32::new(FEATURE_LEVEL_MIN),
            limits,
            connections,
            draining,
            history_id: OnceLock::new(),
            cluster_header: OnceLock::new(),
        }
    }

    /// Begins to serve the history `history_id`.
    pub(crate) fn serve(&self, history_id: u128) {
        let _ = self.history_id.set(history_id);
    }

    /// What ends a stream when the node stops. It names the members, which may be others than when the
    /// stream began: its client goes on with one of them.
    pub(crate) fn stopping(&self) -> Status {
        let mut status = status::stopping();
        if let Some(members) = self.router.member_endpoints()
            && let Ok(members) = members.as_bytes().try_into()
        {
            status
                .metadata_mut()
                .insert(metadata::MEMBER_ENDPOINTS, members);
        }
        status
    }

    /// Whether calls are served: the cluster has formed, and the node is not stopping.
    pub(crate) fn is_serving(&self) -> bool {
        self.history_id.get().is_some() && !self.draining.is_cancelled()
    }

    /// The call's conditions, if the node serves.
    pub(crate) fn admit<T>(&self, request: &Request<T>) -> Result<Call, Status> {
        if self.draining.is_cancelled() {
            return Err(status::stopping());
        }
        let call = self.call(request)?;
        if self.history_id.get().is_none() {
            let reason = match self.replica.cluster_id() {
                None => "the cluster has not formed yet; its initial members must all be up",
                Some(_) if self.router.leader().is_none() => {
                    "no leader is known: no majority of the voters has elected one"
                }
                Some(_) => "the node is catching up with what it had before it was stopped",
            };
            return Err(status::no_leader(reason));
        }
        Ok(call)
    }

    /// The call's conditions, if it is for this node's cluster.
    pub(crate) fn call<T>(&self, request: &Request<T>) -> Result<Call, Status> {
        let access = Access::of(request.extensions())?;
        let cluster_id = self.replica.cluster_id();
        Call::new(request.metadata(), &self.limits, cluster_id, access)
    }

    /// This node's cluster, as it stands in the head of a reply, once it belongs to one.
    pub(crate) fn cluster_header(&self) -> Option<HeaderValue> {
        if let Some(header) = self.cluster_header.get() {
            return Some(header.clone());
        }
        let text = metadata::cluster_id_text(self.replica.cluster_id()?);
        let header = HeaderValue::try_from(text).ok()?;
        Some(self.cluster_header.get_or_init(|| header).clone())
    }

    pub(crate) fn history_id(&self) -> u128 {
        self.history_id.get().copied().unwrap_or(0)
    }

    /// State of the node, as of `position`.
    pub(crate) fn header(&self, position: &Position) -> v1::ResponseHeader {
        Header {
            cluster_id: self.replica.cluster_id().unwrap_or(0),
            history_id: self.history_id(),
            node_id: self.replica.node_id(),
            term: self.replica.term(),
            revision: position.revision,
            sequence: position.sequence,
        }
        .into()
    }

    /// Refuses moves of cursors in another history.
    pub(crate) fn check_cursors(&self, preconditions: &[v1::Precondition]) -> Result<(), Status> {
        let named = cursor_histories(preconditions).map_err(|error| status::invalid(&error))?;
        let actual = self.history_id();
        match named.into_iter().find(|named| *named != actual) {
            Some(expected) => Err(status::history_changed(expected, actual)),
            None => Ok(()),
        }
    }

    /// Refuses positions of another history, and says that they are of this one.
    pub(crate) fn check_history(
        &self,
        field: &'static str,
        history_id: &mut Bytes,
    ) -> Result<(), Status> {
        let named = ident::u128_optional(field, history_id);
        let named = named.map_err(|error| status::invalid(&error))?;
        let actual = self.history_id();
        match named.filter(|named| *named != actual) {
            Some(expected) => Err(status::history_changed(expected, actual)),
            None => {
                *history_id = ident::u128_bytes(actual);
                Ok(())
            }
        }
    }

    /// Refuses calls of cursors and groups while the vault is below their feature level.
    pub(crate) async fn check_coordination(&self, call: &Call) -> Result<(), Status> {
        self.check_level(call, COORDINATION_LEVEL).await
    }

    /// Refuses a call while the vault is below the feature level that it needs.
    pub(crate) async fn check_level(&self, call: &Call, needed: u32) -> Result<(), Status> {
        if self.level_known.load(Ordering::Relaxed) >= needed {
            return Ok(());
        }
        let mut level = self.level(call).await?;
        if level < needed {
            // This node may be behind.
            let barrier = self
                .replica
                .read_barrier(Consistency::Linearizable, call.deadline);
            barrier.await.map_err(|error| refusal::read(&error, 0))?;
            level = self.level(call).await?;
        }
        if level < needed {
            return Err(status::rejection(&Rejection::FeatureLevel {
                needed,
                level,
            }));
        }
        // It never falls.
        self.level_known.fetch_max(level, Ordering::Relaxed);
        Ok(())
    }

    /// The vault's feature level, as this node has it.
    async fn level(&self, call: &Call) -> Result<u32, Status> {
        let settings = self.read(call.deadline, Reader::settings).await?;
        Ok(settings.map_or(FEATURE_LEVEL_MIN, |settings| settings.feature_level))
    }

    /// Waits until the node has what the read must see. The read sees the vault as of the position
    /// that is returned: what came later is not shown, and the reply's header says so.
    pub(crate) async fn barrier(
        &self,
        call: &Call,
        options: Option<v1::ReadOptions>,
    ) -> Result<Position, Status> {
        let options = ReadOptions::try_from(options).map_err(|error| status::invalid(&error))?;
        if let Some(expected) = options.history_id
            && expected != self.history_id()
        {
            return Err(status::history_changed(expected, self.history_id()));
        }
        let (consistency, wanted) = match options.consistency {
            read::Consistency::Local => (Consistency::Local, 0),
            read::Consistency::AtLeast(revision) => (Consistency::AtLeast(revision), revision),
            read::Consistency::Linearizable => (Consistency::Linearizable, 0),
        };
        self.replica
            .read_barrier(consistency, call.deadline)
            .await
            .map_err(|error| refusal::read(&error, wanted))
    }

    /// Reads the storage, off the reactor. Waits for its turn until `deadline`.
    pub(crate) async fn read<T, F>(&self, deadline: Instant, work: F) -> Result<T, Status>
    where
        T: Send + 'static,
        F: FnOnce(&Reader) -> Result<T, Error> + Send + 'static,
    {
        let turn = timeout_at(deadline, Arc::clone(&self.reads).acquire_owned());
        let turn = match turn.await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) => return Err(status::stopping()),
            Err(_) => return Err(status::overloaded(RETRY_AFTER)),
        };
        let reader = self.reader.clone();
        let result = off_reactor(move || {
            let result = work(&reader);
            drop(turn);
            result
        });
        result.await?.map_err(|error| self.failed_read(&error))
    }

    /// What a client is told of a read that failed. Damage stops the node.
    pub(crate) fn failed_read(&self, error: &Error) -> Status {
        self.replica.note_failed_read(error);
        refusal::ledger(error)
    }
}

/// Runs what would hold up other calls.
pub(crate) async fn off_reactor<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Status> {
    match seam::off_reactor(work).await {
        Ok(result) => Ok(result),
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is being shut down.
            Err(_) => Err(status::stopping()),
        },
    }
}
