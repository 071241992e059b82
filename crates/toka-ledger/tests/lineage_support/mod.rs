//! Agents that work side by side, and questions about what they have committed: for a test and a benchmark.

use toka_ledger::command::{Command, Commit, ParentName, PreparedEvent};
use toka_ledger::engine::Durability;
use toka_ledger::read::lineage::{DifferenceQuery, Heads, Query, Relation};
use toka_ledger::{
    Attributes, Digest, Kind, Ledger, LogMark, Outcome, Reader, Salt, Selector, hash,
};

/// Time of every command, milliseconds since the Unix epoch.
pub(crate) const NOW: u64 = 1_700_000_000_000;

/// Agents that take turns, each on a chain of its own, and take over what a neighbour has now and then.
pub(crate) struct Agents {
    pub(crate) count: u64,
    /// Whether the event of a sequence is a child of the one before it, too.
    pub(crate) merges: fn(u64) -> bool,
    /// Events of a commit.
    pub(crate) batch: u64,
}

impl Agents {
    /// Has them commit so many events to a vault that has none.
    pub(crate) fn work(&self, ledger: &mut Ledger, events: u64) {
        // Digests of the agents' newest events.
        let mut newest: Vec<Option<Digest>> = vec![None; self.count as usize];
        for first in (1..=events).step_by(self.batch as usize) {
            let last = events.min(first + self.batch - 1);
            let batch = (first..=last).map(|n| self.event(n, first, &newest));
            let commit = Commit {
                unix_ms: NOW,
                events: batch.collect(),
                preconditions: Vec::new(),
            };
            let Outcome::Committed { headers, .. } = apply(ledger, Command::Commit(commit)) else {
                panic!("refused");
            };
            for header in headers {
                newest[self.agent(header.sequence)] = Some(header.digest);
            }
        }
    }

    fn agent(&self, sequence: u64) -> usize {
        (sequence % self.count) as usize
    }

    /// The event that gets the sequence `n`, in a batch that begins at `first`.
    fn event(&self, n: u64, first: u64, newest: &[Option<Digest>]) -> PreparedEvent {
        let newest_before = |back: u64| {
            let sequence = n.checked_sub(back).filter(|sequence| *sequence > 0)?;
            if sequence >= first {
                let index = u16::try_from(sequence - first).expect("a batch is small");
                return Some(ParentName::Batch(index));
            }
            newest[self.agent(sequence)].map(ParentName::Digest)
        };
        let mut parents: Vec<_> = newest_before(self.count).into_iter().collect();
        if (self.merges)(n) {
            parents.extend(newest_before(1));
        }
        let payload = n.to_string();
        PreparedEvent {
            kind: Kind::new("work.done").expect("valid"),
            payload_digest: hash::payload_digest(payload.as_bytes()),
            payload: payload.into(),
            salt: Salt::default(),
            parents,
            embedding: None,
            model: None,
            attributes: Attributes::default(),
        }
    }
}

/// Applies a command by itself.
pub(crate) fn apply(ledger: &mut Ledger, command: Command) -> Outcome {
    let outcomes = ledger.apply(&[command], LogMark::default(), Durability::Volatile);
    let mut outcomes = outcomes.expect("applies");
    outcomes.pop().expect("one for each command")
}

/// How many events a walk from the event `from` comes to, which asks for `events_max`.
pub(crate) fn walk(reader: &Reader, from: u64, relation: Relation, events_max: u64) -> u64 {
    let query = Query {
        events_max,
        ..Query::new(Selector::Sequence(from), relation)
    };
    let mut walk = reader.walk(&query).expect("the event is there");
    let mut count = 0;
    while let Some(relatives) = walk.step().expect("readable") {
        count += relatives.len() as u64;
    }
    count
}

/// How many of the event `of` and what was before it are neither `without` nor before that.
pub(crate) fn difference(reader: &Reader, without: u64, of: u64) -> u64 {
    let query = DifferenceQuery {
        without: Selector::Sequence(without),
        of: Selector::Sequence(of),
        until: u64::MAX,
        events_max: u64::MAX,
        kind_prefixes: Vec::new(),
    };
    let mut difference = reader.difference(&query).expect("both are there");
    let mut count = 0;
    while let Some(headers) = difference.step().expect("readable") {
        count += headers.len() as u64;
    }
    count
}

/// How many nearest common ancestors two events have.
pub(crate) fn common(reader: &Reader, first: u64, second: u64) -> u64 {
    let (first, second) = (Selector::Sequence(first), Selector::Sequence(second));
    let search = reader.common_ancestors(&first, &second, u64::MAX);
    let mut search = search.expect("both are there");
    let mut count = 0;
    while let Some(headers) = search.step().expect("readable") {
        count += headers.len() as u64;
    }
    count
}

/// How many heads there are, of which at most `limit` are asked for: each agent has about one.
pub(crate) fn heads(reader: &Reader, limit: usize) -> u64 {
    let heads = Heads {
        as_of: u64::MAX,
        from: u64::MAX,
        kind_prefixes: vec!["work".to_owned()],
        limit,
    };
    let page = reader.heads(&heads).expect("readable");
    page.headers.len() as u64
}
