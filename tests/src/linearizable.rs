//! Whether a history of commits and linearizable reads can be explained by one order in which each took effect at
//! one moment between its call and its answer.
//!
//! The vault is one object: the whole prefix of its order. A commit appends and answers where; a read answers how
//! long the prefix is, and its Merkle root. Since every event ends up at a known place, the order in which the
//! operations took effect is known too, so that one pass over the history decides (`order`). The crate
//! `stateright` then searches for such an order by itself (`model`), in windows: its search is exponential.

mod model;
mod order;
mod recorder;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use toka_client::EventHeader;
use toka_ledger::credentials::is_audit_kind;
use toka_ledger::{Digest, Salt};

pub use self::recorder::{Recorder, Ticket};
use crate::history;

/// Bytes of a client's and of an event's number in the salt.
const NUMBER_BYTES: usize = 8;
/// Who has made the audit events: no client has this number.
const VAULT: u64 = u64::MAX;

/// What an event is called before it has a place: it is sent as its salt, so that no other event is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Who made it.
    pub client: u64,
    /// Which of its events.
    pub number: u64,
}

impl Name {
    /// Length 16: both numbers, big-endian.
    #[must_use]
    pub fn salt(self) -> Vec<u8> {
        [self.client.to_be_bytes(), self.number.to_be_bytes()].concat()
    }

    fn is_vault(&self) -> bool {
        self.client == VAULT
    }

    fn of(salt: &Salt) -> Option<Self> {
        let (client, number) = salt.as_bytes().split_at_checked(NUMBER_BYTES)?;
        Some(Self {
            client: u64::from_be_bytes(client.try_into().ok()?),
            number: u64::from_be_bytes(number.try_into().ok()?),
        })
    }
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// To append these, together.
    Commit(Vec<Name>),
    /// How far the order goes.
    Read,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The events have these places and digests.
    Committed(Vec<(u64, Digest)>),
    /// The order goes up to this event; 0: there is none.
    Seen {
        /// Its sequence.
        tail: u64,
        /// Its digest, if the answer had it.
        newest: Option<Digest>,
        /// The root of the history up to there, if the answer had it.
        root: Option<Digest>,
    },
    /// Nobody was told. A commit may have taken effect, then or later.
    Unknown,
}

/// A call and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What was asked for.
    pub call: Call,
    /// What came of it.
    pub outcome: Outcome,
    /// When it was called, nanoseconds of a clock that all operations share.
    pub invoked: u64,
    /// When it was answered.
    pub returned: u64,
}

/// The order as the nodes have it in the end.
#[derive(Debug)]
pub struct Log {
    names: Vec<Name>,
    digests: Vec<Digest>,
    /// Of every prefix, the empty one first.
    roots: Vec<Digest>,
    places: BTreeMap<Name, u64>,
    /// Events that the vault has made by itself.
    audit: Vec<Name>,
}

impl Log {
    /// The log of a node, whole. Audit events in it are the vault's.
    ///
    /// # Errors
    /// It has an event twice, or one that no client of the test has made.
    pub fn new(events: &[EventHeader]) -> Result<Self> {
        let name = |event: &EventHeader| {
            if is_audit_kind(event.kind.as_str()) {
                return Ok(Name {
                    client: VAULT,
                    number: event.sequence,
                });
            }
            let name = Name::of(&event.salt);
            name.with_context(|| format!("nobody has sent event {}", event.sequence))
        };
        let names = events.iter().map(name).collect::<Result<Vec<_>>>()?;
        let digests = events.iter().map(|event| event.digest).collect();
        Self::from_parts(names, digests, history::roots(events))
    }

    fn from_parts(names: Vec<Name>, digests: Vec<Digest>, roots: Vec<Digest>) -> Result<Self> {
        let mut places = BTreeMap::new();
        for (name, sequence) in names.iter().zip(1..) {
            if let Some(other) = places.insert(*name, sequence) {
                anyhow::bail!("{name:?} is doubled: it is at {other} and at {sequence}");
            }
        }
        Ok(Self {
            names,
            digests,
            roots,
            audit: places.keys().copied().filter(Name::is_vault).collect(),
            places,
        })
    }

    /// The commits that the vault has made by itself, beside something that somebody has asked for: when is not known.
    fn audit(&self) -> impl Iterator<Item = Operation> {
        self.audit.iter().map(|name| Operation {
            call: Call::Commit(vec![*name]),
            outcome: Outcome::Unknown,
            invoked: 0,
            returned: 0,
        })
    }

    /// Sequence of the last event.
    #[must_use]
    pub fn tail(&self) -> u64 {
        self.names.len() as u64
    }

    /// Digest of event `sequence`.
    fn digest(&self, sequence: u64) -> Option<Digest> {
        let index = usize::try_from(sequence).ok()?.checked_sub(1)?;
        self.digests.get(index).copied()
    }

    /// Name of event `sequence`.
    fn name(&self, sequence: u64) -> Option<Name> {
        let index = usize::try_from(sequence).ok()?.checked_sub(1)?;
        self.names.get(index).copied()
    }

    /// Root of the history up to event `sequence`.
    fn root(&self, sequence: u64) -> Option<Digest> {
        let index = usize::try_from(sequence).ok()?;
        self.roots.get(index).copied()
    }
}

/// What was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Commits that were acknowledged.
    pub acknowledged: u64,
    /// Commits without an answer that took effect.
    pub unknown_stored: u64,
    /// Commits without an answer that did not.
    pub unknown_absent: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Audit events.
    pub audit: u64,
    /// Histories that the checker of the crate has searched an order for.
    pub windows: u64,
}

/// Checks a history against the order that all nodes have come to, once nothing is under way any more.
///
/// # Errors
/// Says which operations contradict it or each other: an event is lost, doubled or elsewhere than acknowledged, a
/// batch is torn, a read is stale or shows what never was.
pub fn check(operations: &[Operation], log: &Log) -> Result<Checked> {
    let mut checked = Checked::default();
    let mut effects = Vec::new();
    for operation in operations {
        let effect = order::effect(operation, log)?;
        let count = match (&operation.call, &operation.outcome, &effect) {
            (Call::Commit(_), Outcome::Unknown, None) => &mut checked.unknown_absent,
            (Call::Commit(_), Outcome::Unknown, Some(_)) => &mut checked.unknown_stored,
            (Call::Commit(_), _, _) => &mut checked.acknowledged,
            (Call::Read, _, Some(_)) => &mut checked.reads,
            (Call::Read, _, None) => continue,
        };
        *count += 1;
        effects.extend(effect);
    }
    for operation in log.audit() {
        effects.extend(order::effect(&operation, log)?);
        checked.audit += 1;
    }
    effects.sort_by_key(order::Effect::key);
    order::is_whole(&effects, log)?;
    order::respects_time(&effects)?;
    for (before, window) in model::windows(&effects) {
        ensure!(
            model::is_linearizable(before, window, log)?,
            "stateright finds no order for {window:?} after {before}"
        );
        checked.windows += 1;
    }
    Ok(checked)
}

#[cfg(test)]
mod tests;
