//! `toka cluster top`: what the nodes do, again and again.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use serde_json::{Value, json};
use toka_client::{Client, ClusterStatus, Error, NodeStatus};
use toka_proto::v1;

use super::{has_leader, status};
use crate::cli::{Format, Top};
use crate::output;
use crate::target::failure;

/// Longest that one look may take: what is on the screen is not older than that and the interval.
pub(super) const LOOK_MAX: Duration = Duration::from_secs(5);
const COLUMNS: [&str; 12] = [
    "node",
    "role",
    "endpoint",
    "sequence",
    "events/s",
    "commands/s",
    "lag",
    "to apply",
    "rtt ms",
    "disk",
    "growth/s",
    "health",
];
/// Characters of the last cell; `toka cluster status --wide` has all of it.
const HEALTH_CHARS_MAX: usize = 40;
/// To the corner of the screen.
const HOME: &str = "\u{1b}[H";
/// What is left of what a line, and the screen, showed before.
const CLEAR_LINE: &str = "\u{1b}[K";
const CLEAR_BELOW: &str = "\u{1b}[J";
const CLEAR_ALL: &str = "\u{1b}[2J";

/// The state of the cluster when it was asked for.
struct Look {
    at: Instant,
    status: ClusterStatus,
}

/// What a node did in a second, between two looks.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rates {
    events: f64,
    commands: f64,
    log_entries: f64,
    /// Negative: its data directory has become smaller.
    disk_bytes: f64,
}

/// Shows the cluster every interval until Ctrl-C, or once.
pub(super) async fn run(client: &Client, flags: &Top, format: Format) -> Result<()> {
    tokio::select! {
        done = tokio::signal::ctrl_c() => Ok(done?),
        ended = watch(client, flags, format) => ended,
    }
}

async fn watch(client: &Client, flags: &Top, format: Format) -> Result<()> {
    let is_screen = format == Format::Table && !flags.once && io::stdout().is_terminal();
    let mut before: Option<Look> = None;
    if is_screen {
        output::bytes(CLEAR_ALL.as_bytes())?;
    }
    loop {
        match look(client).await {
            Ok(now) if flags.once && before.is_none() => before = Some(now),
            Ok(now) => {
                show(before.as_ref(), &now, format, is_screen)?;
                if flags.once {
                    return has_leader(&now.status);
                }
                before = Some(now);
            }
            // Nodes come back: who watches wants to see it.
            Err(error) if is_screen && error.is_retryable() => {
                let error = crate::failure::describe(&failure(error));
                output::bytes(on_screen(&format!("{}\n{error}", clock())).as_bytes())?;
            }
            Err(error) => return Err(failure(error)),
        }
        tokio::time::sleep(flags.interval).await;
    }
}

async fn look(client: &Client) -> Result<Look, Error> {
    let status = client.cluster_status().await?;
    let at = Instant::now();
    Ok(Look { at, status })
}

fn show(before: Option<&Look>, now: &Look, format: Format, is_screen: bool) -> Result<()> {
    let view = View::of(before, now);
    match format {
        Format::Json => output::json(&view.json()),
        Format::Table if is_screen => output::bytes(on_screen(&view.text()).as_bytes()),
        Format::Table => output::line(&view.text()),
    }
}

/// The text over what the screen shows, without a moment at which it is empty.
fn on_screen(text: &str) -> String {
    let lines = text.lines().map(|line| format!("{line}{CLEAR_LINE}\n"));
    format!("{HOME}{}{CLEAR_BELOW}", lines.collect::<String>())
}

fn clock() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// What is shown: the nodes with their rates, where there are any.
struct View<'a> {
    status: &'a ClusterStatus,
    nodes: Vec<(&'a NodeStatus, Option<Rates>)>,
    /// Since the look before.
    elapsed: Option<Duration>,
}

impl<'a> View<'a> {
    fn of(before: Option<&Look>, now: &'a Look) -> Self {
        let history_id = now.status.header.history_id;
        // After a recovery sequences begin elsewhere.
        let before = before.filter(|before| before.status.header.history_id == history_id);
        let elapsed = before.map(|before| now.at.duration_since(before.at));
        let rates = |node: &v1::NodeStatus| {
            let nodes = &before?.status.nodes;
            let earlier = nodes.iter().find(|one| one.node.node_id == node.node_id)?;
            Rates::between(&earlier.node, node, elapsed?)
        };
        let nodes = now.status.nodes.iter();
        Self {
            status: &now.status,
            nodes: nodes.map(|node| (node, rates(&node.node))).collect(),
            elapsed,
        }
    }

