//! Events and intents as resources: `toka://event/EVENT`, `toka://intent/NUMBER`, and two lists.

use rmcp::ErrorData;
use rmcp::model::{ErrorCode, Resource, ResourceContents, ResourceTemplate};
use serde_json::{Value, json};
use toka_client::{Error as ClientError, IntentId, List};
use toka_ledger::Rejection;

use crate::answer::{self, Items, LISTED_PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::error::ToolError;
use crate::tools::{READ, Vault, selector};

const EVENT: &str = "toka://event/";
const INTENT: &str = "toka://intent/";
const INTENTS: &str = "toka://intents";
const RECENT: &str = "toka://events/recent";
const JSON: &str = "application/json";
/// Intents that are listed as resources of their own, the largest.
const INTENTS_LISTED: usize = 50;
/// Intents in the list of intents.
const INTENTS_MAX: usize = 200;
/// Events in the list of the newest.
const RECENT_EVENTS: u32 = 20;
/// Events that an intent is shown by.
const EXAMPLES: u32 = 5;
/// The code of what the vault refused or could not do, for clients of resources: JSON-RPC's for servers.
const FAILED: ErrorCode = ErrorCode(-32_000);

/// What can be read by a URI that is made of an event's or an intent's name.
pub(crate) fn templates() -> Vec<ResourceTemplate> {
    vec![
        ResourceTemplate::new(format!("{EVENT}{{event}}"), "event")
            .with_description(
                "An event with its payload, by id (a UUID), sequence, or digest (64 hexadecimal digits).",
            )
            .with_mime_type(JSON),
        ResourceTemplate::new(format!("{INTENT}{{intent}}"), "intent")
            .with_description("An intent by its number, with some of its events.")
            .with_mime_type(JSON),
    ]
}

/// The two lists, and the largest intents.
pub(crate) async fn list(vault: &Vault) -> Result<Vec<Resource>, ErrorData> {
    let mut resources = vec![
        Resource::new(INTENTS, "intents")
            .with_description(
                "The intents: groups of events that mean the same, the largest first.",
            )
            .with_mime_type(JSON),
        Resource::new(RECENT, "recent events")
            .with_description("The newest events, the newest first.")
            .with_mime_type(JSON),
    ];
    let intents = vault.client.intents(0, true, INTENTS_LISTED, &READ).await;
    let intents = intents.map_err(|error| error_data(&error.into()))?;
    resources.extend(intents.into_iter().map(|intent| {
        let number = intent.summary.intent;
        let name = match &intent.summary.label {
            Some(label) => label.clone(),
            None => format!("intent {number}"),
        };
        Resource::new(format!("{INTENT}{number}"), name)
            .with_description(format!(
                "{} events that mean the same.",
                intent.summary.events
            ))
            .with_mime_type(JSON)
    }));
    Ok(resources)
}

/// What a URI names, as JSON.
pub(crate) async fn read(vault: &Vault, uri: &str) -> Result<ResourceContents, ErrorData> {
    let value = match uri {
        INTENTS => intents(vault).await,
        RECENT => recent(vault).await,
        _ => match (uri.strip_prefix(EVENT), uri.strip_prefix(INTENT)) {
            (Some(name), _) => event(vault, name).await,
            (None, Some(number)) => intent(vault, number).await,
            (None, None) => {
                let known = format!(
                    "there is no resource {uri:?}; there are {EVENT}..., {INTENT}..., {INTENTS}, {RECENT}"
                );
                return Err(ErrorData::resource_not_found(known, None));
            }
        },
    };
    let value = value.map_err(|error| error_data(&error))?;
    Ok(ResourceContents::text(value.to_string(), uri).with_mime_type(JSON))
}

async fn event(vault: &Vault, name: &str) -> Result<Value, ToolError> {
    let selector = selector("uri", name)?;
    let event = vault.client.get(&selector, &READ).await?;
    Ok(answer::event(&event, PAYLOAD_BYTES_MAX))
}

async fn intent(vault: &Vault, number: &str) -> Result<Value, ToolError> {
    let intent = number.parse().map(IntentId);
    let intent = intent.map_err(|_| ToolError::argument("uri", "the intent is no number"))?;
    let (intent, _) = vault.client.intent(intent, EXAMPLES, &READ).await?;
    let mut value = answer::intent(&intent.summary);
    value["examples"] = intent.examples.iter().map(answer::hit).collect();
    Ok(value)
}

async fn intents(vault: &Vault) -> Result<Value, ToolError> {
    let intents = vault.client.intents(0, false, INTENTS_MAX, &READ).await?;
    let summaries = intents.iter().map(|intent| answer::intent(&intent.summary));
    Ok(json!({ "intents": summaries.collect::<Value>() }))
}

async fn recent(vault: &Vault) -> Result<Value, ToolError> {
    let list = List {
        descending: true,
        page_size: RECENT_EVENTS,
        read: READ,
        ..List::default()
    };
    let page = vault.client.list(&list, None).await?;
    let shown = |event| answer::event(event, LISTED_PAYLOAD_BYTES_MAX);
    let mut events = Items::default();
    events.extend(page.events.iter().map(shown));
    Ok(json!({ "events": events.into_value() }))
}

/// What a client of resources is told, with the same data as one of tools.
fn error_data(error: &ToolError) -> ErrorData {
    let data = Some(error.to_value());
    let message = error.to_string();
    if is_not_found(error) {
        return ErrorData::resource_not_found(message, data);
    }
    match error {
        ToolError::Argument { .. } => ErrorData::invalid_params(message, data),
        _ => ErrorData::new(FAILED, message, data),
    }
}

fn is_not_found(error: &ToolError) -> bool {
    match error {
        ToolError::Client(error) => matches!(
            **error,
            ClientError::NotFound { .. }
                | ClientError::OutOfRange { .. }
                | ClientError::Rejected(Rejection::UnknownIntent { .. })
        ),
        ToolError::NotFound { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_told_apart_from_what_cannot_be_read() {
        let absent = ToolError::from(ClientError::NotFound {
            name: "7".to_owned(),
        });
        assert_eq!(error_data(&absent).code, ErrorCode::RESOURCE_NOT_FOUND);
        let denied = ToolError::from(ClientError::PermissionDenied {
            message: "no".to_owned(),
        });
        let denied = error_data(&denied);
        assert_eq!(denied.code, FAILED);
        let data = denied.data.expect("with data");
        assert_eq!(data["error"]["code"], "permission_denied");
        let malformed = error_data(&ToolError::argument("uri", "no"));
        assert_eq!(malformed.code, ErrorCode::INVALID_PARAMS);
    }
}
