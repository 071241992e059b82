//! `toka cluster status`.

use anyhow::Result;
use serde_json::{Value, json};
use toka_client::{ClusterStatus, NodeStatus};
use toka_proto::v1::{self, IntentSettings};

use crate::cli::Format;
use crate::output;

/// Columns of a node's row, as [`row`] has them; and whether one is left out unless all are asked for.
const COLUMNS: [(&str, bool); 12] = [
    ("node", false),
    ("role", false),
    ("endpoint", false),
    ("term", true),
    ("sequence", false),
    ("applied", true),
    ("lag", false),
    ("disk", false),
    ("version", false),
    ("knows", false),
    ("history root", true),
    ("health", false),
];
/// Characters of a line of the table, unless names of machines are so long that it needs more.
const LINE_CHARS_MAX: usize = 120;
/// Of which the last cell has so many at least.
const HEALTH_CHARS_MIN: usize = 20;
/// Blanks around a cell.
const CELL_MARGINS: usize = 2;
/// Settings of intents that an operator may want to know at a glance.
const INTENTS_SHORT: [&str; 4] = ["tau", "rho", "prior", "floor"];

/// Writes the state of the cluster; a table with all columns if it `is_wide`.
pub(super) fn show(status: &ClusterStatus, format: Format, is_wide: bool) -> Result<()> {
    match format {
        Format::Json => output::json(&json(status)),
        Format::Table => table(status, is_wide),
    }
}

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

fn is_joint(status: &ClusterStatus) -> bool {
    status.membership.voter_sets.len() > 1
}

