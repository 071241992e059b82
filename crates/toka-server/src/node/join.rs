//! Becoming a member of a cluster that is there.
//!
//! The node makes a token, writes it down, and asks with it, so that a request which is repeated after a
//! crash gives the same id; it writes down the id and the cluster's before anything else happens. Until
//! then it has no id, and answers nobody.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toka_ledger::dir::{DataDir, Mode};
use toka_ledger::seam;
use toka_proto::convert::read::Header;
use toka_proto::convert::status::{Detail, parse};
use toka_proto::v1;
use toka_proto::v1::cluster_service_client::ClusterServiceClient;
use toka_raft::transport::Traffic;
use toka_raft::{Member, Storage};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status};

use super::bearer::Bearer;
use super::{Outside, StartError, lost};
use crate::config::Join;

const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Between two log lines that say that it has not worked yet.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// This node's id in the cluster: the one that its data directory has, or a new one, which the cluster
/// gives. Waits for as long as the cluster cannot be reached.
pub(super) async fn node_id(
    others: Others<'_>,
    data: &Path,
    advertised: &Member,
    feature_level: u32,
    storage: &Arc<dyn Storage>,
) -> Result<u64, StartError> {
    let Others { join, outside, .. } = others;
    let (path, disk) = (data.to_owned(), storage.disk());
    let new_token = outside.seams.random_u128();
    let opened = off_reactor(move || -> Result<Directory, toka_ledger::Error> {
        if let Some(Mode::Node {
            node_id,
            cluster_id,
        }) = DataDir::read(&*disk, &path)?
        {
            return Ok(Directory::Member {
                node_id,
                cluster_id,
            });
        }
        let mode = Mode::Joining { token: new_token };
        let directory = DataDir::open_or_create(disk, &path, mode)?;
        Ok(match directory.mode() {
            Mode::Joining { token } => Directory::Joining { directory, token },
            Mode::Node {
                node_id,
                cluster_id,
            } => Directory::Member {
                node_id,
                cluster_id,
            },
            Mode::Embedded => return Err(toka_ledger::Error::EmbeddedVault { path }),
        })
    });
    let (mut directory, token) = match opened.await? {
        Directory::Member {
            node_id,
            cluster_id,
        } => {
            if let Some(cluster_id) = cluster_id {
                check_cluster(others, node_id, cluster_id).await?;
            }
            return Ok(node_id);
        }
        Directory::Joining { directory, token } => (directory, token),
    };
    let request = v1::AddNodeRequest {
        token: token.to_be_bytes().to_vec().into(),
        client_endpoint: advertised.client_endpoint.clone(),
        raft_endpoint: advertised.raft_endpoint.clone(),
        learner: join.learner,
        replaces_node_id: join.replaces,
        feature_level,
    };
    let Added {
        cluster_id,
        node_id,
    } = ask(others, &request).await?;
    off_reactor(move || directory.set_joined(cluster_id, node_id)).await?;
    tracing::info!(
        node_id,
        cluster_id = format!("{cluster_id:032x}"),
        "this node has joined the cluster"
    );
    Ok(node_id)
}

/// Who is asked, and how.
#[derive(Clone, Copy)]
pub(super) struct Others<'a> {
    pub(super) join: &'a Join,
    pub(super) outside: &'a Outside,
    pub(super) bearer: &'a Bearer,
}

/// What the data directory is.
enum Directory {
    /// A member's.
    Member {
        node_id: u64,
        cluster_id: Option<u128>,
    },
    /// A node's that asks to become one.
    Joining { directory: DataDir, token: u128 },
}

/// Makes sure that a member is not told to join another cluster than its own. Where nobody answers it
/// starts: the other members find out.
async fn check_cluster(others: Others<'_>, node_id: u64, ours: u128) -> Result<(), StartError> {
    let Others {
        join,
        outside,
        bearer,
    } = others;
    for endpoint in &join.endpoints {
        let Ok(channel) = outside.transport.channel(endpoint, Traffic::Control) else {
            continue;
        };
        let mut client = ClusterServiceClient::new(channel);
        let asked = timeout(CHECK_TIMEOUT, client.get_status(bearer.status(true))).await;
        let Ok(Ok(answer)) = asked else { continue };
        let header = Header::try_from(answer.into_inner().header);
        let theirs = header.map_or(0, |header| header.cluster_id);
        return match theirs {
            // It has not formed yet.
            0 => Ok(()),
            theirs if theirs == ours => Ok(()),
            theirs => Err(StartError::Join {
                endpoint: endpoint.clone(),
                reason: format!(
                    "this is node {node_id} of cluster {ours:032x}, and that is cluster {theirs:032x}; \
                     a node cannot change its cluster: empty its data directory, or leave join out"
                ),
            }),
        };
    }
    Ok(())
}

