//! What unit tests of several modules begin with: the log of a new vault.

use std::collections::{BTreeMap, BTreeSet};

use toka_ledger::command::{self, Command, Create, FEATURE_LEVEL};
use toka_ledger::prepare::{EventDraft, prepare_commit};

use crate::type_config::{Commands, Entry, EntryPayload, LogId, Member, Membership};

/// The first entry of a log: `node_id` is the only voter.
pub(crate) fn membership(log_id: LogId, node_id: u64) -> Entry {
    let nodes = BTreeMap::from([(node_id, Member::default())]);
    let membership = Membership::new(vec![BTreeSet::from([node_id])], nodes).expect("valid");
    Entry {
        log_id,
        payload: EntryPayload::Membership(membership),
    }
}

/// The creation of a vault of cluster `cluster_id`.
pub(crate) fn create(cluster_id: u128) -> Command {
    Command::Create(Create {
        cluster_id,
        history_id: 2,
        feature_level: FEATURE_LEVEL,
        dimension: None,
        model: None,
        intents: toka_ledger::intent::Parameters::default(),
        unix_ms: 3,
    })
}

/// The commit of an event with this payload, stamped with `unix_ms`.
pub(crate) fn commit(payload: String, unix_ms: u64) -> Command {
    let draft = EventDraft::new("test").payload_bytes(payload);
    Command::Commit(prepare_commit([draft], vec![], unix_ms).expect("valid"))
}

/// An entry of one command.
pub(crate) fn entry(log_id: LogId, command: &Command) -> Entry {
    let mut batch = command::Batch::default();
    batch.push(&command::encode(command));
    Entry {
        log_id,
        payload: EntryPayload::Normal(Commands(batch.finish())),
    }
}
