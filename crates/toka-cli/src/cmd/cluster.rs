//! `toka cluster`: state, leadership and members.

mod reconcile;
mod recover;
mod status;
mod top;
mod vacate;

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::json;
use toka_client::ClusterStatus;
use toka_proto::v1;

use crate::cli::{Cluster, Format, Global};
use crate::failure::Failure;
use crate::output;
use crate::target::{Remote, endpoints, failure};

pub(crate) use self::status::json as status_json;

pub(crate) async fn run(global: &Global, command: Cluster, format: Format) -> Result<()> {
    match command {
        Cluster::Recover {
            into,
            node_id,
            accept_data_loss,
        } => recover::run(global, into, node_id, accept_data_loss, format).await,
        Cluster::Vacate => vacate::run(global, format).await,
        _ if global.data.is_some() => {
            bail!("an embedded vault (--data) has no cluster; leave --data out")
        }
        Cluster::Reconcile(flags) => reconcile::run(global, flags, format).await,
        command => run_on(global, command, format).await,
    }
}

/// Runs what is a matter of one call or two.
async fn run_on(global: &Global, command: Cluster, format: Format) -> Result<()> {
    let remote = Remote::connect(endpoints(global)?, patience(global, &command)).await?;
    let client = remote.client();
    match command {
        Cluster::Top(flags) => top::run(client, &flags, format).await,
        Cluster::Status { wide } => {
            let status = client.cluster_status().await.map_err(failure)?;
            status::show(&status, format, wide)?;
            has_leader(&status)
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
        Cluster::Recover { .. } | Cluster::Reconcile(_) | Cluster::Vacate => {
            unreachable!("these were run before")
        }
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

/// How long a call may take: who watches wants to see something.
fn patience(global: &Global, command: &Cluster) -> Duration {
    match command {
        Cluster::Top(_) => global.timeout.min(top::LOOK_MAX),
        _ => global.timeout,
    }
}

/// An error, of the exit code that scripts look for, if the cluster has none.
fn has_leader(status: &ClusterStatus) -> Result<()> {
    if status.leader_id.is_none() {
        bail!(Failure::Unavailable("the cluster has no leader".to_owned()));
    }
    Ok(())
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
