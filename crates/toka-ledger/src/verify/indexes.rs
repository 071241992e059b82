//! Rows that no header asks for.

use std::sync::Arc;

use bytes::Bytes;

use super::ahead::Ahead;
use super::meta::stored_sequence;
use super::options::{Options, Pace};
use super::report::Report;
use super::rows::{Row, get};
use super::sums::{Lookups, Tables};
use super::walk::Walked;
use crate::codec::DecodeError;
use crate::core::EventHeader;
use crate::engine::{Direction, Engine, Table};
use crate::error::Error;
use crate::history::STORED_HEIGHTS;
use crate::store::{
    self, attributes, children, decode_sequence, encode_sequence, events, kinds, micros,
    payload_digests,
};

/// Tables whose rows follow from headers.
const TABLES: [Table; 10] = [
    Table::Headers,
    Table::Payloads,
    Table::PayloadDigests,
    Table::Events,
    Table::Embeddings,
    Table::Kinds,
    Table::Attributes,
    Table::Children,
    Table::Micros,
    Table::History,
];

/// How the indexes compare with the headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compared {
    /// What is wrong with them, if anything, is in the report.
    Told,
    /// Something is wrong that sums do not name, or may be, in these tables.
    Differs(Tables),
    /// It is to end.
    Ended,
}

/// Whether headers may be damaged, so that it is not known what they ask for.
pub(super) fn is_suspect(walked: &Walked, report: &Report) -> bool {
    !walked.damaged.is_empty() || report.problems_total > report.problems.len() as u64
}

/// Looks for rows that belong to no event, but for tables whose sums tell enough. Where all expected rows are there (or
/// were reported), it is enough to count, and to look at each row only in tables where the count is off.
pub(super) fn check_extra_rows(
    engine: &Arc<dyn Engine>,
    walked: Walked,
    lookups: Lookups,
    options: &Options,
    report: &mut Report,
) -> Result<Compared, Error> {
    let tables = TABLES.into_iter().filter(|table| !lookups.spares(*table));
    let tables: Vec<(Table, bool)> = tables
        .map(|table| {
            let mut problems = report.problems.iter();
            (table, problems.any(|problem| problem.table == Some(table)))
        })
        .collect();
    let is_suspect = is_suspect(&walked, report);
    let (engine, pace) = (Arc::clone(engine), options.pace.clone());
    let found = Ahead::start(options, tables.len() as u64, move |at| {
        let at = usize::try_from(at).expect("an index of that array");
        let (table, has_problem) = tables[at];
        let check = Check {
            engine: &*engine,
            table,
            walked: &walked,
            pace: pace.as_ref(),
            has_problem,
        };
        check.run(is_suspect)
    });
    for found in found {
        match found? {
            Some(found) => report.add_problems(found),
            None => return Ok(Compared::Ended),
        }
    }
    Ok(Compared::Told)
}

struct Check<'a> {
    engine: &'a dyn Engine,
    table: Table,
    walked: &'a Walked,
    pace: Option<&'a Pace>,
    /// Whether one of the table was told before.
    has_problem: bool,
}

/// What counting has come to.
enum Counted {
    Rows(u64),
    /// One belongs to no event for sure, or damage hides some.
    Unsure,
    /// It is to end.
    Ended,
}

/// Whose a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// An event's that was checked.
    Checked,
    /// One's that was stored since.
    Later,
    /// No event's that is there.
    Unknown,
}

/// Tells rows of checked events from others.
pub(super) struct Ages<'e> {
    engine: &'e dyn Engine,
    /// The last checked event.
    head: u64,
    /// The last one that is stored, as far as that is known.
    stored: u64,
}

impl<'e> Ages<'e> {
    pub(super) const fn new(engine: &'e dyn Engine, head: u64) -> Self {
        Self {
            engine,
            head,
            stored: head,
        }
    }

    pub(super) const fn head(&self) -> u64 {
        self.head
    }

