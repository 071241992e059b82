//! Where a call belongs: here, or on the leader.
//!
//! Invariants: a call is forwarded at most once; while nobody leads, calls wait until their
//! deadline and then fail with UNAVAILABLE.

mod call;
mod deadline;
mod reply;
mod time_limit;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use toka_proto::convert::status;
use toka_proto::v1::auth_service_client::AuthServiceClient;
use toka_proto::v1::cluster_service_client::ClusterServiceClient;
use toka_proto::v1::cursor_service_client::CursorServiceClient;
use toka_proto::v1::group_service_client::GroupServiceClient;
use toka_proto::v1::intent_service_client::IntentServiceClient;
use toka_proto::v1::vault_service_client::VaultServiceClient;
use toka_raft::transport::Traffic;
use toka_raft::{Leader, Member, Transport};
use toka_trace::{ClientSpans, KeyValue, Tracer};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::codegen::http::HeaderValue;
use tonic::transport::Channel;
use tonic::{Request, Status};

pub(crate) use self::call::Call;
use self::reply::NamedLeader;
pub(crate) use self::reply::{
    is_worth_another_leader, name_cluster, name_members, out_of_time, relay, relay_status,
};
pub(crate) use self::time_limit::TimeLimit;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::refusal;

/// First and longest pause before a call is tried again where the leader has not changed.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// Connections that are kept to other nodes: more than a cluster has members.
const CHANNELS_MAX: usize = 64;
/// Connections to one node over which calls wait. A node takes 4,096 calls over one, unless it is configured otherwise,
/// and [`PULLS_MAX`](crate::limits::PULLS_MAX) of them may wait.
const WAITING_LANES: usize = 4;

/// Where a call belongs.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// This node leads.
    Here(Leader),
    /// Another node leads.
    There(Leader),
}

impl Route {
    pub(crate) fn leader(&self) -> &Leader {
        match self {
            Self::Here(leader) | Self::There(leader) => leader,
        }
    }
}

/// The way to another node, with a span for each call that takes it.
pub(crate) type Link = ClientSpans<Channel>;

/// Which connection to another node a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    /// That of calls which are answered at once.
    Calls,
    /// Those of calls which wait: they must not take the places of the others.
    Waits(usize),
}

/// Finds the leader and the way to it.
#[derive(Debug)]
pub(crate) struct Router {
    node_id: u64,
    leader: watch::Receiver<Option<Leader>>,
    transport: Arc<dyn Transport>,
    tracer: Tracer,
    channels: Mutex<BTreeMap<(String, Lane), Channel>>,
    /// Calls that wait, so far.
    waiting: AtomicUsize,
    members: watch::Receiver<Arc<[Member]>>,
    /// The members' endpoints as they stand in replies, and of which members that is.
    named: Mutex<(Arc<[Member]>, Option<HeaderValue>)>,
    /// The leader as it stands in replies, and which one that is.
    named_leader: Mutex<Option<(Leader, NamedLeader)>>,
}

/// Pauses between attempts of one call.
#[derive(Debug)]
pub(crate) struct Pauses {
    next: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { next: PAUSE_MIN }
    }
}

impl Router {
    pub(crate) fn new(
        node_id: u64,
        leader: watch::Receiver<Option<Leader>>,
        members: watch::Receiver<Arc<[Member]>>,
        transport: Arc<dyn Transport>,
        tracer: Tracer,
    ) -> Self {
        Self {
            node_id,
            leader,
            transport,
            tracer,
            channels: Mutex::default(),
            waiting: AtomicUsize::new(0),
            members,
            named: Mutex::new((Arc::new([]), None)),
            named_leader: Mutex::default(),
        }
    }

