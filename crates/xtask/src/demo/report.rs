//! What the demo prints at its end.

use std::fmt;
use std::time::Duration;

use super::toka::{Bench, Intent, NodeStatus, Utterance};

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
    /// Intents with at least five events.
    pub(crate) intents_found: usize,
    /// The largest of them.
    pub(crate) intents: Vec<Intent>,
}

/// Characters of an example.
const EXAMPLE_CHARACTERS: usize = 34;

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
            "intents         {} with five events or more; the largest, and the events nearest to their \
             centres:",
            self.intents_found
        )?;
        for intent in &self.intents {
            let examples: Vec<_> = intent.examples.iter().map(example).collect();
            writeln!(f, "  {:4} events  {}", intent.events, examples.join(" | "))?;
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

fn example(event: &Utterance) -> String {
    let text = &event.payload.text;
    match text.char_indices().nth(EXAMPLE_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::toka::Spoken;
    use super::*;

    fn utterance(text: &str) -> Utterance {
        let text = text.to_owned();
        Utterance {
            payload: Spoken { text },
        }
    }

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
            intents_found: 31,
            intents: vec![Intent {
                events: 57,
                examples: vec![utterance("wake me up at seven"), utterance("set an alarm")],
            }],
        };
        let text = report.to_string();
        for expected in [
            "node 3 (follower): 9 events",
            "aa",
            "bb",
            "412 ms",
            "1234 commits/s",
            "31 with five",
            "57 events  wake me up at seven | set an alarm",
        ] {
            assert!(text.contains(expected), "{expected} is not in:\n{text}");
        }
    }
}