pub(super) fn alarm_json(alarm: &v1::Alarm) -> Value {
    json!({
        "kind": alarm_kind(alarm),
        "node_id": alarm.node_id,
        "since_unix_ms": (alarm.since_unix_ms > 0).then_some(alarm.since_unix_ms),
        "message": alarm.message,
        "command": (!alarm.command.is_empty()).then_some(&alarm.command),
    })
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

/// The shortest decimal that is `stored`: settings are kept as fixed-point numbers, of 16 bits behind the point
/// at least.
fn decimal(stored: f64) -> f64 {
    const HALF_A_STEP: f64 = 1.0 / (1 << 17) as f64;
    let rounded = (1..=9).map(|digits| {
        let scale = 10_f64.powi(digits);
        (stored * scale).round() / scale
    });
    let mut near = rounded.filter(|rounded| (rounded - stored).abs() <= HALF_A_STEP);
    near.next().unwrap_or(stored)
}

fn intents_json(settings: IntentSettings) -> Value {
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

/// Whether the node has told its state: of one that has not nothing is known, and no number is 0.
pub(super) fn answered(node: &v1::NodeStatus) -> bool {
    !node.version.is_empty()
}

fn node_json(cluster: &ClusterStatus, status: &NodeStatus) -> Value {
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

fn scrub_json(pass: &v1::ScrubPass) -> Value {
    json!({
        "end_unix_ms": pass.end_unix_ms,
        "duration_ms": pass.duration_ms,
        "bytes": pass.bytes,
        "snapshot_rebuilt": pass.snapshot_rebuilt,
        "result": scrub_result(pass),
    })
}

/// What a pass came to that has ended: damage in ledger or log ends the node instead.
fn scrub_result(pass: &v1::ScrubPass) -> &'static str {
    match pass.snapshot_rebuilt {
        true => "snapshot damaged and made anew",
        false => "no damage",
    }
}

/// When the nodes were last looked through, once one was.
fn scrub_line<'a>(nodes: impl Iterator<Item = &'a v1::NodeStatus>) -> Option<String> {
    let nodes: Vec<_> = nodes.collect();
    if nodes.iter().all(|node| node.last_scrub.is_none()) {
        return None;
    }
    let each = nodes.iter().map(|node| match &node.last_scrub {
        Some(pass) => {
            let end = std::time::UNIX_EPOCH + std::time::Duration::from_millis(pass.end_unix_ms);
            let end = humantime::format_rfc3339_seconds(end);
            format!("node {} at {end}, {}", node.node_id, scrub_result(pass))
        }
        None => format!("node {} not yet", node.node_id),
    });
    let each: Vec<_> = each.collect();
    Some(format!("looked for damage: {}", each.join("; ")))
}

pub(super) fn role(status: &NodeStatus) -> String {
    let name = status.node.role().as_str_name();
    name.strip_prefix("ROLE_")
        .unwrap_or(name)
        .to_lowercase()
        .replace("unspecified", "unknown")
}

/// The settings for people: by name and value.
fn intents_line(settings: IntentSettings, is_wide: bool) -> String {
    let all = intents_json(settings);
    let others = all.as_object().into_iter().flatten();
    let others = others.map(|(name, _)| name.as_str());
    let others = others.filter(|name| is_wide && !INTENTS_SHORT.contains(name));
    let names = INTENTS_SHORT.into_iter().chain(others);
    let shown: Vec<_> = names.map(|name| format!("{name} {}", all[name])).collect();
    format!("intents: {}", shown.join(", "))
}

fn table(status: &ClusterStatus, is_wide: bool) -> Result<()> {
    let none = if has_quorum(status) {
        "none"
    } else {
        "none (no quorum)"
    };
    let leader = status
        .leader_id
        .map_or_else(|| none.to_owned(), |id| format!("node {id}"));
    output::line(&format!(
        "cluster {:032x}, leader {leader}, term {}",
        status.header.cluster_id, status.header.term
    ))?;
    if let Some(from) = status.recovered_from {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(from.unix_ms);
        output::line(&format!(
            "recovered at {} from cluster {:032x}, history {:032x}: events up to sequence {} are its",
            humantime::format_rfc3339_seconds(time),
            from.cluster_id,
            from.history_id,
            from.sequence
        ))?;
    }
    if let Some(settings) = &status.settings {
        let dimension = settings.dimension.map_or_else(
            || "not fixed yet".to_owned(),
            |dimension| dimension.to_string(),
        );
        let model = match settings.embedding_model.as_str() {
            "" => "not fixed yet",
            model => model,
        };
        output::line(&format!("feature level {}", settings.feature_level))?;
        output::line(&format!("embeddings: dimension {dimension}, model {model}"))?;
        if let Some(intents) = settings.intents {
            output::line(&intents_line(intents, is_wide))?;
        }
    }
    let rows = status.nodes.iter().map(|node| row(status, node));
    output::line(&nodes_table(rows.collect(), is_wide))?;
    if let Some(scrubs) = scrub_line(status.nodes.iter().map(|status| &status.node)) {
        output::line(&scrubs)?;
    }
    if is_joint(status) {
        let sets = status.membership.voter_sets.iter();
        let sets: Vec<_> = sets.map(|set| format!("{:?}", set.node_ids)).collect();
        output::line(&format!(
            "joint configuration: a majority of each of {} has to agree",
            sets.join(" and ")
        ))?;
    }
    if !status.membership.change_in_progress.is_empty() {
        output::line(&format!(
            "change in progress: {}",
            status.membership.change_in_progress
        ))?;
    }
    for advice in &status.membership.advice {
        output::line(&format!("note: {advice}"))?;
    }
    for alarm in &status.alarms {
        output::line(&format!("ALARM {}: {}", alarm_kind(alarm), alarm.message))?;
        if !alarm.command.is_empty() {
            output::line(&format!("  {}", alarm.command))?;
        }
    }
    Ok(())
}

/// The rows under their header. Without all columns a line has 120 characters at most: the health is cut, of which
/// JSON and the alarms have the rest.
fn nodes_table(mut rows: Vec<[String; COLUMNS.len()]>, is_wide: bool) -> String {
    let is_shown = |(_, is_extra): &(&str, bool)| is_wide || !*is_extra;
    if !is_wide {
        let chars = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0).max(COLUMNS[column].0.len())
        };
        let health = COLUMNS.len() - 1;
        let others = (0..health).filter(|column| is_shown(&COLUMNS[*column]));
        let taken: usize = others.map(|column| chars(column) + CELL_MARGINS).sum();
        let left = LINE_CHARS_MAX.saturating_sub(taken + CELL_MARGINS);
        for row in &mut rows {
            row[health] = output::cut(&row[health], left.max(HEALTH_CHARS_MIN));
        }
    }
    let header = COLUMNS.iter().filter(|column| is_shown(column));
    let header: Vec<_> = header.map(|(name, _)| *name).collect();
    let mut table = output::table(&header);
    for row in rows {
        let cells = COLUMNS.iter().zip(row);
        let cells = cells.filter(|(column, _)| is_shown(column));
        table.add_row(cells.map(|(_, cell)| cell));
    }
    table.to_string()
}