    /// What makes the spans of calls.
    pub(crate) fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// Where clients reach the members, as it stands in the head of a reply.
    pub(crate) fn member_endpoints(&self) -> Option<HeaderValue> {
        let members = Arc::clone(&self.members.borrow());
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&named.0, &members) {
            let endpoints: Vec<_> = members
                .iter()
                .map(|member| member.client_endpoint.as_str())
                .collect();
            // Endpoints that cannot stand in a header reach nobody.
            let header = HeaderValue::try_from(endpoints.join(",")).ok();
            *named = (members, header.filter(|header| !header.is_empty()));
        }
        named.1.clone()
    }

    /// The leader, where one is known, as it stands in the head of a reply.
    pub(crate) fn leader_headers(&self) -> Option<NamedLeader> {
        let known = self.leader.borrow();
        let leader = known.as_ref()?;
        let named = &self.named_leader;
        let mut named = named.lock().unwrap_or_else(PoisonError::into_inner);
        match &*named {
            Some((of, headers)) if of == leader => Some(headers.clone()),
            _ => {
                let headers = NamedLeader::from(leader);
                *named = Some((leader.clone(), headers.clone()));
                Some(headers)
            }
        }
    }

    /// The leader, where one is known.
    pub(crate) fn leader(&self) -> Option<Leader> {
        self.leader.borrow().clone()
    }

    /// Where `call` belongs; waits for a leader until the call's deadline.
    pub(crate) async fn route(&self, call: &Call) -> Result<Route, Status> {
        // As nearly always: then nobody has to watch for a leader.
        let leads = |leader: &&Leader| leader.node_id == self.node_id;
        let own = self.leader.borrow().as_ref().filter(leads).cloned();
        if let Some(leader) = own {
            return Ok(Route::Here(leader));
        }
        let mut watch = self.leader.clone();
        loop {
            let known = watch.borrow_and_update().clone();
            match known {
                Some(leader) if leader.node_id == self.node_id => return Ok(Route::Here(leader)),
                // The node that forwarded it waits for the next leader itself.
                known if call.is_forwarded => return Err(refusal::not_leader(known.as_ref())),
                Some(leader) if call.requires_leader => {
                    return Err(refusal::not_leader(Some(&leader)));
                }
                Some(leader) => return Ok(Route::There(leader)),
                None => {}
            }
            match timeout_at(call.deadline, watch.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(status::stopping()),
                Err(_) => {
                    return Err(status::no_leader(
                        "no leader was elected before the deadline",
                    ));
                }
            }
        }
    }

    /// Waits until there is another leader than `tried`, or for a while: the same one may be back.
    /// Returns false if the deadline comes first.
    pub(crate) async fn before_retry(
        &self,
        tried: &Leader,
        deadline: Instant,
        pauses: &mut Pauses,
    ) -> bool {
        let until = Instant::now() + pauses.next;
        pauses.next = (pauses.next * 2).min(PAUSE_MAX);
        tokio::select! {
            () = self.superseded(tried) => {}
            () = sleep_until(until.min(deadline)) => {}
        }
        Instant::now() < deadline
    }

    /// Waits until a newer leader than `leader` is known.
    pub(crate) async fn superseded(&self, leader: &Leader) {
        let mut watch = self.leader.clone();
        let newer =
            watch.wait_for(|known| known.as_ref().is_some_and(|known| known.term > leader.term));
        if newer.await.is_err() {
            // The node stops, and will tell whoever waits.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until `leader` is not known to lead any more.
    pub(crate) async fn lost(&self, leader: &Leader) {
        let mut watch = self.leader.clone();
        let leads = |known: &Leader| known.node_id == leader.node_id && known.term == leader.term;
        let lost = watch.wait_for(|known| !known.as_ref().is_some_and(leads));
        if lost.await.is_err() {
            // The node stops, and will tell whoever waits.
            std::future::pending::<()>().await;
        }
    }

    /// `message` as it is forwarded, to be answered before the call's deadline.
    pub(crate) fn request<T>(&self, call: &Call, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = call.forwarded_by(self.node_id);
        request
    }

    /// As [`Router::request`], with the time that is left.
    pub(crate) fn timed_request<T>(&self, call: &Call, message: T) -> Request<T> {
        let mut request = self.request(call, message);
        request.set_timeout(call.deadline.saturating_duration_since(Instant::now()));
        request
    }

    pub(crate) fn vault(&self, leader: &Leader) -> Result<VaultServiceClient<Link>, Status> {
        Ok(VaultServiceClient::new(self.link(leader, Lane::Calls)?)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    pub(crate) fn intents(&self, leader: &Leader) -> Result<IntentServiceClient<Link>, Status> {
        Ok(IntentServiceClient::new(self.link(leader, Lane::Calls)?)
            .max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    pub(crate) fn cursors(&self, leader: &Leader) -> Result<CursorServiceClient<Link>, Status> {
        Ok(CursorServiceClient::new(self.link(leader, Lane::Calls)?)
            .max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    pub(crate) fn auth(&self, leader: &Leader) -> Result<AuthServiceClient<Link>, Status> {
        Ok(AuthServiceClient::new(self.link(leader, Lane::Calls)?)
            .max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    pub(crate) fn groups(&self, leader: &Leader) -> Result<GroupServiceClient<Link>, Status> {
        Ok(GroupServiceClient::new(self.link(leader, Lane::Calls)?)
            .max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// As [`Router::groups`], for calls that wait, each over the next one of the connections for those.
    pub(crate) fn waiting_groups(
        &self,
        leader: &Leader,
    ) -> Result<GroupServiceClient<Link>, Status> {
        let number = self.waiting.fetch_add(1, Ordering::Relaxed);
        let link = self.link(leader, Lane::Waits(number % WAITING_LANES))?;
        Ok(GroupServiceClient::new(link).max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    pub(crate) fn cluster(&self, leader: &Leader) -> Result<ClusterServiceClient<Link>, Status> {
        Ok(ClusterServiceClient::new(self.link(leader, Lane::Calls)?)
            .max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    fn link(&self, leader: &Leader, lane: Lane) -> Result<Link, Status> {
        let channel = self.channel_of(leader, lane)?;
        let callee = || {
            let node_id = i64::try_from(leader.node_id).unwrap_or(i64::MAX);
            KeyValue::new("toka.leader_id", node_id)
        };
        Ok(ClientSpans::over(channel, self.tracer.clone(), callee))
    }

    fn channel_of(&self, leader: &Leader, lane: Lane) -> Result<Channel, Status> {
        let endpoint = &leader.member.client_endpoint;
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (endpoint.clone(), lane);
        if let Some(channel) = channels.get(&key) {
            return Ok(channel.clone());
        }
        let channel = self
            .transport
            .channel(endpoint, Traffic::Replication)
            .map_err(|error| status::no_leader(format!("the leader cannot be reached: {error}")))?;
        if channels.len() >= CHANNELS_MAX {
            channels.clear();
        }
        channels.insert(key, channel.clone());
        Ok(channel)
    }
}
