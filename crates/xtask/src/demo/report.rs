//! What the demo prints at its end.

use std::fmt;
use std::time::Duration;

use super::toka::{Bench, NodeStatus};

/// The outcome of a demo that passed.
pub(crate) struct Report {
    pub(crate) nodes: Vec<NodeStatus>,
    /// Events that were listed from each of `nodes`.
    pub(crate) events: Vec<usize>,
    pub(crate) acknowledged: usize,
    pub(crate) killed: u64,
    pub(crate) gap: Duration,
    /// Events per second of the import at full speed.
    pub(crate) bulk_rate: f64,
    pub(crate) bench: Bench,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        for (node, events) in self.nodes.iter().zip(&self.events) {
            let role = node.role.as_deref().unwrap_or("?");
            writeln!(f, "node {} ({role}): {events} events", node.node_id)?;
            writeln!(
                f,
                "  history root  {}",
                node.history_root.as_deref().unwrap_or("?")
            )?;
            writeln!(
                f,
                "  state digest  {}",
                node.state_digest.as_deref().unwrap_or("?")
            )?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "failover gap    {} ms (the longest time between two acknowledgements when the leader, \
             node {}, was killed)",
            self.gap.as_millis(),
            self.killed
        )?;
        let Bench {
            commits_per_second,
            p50_ms,
            p99_ms,
            acknowledged,
        } = &self.bench;
        writeln!(
            f,
            "commit rate     {commits_per_second:.0} commits/s (64 clients, 256 B payloads, \
             {acknowledged} commits; p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms)"
        )?;
        writeln!(
            f,
            "import rate     {:.0} events/s (one importer, through a follower)",
            self.bulk_rate
        )?;
        writeln!(
            f,
            "checked         {} acknowledged events on {} nodes and on the subscription: none missing, \
             none doubled, none out of order",
            self.acknowledged,
            self.nodes.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_has_counts_digests_gap_and_rate() {
        let node = |node_id| NodeStatus {
            node_id,
            role: Some("follower".into()),
            sequence: Some(9),
            history_root: Some("aa".into()),
            state_digest: Some("bb".into()),
            healthy: true,
        };
        let report = Report {
            nodes: vec![node(1), node(2), node(3)],
            events: vec![9, 9, 9],
            acknowledged: 7,
            killed: 2,
            gap: Duration::from_millis(412),
            bulk_rate: 10.0,
            bench: Bench {
                commits_per_second: 1234.4,
                p50_ms: 1.0,
                p99_ms: 2.0,
                acknowledged: 2,
            },
        };
        let text = report.to_string();
        for expected in [
            "node 3 (follower): 9 events",
            "aa",
            "bb",
            "412 ms",
            "1234 commits/s",
        ] {
            assert!(text.contains(expected), "{expected} is not in:\n{text}");
        }
    }
}
