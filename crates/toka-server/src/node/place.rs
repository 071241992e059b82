//! What a node has to do that was told how to form a cluster, and how to join one.
//!
//! It forms one only if it is among the initial members and nobody that it can ask belongs to one. That can be wrong,
//! where its volume was lost while all others are down. It is found out as soon as one of them is there, by forming
//! (docs/adr/0006-forming-a-cluster.md) or, where that one has another id by now, by asking on; then the directory, in
//! which there is nothing, is given up, and the next start joins.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use toka_ledger::Error;
use toka_ledger::dir::{DataDir, Mode};
use toka_ledger::disk::Disk;
use toka_proto::v1::cluster_service_client::ClusterServiceClient;
use toka_raft::transport::Traffic;
use toka_raft::{FatalError, Replica, Storage};
use tokio::time::{sleep, timeout};

use super::bearer::Bearer;
use super::join::off_reactor;
use super::{Outside, RunError, StartError};
use crate::config::{Config, Join, Resolved};

/// How long an endpoint may take to say whether it belongs to a cluster; all are asked at once.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two times that a node which waits for its cluster to form asks whether there is one.
const ASK_INTERVAL: Duration = Duration::from_secs(2);

/// What a node has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// To run as this node, which it was told to be.
    Known(u64),
    /// To take part in forming the cluster as this node, as it has found out.
    Forms(u64),
    /// To join, or to go on as the member that its data directory belongs to.
    Joins,
}

/// What this node has to do.
///
/// # Errors
/// The data directory cannot be read, or not be emptied.
pub(super) async fn find(
    config: &Config,
    resolved: &Resolved,
    storage: &Arc<dyn Storage>,
    outside: &Outside,
    bearer: &Bearer,
) -> Result<Place, StartError> {
    if let Some(node_id) = config.node_id {
        return Ok(Place::Known(node_id));
    }
    let (Some(join), false) = (&config.join, resolved.initial_members.is_empty()) else {
        return Ok(Place::Joins);
    };
    let (path, disk) = (config.data.clone(), storage.disk());
    match off_reactor(move || owner(disk, &path)).await? {
        // It began to form a cluster before, or has a restored vault.
        Some(Mode::Node {
            node_id,
            cluster_id: None,
        }) => return Ok(Place::Forms(node_id)),
        Some(_) => return Ok(Place::Joins),
        None => {}
    }
    let advertised = &resolved.advertised;
    let mut initial = resolved.initial_members.iter();
    let Some((&node_id, _)) = initial.find(|(_, member)| *member == advertised) else {
        return Ok(Place::Joins);
    };
    let rivals = Rivals {
        endpoints: others(join, resolved),
        outside: outside.clone(),
        bearer: bearer.clone(),
    };
    if rivals.is_one_there().await {
        return Ok(Place::Joins);
    }
    tracing::info!(
        node_id,
        "no cluster answers: this node takes part in forming one"
    );
    Ok(Place::Forms(node_id))
}

/// Whose the directory is. One that was given up is emptied.
fn owner(disk: Arc<dyn Disk>, path: &Path) -> Result<Option<Mode>, Error> {
    let Some(mode) = DataDir::read(&*disk, path)? else {
        return Ok(None);
    };
    let Mode::Node {
        cluster_id: None, ..
    } = mode
    else {
        return Ok(Some(mode));
    };
    let directory = DataDir::open_or_create(disk, path, mode)?;
    if !directory.is_removed() {
        return Ok(Some(mode));
    }
    directory.clear()?;
    tracing::info!(path = %path.display(), "a data directory that was given up is made anew");
    Ok(None)
}

/// Client endpoints at which others may belong to a cluster.
fn others(join: &Join, resolved: &Resolved) -> Vec<String> {
    let members = resolved.initial_members.values();
    let mut others: Vec<String> = members
        .map(|member| &member.client_endpoint)
        .chain(&join.endpoints)
        .filter(|endpoint| **endpoint != resolved.advertised.client_endpoint)
        .cloned()
        .collect();
    others.sort();
    others.dedup();
    others
}

/// Who may have formed the cluster that this node is to form.
pub(super) struct Rivals {
    endpoints: Vec<String>,
    outside: Outside,
    bearer: Bearer,
}

impl Rivals {
    /// Those of a node that forms a cluster because nobody has answered.
    pub(super) fn of(
        place: Place,
        config: &Config,
        resolved: &Resolved,
        outside: &Outside,
        bearer: &Bearer,
    ) -> Option<Self> {
        match (place, &config.join) {
            (Place::Forms(_), Some(join)) => Some(Self {
                endpoints: others(join, resolved),
                outside: outside.clone(),
                bearer: bearer.clone(),
            }),
            (Place::Forms(_), None) | (Place::Known(_) | Place::Joins, _) => None,
        }
    }

