//! What happened to traced commits, and when: the queue, this node's log, the quorum, apply.
//!
//! An entry has many commits, which are all in it from the same moment to the same moment. Each traced one has spans
//! of its own, so that its trace has everything; what the entry was is one span, in the trace of the first of them, to
//! which the others' are linked. The commits' contexts stay in the memory of the node that proposes: they are part of
//! no command, so nothing of them is replicated or hashed, and what other nodes apply is in no trace.

use std::time::Instant;

use toka_trace::{Clock, KeyValue, Parent, Stage};

use crate::log_store::DurableTimes;
use crate::type_config::LogId;

/// Commits of an entry that are traced: what proposes entries records them, and must be back for the next one in about a
/// millisecond.
const TRACED_MAX: usize = 128;

/// What a traced commit waits with.
#[derive(Debug)]
pub(crate) struct Traced {
    parent: Parent,
    queued: Instant,
}

impl Traced {
    /// Of the call that is worked on, if that is traced.
    pub(crate) fn current() -> Option<Self> {
        Parent::current().map(|parent| Self {
            parent,
            queued: Instant::now(),
        })
    }
}

/// An entry with at least one traced commit.
#[derive(Debug)]
pub(crate) struct TracedEntry {
    commits: Vec<Traced>,
    durable: DurableTimes,
    commands: usize,
    bytes: usize,
    taken: Instant,
    is_proposed: bool,
    committed: Option<(LogId, Instant)>,
    applied: Option<(Instant, Instant)>,
    failure: Option<&'static str>,
}

impl TracedEntry {
    /// Of `commands` commands in so many bytes, which leave the queue now. Of many traced ones the first are.
    pub(crate) fn of(
        mut commits: Vec<Traced>,
        durable: &DurableTimes,
        commands: usize,
        bytes: usize,
    ) -> Option<Self> {
        if commits.is_empty() {
            return None;
        }
        commits.truncate(TRACED_MAX);
        Some(Self {
            commits,
            durable: durable.clone(),
            commands,
            bytes,
            taken: Instant::now(),
            is_proposed: false,
            committed: None,
            applied: None,
            failure: None,
        })
    }

    /// Raft is given the entry.
    pub(crate) fn proposed(&mut self) {
        self.is_proposed = true;
    }

    /// A quorum has it.
    pub(crate) fn committed(&mut self, log_id: LogId) {
        self.committed = Some((log_id, Instant::now()));
    }

    /// It was applied here, from when to when.
    pub(crate) fn applied(&mut self, during: Option<(Instant, Instant)>) {
        self.applied = during;
    }

    /// It came to nothing, or nobody knows to what.
    pub(crate) fn failed(&mut self, reason: &'static str) {
        self.failure = Some(reason);
    }

    /// Records it all. The answers are given before: nobody waits for this.
    pub(crate) fn record(self) {
        let (clock, now) = (Clock::now(), Instant::now());
        for commit in &self.commits {
            let failure = self.failure.filter(|_| !self.is_proposed);
            let queue = Stage {
                failure,
                ..Stage::new("raft.queue", commit.queued, self.taken)
            };
            commit.parent.record(queue, &clock);
        }
        let Some(first) = self.commits.first().filter(|_| self.is_proposed) else {
            return;
        };
        let entry = Stage {
            attributes: self.attributes(),
            links: self
                .commits
                .iter()
                .map(|commit| commit.parent.recorded())
                .collect(),
            failure: self.failure,
            ..Stage::new("raft.entry", self.taken, now)
        };
        let entry = first.parent.record(entry, &clock);
        for commit in &self.commits {
            for stage in self.stages(now) {
                let links = vec![entry.clone()];
                commit.parent.record(Stage { links, ..stage }, &clock);
            }
        }
    }

    fn attributes(&self) -> Vec<KeyValue> {
        let mut attributes = vec![
            KeyValue::new("toka.entry.commands", number(self.commands as u64)),
            KeyValue::new("toka.entry.bytes", number(self.bytes as u64)),
        ];
        if let Some((log_id, _)) = &self.committed {
            attributes.push(KeyValue::new(
                "toka.log.term",
                number(log_id.leader_id.term),
            ));
            attributes.push(KeyValue::new("toka.log.index", number(log_id.index)));
        }
        attributes
    }

    /// As far as it came. Log and quorum begin together: followers are sent an entry while this node syncs it.
    fn stages(&self, now: Instant) -> impl Iterator<Item = Stage> {
        let index = self.committed.map(|(log_id, _)| log_id.index);
        let durable = index.and_then(|index| self.durable.of(index));
        let append = durable.map(|ended| Stage::new("raft.append", self.taken, ended));
        let replicated = self.committed.map_or(now, |(_, when)| when);
        let replicate = Stage {
            failure: self.failure.filter(|_| self.committed.is_none()),
            ..Stage::new("raft.replicate", self.taken, replicated)
        };
        let apply = self
            .applied
            .map(|(began, ended)| Stage::new("raft.apply", began, ended));
        append.into_iter().chain([replicate]).chain(apply)
    }
}

/// Attributes have no unsigned numbers.
fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