    /// Events that the cluster commits in a second: those of the node that applies most.
    fn events(&self) -> Option<f64> {
        let rates = self.nodes.iter().filter_map(|(_, rates)| *rates);
        rates.map(|rates| rates.events).reduce(f64::max)
    }

    fn text(&self) -> String {
        let status = self.status;
        let leader = match status.leader_id {
            Some(id) => format!("node {id}"),
            None if status::has_quorum(status) => "none".to_owned(),
            None => "none (no quorum)".to_owned(),
        };
        let mut text = format!(
            "{}  cluster {:032x}, leader {leader}, term {}, {} events/s\n",
            clock(),
            status.header.cluster_id,
            status.header.term,
            status::or_dash(self.events().map(rate)),
        );
        let mut table = output::table(&COLUMNS);
        for (node, rates) in &self.nodes {
            table.add_row(self.row(node, *rates));
        }
        text.push_str(&table.to_string());
        for alarm in &status.alarms {
            let kind = status::alarm_kind(alarm);
            text.push_str(&format!("\nALARM {kind}: {}", alarm.message));
        }
        text
    }

    fn row(&self, status: &NodeStatus, rates: Option<Rates>) -> [String; COLUMNS.len()] {
        let node = &status.node;
        let known = |text: String| status::or_dash(status::answered(node).then_some(text));
        let rated = |of: fn(Rates) -> f64| status::or_dash(rates.map(|rates| rate(of(rates))));
        let health = status::health(self.status, node);
        [
            node.node_id.to_string(),
            status::role_of_member(self.status, status),
            node.client_endpoint.clone(),
            known(node.sequence.to_string()),
            rated(|rates| rates.events),
            rated(|rates| rates.commands),
            status::or_dash(node.lag_entries.map(|lag| lag.to_string())),
            known(to_apply(node).to_string()),
            status::or_dash(self.round_trip_us(node).map(milliseconds)),
            known(status::size(node.disk_bytes)),
            status::or_dash(rates.map(|rates| growth(rates.disk_bytes))),
            output::cut(&health, HEALTH_CHARS_MAX),
        ]
    }

    fn round_trip_us(&self, node: &v1::NodeStatus) -> Option<u64> {
        status::member(self.status, node.node_id)?.round_trip_us
    }

    fn json(&self) -> Value {
        let status = self.status;
        let nodes = self.nodes.iter();
        json!({
            "time": clock(),
            "interval_ms": self.elapsed.map(|elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)),
            "cluster_id": format!("{:032x}", status.header.cluster_id),
            "history_id": output::history(status.header.history_id),
            "leader_id": status.leader_id,
            "term": status.header.term,
            "events_per_second": self.events(),
            "nodes": nodes.map(|(node, rates)| self.node_json(node, *rates)).collect::<Vec<_>>(),
            "alarms": status.alarms.iter().map(status::alarm_json).collect::<Vec<_>>(),
        })
    }

    fn node_json(&self, status: &NodeStatus, rates: Option<Rates>) -> Value {
        let node = &status.node;
        let known = |number: u64| status::answered(node).then_some(number);
        json!({
            "node_id": node.node_id,
            "role": status::role(status),
            "endpoint": node.client_endpoint,
            "sequence": known(node.sequence),
            "revision": known(node.revision),
            "lag_entries": node.lag_entries,
            "entries_to_apply": known(to_apply(node)),
            "round_trip_us": self.round_trip_us(node),
            "disk_bytes": known(node.disk_bytes),
            "events_per_second": rates.map(|rates| rates.events),
            "commands_per_second": rates.map(|rates| rates.commands),
            "log_entries_per_second": rates.map(|rates| rates.log_entries),
            "disk_bytes_per_second": rates.map(|rates| rates.disk_bytes),
            "healthy": node.healthy,
            "reason": node.reason,
        })
    }
}

impl Rates {
    /// Absent if the node did not answer both times, or has less than before: it was replaced, or began anew.
    fn between(before: &v1::NodeStatus, now: &v1::NodeStatus, elapsed: Duration) -> Option<Self> {
        let have_answered = status::answered(before) && status::answered(now);
        if !have_answered || elapsed.is_zero() {
            return None;
        }
        let seconds = elapsed.as_secs_f64();
        let rate = |before: u64, now: u64| Some(now.checked_sub(before)? as f64 / seconds);
        Some(Self {
            events: rate(before.sequence, now.sequence)?,
            commands: rate(before.revision, now.revision)?,
            log_entries: rate(before.applied_log_index, now.applied_log_index)?,
            disk_bytes: (now.disk_bytes as f64 - before.disk_bytes as f64) / seconds,
        })
    }
}

