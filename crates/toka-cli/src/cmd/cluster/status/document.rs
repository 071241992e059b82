//! The state of a cluster as JSON.

use serde_json::{Value, json};
use toka_client::{ClusterStatus, NodeStatus};
use toka_proto::v1::{self, IntentSettings};

use super::{alarm_kind, answered, is_being_removed, is_joint, member, role, scrub_result};

/// Everything that is known of the cluster.
pub(crate) fn json(status: &ClusterStatus) -> Value {
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
        "nodes": status.nodes.iter().map(|node| node_json(status, node)).collect::<Vec<_>>(),
        "voter_sets": status.membership.voter_sets.iter().map(|set| &set.node_ids).collect::<Vec<_>>(),
        "joint": is_joint(status),
        "change_in_progress": (!status.membership.change_in_progress.is_empty())
            .then_some(&status.membership.change_in_progress),
        "advice": status.membership.advice,
        "recovered_from": status.recovered_from.map(|from| json!({
            "cluster_id": format!("{:032x}", from.cluster_id),
            "history_id": format!("{:032x}", from.history_id),
            "sequence": from.sequence,
            "unix_ms": from.unix_ms,
        })),
        "alarms": status.alarms.iter().map(alarm_json).collect::<Vec<_>>(),
    })
}

pub(crate) fn alarm_json(alarm: &v1::Alarm) -> Value {
    json!({
        "kind": alarm_kind(alarm),
        "node_id": alarm.node_id,
        "since_unix_ms": (alarm.since_unix_ms > 0).then_some(alarm.since_unix_ms),
        "message": alarm.message,
        "command": (!alarm.command.is_empty()).then_some(&alarm.command),
    })
}

/// The shortest decimal that is `stored`: settings are kept as fixed-point numbers, of 16 bits behind the point
/// at least.
pub(super) fn decimal(stored: f64) -> f64 {
    const HALF_A_STEP: f64 = 1.0 / (1 << 17) as f64;
    let rounded = (1..=9).map(|digits| {
        let scale = 10_f64.powi(digits);
        (stored * scale).round() / scale
    });
    let mut near = rounded.filter(|rounded| (rounded - stored).abs() <= HALF_A_STEP);
    near.next().unwrap_or(stored)
}

pub(super) fn intents_json(settings: IntentSettings) -> Value {
    json!({
        "tau": decimal(settings.tau),
        "rho": decimal(settings.rho),
        "prior": decimal(settings.prior),
        "prior_events": settings.prior_events,
        "floor": decimal(settings.floor),
        "mean_shrink": settings.mean_shrink,
        "count_cap": settings.count_cap,
        "micro_clusters_max": settings.micro_clusters_max,
        "background_micro_clusters": settings.background_micro_clusters,
        "background_events": settings.background_events,
        "save_events": settings.save_events,
    })
}

pub(super) fn node_json(cluster: &ClusterStatus, status: &NodeStatus) -> Value {
    let node = &status.node;
    let member = member(cluster, node.node_id);
    json!({
        "node_id": node.node_id,
        "role": role(status),
        "voter": member.map(|member| member.voter),
        "to_be_promoted": member.map(|member| member.to_be_promoted),
        "being_removed": member.map(|member| is_being_removed(&cluster.membership, member.node_id)),
        "replaces_node_id": member.and_then(|member| member.replaces_node_id),
        "unreachable_since_unix_ms": member.and_then(|member| member.unreachable_since_unix_ms),
        "round_trip_us": member.and_then(|member| member.round_trip_us),
        "clock_offset_ms": member.and_then(|member| member.clock_offset_ms),
        "feature_level": member.and_then(|member| member.feature_level),
        "endpoint": node.client_endpoint,
        "raft_endpoint": node.raft_endpoint,
        "term": answered(node).then_some(node.term),
        "revision": answered(node).then_some(node.revision),
        "sequence": answered(node).then_some(node.sequence),
        "unix_ms": answered(node).then_some(node.unix_ms),
        "history_root": status.history_root,
        "state_digest": status.state_digest,
        "last_log_index": answered(node).then_some(node.last_log_index),
        "committed_log_index": answered(node).then_some(node.committed_log_index),
        "applied_log_index": answered(node).then_some(node.applied_log_index),
        "snapshot_log_index": answered(node).then_some(node.snapshot_log_index),
        "lag_entries": node.lag_entries,
        "disk_bytes": answered(node).then_some(node.disk_bytes),
        "version": answered(node).then_some(&node.version),
        "healthy": node.healthy,
        "reason": node.reason,
        "last_scrub": node.last_scrub.as_ref().map(scrub_json),
    })
}

pub(super) fn scrub_json(pass: &v1::ScrubPass) -> Value {
    json!({
        "end_unix_ms": pass.end_unix_ms,
        "duration_ms": pass.duration_ms,
        "bytes": pass.bytes,
        "snapshot_rebuilt": pass.snapshot_rebuilt,
        "result": scrub_result(pass),
    })
}
