//! The tools: what each is called with, and what it answers.

mod arguments;
mod claims;
mod events;
mod intents;
mod lineage;
mod list;
mod news;
mod search;

use std::sync::Arc;

use rmcp::model::JsonObject;
use serde::de::DeserializeOwned;
use serde_json::Value;
use toka_client::{Client, Consistency, Include, Read};

pub(crate) use self::arguments::selector;
pub(crate) use self::list::{all, is_known};
use crate::error::ToolError;
use crate::meaning::Meaning;

/// What a tool works with, for one call.
pub(crate) struct Vault {
    /// Of whoever calls.
    pub(crate) client: Client,
    pub(crate) meaning: Arc<Meaning>,
}

/// Reads see what the same caller has committed before.
pub(crate) const READ: Read = Read {
    consistency: Consistency::ReadYourWrites,
    include: Include {
        payload: true,
        embedding: false,
    },
};

/// Answers a call; `name` is that of one of the tools.
pub(crate) async fn call(
    vault: &Vault,
    name: &str,
    arguments: JsonObject,
) -> Result<Value, ToolError> {
    match name {
        list::COMMIT_EVENT => run(arguments, |given| events::commit(vault, given)).await,
        list::GET_EVENT => run(arguments, |given| events::get(vault, given)).await,
        list::SEARCH => run(arguments, |given| search::search(vault, given)).await,
        list::LIST_INTENTS => run(arguments, |given| intents::list(vault, given)).await,
        list::DESCRIBE_INTENT => run(arguments, |given| intents::describe(vault, given)).await,
        list::WALK_LINEAGE => run(arguments, |given| lineage::walk(vault, given)).await,
        list::CLAIM_TASK => run(arguments, |given| claims::claim(vault, given)).await,
        list::RENEW_TASK => run(arguments, |given| claims::renew(vault, given)).await,
        list::RELEASE_TASK => run(arguments, |given| claims::release(vault, given)).await,
        list::COMPLETE_TASK => run(arguments, |given| claims::complete(vault, given)).await,
        list::READ_NEW => run(arguments, |given| news::read(vault, given)).await,
        _ => Err(ToolError::NotFound {
            what: "tool",
            name: name.to_owned(),
        }),
    }
}

async fn run<A, F>(arguments: JsonObject, tool: impl FnOnce(A) -> F) -> Result<Value, ToolError>
where
    A: DeserializeOwned,
    F: Future<Output = Result<Value, ToolError>>,
{
    let given = serde_json::from_value(arguments.into()).map_err(ToolError::Arguments)?;
    // What calls of the client need is large.
    Box::pin(tool(given)).await
}