/// Entries that the node knows to be committed, and has not applied.
fn to_apply(node: &v1::NodeStatus) -> u64 {
    node.committed_log_index
        .saturating_sub(node.applied_log_index)
}

/// Few digits, and as many as matter.
fn rate(rate: f64) -> String {
    match rate {
        100.0.. => format!("{rate:.0}"),
        _ => format!("{rate:.1}"),
    }
}

fn milliseconds(us: u64) -> String {
    format!("{}.{}", us / 1_000, us % 1_000 / 100)
}

/// With a sign where the directory has become smaller.
fn growth(bytes: f64) -> String {
    let sign = if bytes <= -1.0 { "-" } else { "" };
    // Saturates.
    format!("{sign}{}", status::size(bytes.abs() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(node_id: u64, sequence: u64) -> v1::NodeStatus {
        v1::NodeStatus {
            node_id,
            sequence,
            revision: sequence / 10,
            applied_log_index: sequence / 10,
            committed_log_index: sequence / 10 + 3,
            disk_bytes: 4_096,
            version: "0.1.0".to_owned(),
            role: v1::Role::Follower.into(),
            healthy: true,
            ..v1::NodeStatus::default()
        }
    }

    fn look(at: Instant, history: u8, nodes: Vec<v1::NodeStatus>) -> Look {
        let header = v1::ResponseHeader {
            cluster_id: vec![7; 16].into(),
            history_id: vec![history; 16].into(),
            ..v1::ResponseHeader::default()
        };
        let message = v1::GetStatusResponse {
            header: Some(header),
            leader_id: Some(1),
            nodes,
            ..v1::GetStatusResponse::default()
        };
        let status = message.try_into().expect("valid");
        Look { at, status }
    }

    #[test]
    fn rates_are_of_the_time_between_two_answers() {
        let second = Duration::from_secs(2);
        let rates = Rates::between(&node(1, 100), &node(1, 300), second).expect("both answered");
        assert_eq!((rates.events, rates.commands), (100.0, 10.0));
        assert_eq!((rates.log_entries, rates.disk_bytes), (10.0, 0.0));
        let unknown = v1::NodeStatus::default();
        for (before, now, elapsed) in [
            (&unknown, &node(1, 3), second),
            (&node(1, 3), &unknown, second),
            (&node(1, 3), &node(1, 2), second),
            (&node(1, 3), &node(1, 4), Duration::ZERO),
        ] {
            assert_eq!(Rates::between(before, now, elapsed), None);
        }
    }

    #[test]
    fn a_node_that_is_new_or_silent_has_no_rate() {
        let first = Instant::now();
        let before = look(first, 1, vec![node(1, 10), node(2, 10)]);
        let silent = v1::NodeStatus {
            node_id: 2,
            ..v1::NodeStatus::default()
        };
        let now = look(
            first + Duration::from_secs(1),
            1,
            vec![node(1, 30), silent, node(3, 30)],
        );
        let shown = View::of(Some(&before), &now).json();
        assert_eq!(shown["events_per_second"], 20.0);
        assert_eq!(shown["interval_ms"], 1_000);
        assert_eq!(shown["nodes"][0]["events_per_second"], 20.0);
        assert_eq!(shown["nodes"][0]["entries_to_apply"], 3);
        assert_eq!(shown["nodes"][1]["sequence"], Value::Null);
        for silent in [1, 2] {
            assert_eq!(shown["nodes"][silent]["events_per_second"], Value::Null);
        }
    }

    #[test]
    fn another_history_has_no_rates_yet() {
        let first = Instant::now();
        let before = look(first, 1, vec![node(1, 10)]);
        let now = look(first + Duration::from_secs(1), 2, vec![node(1, 30)]);
        let view = View::of(Some(&before), &now);
        assert_eq!(view.events(), None);
        assert!(view.text().contains("- events/s"), "{}", view.text());
    }

    #[test]
    fn screen_is_drawn_over() {
        let drawn = on_screen("a\nb");
        assert_eq!(drawn, "\u{1b}[Ha\u{1b}[K\nb\u{1b}[K\n\u{1b}[J");
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(rate(0.26), "0.3");
        assert_eq!(rate(12_345.6), "12346");
        assert_eq!(milliseconds(1_250), "1.2");
        assert_eq!(growth(-2_048.0), "-2 KiB");
        assert_eq!(growth(2_048.5), "2 KiB");
    }
}
