//! What this node has seen, for the audit: calls that were denied, and what administrators have done.
//!
//! Nobody who notes something waits for it. Equal notes become one with a count; of different ones a bounded number
//! waits, and further ones are counted together. Once a second what waits is proposed, through the leader.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use toka_ledger::PrincipalName;
use toka_ledger::command::CREDENTIALS_LEVEL;
use toka_ledger::core::limits::{
    AUDIT_FIELD_NAME_BYTES_MAX, AUDIT_FIELD_VALUE_BYTES_MAX, AUDIT_FIELDS_MAX, AUDIT_RECORDS_MAX,
};
use toka_ledger::credentials::{Actor, AuditRecord, TokenId};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::actor::actor;
use crate::api::Shared;
use crate::auth::Access;
use crate::limits::{AUDIT_INTERVAL, AUDIT_PENDING_MAX};

/// What stands for further notes that were not kept one by one.
const OVERFLOW: &str = "overflow";
/// Who says that.
const VAULT: &str = "toka";

/// Takes notes. Cheap to clone; never waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit {
    pending: Arc<Mutex<Pending>>,
    more: Arc<Notify>,
}

/// What makes two notes the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Same {
    action: &'static str,
    principal: PrincipalName,
    token: Option<TokenId>,
    fields: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct Pending {
    /// How often each was noted.
    notes: BTreeMap<Same, u64>,
    /// Notes for which there was no room.
    further: u64,
}

impl Audit {
    /// Notes that `actor` has done something, or was denied it: `action` is the end of the event's kind, as
    /// `node.added`. Names of fields are of `a`-`z`, `0`-`9`, `_` and `.`; what is too long or too much is cut off.
    pub(crate) fn note(&self, action: &'static str, actor: Actor, fields: &[(&str, &str)]) {
        let fields = fields
            .iter()
            .take(AUDIT_FIELDS_MAX)
            .map(|(name, value)| {
                (
                    cut(name, AUDIT_FIELD_NAME_BYTES_MAX),
                    cut(value, AUDIT_FIELD_VALUE_BYTES_MAX),
                )
            })
            .collect();
        let same = Same {
            action,
            principal: actor.principal,
            token: actor.token,
            fields,
        };
        let mut pending = self.lock();
        if let Some(count) = pending.notes.get_mut(&same) {
            *count = count.saturating_add(1);
        } else if pending.notes.len() < AUDIT_PENDING_MAX {
            pending.notes.insert(same, 1);
        } else {
            pending.further = pending.further.saturating_add(1);
        }
        drop(pending);
        self.more.notify_one();
    }

    /// As [`Audit::note`], where callers have to show who they are. Where nobody has to, the audit would say nothing.
    pub(crate) fn note_of(&self, access: &Access, action: &'static str, fields: &[(&str, &str)]) {
        if access.principal().is_some() {
            self.note(action, actor(access), fields);
        }
    }

    /// Up to as many records as one command takes; what is taken waits no longer.
    pub(super) fn take(&self) -> Vec<AuditRecord> {
        let mut pending = self.lock();
        let mut records = Vec::new();
        if pending.further > 0
            && let Ok(principal) = PrincipalName::new(VAULT)
        {
            records.push(AuditRecord {
                action: OVERFLOW.to_owned(),
                actor: Actor {
                    principal,
                    token: None,
                },
                count: std::mem::take(&mut pending.further),
                fields: BTreeMap::new(),
            });
        }
        while records.len() < AUDIT_RECORDS_MAX
            && let Some((same, count)) = pending.notes.pop_first()
        {
            let Same {
                action,
                principal,
                token,
                fields,
            } = same;
            records.push(AuditRecord {
                action: action.to_owned(),
                actor: Actor { principal, token },
                count,
                fields,
            });
        }
        records
    }

    // Nothing panics while it is held.
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Proposes what is noted, until it is cancelled.
    pub(crate) async fn run(self, shared: Arc<Shared>) {
        loop {
            self.more.notified().await;
            // What is noted meanwhile goes with it.
            sleep(AUDIT_INTERVAL).await;
            loop {
                let records = self.take();
                if records.is_empty() {
                    break;
                }
                propose(&shared, records).await;
            }
        }
    }
}

/// Proposes records until they are in the audit, as long as that can be. Meanwhile further ones wait, and are counted.
async fn propose(shared: &Shared, records: Vec<AuditRecord>) {
    loop {
        let settings = shared.reader.settings().ok().flatten();
        if settings.is_none_or(|settings| settings.feature_level < CREDENTIALS_LEVEL) {
            // Not every node could read it.
            return tell(&records);
        }
        match shared.replica.append_audit(records.clone()).await {
            Ok(()) => return,
            Err(toka_raft::CommitError::Invalid(error)) => {
                tracing::error!(%error, "what was noted for the audit is not valid");
                return tell(&records);
            }
            Err(error) => {
                // An answer that was lost may leave them there twice, which is better than not at all.
                tracing::debug!(%error, "the audit is tried again");
                sleep(AUDIT_INTERVAL).await;
            }
        }
    }
}

/// What cannot be in the vault is at least in the node's log.
fn tell(records: &[AuditRecord]) {
    for record in records {
        let AuditRecord {
            action,
            actor,
            count,
            fields,
        } = record;
        tracing::warn!(action, principal = %actor.principal, count, ?fields, "not in the audit");
    }
}

/// The beginning of a text, of at most `max` bytes.
fn cut(text: &str, max: usize) -> String {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(audit: &Audit, method: &str) {
        audit.note("denied", Actor::anonymous(), &[("rpc", method)]);
    }

    #[test]
    fn equal_notes_are_one_with_a_count() {
        let audit = Audit::default();
        for method in ["Commit", "Get", "Commit"] {
            note(&audit, method);
        }
        let records = audit.take();
        let counts: Vec<_> = records.iter().map(|record| record.count).collect();
        assert_eq!(counts, [2, 1]);
        assert!(records.iter().all(|record| record.check().is_ok()));
        assert!(audit.take().is_empty());
    }

    #[test]
    fn what_waits_is_bounded_and_the_rest_is_counted() {
        let audit = Audit::default();
        for number in 0..AUDIT_PENDING_MAX + 7 {
            note(&audit, &number.to_string());
        }
        let first = audit.take();
        assert_eq!(first.len(), AUDIT_RECORDS_MAX);
        assert_eq!((&*first[0].action, first[0].count), (OVERFLOW, 7));
        let mut all = first.len() - 1;
        loop {
            let records = audit.take();
            if records.is_empty() {
                break;
            }
            all += records.len();
        }
        assert_eq!(all, AUDIT_PENDING_MAX);
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        assert_eq!(cut("aüb", 2), "a");
        let audit = Audit::default();
        note(&audit, &"ü".repeat(AUDIT_FIELD_VALUE_BYTES_MAX));
        assert!(audit.take().iter().all(|record| record.check().is_ok()));
    }
}
