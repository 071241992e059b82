//! The chain of audit events: each command of credentials adds one, in the same write.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::overlay::View;
use super::plan::{self, Planned};
use super::write::Writer;
use super::{Outcome, Refused};
use crate::command::{AppendAudit, CREDENTIALS_LEVEL, Commit, ParentName, PreparedEvent};
use crate::core::credentials::{AUDIT_KIND_PREFIX, Actor, AuditRecord};
use crate::core::limits::SEQUENCE_END;
use crate::core::{Attributes, EventHeader, EventPayload as _, Kind, Salt};
use crate::engine::Engine;
use crate::error::Rejection;
use crate::hash;
use crate::store::audit::{self, AuditHead};

/// Media type of what audit events say.
const CONTENT_TYPE: &str = "application/msgpack";

/// A value in an audit event's payload.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Value {
    Text(String),
    Number(u64),
    Texts(Vec<String>),
}

/// What an audit event says beside who did it.
pub(super) type Fields = BTreeMap<String, Value>;

/// An audit event that is to come.
pub(super) struct Note<'a> {
    /// Behind the prefix of the kind.
    pub(super) action: &'a str,
    pub(super) actor: &'a Actor,
    pub(super) fields: Fields,
}

pub(super) fn append(
    engine: &dyn Engine,
    writer: &mut Writer<'_>,
    append: &AppendAudit,
) -> Result<Outcome, Refused> {
    writer.state.begin_at(append.unix_ms, CREDENTIALS_LEVEL)?;
    check_room(writer, append.records.len() as u64)?;
    for (index, record) in (0..).zip(&append.records) {
        note(engine, writer, index, of_record(record))?;
    }
    Ok(Outcome::Audited {
        revision: writer.state.revision,
        events: u32::try_from(append.records.len()).unwrap_or(u32::MAX),
    })
}

/// Refuses a command whose events have no place left in the order, before it changes anything.
pub(super) fn check_room(writer: &Writer<'_>, events: u64) -> Result<(), Rejection> {
    match writer.state.sequence() + events < SEQUENCE_END {
        true => Ok(()),
        false => Err(Rejection::Full),
    }
}

fn of_record(record: &AuditRecord) -> Note<'_> {
    let fields = record.fields.iter();
    let mut fields: Fields = fields
        .map(|(name, value)| (name.clone(), Value::Text(value.clone())))
        .collect();
    fields.insert("count".to_owned(), Value::Number(record.count));
    Note {
        action: &record.action,
        actor: &record.actor,
        fields,
    }
}

/// Adds an audit event to the chain, the one at `index` of this command's.
pub(super) fn note(
    engine: &dyn Engine,
    writer: &mut Writer<'_>,
    index: u64,
    note: Note<'_>,
) -> Result<Arc<EventHeader>, Refused> {
    let head = writer.state.audit_head();
    let view = View {
        engine,
        overlay: &writer.overlay,
    };
    let parent = match head.sequence {
        0 => None,
        sequence => Some(ParentName::Id(view.indexed_header(sequence)?.id)),
    };
    // The command's revision, so that no two audit events are the same.
    let salt = [writer.state.revision.to_be_bytes(), index.to_be_bytes()].concat();
    let commit = Commit {
        // The vault's time has come to the command's.
        unix_ms: writer.state.unix_ms,
        events: vec![event(note, &salt, parent)?],
        preconditions: Vec::new(),
    };
    let has_embeddings = writer.clusterer.embedded() > 0;
    let plan = plan::plan(view, writer.state, has_embeddings, &commit, &[])?;
    // One that somebody has foreseen, before kinds like its were the vault's alone, counts as it is.
    let is_new = matches!(plan.events.first(), Some(Planned::New(_)));
    let header = writer.commit(plan, &[]).pop();
    let header = header.expect("a header for each event of a commit");
    let head = AuditHead {
        sequence: header.sequence.max(head.sequence),
        events: head.events + u64::from(is_new),
    };
    writer.put_summed(engine, audit::KEY.to_vec(), Some(audit::encode(&head)))?;
    writer.state.set_audit_head(head);
    Ok(header)
}

fn event(
    note: Note<'_>,
    salt: &[u8],
    parent: Option<ParentName>,
) -> Result<PreparedEvent, Refused> {
    let Note {
        action,
        actor,
        mut fields,
    } = note;
    let principal = actor.principal.to_string();
    fields.insert("actor".to_owned(), Value::Text(principal.clone()));
    if let Some(token) = actor.token {
        fields.insert("actor_token".to_owned(), Value::Text(token.to_string()));
    }
    let invalid = |invalid| Refused::Rejected(Rejection::Invalid { event: 0, invalid });
    let payload = fields.to_bytes().map_err(invalid)?;
    Ok(PreparedEvent {
        kind: Kind::new(&format!("{AUDIT_KIND_PREFIX}{action}")).map_err(invalid)?,
        payload_digest: hash::payload_digest(&payload),
        payload,
        salt: Salt::new(salt).map_err(invalid)?,
        parents: parent.into_iter().collect(),
        embedding: None,
        model: None,
        attributes: Attributes {
            source: Some(principal),
            content_type: Some(CONTENT_TYPE.to_owned()),
            pairs: BTreeMap::new(),
        },
    })
}
