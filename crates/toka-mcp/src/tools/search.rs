//! `search`: the events nearest to a text.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use toka_client::{IntentId, Search as Query};

use super::arguments::{filter, limit};
use super::{READ, Vault};
use crate::answer::{self, Items};
use crate::error::ToolError;

/// Hits, if nothing else is said.
const HITS_DEFAULT: u32 = 10;
/// Hits at most.
const HITS_MAX: u32 = 50;
/// Text that is searched for, bytes.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// What is searched for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    /// What the events are to mean, in words of your own.
    text: String,
    /// How many events, 1 to 50 [default: 10].
    limit: Option<u32>,
    /// Only events whose kind begins with one of these.
    #[serde(default)]
    kind_prefixes: Vec<String>,
    /// Only events that have all of these attributes; `source` is who said it.
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    /// Only events of these intents.
    #[serde(default)]
    intents: Vec<u64>,
    /// Compare every event, instead of those of the nearest intents: slower, and misses none.
    #[serde(default)]
    exact: bool,
}

pub(super) async fn search(vault: &Vault, given: Search) -> Result<Value, ToolError> {
    if given.text.len() > TEXT_BYTES_MAX {
        let reason = format!(
            "{} bytes, at most {TEXT_BYTES_MAX} are searched for",
            given.text.len()
        );
        return Err(ToolError::argument("text", reason));
    }
    let limit = limit(given.limit, HITS_DEFAULT, HITS_MAX)?;
    let embedding = vault.meaning.of_text(&vault.client, &given.text).await?;
    let mut filter = filter(given.kind_prefixes, given.attributes);
    filter.intents = given.intents.into_iter().map(IntentId).collect();
    let query = Query {
        embedding,
        limit,
        filter,
        probes: 0,
        exact: given.exact,
        read: READ,
    };
    let found = vault.client.search(&query).await?;
    let mut hits = Items::default();
    let is_all = hits.extend(found.hits.iter().map(answer::hit));
    Ok(json!({
        "hits": hits.into_value(),
        "compared": found.compared,
        "exact": found.is_exact,
        "truncated": !is_all,
    }))
}
