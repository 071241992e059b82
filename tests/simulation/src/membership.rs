//! Changes of the membership, asked for until they are made.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use toka_ledger::command::FEATURE_LEVEL;
use toka_raft::{ChangeError, NewMember};
use tokio::time::{sleep, timeout};

use crate::host::{World, client_endpoint, raft_endpoint};

const RETRY: Duration = Duration::from_millis(300);
/// Longest wait for a leader's answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Tries of a change that the cluster may refuse for good.
const TRIES: u32 = 40;

/// What came of a change.
#[derive(Clone, Debug)]
pub(crate) enum Changed {
    /// A node has an id.
    Added {
        node_id: u64,
        name: String,
        token: u128,
        cluster_id: u128,
    },
    /// A node has been removed, or replaced.
    Removed,
    /// Nothing.
    Nothing,
}

/// Changes that are done. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Changes(Arc<Mutex<Vec<Changed>>>);

impl Changes {
    fn push(&self, changed: Changed) {
        let mut done = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        done.push(changed);
    }

    /// Those since the last call.
    pub(crate) fn take(&self) -> Vec<Changed> {
        let mut done = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut done)
    }
}

/// Adds a node, as often as it takes: it is the same request each time.
pub(crate) async fn add(world: World, changes: Changes, name: String, new: NewMember) {
    loop {
        if let Some(leader) = world.directory.leader() {
            let (replica, asked) = (leader.replica.clone(), new.clone());
            let added = leader.handle.spawn(async move {
                let added = replica.add_node(asked).await;
                (added, replica.cluster_id())
            });
            match timeout(PATIENCE, added).await {
                Ok(Ok((Ok(node_id), Some(cluster_id)))) => {
                    changes.push(Changed::Added {
                        node_id,
                        name: name.clone(),
                        token: new.token,
                        cluster_id,
                    });
                    return;
                }
                Ok(Ok((Err(error), _))) => {
                    world.trace.line(format_args!("not added: {error}"));
                    if is_refused(&error) {
                        changes.push(Changed::Nothing);
                        return;
                    }
                }
                _ => {}
            }
        }
        sleep(RETRY).await;
    }
}

/// The membership does not allow it, and will not by itself.
fn is_refused(error: &ChangeError) -> bool {
    !matches!(
        error,
        ChangeError::NotLeader { .. }
            | ChangeError::Busy { .. }
            | ChangeError::Interrupted { .. }
            | ChangeError::Unreachable { .. }
            | ChangeError::Stopped
    )
}

/// Removes a node, unless the cluster refuses it for long.
pub(crate) async fn remove(world: World, changes: Changes, node_id: u64) {
    for _ in 0..TRIES {
        if let Some(leader) = world.directory.leader() {
            let replica = leader.replica.clone();
            let removed = leader
                .handle
                .spawn(async move { replica.remove_node(node_id, false).await });
            match timeout(PATIENCE, removed).await {
                Ok(Ok(Ok(()) | Err(ChangeError::UnknownNode { .. }))) => {
                    changes.push(Changed::Removed);
                    return;
                }
                Ok(Ok(Err(error))) => world.trace.line(format_args!("not removed: {error}")),
                _ => {}
            }
        }
        sleep(RETRY).await;
    }
    changes.push(Changed::Nothing);
}

/// Lets a learner vote, unless it takes too long.
pub(crate) async fn promote(world: World, changes: Changes, node_id: u64) {
    for _ in 0..TRIES {
        if let Some(leader) = world.directory.leader() {
            let replica = leader.replica.clone();
            let promoted = leader
                .handle
                .spawn(async move { replica.promote_node(node_id).await });
            if let Ok(Ok(Ok(()))) = timeout(PATIENCE, promoted).await {
                break;
            }
        }
        sleep(RETRY).await;
    }
    changes.push(Changed::Nothing);
}

/// A node that asks to be added.
pub(crate) fn new_member(
    name: &str,
    token: u128,
    learner: bool,
    replaces: Option<u64>,
) -> NewMember {
    NewMember {
        token,
        raft_endpoint: raft_endpoint(name),
        client_endpoint: client_endpoint(name),
        learner,
        replaces,
        feature_level: FEATURE_LEVEL,
    }
}
