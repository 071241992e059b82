//! Adds to the audit what members have seen: the leader proposes it, whoever has asked.

use bytes::Bytes;
use toka_ledger::apply::Outcome;
use toka_ledger::command::{AppendAudit, Batch, Command, decode_batch, encode};
use toka_ledger::credentials::AuditRecord;
use tokio::sync::watch;

use crate::error::CommitError;
use crate::proposer::Proposer;
use crate::type_config::Leader;
use crate::vitals::StampClock;

/// Proposes what is to be in the audit. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Auditor {
    pub(crate) node_id: u64,
    pub(crate) leader: watch::Receiver<Option<Leader>>,
    pub(crate) clock: StampClock,
    pub(crate) proposer: Proposer,
}

impl Auditor {
    /// Adds records, if this node leads.
    pub(crate) async fn append(&self, records: Vec<AuditRecord>) -> Result<(), CommitError> {
        let leader = self.leader.borrow().clone();
        let leader = match leader {
            Some(leader) if leader.node_id == self.node_id => leader,
            leader => return Err(CommitError::NotLeader { leader }),
        };
        let unix_ms = self.clock.stamp(&leader, self.leader.clone()).await?;
        let command = Command::AppendAudit(AppendAudit { unix_ms, records });
        match self.proposer.propose(&command).await? {
            Outcome::Audited { .. } => Ok(()),
            // The vault is full, or not created yet: told in the log by whoever has asked.
            other => {
                tracing::warn!(outcome = ?other, "the audit was refused");
                Err(CommitError::Unknown)
            }
        }
    }

    /// As [`Auditor::append`], the records of an entry that a member has sent.
    pub(crate) async fn append_entry(&self, entry: Bytes) -> Result<(), CommitError> {
        self.append(records(entry)?).await
    }
}

/// The records of an entry that a member has sent.
pub(crate) fn records(entry: Bytes) -> Result<Vec<AuditRecord>, CommitError> {
    let mut commands = decode_batch(entry).map_err(|_| CommitError::Unknown)?;
    match (commands.pop(), commands.is_empty()) {
        (Some(Command::AppendAudit(append)), true) => Ok(append.records),
        _ => Err(CommitError::Unknown),
    }
}

/// Records as a member sends them.
pub(crate) fn entry(records: Vec<AuditRecord>) -> Bytes {
    // The time is the leader's to give.
    let append = AppendAudit {
        unix_ms: 0,
        records,
    };
    let mut batch = Batch::default();
    batch.push(&encode(&Command::AppendAudit(append)));
    batch.finish()
}
