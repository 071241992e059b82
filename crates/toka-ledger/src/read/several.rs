//! Payloads and embeddings of several events, with one look-up for all of them.

use bytes::Bytes;

use super::{Reader, Stored};
use crate::core::{Embedding, EventHeader};
use crate::engine::Table;
use crate::error::Error;
use crate::store::{corrupt, embeddings, encode_sequence, lookup, missing, payloads};

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
        let keys = sequences.iter().map(|&sequence| encode_sequence(sequence));
        let keys: Vec<_> = keys.collect();
        let rows = lookup::many(&*self.engine(), table, &keys)?;
        let found = keys.iter().zip(rows);
        let found = found.map(|(key, row)| row.ok_or_else(|| missing(table, key)));
        found.collect()
    }
}
