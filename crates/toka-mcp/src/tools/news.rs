//! `read_new`: what came since a position, which the vault keeps under a name or the caller by itself.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use toka_agents::Store;
use toka_agents::store::Range;
use toka_client::{Client, Consistency, CursorName};

use super::Vault;
use super::arguments::{filter, limit};
use crate::answer::{self, Items, LISTED_PAYLOAD_BYTES_MAX};
use crate::error::ToolError;

/// Events, if nothing else is said.
const EVENTS_DEFAULT: u32 = 20;
/// Events at most.
const EVENTS_MAX: u32 = 100;

/// Since when, and which.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadNew {
    /// Name of a cursor: a position that the vault keeps. One that there is not begins with the first event.
    cursor: Option<String>,
    /// With a cursor: the `next` of the answer before, once you are done with its events. The cursor is put there first.
    /// Without it the same events come again.
    done: Option<u64>,
    /// Instead of a cursor: events after this sequence; 0: from the beginning.
    after: Option<u64>,
    /// How many events, the oldest first, 1 to 100 [default: 20].
    limit: Option<u32>,
    /// Only events whose kind begins with one of these.
    #[serde(default)]
    kind_prefixes: Vec<String>,
    /// Only events that have all of these attributes; `source` is who said it.
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

pub(super) async fn read(vault: &Vault, given: ReadNew) -> Result<Value, ToolError> {
    let limit = limit(given.limit, EVENTS_DEFAULT, EVENTS_MAX)?;
    let after = match (&given.cursor, given.after, given.done) {
        (Some(name), None, done) => place(&vault.client, name, done).await?,
        (None, Some(after), None) => after,
        (None, _, Some(_)) => return Err(ToolError::argument("done", "it goes with a cursor")),
        _ => {
            let reason = "give a cursor or after, and not both";
            return Err(ToolError::argument("cursor", reason));
        }
    };
    let store: &dyn Store = &vault.client;
    // Before the events: what comes in between comes the next time.
    let head = store.head().await?;
    if head <= after {
        let nothing = Value::Array(Vec::new());
        return Ok(json!({ "events": nothing, "next": after, "more": false }));
    }
    let range = Range {
        after,
        until: Some(head),
        filter: filter(given.kind_prefixes, given.attributes),
        newest_first: false,
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let page = store.list(range).await?;
    let mut events = Items::default();
    let mut last = after;
    let mut is_all = true;
    for event in &page.events {
        is_all = events.push(answer::agents_event(event, LISTED_PAYLOAD_BYTES_MAX));
        if !is_all {
            break;
        }
        last = event.sequence();
    }
    let more = !is_all || page.next.is_some();
    let next = if more { last } else { head };
    Ok(json!({ "events": events.into_value(), "next": next, "more": more }))
}

/// Where the cursor is, once it was put behind what the caller is done with. It never goes back.
async fn place(client: &Client, name: &str, done: Option<u64>) -> Result<u64, ToolError> {
    let name = CursorName::new(name)?;
    let at = client.cursor(&name, Consistency::Linearizable).await?;
    let at = at.unwrap_or(0);
    match done {
        Some(done) if done > at => {
            client.save_cursor(&name, Some(at), done).await?;
            Ok(done)
        }
        _ => Ok(at),
    }
}
