//! What this node has to say for the audit.

use std::time::Duration;

use toka_ledger::command::{AppendAudit, Command};
use toka_ledger::credentials::AuditRecord;
use toka_proto::raft_v1 as pb;
use tokio::time::timeout;

use super::Replica;
use crate::auditor;
use crate::error::CommitError;

/// Longest wait for a leader's answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

impl Replica {
    /// Adds records to the audit, 1 to 64: on the leader, or by asking it. Whoever tries again after an error may have
    /// them there twice.
    ///
    /// # Errors
    /// [`CommitError`]: what is wrong with a record, that nobody leads, or that it is not known whether it was done.
    pub async fn append_audit(&self, records: Vec<AuditRecord>) -> Result<(), CommitError> {
        let inner = &self.inner;
        let append = AppendAudit {
            unix_ms: 0,
            records,
        };
        let command = Command::AppendAudit(append);
        command.check()?;
        let Command::AppendAudit(AppendAudit { records, .. }) = command else {
            unreachable!("made three lines above")
        };
        let leader = inner.leader.borrow().clone();
        let Some(leader) = leader else {
            return Err(CommitError::NotLeader { leader: None });
        };
        if leader.node_id == inner.config.node_id {
            return inner.service.auditor.append(records).await;
        }
        let networks = &inner.node.networks;
        let endpoint = &leader.member.raft_endpoint;
        let mut client = networks
            .control(endpoint)
            .map_err(|_| CommitError::Unknown)?;
        let request = pb::AppendAuditRequest {
            peer: Some(networks.identity.peer(leader.node_id)),
            entry: auditor::entry(records),
        };
        match timeout(CALL_TIMEOUT, client.append_audit(request)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => {
                tracing::debug!(
                    leader = leader.node_id,
                    reason = status.message(),
                    "the audit was not appended to"
                );
                Err(CommitError::Unknown)
            }
            Err(_) => Err(CommitError::Unknown),
        }
    }
}
