//! `claim_task` and what follows from it: who works on a task, until when, and with which number.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use toka_agents::claims::{Claim, Claims, LEASE_MAX, TASK};
use toka_agents::{RetryPolicy, Store};
use toka_client::{Consistency, Read};
use toka_ledger::{EventId, Kind};

use super::arguments::Name;
use super::events::{self, NewEvent};
use super::{Vault, selector};
use crate::answer::{self, Items};
use crate::error::ToolError;

/// Kind of the events of claims, if nothing else is said.
const KIND_DEFAULT: &str = "task.claim";
/// Lease, if nothing else is said.
const LEASE_DEFAULT: Duration = Duration::from_secs(300);
/// Results that are committed with the end of a task.
const RESULTS_MAX: usize = 24;
/// The client has tried for its own deadline before a call fails.
const RETRIES: RetryPolicy = RetryPolicy {
    attempts: 2,
    wait_min: Duration::from_millis(50),
    wait_max: Duration::from_secs(1),
};

/// Which task, and who wants it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Acquire {
    /// The event that is the task, by id, sequence or digest.
    task: Name,
    /// Your name, for others to see.
    holder: String,
    /// For how long it is yours unless you renew it, 1 to 86400 [default: 300].
    lease_seconds: Option<u64>,
    /// Kind of the events that say who has it: the same for all who work on these tasks [default: task.claim].
    kind: Option<String>,
}

pub(super) async fn claim(vault: &Vault, given: Acquire) -> Result<Value, ToolError> {
    if given.holder.is_empty() {
        return Err(ToolError::argument("holder", "it is empty"));
    }
    let lease = lease(given.lease_seconds)?;
    let kind = Kind::new(given.kind.as_deref().unwrap_or(KIND_DEFAULT))?;
    let read = Read {
        consistency: Consistency::Linearizable,
        ..Read::default()
    };
    let task = selector("task", given.task.as_str())?;
    let task = vault.client.get(&task, &read).await?.header;
    let claims = Claims::new(store(vault), kind, &given.holder, lease).retries(RETRIES);
    Ok(shown(&claims.acquire(&task).await?))
}

/// Which claim.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Held {
    /// The `claim` of the answer to claim_task or renew_task.
    // A number is told apart, to say what it is not.
    #[schemars(with = "String")]
    claim: Name,
}

pub(super) async fn renew(vault: &Vault, given: Held) -> Result<Value, ToolError> {
    let (claims, claim) = held(vault, given.claim.as_str()).await?;
    Ok(shown(&claims.renew(&claim).await?))
}

pub(super) async fn release(vault: &Vault, given: Held) -> Result<Value, ToolError> {
    let (claims, claim) = held(vault, given.claim.as_str()).await?;
    claims.release(&claim).await?;
    Ok(json!({ "task": claim.task(), "released": true }))
}

/// Which claim is done with, and what came of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Complete {
    /// The `claim` of the answer to claim_task or renew_task.
    // A number is told apart, to say what it is not.
    #[schemars(with = "String")]
    claim: Name,
    /// Events that are committed together with the end of the task, or not at all if somebody else has it by now; at most
    /// 24. They depend on the end of the task by themselves.
    #[serde(default)]
    results: Vec<NewEvent>,
}

pub(super) async fn complete(vault: &Vault, given: Complete) -> Result<Value, ToolError> {
    if given.results.len() > RESULTS_MAX {
        let reason = format!("{} events, at most {RESULTS_MAX}", given.results.len());
        return Err(ToolError::argument("results", reason));
    }
    let mut drafts = Vec::with_capacity(given.results.len());
    for result in given.results {
        drafts.push(events::draft(vault, result).await?.draft);
    }
    let (claims, claim) = held(vault, given.claim.as_str()).await?;
    let completed = claims.complete(&claim, drafts).await?;
    let mut results = Items::default();
    let is_all = results.extend(completed.results.iter().map(|r| answer::header(r).into()));
    Ok(json!({
        "task": claim.task(),
        "claim": completed.claim.id(),
        "results": results.into_value(),
        "truncated": !is_all,
    }))
}

fn store(vault: &Vault) -> Arc<dyn Store> {
    Arc::new(vault.client.clone())
}

fn lease(seconds: Option<u64>) -> Result<Duration, ToolError> {
    let lease = seconds.map_or(LEASE_DEFAULT, Duration::from_secs);
    match lease.is_zero() || lease > LEASE_MAX {
        true => Err(ToolError::argument(
            "lease_seconds",
            format!("it is not between 1 and {}", LEASE_MAX.as_secs()),
        )),
        false => Ok(lease),
    }
}

/// The claim whose newest link was that event when the caller was told of it, and what makes the next ones.
async fn held(vault: &Vault, text: &str) -> Result<(Claims, Claim), ToolError> {
    let id: EventId = text.parse().map_err(|_| {
        let what =
            "is no id of an event (a UUID): give the `claim` of the answer, not its `number`";
        ToolError::argument("claim", format!("{text:?} {what}"))
    })?;
    let store = store(vault);
    let link = store.get(toka_client::Selector::Id(id)).await?;
    let link = link.ok_or_else(|| ToolError::NotFound {
        what: "claim",
        name: text.to_owned(),
    })?;
    if link.header.attributes.get(TASK).is_none() {
        return Err(ToolError::argument("claim", "the event is no claim"));
    }
    let claim = Claim::of(&link);
    let claim = claim.map_err(|error| ToolError::argument("claim", error.to_string()))?;
    let kind = link.header.kind.clone();
    let claims = Claims::new(store, kind, &claim.holder().name, LEASE_DEFAULT);
    Ok((claims.retries(RETRIES), claim))
}

fn shown(claim: &Claim) -> Value {
    json!({
        "claim": claim.id(),
        "task": claim.task(),
        "number": claim.number(),
        "holder": claim.holder().name,
        "expires_unix_ms": claim.expires_unix_ms(),
        "lease_ms": u64::try_from(claim.lease().as_millis()).unwrap_or(u64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_have_bounds() {
        assert_eq!(lease(None).expect("the default"), LEASE_DEFAULT);
        assert_eq!(lease(Some(86_400)).expect("a day"), LEASE_MAX);
        assert!(lease(Some(0)).is_err());
        assert!(lease(Some(86_401)).is_err());
    }
}
