//! What must hold of tokens, roles and the audit, wherever somebody looks at them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use toka_ledger::credentials::{AUDIT_KIND_PREFIX, AuditHead, Credentials, TokenId};
use toka_ledger::{Digest, EventId, Filter, Query};
use toka_raft::Replica;

/// What nodes have shown of tokens and roles. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Rights(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    /// By the first revision of which it is known: what there was. No two of them have a revision in common.
    spans: BTreeMap<u64, Span>,
}

struct Span {
    /// The last revision of which it is known.
    until: u64,
    credentials: Arc<Credentials>,
}

impl Rights {
    /// A node that is at `revision` shows these; what is wrong with that.
    pub(crate) fn look(&self, revision: u64, credentials: &Arc<Credentials>) -> Option<String> {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pages.look(revision, credentials)
    }
}

impl Pages {
    fn look(&mut self, revision: u64, credentials: &Arc<Credentials>) -> Option<String> {
        let from = credentials.revision();
        // It may have gone on since it was asked for its revision.
        let until = revision.max(from);
        let (first, last) = match self.join(from, until, credentials) {
            Ok(whole) => whole,
            Err(wrong) => return Some(wrong),
        };
        let before = self.spans.range(..first).next_back();
        let after = self.spans.range(last + 1..).next();
        let before = before.and_then(|(_, early)| taken_back(&early.credentials, credentials));
        let after = after.and_then(|(_, late)| taken_back(credentials, &late.credentials));
        let id = before.or(after)?;
        Some(format!(
            "token {id} is lost, or counts again, around revision {from}"
        ))
    }

    /// Puts what is known of these revisions together; the first one and the last one of that.
    fn join(
        &mut self,
        from: u64,
        until: u64,
        credentials: &Arc<Credentials>,
    ) -> Result<(u64, u64), String> {
        let (mut first, mut last) = (from, until);
        let earlier = self.spans.range(..=until).rev();
        let known: Vec<u64> = earlier
            .take_while(|(_, span)| span.until >= from)
            .map(|(first, _)| *first)
            .collect();
        for start in known {
            let Some(span) = self.spans.remove(&start) else {
                continue;
            };
            if !are_equal(&span.credentials, credentials) {
                return Err(format!(
                    "tokens and roles of revisions {from} to {until} are not those that a node had from {start} to {}",
                    span.until
                ));
            }
            (first, last) = (first.min(start), last.max(span.until));
        }
        let span = Span {
            until: last,
            credentials: Arc::clone(credentials),
        };
        self.spans.insert(first, span);
        Ok((first, last))
    }
}

/// Whether both have the same tokens and roles, to the last bit.
fn are_equal(one: &Arc<Credentials>, other: &Arc<Credentials>) -> bool {
    Arc::ptr_eq(one, other)
        || (one.tokens(None).eq(other.tokens(None)) && one.roles().eq(other.roles()))
}

/// A token that the later ones have not got, or not as one that was revoked when it had been. So few are made here that
/// none is forgotten.
fn taken_back(early: &Credentials, late: &Credentials) -> Option<TokenId> {
    let is_taken_back = |id, revoked: Option<u64>| {
        let later = late.token(id);
        later.is_none_or(|later| revoked.is_some() && later.revoked_unix_ms != revoked)
    };
    let mut tokens = early.tokens(None);
    tokens
        .find(|token| is_taken_back(token.id, token.revoked_unix_ms))
        .map(|token| token.id)
}

/// Whether nodes that are at the same position have the same credentials and an audit that is one chain; which node has
/// not.
pub(crate) fn check(rights: &Rights, replicas: &[Replica]) -> Result<(), String> {
    let mut first: Option<(AuditHead, (u64, Digest))> = None;
    for replica in replicas {
        let (id, reader) = (replica.node_id(), replica.reader());
        let of_node = |wrong: String| format!("node {id}: {wrong}");
        let view = reader.auth_view();
        if let Some(wrong) = rights.look(reader.position().revision, &view.all()) {
            return Err(of_node(wrong));
        }
        let head = audit(replica).map_err(of_node)?;
        let sum = reader.groups_digest();
        let sum = sum.map_err(|error| of_node(error.to_string()))?;
        let known = *first.get_or_insert((head, sum));
        if known != (head, sum) {
            return Err(of_node(format!(
                "its audit and its sum are {:?}, where others have {known:?}",
                (head, sum)
            )));
        }
    }
    Ok(())
}

/// Reads the audit of a node: each event has the one before it as its only parent, and it ends where the node says.
fn audit(replica: &Replica) -> Result<AuditHead, String> {
    let reader = replica.reader();
    let mut query = Query {
        filter: Filter {
            kind_prefixes: vec![AUDIT_KIND_PREFIX.to_owned()],
            ..Filter::default()
        },
        ..Query::default()
    };
    let (mut found, mut last) = (AuditHead::default(), None::<EventId>);
    loop {
        let page = reader.list(&query).map_err(|error| error.to_string())?;
        for header in &page.headers {
            let parents = header.parents.iter().map(|parent| parent.id);
            if !parents.eq(last) {
                return Err(format!(
                    "audit event {} does not follow on {last:?}",
                    header.sequence
                ));
            }
            last = Some(header.id);
            found.sequence = header.sequence;
            found.events += 1;
        }
        match page.next {
            Some(next) => query.after = next,
            None => break,
        }
    }
    let head = reader.audit_head().map_err(|error| error.to_string())?;
    match head == found {
        true => Ok(head),
        false => Err(format!("the audit ends at {found:?}, not at {head:?}")),
    }
}
