//! `toka cluster reconcile`: the members that there are to be, whatever there is.
//!
//! It looks, takes one step, and looks again, so that it can be broken off and repeated at any point, and several can
//! run at the same time. A step is never forced: the leader refuses one that would cost the majority.

mod plan;

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use toka_client::{ClusterStatus, Error};
use tokio::time::{Instant, sleep};

use self::plan::{Members, Step, Wanted};
use crate::cli::{Format, Global, Reconcile};
use crate::failure::Failure;
use crate::output;
use crate::target::{Endpoints, Remote, endpoints, failure};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest that a single call may take: the reason for a longer one is worth being told.
const CALL_MAX: Duration = Duration::from_secs(15);

pub(super) async fn run(global: &Global, flags: Reconcile, format: Format) -> Result<()> {
    let wanted = Wanted {
        names: Members::new(&flags.member)?,
        replicas: flags.replicas,
        waits: !flags.no_wait,
    };
    let endpoints = endpoints(global)?;
    let deadline = Instant::now() + flags.within;
    let mut said = String::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let call = global.timeout.min(CALL_MAX).min(left.max(PAUSE));
        let reason = match step(endpoints.clone(), call, &wanted, format).await? {
            Taken::Done(status) => return show_members(&wanted, &status, format),
            // Whatever there was to wait for is over.
            Taken::Removed => {
                said.clear();
                continue;
            }
            Taken::Waits(reason) => reason,
        };
        if Instant::now() >= deadline {
            bail!(Failure::Unavailable(format!(
                "not done within {}: {reason}; it is safe to repeat it",
                humantime::format_duration(flags.within)
            )));
        }
        if reason != said {
            say(
                format,
                &format!("waiting: {reason}"),
                &json!({ "waiting": reason }),
            )?;
            said = reason;
        }
        sleep(PAUSE).await;
    }
}

/// What a look at the cluster has come to.
enum Taken {
    /// Nothing is left to do.
    Done(Box<ClusterStatus>),
    /// A member is gone.
    Removed,
    /// Nothing can be done yet.
    Waits(String),
}

async fn step(
    endpoints: Endpoints,
    timeout: Duration,
    wanted: &Wanted,
    format: Format,
) -> Result<Taken> {
    // Nobody answers, perhaps not yet.
    let Ok(remote) = Remote::connect(endpoints, timeout).await else {
        return Ok(Taken::Waits("no node answers".to_owned()));
    };
    let client = remote.client();
    let status = match client.cluster_status().await {
        Ok(status) => status,
        Err(error) => return Ok(Taken::Waits(error.to_string())),
    };
    let (node_id, endpoint) = match plan::step(&status, wanted) {
        Step::Done => return Ok(Taken::Done(Box::new(status))),
        Step::Wait(reason) => return Ok(Taken::Waits(reason)),
        Step::Remove { node_id, endpoint } => (node_id, endpoint),
    };
    say(
        format,
        &format!("removing node {node_id} at {endpoint}"),
        &json!({ "removing_node_id": node_id, "endpoint": endpoint }),
    )?;
    match client.remove_node(node_id, false).await {
        // Somebody else has removed it.
        Ok(()) | Err(Error::NodeNotFound { .. }) => {}
        Err(error) if passes(&error) => return Ok(Taken::Waits(error.to_string())),
        Err(error) => return Err(failure(error)),
    }
    say(
        format,
        &format!("node {node_id} is removed"),
        &json!({ "removed_node_id": node_id }),
    )?;
    Ok(Taken::Removed)
}

/// Whether a removal that was refused may be taken later.
fn passes(error: &Error) -> bool {
    error.is_retryable() || matches!(error, Error::MembershipRefused { .. })
}

fn show_members(wanted: &Wanted, status: &ClusterStatus, format: Format) -> Result<()> {
    let members = status.membership.members.iter().map(|member| {
        let ordinal = wanted.names.ordinal(&member.client_endpoint);
        (member, ordinal)
    });
    if format == Format::Json {
        let members: Vec<Value> = members
            .map(|(member, ordinal)| {
                json!({
                    "node_id": member.node_id,
                    "ordinal": ordinal,
                    "endpoint": member.client_endpoint,
                    "voter": member.voter,
                })
            })
            .collect();
        return output::json(&json!({ "done": true, "members": members }));
    }
    for (member, ordinal) in members {
        let place = match ordinal {
            Some(ordinal) => format!("ordinal {ordinal}"),
            None => "none of these nodes, and left as it is".to_owned(),
        };
        output::line(&format!(
            "node {} at {}: {place}",
            member.node_id, member.client_endpoint
        ))?;
    }
    output::line("nothing is left to do")
}

fn say(format: Format, line: &str, value: &Value) -> Result<()> {
    match format {
        Format::Json => output::json(value),
        Format::Table => output::line(line),
    }
}