fn row(cluster: &ClusterStatus, status: &NodeStatus) -> [String; COLUMNS.len()] {
    let node = &status.node;
    let known = |number: u64| or_dash(answered(node).then(|| number.to_string()));
    let root = status
        .history_root
        .map(|root| root.to_string()[..12].to_owned());
    [
        node.node_id.to_string(),
        role_of_member(cluster, status),
        node.client_endpoint.clone(),
        known(node.term),
        known(node.sequence),
        known(node.applied_log_index),
        or_dash(node.lag_entries.map(|lag| lag.to_string())),
        or_dash(answered(node).then(|| size(node.disk_bytes))),
        or_dash(answered(node).then(|| node.version.clone())),
        or_dash(
            member(cluster, node.node_id)
                .and_then(|member| member.feature_level)
                .map(|level| format!("level {level}")),
        ),
        or_dash(root),
        health(cluster, node),
    ]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_were_looked_through_are_named_with_the_result() {
        let node = |node_id, last_scrub| v1::NodeStatus {
            node_id,
            last_scrub,
            ..v1::NodeStatus::default()
        };
        let pass = |snapshot_rebuilt| {
            Some(v1::ScrubPass {
                end_unix_ms: 1_795_713_300_123,
                duration_ms: 7,
                bytes: 9,
                snapshot_rebuilt,
            })
        };
        assert_eq!(scrub_line([node(1, None), node(2, None)].iter()), None);
        let nodes = [node(1, pass(false)), node(2, pass(true)), node(3, None)];
        assert_eq!(
            scrub_line(nodes.iter()).as_deref(),
            Some(
                "looked for damage: node 1 at 2026-11-26T17:15:00Z, no damage; node 2 at \
                 2026-11-26T17:15:00Z, snapshot damaged and made anew; node 3 not yet"
            )
        );
        let json = scrub_json(&pass(false).expect("a pass"));
        assert_eq!(json["result"], "no damage");
        assert_eq!(json["end_unix_ms"], 1_795_713_300_123_u64);
    }

    fn cluster_of(nodes: Vec<v1::NodeStatus>, alarms: Vec<v1::Alarm>) -> ClusterStatus {
        let header = v1::ResponseHeader {
            cluster_id: vec![7; 16].into(),
            history_id: vec![7; 16].into(),
            ..v1::ResponseHeader::default()
        };
        let message = v1::GetStatusResponse {
            header: Some(header),
            nodes,
            alarms,
            ..v1::GetStatusResponse::default()
        };
        message.try_into().expect("valid")
    }

    #[test]
    fn what_is_not_known_of_a_node_is_no_number() {
        let dead = v1::NodeStatus {
            node_id: 2,
            client_endpoint: "b:7311".to_owned(),
            reason: "tcp connect error".to_owned(),
            ..v1::NodeStatus::default()
        };
        let alive = v1::NodeStatus {
            node_id: 1,
            version: "0.1.0".to_owned(),
            role: v1::Role::LeaderWithoutQuorum.into(),
            ..v1::NodeStatus::default()
        };
        let cluster = cluster_of(vec![alive, dead], Vec::new());
        let [alive, dead] = &cluster.nodes[..] else {
            panic!("{cluster:?}");
        };
        let shown = row(&cluster, dead);
        assert_eq!(shown[1], "unknown");
        assert_eq!(shown[3..11], ["-"; 8]);
        let json = node_json(&cluster, dead);
        for name in ["term", "sequence", "applied_log_index", "disk_bytes"] {
            assert_eq!(json[name], Value::Null, "{name}");
            assert_eq!(node_json(&cluster, alive)[name], 0, "{name}");
        }
        assert_eq!(row(&cluster, alive)[1], "leader without quorum");
    }

    #[test]
    fn lost_quorum_is_told_from_an_election() {
        let of = |kind: Option<v1::AlarmKind>| {
            let alarm = |kind: v1::AlarmKind| v1::Alarm {
                kind: kind.into(),
                ..v1::Alarm::default()
            };
            has_quorum(&cluster_of(
                Vec::new(),
                kind.map(alarm).into_iter().collect(),
            ))
        };
        assert!(of(None) && of(Some(v1::AlarmKind::NodeUnreachable)));
        assert!(!of(Some(v1::AlarmKind::NoQuorum)));
        assert!(!of(Some(v1::AlarmKind::JointConfiguration)));
    }

    #[test]
    fn voter_of_the_configuration_that_is_left_alone_is_being_removed() {
        let set = |ids: &[u64]| v1::VoterSet {
            node_ids: ids.to_vec(),
        };
        let mut membership = v1::Membership {
            voter_sets: vec![set(&[1, 2, 3]), set(&[1, 3, 4])],
            ..v1::Membership::default()
        };
        let goes = |membership: &v1::Membership| {
            let ids = (1..=5).filter(|id| is_being_removed(membership, *id));
            ids.collect::<Vec<u64>>()
        };
        assert_eq!(goes(&membership), [2]);
        membership.voter_sets.remove(0);
        assert_eq!(goes(&membership), [0_u64; 0]);
    }

    #[test]
    fn line_has_120_characters_unless_all_columns_are_asked_for() {
        let cells = |id: &str, health: &str| {
            [
                id,
                "unknown, votes",
                "192.168.100.101:65535",
                "1234",
                "1234567890",
                "1234567890",
                "123456",
                "1234.5 GiB",
                "0.1.0",
                "level 1",
                "186f81a26c88",
                health,
            ]
            .map(str::to_owned)
        };
        let reason = "unreachable since 2026-11-26T17:22:15Z: tcp connect error";
        let rows = || vec![cells("1", "ok"), cells("2", reason)];
        let table = nodes_table(rows(), false);
        for line in table.lines() {
            assert!(line.trim_end().chars().count() <= 120, "{line}");
        }
        assert!(table.contains("unreachable since"), "{table}");
        assert!(!table.contains("HISTORY ROOT"), "{table}");
        let wide = nodes_table(rows(), true);
        for text in ["TERM", "APPLIED", "HISTORY ROOT", reason] {
            assert!(wide.contains(text), "{wide}");
        }
    }

    #[test]
    fn settings_of_intents_are_no_json() {
        let settings = IntentSettings {
            tau: 0.5,
            floor: 0.25,
            count_cap: 64,
            ..IntentSettings::default()
        };
        let short = intents_line(settings, false);
        assert_eq!(short, "intents: tau 0.5, rho 0.0, prior 0.0, floor 0.25");
        let all = intents_line(settings, true);
        assert!(all.contains("count_cap 64"), "{all}");
    }

    #[test]
    fn settings_are_shown_as_they_were_given() {
        for (stored, shown) in [
            (0.850006103515625, "0.85"),
            (0.14999999850988388, "0.15"),
            (0.05000000074505806, "0.05"),
            (0.5, "0.5"),
            (1.0, "1.0"),
        ] {
            assert_eq!(format!("{:?}", decimal(stored)), shown);
        }
        let odd = 0.123_456_78;
        assert!((decimal(odd) - odd).abs() < 1e-5);
    }
}
