//! `toka cluster recover`: a new cluster from what one node has.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde_json::{Value, json};
use toka_raft::StartError;
use toka_raft::replica::recovery::{
    Earlier, Recovered, RecoveryError, Survivor, find_earlier, inspect, recover,
};

use crate::cli::{Format, Global};
use crate::cmd::serve::PROTECTION;
use crate::failure::Failure;
use crate::output;

pub(super) async fn run(
    global: &Global,
    into: Option<PathBuf>,
    node_id: Option<u64>,
    is_accepted: bool,
    format: Format,
) -> Result<()> {
    let Some(path) = &global.data else {
        bail!(Failure::Usage(
            "say with --data DIR which node's data to recover from".to_owned()
        ));
    };
    let (true, Some(into)) = (is_accepted, &into) else {
        let survivor = inspect(path).await.map_err(failure)?;
        return announce(path, &survivor, format);
    };
    if let Some(done) = find_earlier(path, into, node_id) {
        return show_earlier(into, &done, format);
    }
    let node_id = match node_id {
        Some(node_id) => node_id,
        None => inspect(path).await.map_err(failure)?.node_id,
    };
    let (survivor, recovered) = recover(path, into, node_id).await.map_err(failure)?;
    if format == Format::Json {
        let mut described = describe(&survivor);
        described["recovered"] = describe_recovered(into, node_id, &recovered);
        return output::json(&described);
    }
    show(&survivor)?;
    let position = recovered.position;
    output::line(&format!(
        "recovered into {}: {} further log entries applied, sequence {}, history root {}, state digest {}",
        into.display(),
        recovered.applied_entries,
        position.sequence,
        position.history_root,
        position.state_digest
    ))?;
    output::line(&format!(
        "THIS IS A NEW CLUSTER. What only the lost nodes had is gone; clients are told HISTORY_CHANGED and must begin \
         again. Never start a node of the old cluster {:032x} again: empty their data directories and let them join.",
        survivor.cluster_id
    ))?;
    output::line(&how_to_start(into, node_id))
}

fn how_to_start(into: &Path, node_id: u64) -> String {
    format!(
        "start it with `toka serve --node-id {node_id} --data {} --listen IP:7311 --raft-listen IP:7312`; others with \
         `toka serve --data DIR --listen IP:7311 --raft-listen IP:7312 --join ENDPOINT`; {PROTECTION}",
        into.display()
    )
}

/// Says that the same command has succeeded before.
fn show_earlier(into: &Path, done: &Earlier, format: Format) -> Result<()> {
    let cluster_id = done.cluster_id.map(|id| format!("{id:032x}"));
    if format == Format::Json {
        return output::json(&json!({
            "cluster_id": format!("{:032x}", done.old_cluster_id),
            "recovered": Value::Null,
            "recovered_before": {
                "data": into.display().to_string(),
                "node_id": done.node_id,
                "cluster_id": cluster_id,
                "sequence": done.sequence,
            },
        }));
    }
    let now = cluster_id.as_deref().map_or_else(
        || "the new cluster gets its id when the node is started".to_owned(),
        |id| format!("the new cluster is {id}"),
    );
    output::line(&format!(
        "nothing is left to do: cluster {:032x} was recovered into {} before, up to sequence {}, as node {}; {now}",
        done.old_cluster_id,
        into.display(),
        done.sequence,
        done.node_id
    ))?;
    match done.cluster_id {
        Some(_) => Ok(()),
        None => output::line(&how_to_start(into, done.node_id)),
    }
}

/// Says what would happen, and that it has not.
fn announce(path: &Path, survivor: &Survivor, format: Format) -> Result<()> {
    if format == Format::Json {
        output::json(&describe(survivor))?;
    } else {
        show(survivor)?;
        output::line(
            "Compare this on every node that is left, and recover from the one whose last entry has the highest term, \
             and of those the highest index: it has lost least.",
        )?;
    }
    bail!(Failure::Usage(format!(
        "nothing was changed. If most of the voters are lost for good, and only then: `toka cluster recover --data {} \
         --into NEW_DIR --accept-data-loss`",
        path.display()
    )))
}

fn show(survivor: &Survivor) -> Result<()> {
    let voters: Vec<_> = survivor.voters.iter().map(u64::to_string).collect();
    output::line(&format!(
        "node {} of cluster {:032x} (voters {}): last log entry term {} index {}, of which {} are applied; sequence {}",
        survivor.node_id,
        survivor.cluster_id,
        voters.join(", "),
        survivor.last_log_term,
        survivor.last_log_index,
        survivor.applied_log_index,
        survivor.position.sequence
    ))
}

fn describe(survivor: &Survivor) -> Value {
    json!({
        "node_id": survivor.node_id,
        "cluster_id": format!("{:032x}", survivor.cluster_id),
        "voters": survivor.voters,
        "last_log_term": survivor.last_log_term,
        "last_log_index": survivor.last_log_index,
        "applied_log_index": survivor.applied_log_index,
        "sequence": survivor.position.sequence,
        "unix_ms": survivor.position.unix_ms,
        "recovered": Value::Null,
    })
}

fn describe_recovered(into: &Path, node_id: u64, recovered: &Recovered) -> Value {
    let position = recovered.position;
    json!({
        "data": into.display().to_string(),
        "node_id": node_id,
        "applied_entries": recovered.applied_entries,
        "sequence": position.sequence,
        "history_root": position.history_root,
        "state_digest": position.state_digest,
    })
}

fn failure(error: RecoveryError) -> anyhow::Error {
    match error {
        RecoveryError::NoNode { .. } | RecoveryError::NoCluster { .. } => {
            Failure::Usage(error.to_string()).into()
        }
        RecoveryError::Survivor(StartError::Removed { .. }) => {
            Failure::Removed(error.to_string()).into()
        }
        RecoveryError::Damaged { .. } | RecoveryError::Incomplete { .. } => {
            Failure::Damaged(error.to_string()).into()
        }
        error => error.into(),
    }
}
