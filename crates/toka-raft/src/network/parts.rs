//! What answering peers takes.

use std::sync::Arc;

use openraft::Raft;

use super::Strangers;
use crate::auditor::Auditor;
use crate::base::Base;
use crate::blocking::Blocking;
use crate::change::Reporter;
use crate::contact::Contact;
use crate::headroom::Headroom;
use crate::identity::Identity;
use crate::ledger_host::LedgerHost;
use crate::log_store::LogHandle;
use crate::membership::Membership;
use crate::roster::Roster;
use crate::snapshot::SnapshotStore;
use crate::state_machine::StateMachine;
use crate::status::StatusSource;
use crate::storage::Storage;
use crate::type_config::TypeConfig;
use crate::vitals::StampClock;

/// What the service works with.
pub(crate) struct ServiceParts {
    pub(crate) identity: Arc<Identity>,
    pub(crate) strangers: Arc<Strangers>,
    pub(crate) contact: Arc<Contact>,
    pub(crate) raft: Raft<TypeConfig, StateMachine>,
    pub(crate) membership: Arc<Membership>,
    pub(crate) host: Arc<LedgerHost>,
    pub(crate) log: LogHandle,
    pub(crate) snapshots: Arc<SnapshotStore>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) blocking: Blocking,
    pub(crate) headroom: Headroom,
    pub(crate) status: StatusSource,
    pub(crate) roster: Arc<Roster>,
    pub(crate) reporter: Reporter,
    pub(crate) clock: StampClock,
    pub(crate) base: Base,
    pub(crate) auditor: Auditor,
    /// The highest feature level that this node says it knows.
    pub(crate) level_known: u32,
}
