//! `toka cluster`: state, leadership and members.

mod recover;
mod status;

use anyhow::{Result, bail};
use serde_json::json;

use crate::cli::{Cluster, Format, Global};
use crate::failure::Failure;
use crate::output;
use crate::target::{Remote, endpoints, failure};

pub(crate) async fn run(global: &Global, command: Cluster, format: Format) -> Result<()> {
    if let Cluster::Recover {
        into,
        node_id,
        accept_data_loss,
    } = command
    {
        return recover::run(global, into, node_id, accept_data_loss, format).await;
    }
    if global.data.is_some() {
        bail!("an embedded vault (--data) has no cluster; leave --data out");
    }
    let remote = Remote::connect(endpoints(global)?, global.timeout).await?;
    let client = remote.client();
    match command {
        Cluster::Status => {
            let status = client.cluster_status().await.map_err(failure)?;
            status::show(&status, format)?;
            if status.leader_id.is_none() {
                bail!(Failure::Unavailable("the cluster has no leader".to_owned()));
            }
            Ok(())
        }
        Cluster::Transfer { to } => {
            let leader = client.transfer_leadership(to).await.map_err(failure)?;
            match format {
                Format::Json => output::json(&json!({ "leader_id": leader })),
                Format::Table => output::line(&format!("node {leader} is the leader")),
            }
        }
        Cluster::Remove { node_id, force } => {
            client.remove_node(node_id, force).await.map_err(failure)?;
            match format {
                Format::Json => output::json(&json!({ "removed_node_id": node_id })),
                Format::Table => output::line(&format!(
                    "node {node_id} is removed; if its process still runs it ends by itself"
                )),
            }
        }
        Cluster::Recover { .. } => unreachable!("it needs no connection"),
        Cluster::Promote { node_id } => {
            let status = client.cluster_status().await.map_err(failure)?;
            let mut members = status.membership.members.iter();
            let votes_already = members.any(|member| member.node_id == node_id && member.voter);
            if !votes_already {
                client.promote_node(node_id).await.map_err(failure)?;
            }
            match format {
                Format::Json => output::json(&json!({
                    "promoted_node_id": node_id,
                    "votes_already": votes_already,
                })),
                Format::Table if votes_already => output::line(&format!(
                    "node {node_id} is a voter already; nothing is changed"
                )),
                Format::Table => output::line(&format!(
                    "node {node_id} votes as soon as it has caught up (`toka cluster status`)"
                )),
            }
        }
        Cluster::Replace {
            node_id,
            with_node_id,
        } => {
            let replaced = client.replace_node(node_id, with_node_id).await;
            replaced.map_err(failure)?;
            match format {
                Format::Json => output::json(&json!({
                    "replaced_node_id": node_id,
                    "with_node_id": with_node_id,
                })),
                Format::Table => output::line(&format!(
                    "node {with_node_id} takes the place of node {node_id} as soon as it has caught up \
                     (`toka cluster status`)"
                )),
            }
        }
    }
}
