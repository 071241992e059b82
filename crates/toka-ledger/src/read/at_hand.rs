//! Reads of what is in memory: they do not block, so that they need no other thread.

use std::sync::Arc;

use bytes::Bytes;

use super::{Reader, Selector, Stored};
use crate::core::{Embedding, EventHeader};
use crate::engine::{AtHand, Table};
use crate::error::Error;
use crate::store::{corrupt, embeddings, encode_sequence, events, lookup, payloads};

impl Reader {
    /// As [`Reader::header`], if memory has the answer.
    ///
    /// # Errors
    /// As [`Reader::header`].
    pub fn header_at_hand(
        &self,
        selector: &Selector,
    ) -> Result<AtHand<Option<Arc<EventHeader>>>, Error> {
        let head = self.position().sequence;
        let sequence = match selector {
            Selector::Id(id) => id.sequence(),
            Selector::Sequence(sequence) => *sequence,
            Selector::Digest(digest) => {
                let key = events::key(digest);
                match self.engine().get_at_hand(Table::Events, key)? {
                    AtHand::Known(Some(row)) => {
                        events::decode(row).map_err(corrupt(Table::Events, key))?
                    }
                    AtHand::Known(None) => return Ok(AtHand::Known(None)),
                    AtHand::Unknown => return Ok(AtHand::Unknown),
                }
            }
        };
        // Of what is not published yet nothing is shown.
        if sequence == 0 || sequence > head {
            return Ok(AtHand::Known(None));
        }
        let header = match self.row_at_hand(Table::Headers, sequence)? {
            Some(row) => lookup::decode_header(sequence, row)?,
            None => return Ok(AtHand::Unknown),
        };
        let is_meant = match selector {
            Selector::Id(id) => header.id == *id,
            Selector::Sequence(_) => true,
            Selector::Digest(digest) => header.digest == *digest,
        };
        Ok(AtHand::Known(is_meant.then_some(header)))
    }

    /// As [`Reader::payload`], if memory has it.
    ///
    /// # Errors
    /// As [`Reader::payload`].
    pub fn payload_at_hand(&self, header: &EventHeader) -> Result<AtHand<Stored<Bytes>>, Error> {
        if let Some(payload) = self.bodies().payload(header.sequence) {
            return Ok(AtHand::Known(Stored::Present(payload)));
        }
        let sequence = header.payload_sequence;
        let Some(row) = self.row_at_hand(Table::Payloads, sequence)? else {
            return Ok(AtHand::Unknown);
        };
        let key = encode_sequence(sequence);
        let payload = payloads::decode(sequence, row);
        let payload = payload.map_err(corrupt(Table::Payloads, &key))?;
        Ok(AtHand::Known(payload))
    }

    /// As [`Reader::embedding`], if memory has it.
    ///
    /// # Errors
    /// As [`Reader::embedding`].
    pub fn embedding_at_hand(
        &self,
        header: &EventHeader,
    ) -> Result<AtHand<Option<Stored<Embedding>>>, Error> {
        if header.embedding.is_none() {
            return Ok(AtHand::Known(None));
        }
        if let Some(embedding) = self.bodies().embedding(header.sequence) {
            return Ok(AtHand::Known(Some(Stored::Present(embedding))));
        }
        let Some(row) = self.row_at_hand(Table::Embeddings, header.sequence)? else {
            return Ok(AtHand::Unknown);
        };
        let key = encode_sequence(header.sequence);
        let embedding = embeddings::decode(header.sequence, row);
        let embedding = embedding.map_err(corrupt(Table::Embeddings, &key))?;
        Ok(AtHand::Known(Some(embedding)))
    }

    /// The row of a sequence. One that is not there is left to a read that blocks: it knows what that means.
    fn row_at_hand(&self, table: Table, sequence: u64) -> Result<Option<Bytes>, Error> {
        let found = self
            .engine()
            .get_at_hand(table, &encode_sequence(sequence))?;
        Ok(match found {
            AtHand::Known(row) => row,
            AtHand::Unknown => None,
        })
    }
}
