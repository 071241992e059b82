//! The state of a cluster as a table, with lines above and below.

use anyhow::Result;
use toka_client::{ClusterStatus, NodeStatus};
use toka_proto::v1::{self, IntentSettings};

use super::document::intents_json;
use super::{
    alarm_kind, answered, has_quorum, health, is_joint, member, or_dash, role_of_member,
    scrub_result, size,
};
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

/// Writes it, with all columns if it `is_wide`.
pub(super) fn show(status: &ClusterStatus, is_wide: bool) -> Result<()> {
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

/// When the nodes were last looked through, once one was.
pub(super) fn scrub_line<'a>(nodes: impl Iterator<Item = &'a v1::NodeStatus>) -> Option<String> {
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

/// The settings for people: by name and value.
pub(super) fn intents_line(settings: IntentSettings, is_wide: bool) -> String {
    let all = intents_json(settings);
    let others = all.as_object().into_iter().flatten();
    let others = others.map(|(name, _)| name.as_str());
    let others = others.filter(|name| is_wide && !INTENTS_SHORT.contains(name));
    let names = INTENTS_SHORT.into_iter().chain(others);
    let shown: Vec<_> = names.map(|name| format!("{name} {}", all[name])).collect();
    format!("intents: {}", shown.join(", "))
}

/// The rows under their header. Without all columns a line has 120 characters at most: the health is cut, of which
/// JSON and the alarms have the rest.
pub(super) fn nodes_table(mut rows: Vec<[String; COLUMNS.len()]>, is_wide: bool) -> String {
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

pub(super) fn row(cluster: &ClusterStatus, status: &NodeStatus) -> [String; COLUMNS.len()] {
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
