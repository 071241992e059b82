//! What must always hold, checked as it happens.
//!
//! There is one history: whoever shows a place of it, in an answer, a read, a subscription or a position, must show
//! the same as everybody else, before and after any fault.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use toka_ledger::credentials::is_audit_kind;
use toka_ledger::read::Position;
use toka_ledger::{Digest, EventHeader};

/// What was acknowledged when an operation began: it must be seen by the operation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Floor {
    pub(crate) revision: u64,
    pub(crate) sequence: u64,
}

/// The history as far as anybody has shown it. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Oracle(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Event at each sequence.
    events: BTreeMap<u64, Digest>,
    sequences: BTreeMap<Digest, u64>,
    /// Payloads of clients differ, so each comes once; the audit may say the same again.
    payloads: BTreeMap<Digest, u64>,
    /// Position at each revision.
    positions: BTreeMap<u64, Position>,
    acknowledged: BTreeMap<u64, Digest>,
    floor: Floor,
    checks: u64,
    violation: Option<String>,
}

impl State {
    fn fail(&mut self, what: impl Display) {
        self.violation.get_or_insert(what.to_string());
    }

    fn see(&mut self, whose: &str, header: &EventHeader) {
        self.checks += 1;
        let EventHeader {
            sequence,
            digest,
            kind,
            payload_digest,
            ..
        } = header;
        let known = *self.events.entry(*sequence).or_insert(*digest);
        if known != *digest {
            self.fail(format!(
                "{whose} has {digest:?} at sequence {sequence}, where others have {known:?}"
            ));
        }
        let first = *self.sequences.entry(*digest).or_insert(*sequence);
        let by_payload = match is_audit_kind(kind.as_str()) {
            true => *sequence,
            false => *self.payloads.entry(*payload_digest).or_insert(*sequence),
        };
        for other in [first, by_payload] {
            if other != *sequence {
                self.fail(format!(
                    "{whose} has the event of sequence {other} at {sequence} again"
                ));
            }
        }
    }
}

impl Oracle {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something does not hold.
    pub(crate) fn fail(&self, what: impl Display) {
        self.lock().fail(what);
    }

    /// The first thing that did not hold.
    pub(crate) fn violation(&self) -> Option<String> {
        self.lock().violation.clone()
    }

    /// Number of comparisons so far.
    pub(crate) fn checks(&self) -> u64 {
        self.lock().checks
    }

    pub(crate) fn floor(&self) -> Floor {
        self.lock().floor
    }

    /// All that was acknowledged: sequence and digest.
    pub(crate) fn acknowledged(&self) -> BTreeMap<u64, Digest> {
        self.lock().acknowledged.clone()
    }

    /// Whether nobody has shown another event at this sequence.
    pub(crate) fn is(&self, sequence: u64, digest: Digest) -> bool {
        let known = self.lock().events.get(&sequence).copied();
        known.is_none_or(|known| known == digest)
    }

    /// A node is at this position.
    pub(crate) fn at(&self, node: &str, position: &Position) {
        let mut state = self.lock();
        state.checks += 1;
        let known = *state
            .positions
            .entry(position.revision)
            .or_insert(*position);
        if known != *position {
            state.fail(format!(
                "node {node} is at {position:?}, where others are at {known:?}"
            ));
        }
        let before = state.positions.range(..position.revision).next_back();
        let after = state.positions.range(position.revision + 1..).next();
        let runs_back = |early: &Position, late: &Position| {
            early.sequence > late.sequence || early.unix_ms > late.unix_ms
        };
        let is_wrong = before.is_some_and(|(_, early)| runs_back(early, position))
            || after.is_some_and(|(_, late)| runs_back(position, late));
        if is_wrong {
            state.fail(format!(
                "sequence or time run backwards around {position:?} of node {node}"
            ));
        }
    }

    /// Somebody shows an event.
    pub(crate) fn see(&self, whose: &str, header: &EventHeader) {
        self.lock().see(whose, header);
    }

    /// A client was told that its events are committed. `began`: what had been acknowledged when it first sent
    /// them.
    pub(crate) fn acknowledge(
        &self,
        client: &str,
        revision: u64,
        headers: &[EventHeader],
        payloads: &[Digest],
        began: Floor,
    ) {
        let mut state = self.lock();
        if headers.len() != payloads.len() {
            state.fail(format!("{client} got an answer for other events"));
        }
        for (header, payload) in headers.iter().zip(payloads) {
            state.see(client, header);
            if header.payload_digest != *payload {
                state.fail(format!("{client} got the header of another event"));
            }
            if header.sequence <= began.sequence {
                state.fail(format!(
                    "{client}: event {} was put before event {}, which was acknowledged before it was sent",
                    header.sequence, began.sequence
                ));
            }
            state.acknowledged.insert(header.sequence, header.digest);
            state.floor.sequence = state.floor.sequence.max(header.sequence);
        }
        state.floor.revision = state.floor.revision.max(revision);
    }

    /// A linearizable read has found this as the last event.
    pub(crate) fn read_up_to(&self, client: &str, sequence: u64, began: Floor) {
        let mut state = self.lock();
        state.checks += 1;
        if sequence < began.sequence {
            state.fail(format!(
                "a linearizable read of {client} ends at event {sequence}, before {}, which was acknowledged \
                 before it began",
                began.sequence
            ));
        }
        state.floor.sequence = state.floor.sequence.max(sequence);
    }

    /// A linearizable read was served at this position.
    pub(crate) fn read(&self, node: &str, position: &Position, began: Floor) {
        self.at(node, position);
        let mut state = self.lock();
        if position.revision < began.revision || position.sequence < began.sequence {
            state.fail(format!(
                "a linearizable read of node {node} is as of {position:?}, behind {began:?}, which was acknowledged \
                 before it began"
            ));
        }
        state.floor.revision = state.floor.revision.max(position.revision);
        state.floor.sequence = state.floor.sequence.max(position.sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(revision: u64, sequence: u64) -> Position {
        Position {
            revision,
            sequence,
            unix_ms: 1,
            history_root: Digest([sequence as u8; 32]),
            state_digest: Digest([revision as u8; 32]),
        }
    }

    #[test]
    fn equal_positions_pass_and_others_do_not() {
        let oracle = Oracle::default();
        oracle.at("1", &position(5, 4));
        oracle.at("2", &position(5, 4));
        oracle.at("2", &position(7, 4));
        assert_eq!(oracle.violation(), None);
        oracle.at("3", &position(5, 3));
        assert!(oracle.violation().is_some());
    }

    #[test]
    fn sequence_that_runs_backwards_is_found() {
        for (first, second) in [((5, 4), (6, 3)), ((6, 3), (5, 4))] {
            let oracle = Oracle::default();
            oracle.at("1", &position(first.0, first.1));
            oracle.at("2", &position(second.0, second.1));
            assert!(oracle.violation().is_some());
        }
    }

    #[test]
    fn stale_linearizable_read_is_found() {
        let oracle = Oracle::default();
        oracle.read("1", &position(5, 4), Floor::default());
        let began = oracle.floor();
        oracle.read("2", &position(5, 4), began);
        assert_eq!(oracle.violation(), None);
        oracle.read("2", &position(4, 4), began);
        assert!(oracle.violation().is_some());
    }
}