    /// Returns when there is a cluster, and this node was given no part in it.
    pub(super) async fn found(&self, replica: &Replica) {
        loop {
            sleep(ASK_INTERVAL).await;
            if replica.cluster_id().is_some() {
                return std::future::pending().await;
            }
            // Read after the answers came: nobody has a membership before every initial member has the cluster's id.
            if self.is_one_there().await && replica.cluster_id().is_none() {
                return;
            }
        }
    }

    async fn is_one_there(&self) -> bool {
        let endpoints = self.endpoints.iter();
        let asked = endpoints.map(|endpoint| belongs_to_a_cluster(endpoint, self));
        join_all(asked).await.contains(&true)
    }
}

/// Whether the node at `endpoint` answers, and belongs to a cluster that has formed.
async fn belongs_to_a_cluster(endpoint: &str, rivals: &Rivals) -> bool {
    let transport = &rivals.outside.transport;
    let Ok(channel) = transport.channel(endpoint, Traffic::Control) else {
        return false;
    };
    let this_node_only = rivals.bearer.status(true);
    let mut client = ClusterServiceClient::new(channel);
    match timeout(ASK_TIMEOUT, client.get_status(this_node_only)).await {
        Ok(Ok(answer)) => answer
            .into_inner()
            .membership
            .is_some_and(|membership| !membership.members.is_empty()),
        Ok(Err(_)) | Err(_) => false,
    }
}

/// Whether a node ended because the cluster that it was to form is there already.
pub(super) fn is_taken(error: &RunError) -> bool {
    use toka_raft::StartError as Refused;
    match error {
        RunError::FormedWithout { .. } => true,
        RunError::Fatal(FatalError::Start(refused)) => matches!(
            **refused,
            Refused::WipedVolume { .. } | Refused::NotAMember { .. }
        ),
        RunError::Fatal(_) | RunError::Server { .. } => false,
    }
}

/// Notes that the data directory is nobody's.
pub(super) async fn give_up(replica: &Replica) {
    let node_id = replica.node_id();
    match replica.give_up().await {
        Ok(()) => tracing::warn!(
            node_id,
            "the cluster has formed before: this node has nothing, and joins it when it is started again"
        ),
        // The next start finds the same, and tries again.
        Err(error) => tracing::error!(%error, node_id, "the data directory cannot be given up"),
    }
}

#[cfg(test)]
mod tests {
    use toka_ledger::disk::MemoryDisk;

    use super::*;

    const PATH: &str = "/vault";
    const UNFORMED: Mode = Mode::Node {
        cluster_id: None,
        node_id: 3,
    };

    #[test]
    fn directory_that_was_given_up_is_nobodys() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let owned = || owner(Arc::clone(&disk), Path::new(PATH)).expect("readable");
        let open = || DataDir::open_or_create(Arc::clone(&disk), Path::new(PATH), UNFORMED);
        assert_eq!(owned(), None);
        drop(open().expect("created"));
        assert_eq!(owned(), Some(UNFORMED));
        let mut directory = open().expect("opened");
        directory.set_removed().expect("noted");
        drop(directory);
        assert_eq!(owned(), None);
        assert_eq!(owned(), None);
    }

    #[test]
    fn directory_of_a_removed_member_is_left_alone() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let member = Mode::Node {
            cluster_id: Some(7),
            node_id: 3,
        };
        let opened = DataDir::open_or_create(Arc::clone(&disk), Path::new(PATH), member);
        let mut directory = opened.expect("created");
        directory.set_removed().expect("noted");
        drop(directory);
        let owned = owner(disk, Path::new(PATH)).expect("readable");
        assert_eq!(owned, Some(member));
    }

    #[test]
    fn only_a_cluster_that_was_there_before_makes_a_node_give_up() {
        let ended = |refused| RunError::Fatal(FatalError::Start(Arc::new(refused)));
        assert!(is_taken(&ended(toka_raft::StartError::WipedVolume {
            node_id: 3,
            cluster_id: 7,
        })));
        assert!(!is_taken(&ended(toka_raft::StartError::Stopped)));
        assert!(is_taken(&RunError::FormedWithout { node_id: 3 }));
        assert!(!is_taken(&RunError::Server { what: "clients" }));
    }
}
