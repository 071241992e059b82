//! What a verification says.

use std::collections::BTreeSet;
use std::fmt;

use crate::core::{Digest, EventId};
use crate::engine::Table;
use crate::error::Error;

/// Problems that a report lists; further ones are only counted.
pub const PROBLEMS_MAX: usize = 1_000;

/// How far a verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Events checked.
    pub checked: u64,
    /// Events there are.
    pub total: u64,
}

/// The result of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events checked.
    pub events: u64,
    /// Payloads found, each stored once however many events have it.
    pub payloads: u64,
    /// Embeddings found.
    pub embeddings: u64,
    /// Payloads and embeddings that were erased on purpose.
    pub erased: u64,
    /// Root over all events, recomputed; zeros where a header cannot be read.
    pub history_root: Digest,
    /// Last link of the state chain, as the vault has it.
    pub state_digest: Digest,
    /// Stretches of the state chain that were recomputed and agree (256 events each, the last one
    /// fewer).
    pub state_stretches: u64,
    /// Keys and values that were checked, bytes. What is read past the caches is not among them.
    pub bytes: u64,
    /// What is wrong, the first [`PROBLEMS_MAX`].
    pub problems: Vec<Problem>,
    /// How many problems there are.
    pub problems_total: u64,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_intact(&self) -> bool {
        self.problems_total == 0
    }

    /// The first problem that is damage beyond doubt ([`Problem::is_unreadable`]) as an error, by which a node knows
    /// that its ledger is damaged.
    #[must_use]
    pub fn first_damage(&self) -> Option<Error> {
        let mut unreadable = self.problems.iter().filter(|problem| problem.is_unreadable);
        unreadable.next().map(|problem| Error::Corrupt {
            table: problem.table.map_or("store", Table::name),
            key: problem
                .sequence
                .map_or_else(String::new, |sequence| format!("of event {sequence}")),
            detail: problem.detail.clone(),
        })
    }

    /// Adds what another thread has found.
    pub(super) fn add_problems(&mut self, found: Self) {
        self.problems_total += found.problems_total - found.problems.len() as u64;
        found
            .problems
            .into_iter()
            .for_each(|problem| self.problem(problem));
    }

    /// Adds those of an earlier look at tables of which this one says nothing.
    pub(super) fn add_untold(&mut self, earlier: Self) {
        let tables = self.problems.iter().map(|problem| problem.table);
        let told: BTreeSet<Option<Table>> = tables.collect();
        for problem in earlier.problems {
            if !told.contains(&problem.table) {
                self.problem(problem);
            }
        }
    }

    /// Adds a problem.
    pub fn problem(&mut self, problem: Problem) {
        self.problems_total += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        } else if problem.is_unreadable
            && !self.problems.iter().any(|known| known.is_unreadable)
            && let Some(last) = self.problems.last_mut()
        {
            *last = problem;
        }
    }

    /// Notes a problem of the event at `sequence`.
    pub(super) fn event(
        &mut self,
        sequence: u64,
        id: Option<EventId>,
        table: Table,
        detail: impl Into<String>,
    ) {
        let detail = detail.into();
        self.problem(Problem {
            sequence: Some(sequence),
            id,
            table: Some(table),
            detail,
            is_unreadable: false,
        });
    }

    /// Notes a problem of a row that belongs to no event.
    pub(super) fn row(&mut self, table: Table, detail: impl Into<String>) {
        let detail = detail.into();
        self.problem(Problem {
            sequence: None,
            id: None,
            table: Some(table),
            detail,
            is_unreadable: false,
        });
    }

    /// Notes that a row cannot be read.
    pub(super) fn unreadable_row(&mut self, table: Table, detail: impl Into<String>) {
        self.problem(Problem {
            sequence: None,
            id: None,
            table: Some(table),
            detail: detail.into(),
            is_unreadable: true,
        });
    }
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The event, where it is one's.
    pub sequence: Option<u64>,
    /// Its id, where its header can be read.
    pub id: Option<EventId>,
    /// The table.
    pub table: Option<Table>,
    /// What is wrong.
    pub detail: String,
    /// Its checksum is wrong, or its bytes are none that are ever written: stored data was damaged. Otherwise what is
    /// stored can be read and does not fit together. Not sent to clients.
    pub is_unreadable: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(sequence) = self.sequence {
            write!(f, "event {sequence}")?;
            if let Some(id) = self.id {
                write!(f, " ({id})")?;
            }
            f.write_str(": ")?;
        }
        if let Some(table) = self.table {
            write!(f, "table {table}: ")?;
        }
        f.write_str(&self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_read_is_damage_beyond_doubt() {
        let mut report = Report::default();
        for n in 0..=PROBLEMS_MAX {
            report.row(Table::Meta, format!("{n} does not fit"));
        }
        assert!(report.first_damage().is_none() && !report.is_intact());
        report.unreadable_row(Table::Kinds, "its checksum is wrong");
        let damage = report.first_damage().expect("damage").to_string();
        assert!(damage.contains("its checksum is wrong"), "{damage}");
        assert_eq!(report.problems.len(), PROBLEMS_MAX);
    }
}