/// The cluster has added this node.
struct Added {
    cluster_id: u128,
    node_id: u64,
}

/// Asks one endpoint after the other until the cluster has an answer.
async fn ask(others: Others<'_>, request: &v1::AddNodeRequest) -> Result<Added, StartError> {
    let Others {
        join,
        outside,
        bearer,
    } = others;
    tracing::info!(endpoints = ?join.endpoints, "asking to join the cluster");
    let mut request = request.clone();
    let mut pause = RETRY_MIN;
    let mut complained: Option<Instant> = None;
    for endpoint in join.endpoints.iter().cycle() {
        let failed = match ask_at(endpoint, &request, others).await {
            Ok(added) => return Ok(added),
            Err(failed) if is_worth_a_retry(&failed) => failed,
            Err(refusal) if join.replaces_lost && lost::is_about_a_member(&refusal) => {
                match lost::find(endpoint, &request, outside, bearer).await {
                    Ok(found) if found != request.replaces_node_id => {
                        request.replaces_node_id = found;
                        refusal
                    }
                    Ok(_) => return Err(refused(endpoint, &refusal)),
                    Err(failed) if is_worth_a_retry(&failed) => failed,
                    Err(refusal) => return Err(refused(endpoint, &refusal)),
                }
            }
            Err(refusal) => return Err(refused(endpoint, &refusal)),
        };
        if complained.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
            complained = Some(Instant::now());
            tracing::warn!(
                endpoint,
                reason = failed.message(),
                "the cluster has not added this node yet; it is asked again"
            );
        }
        sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
    unreachable!("there is an endpoint, and they are tried for ever")
}

async fn ask_at(
    endpoint: &str,
    request: &v1::AddNodeRequest,
    others: Others<'_>,
) -> Result<Added, Status> {
    // Not kept: a name may stand for another node the next time.
    let channel = others.outside.transport.channel(endpoint, Traffic::Control);
    let channel = channel.map_err(|error| Status::invalid_argument(error.to_string()))?;
    let mut call = others.bearer.call(request.clone());
    call.set_timeout(CALL_TIMEOUT);
    let mut client = ClusterServiceClient::new(channel);
    let answer = timeout(CALL_TIMEOUT, client.add_node(call)).await;
    let answer = answer.map_err(|_| Status::unavailable("no answer in time"))??;
    let v1::AddNodeResponse { header, node_id } = answer.into_inner();
    let header = Header::try_from(header).map_err(|error| Status::internal(error.to_string()))?;
    if header.cluster_id == 0 || node_id == 0 {
        return Err(Status::internal("the answer names no cluster or no node"));
    }
    Ok(Added {
        cluster_id: header.cluster_id,
        node_id,
    })
}

fn is_worth_a_retry(status: &Status) -> bool {
    let failure = parse(status);
    match failure.detail {
        Some(
            Detail::NotLeader { .. }
            | Detail::NoLeader
            | Detail::NotCreated
            | Detail::NodeBehind { .. }
            | Detail::Overloaded
            | Detail::ChangeInProgress
            | Detail::Stopping,
        ) => true,
        Some(_) => false,
        None => {
            std::error::Error::source(status).is_some()
                || matches!(
                    status.code(),
                    Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled
                )
        }
    }
}

fn refused(endpoint: &str, refusal: &Status) -> StartError {
    let hint = if refusal.code() == Code::Unimplemented {
        "; is that the port for clients (7311 by default), and not that for nodes?"
    } else {
        ""
    };
    StartError::Join {
        endpoint: endpoint.to_owned(),
        reason: format!("{}{hint}", refusal.message()),
    }
}

/// Runs what waits for the disk.
pub(super) async fn off_reactor<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, toka_ledger::Error> + Send + 'static,
) -> Result<T, StartError> {
    let done = seam::off_reactor(work).await;
    let done = done.unwrap_or_else(|failed| match failed.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        // The runtime is being shut down.
        Err(_) => Err(toka_ledger::Error::Closed),
    });
    Ok(done.map_err(toka_raft::StartError::directory)?)
}
