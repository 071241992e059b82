//! Rows that no header asks for.

use super::meta::stored_sequence;
use super::report::Report;
use super::rows::{Row, get};
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

/// Looks for rows that belong to no event. Since all expected rows are there (or were reported), it
/// is enough to count, and to look at each row only in tables where the count is off.
pub(super) fn check_extra_rows(
    engine: &dyn Engine,
    walked: &Walked,
    report: &mut Report,
) -> Result<(), Error> {
    for table in TABLES {
        let has_problem = report
            .problems
            .iter()
            .any(|problem| problem.table == Some(table));
        let is_suspect = has_problem
            || !walked.damaged.is_empty()
            || report.problems_total > report.problems.len() as u64;
        let expected = match table {
            Table::History => STORED_HEIGHTS
                .iter()
                .map(|height| walked.head >> height)
                .sum(),
            _ => walked.rows[table.index()],
        };
        let scan = Check {
            engine,
            table,
            walked,
        };
        if is_suspect || scan.count(report)? != Some(expected) {
            scan.each_row(report)?;
        }
    }
    Ok(())
}

struct Check<'a> {
    engine: &'a dyn Engine,
    table: Table,
    walked: &'a Walked,
}

impl Check<'_> {
    /// Number of rows up to the last checked event; `None` if one belongs to no event for sure.
    fn count(&self, report: &mut Report) -> Result<Option<u64>, Error> {
        let mut rows = 0;
        let mut stored = self.walked.head;
        for row in self.engine.scan(self.table, &[], None, Direction::Forward) {
            match row {
                Ok((key, value)) => match owner(self.table, &key, &value) {
                    Ok(sequence) if sequence <= self.walked.head => rows += 1,
                    Ok(sequence) => {
                        // Rows of commits since the check began come with a new position.
                        if sequence > stored {
                            stored = stored_sequence(self.engine)?;
                        }
                        if sequence > stored {
                            return Ok(None);
                        }
                    }
                    Err(_) => return Ok(None),
                },
                Err(error) => {
                    report.damage(error)?;
                    return Ok(None);
                }
            }
        }
        Ok(Some(rows))
    }

    fn each_row(&self, report: &mut Report) -> Result<(), Error> {
        for row in self.engine.scan(self.table, &[], None, Direction::Forward) {
            let (key, value) = match row {
                Ok(row) => row,
                // What can be found behind the damage was looked for by key.
                Err(error) if error.is_corruption() => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let is_extra = match owner(self.table, &key, &value) {
                Ok(sequence) => self.is_extra(sequence, &key)?,
                // The value of a row that its event knows is reported with the event.
                Err(_) => !self.is_expected_key(&key)?,
            };
            if is_extra {
                report.row(
                    self.table,
                    format!("row {} belongs to no event", store::hex(&key)),
                );
            }
        }
        Ok(())
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
fn owner(table: Table, key: &bytes::Bytes, value: &bytes::Bytes) -> Result<u64, DecodeError> {
    match table {
        Table::Events => events::decode(value.clone()),
        Table::PayloadDigests => payload_digests::decode(value.clone()),
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
