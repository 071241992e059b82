//! `toka cluster`: state and leadership.

use anyhow::{Result, bail};
use serde_json::{Value, json};
use toka_client::{ClusterStatus, NodeStatus};
use toka_proto::v1::IntentSettings;

use crate::cli::{Cluster, Format, Global};
use crate::failure::Failure;
use crate::output;
use crate::target::{Remote, endpoints, failure};

pub(crate) async fn run(global: &Global, command: Cluster, format: Format) -> Result<()> {
    if global.data.is_some() {
        bail!("an embedded vault (--data) has no cluster; leave --data out");
    }
    let remote = Remote::connect(endpoints(global)?, global.timeout).await?;
    match command {
        Cluster::Status => {
            let status = remote.client().cluster_status().await.map_err(failure)?;
            match format {
                Format::Json => output::json(&json(&status))?,
                Format::Table => table(&status)?,
            }
            if status.leader_id.is_none() {
                bail!(Failure::Unavailable("the cluster has no leader".to_owned()));
            }
            Ok(())
        }
        Cluster::Transfer { to } => {
            let leader = remote
                .client()
                .transfer_leadership(to)
                .await
                .map_err(failure)?;
            match format {
                Format::Json => output::json(&json!({ "leader_id": leader })),
                Format::Table => output::line(&format!("node {leader} is the leader")),
            }
        }
    }
}

fn json(status: &ClusterStatus) -> Value {
    let settings = status.settings.as_ref().map(|settings| {
        json!({
            "feature_level": settings.feature_level,
            "dimension": settings.dimension,
            "embedding_model": (!settings.embedding_model.is_empty())
                .then_some(&settings.embedding_model),
            "intents": settings.intents.map(intents_json),
            "created_unix_ms": settings.created_unix_ms,
        })
    });
    json!({
        "cluster_id": format!("{:032x}", status.header.cluster_id),
        "history_id": format!("{:032x}", status.header.history_id),
        "leader_id": status.leader_id,
        "term": status.header.term,
        "settings": settings,
        "nodes": status.nodes.iter().map(node_json).collect::<Vec<_>>(),
    })
}

fn intents_json(settings: IntentSettings) -> Value {
    json!({
        "tau": settings.tau,
        "rho": settings.rho,
        "prior": settings.prior,
        "prior_events": settings.prior_events,
        "floor": settings.floor,
        "mean_shrink": settings.mean_shrink,
        "count_cap": settings.count_cap,
        "micro_clusters_max": settings.micro_clusters_max,
    })
}

fn node_json(status: &NodeStatus) -> Value {
    let node = &status.node;
    json!({
        "node_id": node.node_id,
        "role": role(status),
        "endpoint": node.client_endpoint,
        "raft_endpoint": node.raft_endpoint,
        "term": node.term,
        "revision": node.revision,
        "sequence": node.sequence,
        "unix_ms": node.unix_ms,
        "history_root": status.history_root,
        "state_digest": status.state_digest,
        "last_log_index": node.last_log_index,
        "committed_log_index": node.committed_log_index,
        "applied_log_index": node.applied_log_index,
        "snapshot_log_index": node.snapshot_log_index,
        "lag_entries": node.lag_entries,
        "disk_bytes": node.disk_bytes,
        "version": node.version,
        "healthy": node.healthy,
        "reason": node.reason,
    })
}

fn role(status: &NodeStatus) -> String {
    let name = status.node.role().as_str_name();
    name.strip_prefix("ROLE_")
        .unwrap_or(name)
        .to_lowercase()
        .replace("unspecified", "unknown")
}

fn table(status: &ClusterStatus) -> Result<()> {
    let leader = status
        .leader_id
        .map_or_else(|| "none".to_owned(), |id| format!("node {id}"));
    output::line(&format!(
        "cluster {:032x}, leader {leader}, term {}",
        status.header.cluster_id, status.header.term
    ))?;
    if let Some(settings) = &status.settings {
        let dimension = settings.dimension.map_or_else(
            || "not fixed yet".to_owned(),
            |dimension| dimension.to_string(),
        );
        let model = match settings.embedding_model.as_str() {
            "" => "not fixed yet",
            model => model,
        };
        output::line(&format!("embeddings: dimension {dimension}, model {model}"))?;
        if let Some(intents) = settings.intents {
            output::line(&format!("intents: {}", intents_json(intents)))?;
        }
    }
    let mut table = output::table(&[
        "node",
        "role",
        "endpoint",
        "sequence",
        "applied",
        "lag",
        "history root",
        "health",
    ]);
    for status in &status.nodes {
        let node = &status.node;
        let root = status
            .history_root
            .map(|root| root.to_string()[..12].to_owned());
        let health = if node.healthy {
            "ok"
        } else {
            node.reason.as_str()
        };
        table.add_row([
            node.node_id.to_string(),
            role(status),
            node.client_endpoint.clone(),
            node.sequence.to_string(),
            node.applied_log_index.to_string(),
            node.lag_entries
                .map_or_else(String::new, |lag| lag.to_string()),
            root.unwrap_or_default(),
            health.to_owned(),
        ]);
    }
    output::line(&table.to_string())
}
