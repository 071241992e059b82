//! The tools as clients are told of them.

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;

use super::{claims, events, intents, lineage, news, search};

pub(super) const COMMIT_EVENT: &str = "commit_event";
pub(super) const GET_EVENT: &str = "get_event";
pub(super) const SEARCH: &str = "search";
pub(super) const LIST_INTENTS: &str = "list_intents";
pub(super) const DESCRIBE_INTENT: &str = "describe_intent";
pub(super) const WALK_LINEAGE: &str = "walk_lineage";
pub(super) const CLAIM_TASK: &str = "claim_task";
pub(super) const RENEW_TASK: &str = "renew_task";
pub(super) const RELEASE_TASK: &str = "release_task";
pub(super) const COMPLETE_TASK: &str = "complete_task";
pub(super) const READ_NEW: &str = "read_new";

const NAMES: &[&str] = &[
    COMMIT_EVENT,
    GET_EVENT,
    SEARCH,
    LIST_INTENTS,
    DESCRIBE_INTENT,
    WALK_LINEAGE,
    CLAIM_TASK,
    RENEW_TASK,
    RELEASE_TASK,
    COMPLETE_TASK,
    READ_NEW,
];

/// Whether there is a tool of that name.
pub(crate) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// All of them.
pub(crate) fn all() -> Vec<Tool> {
    vec![
        tool::<events::NewEvent>(
            COMMIT_EVENT,
            "Store one event for good: what happened, what it depends on, and who says so. Everybody who follows the vault \
             sees it. Storing the same event again stores nothing more.",
            adds().idempotent(true),
        ),
        tool::<events::Get>(GET_EVENT, "Read one event with its payload.", reads()),
        tool::<search::Search>(
            SEARCH,
            "Find the events that are nearest to a text in meaning, the nearest first.",
            reads(),
        ),
        tool::<intents::List>(
            LIST_INTENTS,
            "List the intents: groups of events that mean the same, which the vault makes by itself. The largest first.",
            reads(),
        ),
        tool::<intents::Describe>(
            DESCRIBE_INTENT,
            "Describe one intent by some of its events. One that was merged into another shows that one.",
            reads(),
        ),
        tool::<lineage::Walk>(
            WALK_LINEAGE,
            "Walk from an event to everything it depends on, or to everything that depends on it. The event itself comes \
             first. Payloads are not shown; get_event shows them.",
            reads(),
        ),
        tool::<claims::Acquire>(
            CLAIM_TASK,
            "Claim a task, so that nobody else works on it until the lease is over; or take it over from somebody whose lease \
             is. Fails with the code `held` while somebody else has it, and `completed` if it is done.",
            adds(),
        ),
        tool::<claims::Held>(
            RENEW_TASK,
            "Keep a task that you have claimed for another lease. Use the `claim` of the answer from then on.",
            adds(),
        ),
        tool::<claims::Held>(
            RELEASE_TASK,
            "Give a task back that you have claimed: whoever wants it may claim it at once.",
            adds(),
        ),
        tool::<claims::Complete>(
            COMPLETE_TASK,
            "Say that a task which you have claimed is done, and store its results: both, or neither if somebody else has \
             it by now.",
            adds(),
        ),
        tool::<news::ReadNew>(
            READ_NEW,
            "Read the events that came since a cursor, or since a position. Call again with `done` set to `next` when you \
             have dealt with them; events that you are not done with come again.",
            adds().idempotent(true),
        ),
    ]
}

fn tool<A: JsonSchema + 'static>(
    name: &'static str,
    description: &'static str,
    annotations: ToolAnnotations,
) -> Tool {
    Tool::new(name, description, JsonObject::new())
        .with_input_schema::<A>()
        .with_annotations(annotations)
}

fn reads() -> ToolAnnotations {
    ToolAnnotations::new().read_only(true).open_world(false)
}

/// Nothing that is there is changed.
fn adds() -> ToolAnnotations {
    ToolAnnotations::new()
        .read_only(false)
        .destructive(false)
        .open_world(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_is_described_and_takes_an_object_and_nothing_unknown() {
        let tools = all();
        let names: Vec<_> = tools.iter().map(|tool| &*tool.name).collect();
        assert_eq!(names, NAMES);
        for tool in &tools {
            assert!(tool.description.is_some(), "{}", tool.name);
            assert_eq!(tool.input_schema["type"], "object", "{}", tool.name);
            let additional = &tool.input_schema["additionalProperties"];
            assert_eq!(*additional, false, "{}", tool.name);
        }
    }

    #[test]
    fn events_are_named_by_texts_or_numbers() {
        let tools = all();
        let schema = |tool: &str, path: &str| {
            let found = tools.iter().find(|of| of.name == tool);
            let schema = &found.expect("it is there").input_schema;
            let schema = serde_json::Value::Object((**schema).clone());
            schema.pointer(path).cloned().unwrap_or_default()
        };
        let either = serde_json::json!(["string", "integer"]);
        for (tool, path) in [
            (COMMIT_EVENT, "/properties/parents/items/type"),
            (GET_EVENT, "/properties/event/type"),
            (WALK_LINEAGE, "/properties/event/type"),
            (CLAIM_TASK, "/properties/task/type"),
        ] {
            assert_eq!(schema(tool, path), either, "{tool}");
        }
        // Its number would be another thing.
        assert_eq!(schema(RENEW_TASK, "/properties/claim/type"), "string");
    }

    #[test]
    fn every_argument_is_described() {
        for tool in all() {
            let properties = tool.input_schema["properties"].as_object();
            for (name, schema) in properties.expect("an object") {
                let tool = &tool.name;
                assert!(schema["description"].is_string(), "{tool}: {name}");
            }
        }
    }
}
