//! `commit_event` and `get_event`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use toka_client::{Consistency, Read, Selector};
use toka_ledger::command::ParentName;
use toka_ledger::{EventDraft, EventPayload as _};

use super::arguments::Name;
use super::{READ, Vault, selector};
use crate::answer::{self, PAYLOAD_BYTES_MAX};
use crate::error::ToolError;

/// An event as a caller describes it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewEvent {
    /// What it is about, from the general to the particular with dots between, such as `task.created`.
    kind: String,
    /// Any JSON: what happened.
    #[serde(default)]
    payload: Value,
    /// The events that it depends on, each by id, sequence or digest. At most 64.
    #[serde(default)]
    parents: Vec<Name>,
    /// Who says so.
    source: Option<String>,
    /// Small texts by name that events can be filtered by, at most 16.
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    /// Makes a repeat an event of its own: any text of up to 32 bytes. Without it the same kind, payload and parents are
    /// the same event, which is stored once.
    salt: Option<String>,
    /// Whether it is found by its meaning later [default: yes, where the vault's model is known].
    embed: Option<bool>,
}

/// A draft, and why it has no embedding, if it was to have one.
pub(super) struct Drafted {
    pub(super) draft: EventDraft,
    pub(super) note: Option<String>,
}

pub(super) async fn commit(vault: &Vault, given: NewEvent) -> Result<Value, ToolError> {
    let Drafted { draft, note } = draft(vault, given).await?;
    let header = vault.client.commit(draft).await?;
    let mut event = answer::header(&header);
    event.insert("deduplicated".to_owned(), header.deduplicated.into());
    event.insert("embedded".to_owned(), header.embedding.is_some().into());
    let mut answer = serde_json::json!({ "event": event });
    if let Some(note) = note {
        answer["note"] = note.into();
    }
    Ok(answer)
}

/// Looks parents up that are named by their sequence, and makes the embedding.
pub(super) async fn draft(vault: &Vault, given: NewEvent) -> Result<Drafted, ToolError> {
    let payload = given.payload.to_bytes()?;
    let mut draft = EventDraft::new(&given.kind).payload_bytes(payload.clone());
    for parent in &given.parents {
        draft = draft.parent_by_name(parent_name(vault, parent.as_str()).await?);
    }
    if let Some(source) = given.source {
        draft = draft.source(source);
    }
    for (name, value) in given.attributes {
        draft = draft.attribute(name, value);
    }
    if let Some(salt) = given.salt {
        draft = draft.salt(salt.as_bytes());
    }
    if given.embed == Some(false) {
        return Ok(Drafted { draft, note: None });
    }
    let vector = vault
        .meaning
        .of_event(&vault.client, &given.kind, &payload)
        .await;
    match vector {
        Ok(vector) => Ok(Drafted {
            draft: draft.embedding(&vector.components).model(&vector.model),
            note: None,
        }),
        // What was not asked for need not be there.
        Err(ToolError::NoEmbedder { reason }) if given.embed.is_none() => Ok(Drafted {
            draft,
            note: Some(format!("not embedded: {reason}")),
        }),
        Err(error) => Err(error),
    }
}

async fn parent_name(vault: &Vault, text: &str) -> Result<ParentName, ToolError> {
    Ok(match selector("parents", text)? {
        Selector::Id(id) => ParentName::Id(id),
        Selector::Digest(digest) => ParentName::Digest(digest),
        selector @ Selector::Sequence(_) => {
            let read = Read {
                consistency: Consistency::Linearizable,
                ..Read::default()
            };
            ParentName::Id(vault.client.get(&selector, &read).await?.header.id)
        }
    })
}

/// Which event.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Get {
    /// The event by id, sequence or digest.
    event: Name,
}

pub(super) async fn get(vault: &Vault, given: Get) -> Result<Value, ToolError> {
    let selector = selector("event", given.event.as_str())?;
    let event = vault.client.get(&selector, &READ).await?;
    Ok(serde_json::json!({ "event": answer::event(&event, PAYLOAD_BYTES_MAX) }))
}
