//! `toka cluster vacate`: a data directory of a node that was removed, for a node that joins anew.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use serde_json::json;
use toka_client::ClusterStatus;
use toka_ledger::dir::{DataDir, Mode};
use toka_ledger::disk::SystemDisk;
use toka_proto::v1;

use crate::cli::{Format, Global};
use crate::failure::Failure;
use crate::output;
use crate::target::{Remote, endpoints, failure};

/// What the cluster says of the node that a directory belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is one of its members.
    Member,
    /// It was a member, and is none any more, for good.
    Removed,
    /// It is another cluster's.
    Elsewhere,
}

pub(super) async fn run(global: &Global, format: Format) -> Result<()> {
    let Some(path) = &global.data else {
        bail!(Failure::Usage(
            "say with --data DIR which directory".to_owned()
        ));
    };
    let Some(mode) = DataDir::read(&SystemDisk, path)? else {
        return show(path, false, "it is new or empty", format);
    };
    let Mode::Node {
        node_id,
        cluster_id: Some(cluster_id),
    } = mode
    else {
        return show(path, false, "it belongs to no member of a cluster", format);
    };
    let mut directory = DataDir::open_or_create(Arc::new(SystemDisk), path, mode)?;
    let standing = match ask(global).await {
        Ok(status) => standing(&status, cluster_id, node_id),
        Err(error) if directory.is_removed() => {
            return Err(error.context(format!(
                "node {node_id} was removed from its cluster, and whether that is this one is not known"
            )));
        }
        // The whole cluster may be starting: the node itself finds out what it is.
        Err(_) => {
            return show(path, false, "no leader of its cluster answers", format);
        }
    };
    match standing {
        Standing::Member => show(path, false, &format!("node {node_id} is a member"), format),
        Standing::Elsewhere => bail!(Failure::Removed(format!(
            "{} belongs to node {node_id} of cluster {cluster_id:032x}, and another cluster answers: it is left as it is",
            path.display()
        ))),
        Standing::Removed => {
            directory.set_removed()?;
            directory.clear()?;
            show(
                path,
                true,
                &format!("node {node_id} was removed from its cluster"),
                format,
            )
        }
    }
}

/// What the leader says; one that no majority confirms does not count.
async fn ask(global: &Global) -> Result<ClusterStatus> {
    let remote = Remote::connect(endpoints(global)?, global.timeout).await?;
    let status = remote.client().cluster_status().await.map_err(failure)?;
    let mut nodes = status.nodes.iter().map(|status| &status.node);
    if !nodes.any(|node| node.healthy && node.role() == v1::Role::Leader) {
        bail!(Failure::Unavailable("the cluster has no leader".to_owned()));
    }
    Ok(status)
}

fn standing(status: &ClusterStatus, cluster_id: u128, node_id: u64) -> Standing {
    if status.header.cluster_id != cluster_id {
        return Standing::Elsewhere;
    }
    let mut members = status.membership.members.iter();
    // The leader told the node its id only after it had become a member.
    match members.any(|member| member.node_id == node_id) {
        true => Standing::Member,
        false => Standing::Removed,
    }
}

fn show(path: &Path, is_emptied: bool, reason: &str, format: Format) -> Result<()> {
    if format == Format::Json {
        return output::json(&json!({
            "data": path.display().to_string(),
            "emptied": is_emptied,
            "reason": reason,
        }));
    }
    let done = if is_emptied {
        "emptied"
    } else {
        "left as it is"
    };
    output::line(&format!("{} is {done}: {reason}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_no_member_of_the_same_cluster_was_removed() {
        let header = v1::ResponseHeader {
            cluster_id: 7_u128.to_be_bytes().to_vec().into(),
            history_id: vec![7; 16].into(),
            ..v1::ResponseHeader::default()
        };
        let member = |node_id| v1::Member {
            node_id,
            ..v1::Member::default()
        };
        let message = v1::GetStatusResponse {
            header: Some(header),
            membership: Some(v1::Membership {
                members: vec![member(1), member(4)],
                ..v1::Membership::default()
            }),
            ..v1::GetStatusResponse::default()
        };
        let status: ClusterStatus = message.try_into().expect("valid");
        assert_eq!(standing(&status, 7, 4), Standing::Member);
        assert_eq!(standing(&status, 7, 3), Standing::Removed);
        assert_eq!(standing(&status, 8, 3), Standing::Elsewhere);
    }
}
