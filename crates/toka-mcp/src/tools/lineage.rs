//! `walk_lineage`: what an event comes from, and what came of it.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use toka_client::{Consistency, Lineage, Relation};

use super::arguments::{Name, limit};
use super::{Vault, selector};
use crate::answer::{self, Items};
use crate::error::ToolError;

/// Events, if nothing else is said.
const EVENTS_DEFAULT: u32 = 50;
/// Events at most.
const EVENTS_MAX: u32 = 200;

/// Which way.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Direction {
    /// To what it depends on.
    Ancestors,
    /// To what depends on it.
    Descendants,
}

/// From where to where.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Walk {
    /// The event where it begins, by id, sequence or digest.
    event: Name,
    /// Towards its causes or towards its consequences.
    direction: Direction,
    /// Steps away from the event, at most; 0: any number.
    #[serde(default)]
    depth: u32,
    /// How many events, the nearest first, 1 to 200 [default: 50].
    limit: Option<u32>,
    /// Only events whose kind begins with one of these are shown; the walk goes through all.
    #[serde(default)]
    kind_prefixes: Vec<String>,
}

pub(super) async fn walk(vault: &Vault, given: Walk) -> Result<Value, ToolError> {
    let query = Lineage {
        event: selector("event", given.event.as_str())?,
        relation: match given.direction {
            Direction::Ancestors => Relation::Ancestors,
            Direction::Descendants => Relation::Descendants,
        },
        depth_max: given.depth,
        events_max: limit(given.limit, EVENTS_DEFAULT, EVENTS_MAX)?,
        kind_prefixes: given.kind_prefixes,
        consistency: Consistency::ReadYourWrites,
    };
    let mut walk = vault.client.walk(&query).await?;
    let mut events = Items::default();
    let mut is_all = true;
    while let Some(relative) = walk.next().await? {
        let mut event = answer::header(&relative.header);
        event.insert("depth".to_owned(), relative.depth.into());
        if !events.push(event.into()) {
            is_all = false;
            break;
        }
    }
    let is_complete = walk.end().is_some_and(|end| end.is_complete);
    Ok(json!({
        "events": events.into_value(),
        "truncated": !(is_all && is_complete),
    }))
}
