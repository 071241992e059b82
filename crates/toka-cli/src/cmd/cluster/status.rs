//! `toka cluster status`.

mod document;
mod table;
#[cfg(test)]
mod tests;

use anyhow::Result;
use toka_client::{ClusterStatus, NodeStatus};
use toka_proto::v1;

pub(crate) use self::document::{alarm_json, json};
use crate::cli::Format;
use crate::output;

/// Writes the state of the cluster; a table with all columns if it `is_wide`.
pub(super) fn show(status: &ClusterStatus, format: Format, is_wide: bool) -> Result<()> {
    match format {
        Format::Json => output::json(&json(status)),
        Format::Table => table::show(status, is_wide),
    }
}

fn is_joint(status: &ClusterStatus) -> bool {
    status.membership.voter_sets.len() > 1
}

pub(super) fn alarm_kind(alarm: &v1::Alarm) -> String {
    let name = alarm.kind().as_str_name();
    name.strip_prefix("ALARM_KIND_")
        .unwrap_or(name)
        .to_lowercase()
}

/// Whether as many voters answer as are needed, as far as the cluster knows.
pub(super) fn has_quorum(status: &ClusterStatus) -> bool {
    let is_lost = |alarm: &v1::Alarm| {
        matches!(
            alarm.kind(),
            v1::AlarmKind::NoQuorum | v1::AlarmKind::JointConfiguration
        )
    };
    !status.alarms.iter().any(is_lost)
}

/// The node, as the leader knows it.
pub(super) fn member(status: &ClusterStatus, node_id: u64) -> Option<&v1::Member> {
    let mut members = status.membership.members.iter();
    members.find(|member| member.node_id == node_id)
}

/// Whether it votes in the configuration that is left, and not in the one that this leads to.
fn is_being_removed(membership: &v1::Membership, node_id: u64) -> bool {
    let votes = |set: &v1::VoterSet| set.node_ids.contains(&node_id);
    match membership.voter_sets.split_last() {
        Some((last, before)) => !votes(last) && before.iter().any(votes),
        None => false,
    }
}

/// Whether the node has told its state: of one that has not nothing is known, and no number is 0.
pub(super) fn answered(node: &v1::NodeStatus) -> bool {
    !node.version.is_empty()
}

/// What a pass came to that has ended: damage in ledger or log ends the node instead.
fn scrub_result(pass: &v1::ScrubPass) -> &'static str {
    match pass.snapshot_rebuilt {
        true => "snapshot damaged and made anew",
        false => "no damage",
    }
}

pub(super) fn role(status: &NodeStatus) -> String {
    let name = status.node.role().as_str_name();
    name.strip_prefix("ROLE_")
        .unwrap_or(name)
        .to_lowercase()
        .replace("unspecified", "unknown")
}

/// What is not known is no number.
pub(super) fn or_dash(known: Option<String>) -> String {
    known.unwrap_or_else(|| "-".to_owned())
}

/// What it does, and what is planned for it.
pub(super) fn role_of_member(cluster: &ClusterStatus, status: &NodeStatus) -> String {
    let role = role(status).replace('_', " ");
    let Some(member) = member(cluster, status.node.node_id) else {
        return role;
    };
    if is_being_removed(&cluster.membership, member.node_id) {
        return format!("{role}, being removed");
    }
    match (member.replaces_node_id, member.to_be_promoted) {
        (Some(old), _) => format!("{role}, replaces {old}"),
        (None, true) => format!("{role}, to be promoted"),
        (None, false) if role == "unknown" && member.voter => "unknown, votes".to_owned(),
        (None, false) => role,
    }
}

pub(super) fn health(cluster: &ClusterStatus, node: &v1::NodeStatus) -> String {
    let since = member(cluster, node.node_id).and_then(|member| member.unreachable_since_unix_ms);
    match since {
        Some(since) => {
            let since = std::time::UNIX_EPOCH + std::time::Duration::from_millis(since);
            let since = humantime::format_rfc3339_seconds(since);
            format!("unreachable since {since}: {}", node.reason)
        }
        None if node.healthy => "ok".to_owned(),
        None => node.reason.clone(),
    }
}

/// Bytes, for people.
pub(super) fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    match bytes {
        0..MIB => format!("{} KiB", bytes.div_ceil(1 << 10)),
        MIB..GIB => format!("{} MiB", bytes.div_ceil(MIB)),
        GIB.. => format!("{}.{} GiB", bytes / GIB, bytes % GIB * 10 / GIB),
    }
}
