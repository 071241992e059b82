//! What a node knows of the cluster that it is a member of, or is to be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal as RaftFatal;
use toka_ledger::dir::DataDir;
use toka_ledger::read::Position;
use toka_proto::raft_v1 as pb;

use crate::blocking::Blocking;
use crate::codec::{encode_membership, encode_stored_membership};
use crate::identity::Identity;
use crate::state_machine::StateMachine;
use crate::type_config::{Member, StoredMembership, TypeConfig};
use crate::wire;

/// What a node knows of the cluster that it is, or is to be, a member of.
pub(crate) struct Membership {
    pub(crate) identity: Arc<Identity>,
    pub(crate) raft: Raft<TypeConfig, StateMachine>,
    pub(crate) data_dir: Arc<Mutex<DataDir>>,
    pub(crate) members: BTreeMap<u64, Member>,
    /// `members`, encoded.
    pub(crate) encoded: Bytes,
    /// Where the vault is that this node was restored with; the same on every initial member.
    pub(crate) restored: Option<Position>,
    pub(crate) blocking: Blocking,
}

/// What a node tells a peer that asks.
pub(crate) struct State {
    pub(crate) is_pristine: bool,
    pub(crate) membership: Bytes,
}

/// Why a node does not take a cluster id.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdoptError {
    #[error("this node belongs to cluster {ours:032x} already, not to {theirs:032x}")]
    Taken { ours: u128, theirs: u128 },
    #[error("this node was given other initial members: {0}")]
    MembersDiffer(String),
    #[error("this node was restored with {ours}, the peer with {theirs}")]
    VaultsDiffer { ours: String, theirs: String },
    #[error("this node is not pristine")]
    NotPristine,
    #[error("the cluster id cannot be kept: {0}")]
    Disk(#[from] toka_ledger::Error),
    #[error(transparent)]
    Raft(#[from] RaftFatal<TypeConfig>),
}

/// The membership that counts: the last one in the log.
pub(crate) fn effective(raft: &Raft<TypeConfig, StateMachine>) -> Arc<StoredMembership> {
    Arc::clone(&raft.server_metrics().borrow_watched().membership_config)
}

/// The bytes in which initial members are compared.
pub(crate) fn encode_members(members: &BTreeMap<u64, Member>) -> Bytes {
    let voters = members.keys().copied().collect();
    let membership = openraft::Membership::new(vec![voters], members.clone());
    membership.map_or_else(
        |_| Bytes::new(),
        |membership| encode_membership(&membership).into(),
    )
}

/// For messages.
pub(crate) fn describe(members: &BTreeMap<u64, Member>) -> String {
    let list: Vec<_> = members
        .iter()
        .map(|(id, member)| format!("{id}={},{}", member.raft_endpoint, member.client_endpoint))
        .collect();
    format!("[{}]", list.join(" "))
}

/// For messages: where a vault is that a cluster is to begin with.
pub(crate) fn describe_restored(restored: Option<&pb::LedgerPosition>) -> String {
    let position = restored.map(|position| wire::position_from(Some(position)));
    match position {
        None => "nothing".to_owned(),
        Some(Ok(position)) => format!(
            "a vault at sequence {}, state digest {}",
            position.sequence, position.state_digest
        ),
        Some(Err(error)) => error.to_string(),
    }
}

impl Membership {
    pub(crate) fn initial_members(&self) -> &Bytes {
        &self.encoded
    }

    /// As messages have it.
    pub(crate) fn restored(&self) -> Option<pb::LedgerPosition> {
        self.restored.as_ref().map(wire::position)
    }

    /// For messages.
    pub(crate) fn describe(&self) -> String {
        describe(&self.members)
    }

    /// Neither a vote nor an entry nor a vault.
    pub(crate) async fn is_pristine(&self) -> Result<bool, RaftFatal<TypeConfig>> {
        Ok(!self.raft.is_initialized().await?)
    }

    pub(crate) async fn state(&self) -> Result<State, RaftFatal<TypeConfig>> {
        let is_pristine = self.is_pristine().await?;
        let stored = effective(&self.raft);
        let membership = if stored.log_id().is_some() {
            encode_stored_membership(&stored).into()
        } else {
            Bytes::new()
        };
        Ok(State {
            is_pristine,
            membership,
        })
    }

    /// Notes something in the marker of the data directory, durably.
    pub(crate) async fn note(
        &self,
        note: impl FnOnce(&mut DataDir) -> Result<(), toka_ledger::Error> + Send + 'static,
    ) -> Result<(), toka_ledger::Error> {
        let data_dir = Arc::clone(&self.data_dir);
        let work = move || note(&mut data_dir.lock().unwrap_or_else(PoisonError::into_inner));
        self.blocking.run(work).await
    }

    /// Takes a cluster id, durably, if this node has none, and its peer wants the same members and begins
    /// with the same vault.
    pub(crate) async fn adopt(
        &self,
        cluster_id: u128,
        members: &[u8],
        restored: Option<&pb::LedgerPosition>,
    ) -> Result<(), AdoptError> {
        if members != &self.encoded[..] {
            return Err(AdoptError::MembersDiffer(self.describe()));
        }
        let ours = self.restored();
        if restored != ours.as_ref() {
            return Err(AdoptError::VaultsDiffer {
                ours: describe_restored(ours.as_ref()),
                theirs: describe_restored(restored),
            });
        }
        match self.identity.cluster_id() {
            Some(ours) if ours == cluster_id => return Ok(()),
            Some(ours) => {
                return Err(AdoptError::Taken {
                    ours,
                    theirs: cluster_id,
                });
            }
            None => {}
        }
        if !self.is_pristine().await? {
            return Err(AdoptError::NotPristine);
        }
        self.keep(cluster_id).await
    }

    /// Writes the cluster id down before anybody is told of it.
    async fn keep(&self, cluster_id: u128) -> Result<(), AdoptError> {
        let (data_dir, identity) = (Arc::clone(&self.data_dir), Arc::clone(&self.identity));
        let work = move || -> Result<(), AdoptError> {
            let mut data_dir = data_dir.lock().unwrap_or_else(PoisonError::into_inner);
            // Two peers may offer one at the same time.
            if let Some(ours) = identity.cluster_id().filter(|ours| *ours != cluster_id) {
                return Err(AdoptError::Taken {
                    ours,
                    theirs: cluster_id,
                });
            }
            data_dir.set_cluster_id(cluster_id)?;
            identity.adopt(cluster_id);
            Ok(())
        };
        self.blocking.run(work).await
    }
}
