//! Payloads and embeddings of several events, with one look-up for all of them.

use std::cmp::Ordering;

use bytes::Bytes;

use super::{Reader, Stored};
use crate::core::{Embedding, EventHeader};
use crate::engine::{Direction, Table};
use crate::error::Error;
use crate::store::{corrupt, embeddings, encode_sequence, lookup, missing, payloads};

/// Rows that are walked rather than looked up one by one.
const WALKED_ROWS_MIN: usize = 16;
/// Between the rows that are wanted may lie others, an eighth of their number.
const BETWEEN_PART: u64 = 8;

impl Reader {
    /// As [`Reader::payload`], of several events, in their order. All are in memory together: how large they are,
    /// their headers say.
    ///
    /// # Errors
    /// As [`Reader::payload`].
    pub fn payloads(&self, headers: &[&EventHeader]) -> Result<Vec<Stored<Bytes>>, Error> {
        let sequences = headers.iter().map(|header| header.payload_sequence);
        let sequences: Vec<_> = sequences.collect();
        let rows = self.rows(Table::Payloads, &sequences)?.into_iter();
        let decode = |(&sequence, row): (&u64, Bytes)| {
            let payload = payloads::decode(sequence, row);
            payload.map_err(corrupt(Table::Payloads, &encode_sequence(sequence)))
        };
        sequences.iter().zip(rows).map(decode).collect()
    }

    /// As [`Reader::embedding`], of several events, in their order.
    ///
    /// # Errors
    /// As [`Reader::embedding`].
    pub fn embeddings(
        &self,
        headers: &[&EventHeader],
    ) -> Result<Vec<Option<Stored<Embedding>>>, Error> {
        let embedded = headers.iter().filter(|header| header.embedding.is_some());
        let sequences: Vec<_> = embedded.map(|header| header.sequence).collect();
        let mut rows = self.rows(Table::Embeddings, &sequences)?.into_iter();
        let decode = |header: &&EventHeader| -> Result<_, Error> {
            if header.embedding.is_none() {
                return Ok(None);
            }
            let row = rows.next().expect("one for each event with an embedding");
            let embedding = embeddings::decode(header.sequence, row);
            let key = encode_sequence(header.sequence);
            let embedding = embedding.map_err(corrupt(Table::Embeddings, &key))?;
            Ok(Some(embedding))
        };
        headers.iter().map(decode).collect()
    }

    /// Rows that must be there.
    fn rows(&self, table: Table, sequences: &[u64]) -> Result<Vec<Bytes>, Error> {
        if is_walked(sequences) {
            return self.rows_between(table, sequences);
        }
        let keys = sequences.iter().map(|&sequence| encode_sequence(sequence));
        let keys: Vec<_> = keys.collect();
        let rows = lookup::many(&*self.engine(), table, &keys)?;
        let found = keys.iter().zip(rows);
        let found = found.map(|(key, row)| row.ok_or_else(|| missing(table, key)));
        found.collect()
    }

    /// The rows of sequences that go up, one after the other.
    fn rows_between(&self, table: Table, sequences: &[u64]) -> Result<Vec<Bytes>, Error> {
        let (Some(first), Some(last)) = (sequences.first(), sequences.last()) else {
            return Ok(Vec::new());
        };
        let (lower, upper) = (encode_sequence(*first), encode_sequence(*last + 1));
        let engine = self.engine();
        let mut rows = engine.scan(table, &lower, Some(&upper), Direction::Forward);
        let find = |&sequence: &u64| -> Result<Bytes, Error> {
            let key = encode_sequence(sequence);
            loop {
                let (at, row) = rows.next().ok_or_else(|| missing(table, &key))??;
                match at[..].cmp(&key[..]) {
                    Ordering::Less => {}
                    Ordering::Equal => return Ok(row),
                    Ordering::Greater => return Err(missing(table, &key)),
                }
            }
        };
        sequences.iter().map(find).collect()
    }
}

/// Whether it is cheaper to walk the rows of these sequences, and those between them, than to look up each: they are
/// many, go up, and few lie between them, as where the history is read in its order.
fn is_walked(sequences: &[u64]) -> bool {
    let (Some(first), Some(last)) = (sequences.first(), sequences.last()) else {
        return false;
    };
    let count = sequences.len() as u64;
    sequences.len() >= WALKED_ROWS_MIN
        && last.saturating_sub(*first) < count + count / BETWEEN_PART
        && sequences.is_sorted_by(|before, after| before < after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_sequences_are_walked_and_scattered_ones_looked_up() {
        let consecutive: Vec<u64> = (5..5 + WALKED_ROWS_MIN as u64).collect();
        assert!(is_walked(&consecutive));
        assert!(!is_walked(&consecutive[1..]));
        let mut with_a_gap = consecutive.clone();
        *with_a_gap.last_mut().expect("some") += 2;
        assert!(is_walked(&with_a_gap));
        let mut far = consecutive.clone();
        *far.last_mut().expect("some") += 100;
        assert!(!is_walked(&far));
        let mut repeated = consecutive.clone();
        repeated[1] = repeated[0];
        assert!(!is_walked(&repeated));
        let backward: Vec<u64> = consecutive.into_iter().rev().collect();
        assert!(!is_walked(&backward));
        assert!(!is_walked(&[]));
    }
}