    /// Of a row of the event at `sequence`.
    pub(super) fn of(&mut self, sequence: u64) -> Result<Age, Error> {
        if sequence <= self.head {
            return Ok(Age::Checked);
        }
        // Rows of commits since the check began come with a new position.
        if sequence > self.stored {
            self.stored = stored_sequence(self.engine)?;
        }
        Ok(match sequence <= self.stored {
            true => Age::Later,
            false => Age::Unknown,
        })
    }
}

impl Check<'_> {
    /// What is wrong with the table; `None` if it is to end.
    fn run(&self, is_suspect: bool) -> Result<Option<Report>, Error> {
        let mut report = Report::default();
        if !is_suspect && !self.has_problem {
            match self.count(&mut report)? {
                Counted::Rows(rows) if rows == self.expected() => return Ok(Some(report)),
                Counted::Rows(_) | Counted::Unsure => {}
                Counted::Ended => return Ok(None),
            }
        }
        let is_whole = self.each_row(&mut report)?;
        Ok(is_whole.then_some(report))
    }

    /// Rows that there should be.
    fn expected(&self) -> u64 {
        match self.table {
            Table::History => STORED_HEIGHTS
                .iter()
                .map(|height| self.walked.head >> height)
                .sum(),
            table => self.walked.counts.rows[table.index()],
        }
    }

    /// Number of rows up to the last checked event. Those of a table that was walked were counted then, but for
    /// those behind that event.
    fn count(&self, report: &mut Report) -> Result<Counted, Error> {
        let head = self.walked.head;
        let (mut rows, lower) = match self.walked.counts.walked(self.table) {
            Some(Some(rows)) => (rows, encode_sequence(head + 1).to_vec()),
            Some(None) => return Ok(Counted::Unsure),
            None => (0, Vec::new()),
        };
        let mut ages = Ages::new(self.engine, head);
        for row in self
            .engine
            .scan(self.table, &lower, None, Direction::Forward)
        {
            let (key, value) = match row {
                Ok(row) => row,
                Err(error) => {
                    report.damage(error)?;
                    return Ok(Counted::Unsure);
                }
            };
            let Ok(sequence) = owner(self.table, &key, &value) else {
                return Ok(Counted::Unsure);
            };
            match ages.of(sequence)? {
                Age::Checked => rows += 1,
                Age::Later => {}
                Age::Unknown => return Ok(Counted::Unsure),
            }
            if !self.go_on(&key, &value) {
                return Ok(Counted::Ended);
            }
        }
        Ok(Counted::Rows(rows))
    }

    /// `false` if it is to end.
    fn each_row(&self, report: &mut Report) -> Result<bool, Error> {
        for row in self.engine.scan(self.table, &[], None, Direction::Forward) {
            let (key, value) = match row {
                Ok(row) => row,
                // What can be found behind the damage was looked for by key, and the damage told then, if it is
                // an event's whose header can be read.
                Err(error) if self.has_problem || !report.is_intact() => {
                    return match error.is_corruption() {
                        true => Ok(true),
                        false => Err(error.into()),
                    };
                }
                Err(error) => {
                    report.damage(error)?;
                    return Ok(true);
                }
            };
            let leads_to = owner(self.table, &key, &value).ok();
            let is_extra = match leads_to {
                Some(sequence) => self.is_extra(sequence, &key)?,
                // The value of a row that its event knows is reported with the event.
                None => !self.is_expected_key(&key)?,
            };
            if is_extra {
                report.row(self.table, self.extra(&key, leads_to));
            }
            if !self.go_on(&key, &value) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What is wrong with a row that is not one of the event to which it leads.
    fn extra(&self, key: &[u8], leads_to: Option<u64>) -> String {
        let row = store::hex(key);
        match (self.table, leads_to) {
            // It may have the key of another event, with which that is told then.
            (Table::Events | Table::PayloadDigests, Some(sequence)) => {
                format!("row {row} leads to sequence {sequence}, whose row it is not")
            }
            _ => format!("row {row} belongs to no event"),
        }
    }

    fn go_on(&self, key: &[u8], value: &[u8]) -> bool {
        Options::go_on(self.pace, (key.len() + value.len()) as u64)
    }

    fn is_extra(&self, sequence: u64, key: &[u8]) -> Result<bool, Error> {
        if sequence > self.walked.head {
            // Stored meanwhile, together with a new position.
            return Ok(sequence > stored_sequence(self.engine)?);
        }
        if self.table == Table::History {
            return Ok(false);
        }
        if self.walked.damaged.contains(&sequence) {
            return Ok(false);
        }
        Ok(
            match get(self.engine, Table::Headers, &encode_sequence(sequence))? {
                Row::Present(row) => store::headers::decode(sequence, row)
                    .is_ok_and(|header| !has_row(&header, self.table, key)),
                Row::Missing => true,
                Row::Damaged(_) => false,
            },
        )
    }

    /// Whether a row whose value cannot be read has the key of one that is expected.
    fn is_expected_key(&self, key: &[u8]) -> Result<bool, Error> {
        // Only these two lead to their events by their values; in all others the key is the trouble.
        match self.table {
            Table::Events | Table::PayloadDigests => Ok(true),
            _ => Ok(decode_key(self.table, key).is_ok()),
        }
    }
}

/// The sequence of the event that a row belongs to.
pub(super) fn owner(table: Table, key: &[u8], value: &[u8]) -> Result<u64, DecodeError> {
    match table {
        Table::Events => events::decode(Bytes::copy_from_slice(value)),
        Table::PayloadDigests => payload_digests::decode(Bytes::copy_from_slice(value)),
        _ => decode_key(table, key),
    }
}

fn decode_key(table: Table, key: &[u8]) -> Result<u64, DecodeError> {
    match table {
        Table::Headers | Table::Payloads | Table::Embeddings => decode_sequence(key),
        Table::Kinds => kinds::decode_key(key).map(|(_, sequence)| sequence),
        Table::Attributes => attributes::decode_key(key).map(|(_, _, sequence)| sequence),
        Table::Children => children::decode_key(key).map(|(_, _, sequence)| sequence),
        Table::Micros => micros::decode_key(key).map(|(_, sequence)| sequence),
        Table::History => {
            let (height, index) = store::history::decode_key(key)?;
            let is_stored = STORED_HEIGHTS.contains(&height);
            // The last event of the subtree, if there can be such a one.
            is_stored
                .then(|| index.checked_add(1)?.checked_mul(1 << height))
                .flatten()
                .ok_or(DecodeError::Invalid { field: "subtree" })
        }
        Table::Events | Table::PayloadDigests | Table::Clusters | Table::Meta => {
            Err(DecodeError::Invalid { field: "key" })
        }
    }
}

/// Whether the event has a row with this key in `table`.
fn has_row(header: &EventHeader, table: Table, key: &[u8]) -> bool {
    let sequence = header.sequence;
    let kind = header.kind.as_str();
    match table {
        Table::Headers => true,
        Table::Payloads => header.payload_sequence == sequence,
        Table::PayloadDigests => {
            header.payload_sequence == sequence && key == header.payload_digest.as_bytes()
        }
        Table::Events => key == header.digest.as_bytes(),
        Table::Embeddings => header.embedding.is_some(),
        Table::Kinds => key == kinds::key(kind, sequence),
        Table::Attributes => {
            let mut pairs = header.attributes.iter();
            pairs.any(|(name, value)| key == attributes::key(name, value, sequence))
        }
        Table::Children => {
            let mut parents = header.parents.iter();
            parents.any(|parent| key == children::key(parent.id.sequence(), kind, sequence))
        }
        Table::Micros => header
            .micro_cluster
            .is_some_and(|micro| key == micros::key(micro, sequence)),
        Table::History | Table::Clusters | Table::Meta => false,
    }
}
