//! `toka cluster`: state, leadership and members.

mod recover;
mod status;

use anyhow::{Result, bail};
use serde_json::json;
use toka_proto::v1;

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
        Cluster::Status { wide } => {
            let status = client.cluster_status().await.map_err(failure)?;
            status::show(&status, format, wide)?;
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
            let status = client.cluster_status().await.map_err(failure)?;
            let found = Replacement::of(&status.membership, node_id, with_node_id);
            let replaced = client.replace_node(node_id, with_node_id).await;
            replaced.map_err(failure)?;
            found.show(node_id, with_node_id, format)
        }
    }
}

/// How far a replacement is when it is asked for, and nothing refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replacement {
    /// It begins.
    Begun,
    /// It was asked for before.
    UnderWay,
    /// It was asked for before, and the node that goes has gone.
    Done,
}

impl Replacement {
    fn of(membership: &v1::Membership, old: u64, new: u64) -> Self {
        let member = |id: u64| membership.members.iter().find(|one| one.node_id == id);
        match (member(old), member(new)) {
            (None, Some(_)) => Self::Done,
            (_, Some(by)) if by.replaces_node_id == Some(old) => Self::UnderWay,
            _ => Self::Begun,
        }
    }

    fn show(self, old: u64, new: u64, format: Format) -> Result<()> {
        match format {
            Format::Json => output::json(&json!({
                "replaced_node_id": old,
                "with_node_id": new,
                "state": self.name(),
            })),
            Format::Table => output::line(&self.describe(old, new)),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::UnderWay => "under_way",
            Self::Done => "done",
        }
    }

    fn describe(self, old: u64, new: u64) -> String {
        match self {
            Self::Begun => format!(
                "node {new} takes the place of node {old} as soon as it has caught up (`toka cluster status`)"
            ),
            Self::UnderWay => format!(
                "node {new} is to take the place of node {old} already, and has not yet; nothing is changed (`toka \
                 cluster status`)"
            ),
            Self::Done => {
                format!("node {new} has taken the place of node {old} already; nothing is changed")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_replacement_says_how_far_it_is() {
        let member = |node_id, replaces_node_id| v1::Member {
            node_id,
            replaces_node_id,
            ..v1::Member::default()
        };
        let of = |members: &[v1::Member]| {
            let membership = v1::Membership {
                members: members.to_vec(),
                ..v1::Membership::default()
            };
            Replacement::of(&membership, 3, 5)
        };
        let [old, new] = [member(3, None), member(5, None)];
        assert_eq!(of(&[old.clone(), new.clone()]), Replacement::Begun);
        assert_eq!(of(&[old.clone(), member(5, Some(2))]), Replacement::Begun);
        assert_eq!(
            of(&[old.clone(), member(5, Some(3))]),
            Replacement::UnderWay
        );
        assert_eq!(of(&[new]), Replacement::Done);
        let said = Replacement::Done.describe(3, 5);
        assert!(said.contains("has taken the place of node 3"), "{said}");
    }
}
