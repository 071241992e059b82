//! `list_intents` and `describe_intent`.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use toka_client::{Intent, IntentId};

use super::arguments::limit;
use super::{READ, Vault};
use crate::answer::{self, Items};
use crate::error::ToolError;

/// Intents, if nothing else is said.
const INTENTS_DEFAULT: u32 = 20;
/// Intents at most.
const INTENTS_MAX: u32 = 100;
/// Events of an intent that is described, if nothing else is said.
const EXAMPLES_DEFAULT: u32 = 3;
/// The same of each of several intents, at most.
const LISTED_EXAMPLES_MAX: u32 = 3;
/// The same of one, at most.
const EXAMPLES_MAX: u32 = 8;

/// Which intents.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    /// How many, the largest first, 1 to 100 [default: 20].
    limit: Option<u32>,
    /// How many events of each are shown, 0 to 3 [default: 0].
    #[serde(default)]
    examples: u32,
    /// Also those with few events, which may not last.
    #[serde(default)]
    tentative: bool,
    /// Also the direction of the centre of each, a vector with as many numbers as the vault's vectors have: by these intents
    /// can be compared. They are long.
    #[serde(default)]
    centres: bool,
}

pub(super) async fn list(vault: &Vault, given: List) -> Result<Value, ToolError> {
    let limit = limit(given.limit, INTENTS_DEFAULT, INTENTS_MAX)?;
    check_examples(given.examples, LISTED_EXAMPLES_MAX)?;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let (client, skip_tentative) = (&vault.client, !given.tentative);
    let intents = if given.centres {
        client
            .intents_with_centres(given.examples, skip_tentative, wanted, &READ)
            .await?
    } else {
        client
            .intents(given.examples, skip_tentative, wanted, &READ)
            .await?
    };
    let mut items = Items::default();
    let is_all = items.extend(intents.iter().map(shown));
    Ok(json!({ "intents": items.into_value(), "truncated": !is_all }))
}

/// Which intent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Describe {
    /// Its number.
    intent: u64,
    /// How many of its events are shown, those nearest to its centre first, 0 to 8 [default: 3].
    examples: Option<u32>,
}

pub(super) async fn describe(vault: &Vault, given: Describe) -> Result<Value, ToolError> {
    let examples = given.examples.unwrap_or(EXAMPLES_DEFAULT);
    check_examples(examples, EXAMPLES_MAX)?;
    let intent = IntentId(given.intent);
    let (intent, successors) = vault.client.intent(intent, examples, &READ).await?;
    Ok(json!({ "intent": shown(&intent), "came_from": successors }))
}

fn check_examples(given: u32, max: u32) -> Result<(), ToolError> {
    if given <= max {
        return Ok(());
    }
    let reason = format!("{given} is not between 0 and {max}");
    Err(ToolError::argument("examples", reason))
}

/// An intent with what was asked for besides.
fn shown(intent: &Intent) -> Value {
    let mut value = answer::intent(&intent.summary);
    if !intent.examples.is_empty() {
        value["examples"] = intent.examples.iter().map(answer::hit).collect();
    }
    if let Some(centre) = &intent.centre {
        value["centre"] = answer::vector(centre);
    }
    value
}
