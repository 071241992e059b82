//! Everything about an event that does not depend on those before it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bytes::Bytes;

use super::part::{Checked, Counts, Examined, Finding};
use super::report::Problem;
use super::rows::{Row, Rows, get};
use super::sums::{Lookups, RowSums, SUMMED};
use crate::codec::DecodeError;
use crate::core::{Digest, Embedding, EventHeader, EventId};
use crate::engine::{Engine, Table};
use crate::error::Error;
use crate::hash;
use crate::store::{
    self, Settings, Stored, attributes, children, encode_sequence, events, kinds, micros,
    payload_digests,
};

/// Goes through the events of a part.
pub(super) struct Examination<'e> {
    engine: &'e dyn Engine,
    settings: Option<&'e Settings>,
    payloads: Rows<'e>,
    embeddings: Rows<'e>,
    lookups: Lookups,
    /// What makes sums of the rows of indexes, if they are summed up.
    row_sums: Option<RowSums>,
    /// The events of the part so far, and what they name: many name the same, and most name one that is near.
    others: BTreeMap<u64, Other>,
    /// Of the event that is examined.
    findings: Vec<Finding>,
    /// Bytes of other rows that were read since it was asked last.
    bytes: u64,
}

/// What other events may say of one.
#[derive(Clone, Copy)]
enum Other {
    Found(Named),
    Missing,
    Unreadable,
}

#[derive(Clone, Copy)]
struct Named {
    id: EventId,
    digest: Digest,
    payload_digest: Digest,
    payload_sequence: u64,
}

impl From<&EventHeader> for Named {
    fn from(header: &EventHeader) -> Self {
        Self {
            id: header.id,
            digest: header.digest,
            payload_digest: header.payload_digest,
            payload_sequence: header.payload_sequence,
        }
    }
}

impl<'e> Examination<'e> {
    pub(super) fn new(
        engine: &'e dyn Engine,
        settings: Option<&'e Settings>,
        sequences: &RangeInclusive<u64>,
        lookups: Lookups,
    ) -> Self {
        Self {
            engine,
            settings,
            payloads: Rows::new(engine, Table::Payloads, sequences),
            embeddings: Rows::new(engine, Table::Embeddings, sequences),
            lookups,
            row_sums: lookups.row_sums(),
            others: BTreeMap::new(),
            findings: Vec::new(),
            bytes: 0,
        }
    }

    /// Bytes that were read since it was asked last.
    pub(super) fn take_bytes(&mut self) -> u64 {
        let rows = self.payloads.take_bytes() + self.embeddings.take_bytes();
        rows + std::mem::take(&mut self.bytes)
    }

    /// Reads what is left of the part. Rows of payloads and of embeddings that it has.
    pub(super) fn finish(&mut self) -> Result<(Option<u64>, Option<u64>), Error> {
        Ok((self.payloads.finish()?, self.embeddings.finish()?))
    }

    /// Checks the event whose header is in `row`.
    pub(super) fn event(
        &mut self,
        sequence: u64,
        row: Row,
        counts: &mut Counts,
    ) -> Result<Examined, Error> {
        let is_missing = matches!(row, Row::Missing);
        let decoded = match row {
            Row::Missing => Err(("the row is missing".to_owned(), false)),
            Row::Damaged(error) => Err((error.to_string(), true)),
            Row::Present(row) => store::headers::decode(sequence, row.clone())
                .map(|header| (header, row))
                .map_err(|error| (error.to_string(), true)),
        };
        let other = match &decoded {
            Ok((header, _)) => Other::Found(header.into()),
            Err(_) if is_missing => Other::Missing,
            Err(_) => Other::Unreadable,
        };
        self.others.insert(sequence, other);
        let checked = match decoded {
            Ok((header, row)) => {
                let embedding = self.examine(&header, counts)?;
                Some(Checked {
                    header,
                    row,
                    embedding,
                })
            }
            Err((detail, is_unreadable)) => {
                let problem = Problem {
                    sequence: Some(sequence),
                    id: None,
                    table: Some(Table::Headers),
                    detail,
                    is_unreadable,
                };
                self.findings.push(Finding {
                    problem,
                    unless_damaged: None,
                });
                None
            }
        };
        Ok(Examined {
            checked,
            findings: std::mem::take(&mut self.findings),
        })
    }

    /// Checks everything about an event. Returns its embedding.
    fn examine(
        &mut self,
        header: &EventHeader,
        counts: &mut Counts,
    ) -> Result<Option<Embedding>, Error> {
        expect_row(counts, Table::Headers);
        let parents: Vec<Digest> = header.parents.iter().map(|parent| parent.digest).collect();
        let digest =
            hash::event_digest(&header.kind, &header.payload_digest, &header.salt, &parents);
        if digest != header.digest {
            self.problem(
                header,
                Table::Headers,
                format!("its digest should be {digest}"),
            );
        }
        self.parents(header)?;
        self.payload(header, counts)?;
        let embedding = self.embedding(header, counts)?;
        self.indexes(header, counts)?;
        Ok(embedding)
    }

    fn parents(&mut self, header: &EventHeader) -> Result<(), Error> {
        for parent in &header.parents {
            let sequence = parent.id.sequence();
            let unless_damaged = match self.other(header, sequence)? {
                Other::Found(found) if found.id == parent.id && found.digest == parent.digest => {
                    continue;
                }
                Other::Found(_) => None,
                Other::Missing => Some(sequence),
                // Its own problem.
                Other::Unreadable => continue,
            };
            let detail = format!("its parent {} is not the event at {sequence}", parent.id);
            self.finding(header, Table::Headers, detail, unless_damaged);
        }
        Ok(())
    }

    fn payload(&mut self, header: &EventHeader, counts: &mut Counts) -> Result<(), Error> {
        let sequence = header.payload_sequence;
        if sequence != header.sequence {
            if let Other::Found(first) = self.other(header, sequence)?
                && (first.payload_digest, first.payload_sequence)
                    != (header.payload_digest, sequence)
            {
                let detail = format!("its payload is not that of the event at {sequence}");
                self.problem(header, Table::Headers, detail);
            }
            return Ok(());
        }
        expect_row(counts, Table::Payloads);
        let key = payload_digests::key(&header.payload_digest);
        let value = payload_digests::encode(sequence);
        if self.expect_index(Table::PayloadDigests, key, &value, counts) {
            let row = self.get(Table::PayloadDigests, key)?;
            self.points_back(header, Table::PayloadDigests, row, payload_digests::decode);
        }
        let row = self.payloads.at(sequence)?;
        let Some(row) = self.present(header, Table::Payloads, row) else {
            return Ok(());
        };
        match store::payloads::decode(sequence, row) {
            Ok(Stored::Present(payload)) => {
                counts.payloads += 1;
                if hash::payload_digest(&payload) != header.payload_digest
                    || payload.len() != header.payload_bytes as usize
                {
                    self.problem(
                        header,
                        Table::Payloads,
                        "not the bytes that the header names",
                    );
                }
            }
            Ok(Stored::Erased) => counts.erased += 1,
            Err(error) => self.unreadable(header, Table::Payloads, error.to_string()),
        }
        Ok(())
    }

    fn embedding(
        &mut self,
        header: &EventHeader,
        counts: &mut Counts,
    ) -> Result<Option<Embedding>, Error> {
        let Some(info) = &header.embedding else {
            return Ok(None);
        };
        expect_row(counts, Table::Embeddings);
        if self
            .settings
            .is_some_and(|settings| settings.dimension != Some(info.dimension))
        {
            self.problem(
                header,
                Table::Headers,
                "its embedding has not the vault's dimension",
            );
        }
        let row = self.embeddings.at(header.sequence)?;
        let Some(row) = self.present(header, Table::Embeddings, row) else {
            return Ok(None);
        };
        match store::embeddings::decode(header.sequence, row) {
            Ok(Stored::Present(embedding)) => {
                counts.embeddings += 1;
                if embedding.digest() == info.digest
                    && embedding.dimension() == usize::from(info.dimension)
                {
                    return Ok(Some(embedding));
                }
                self.problem(
                    header,
                    Table::Embeddings,
                    "not the vector that the header names",
                );
            }
            Ok(Stored::Erased) => counts.erased += 1,
            Err(error) => self.unreadable(header, Table::Embeddings, error.to_string()),
        }
        Ok(None)
    }

    fn indexes(&mut self, header: &EventHeader, counts: &mut Counts) -> Result<(), Error> {
        let sequence = header.sequence;
        let (key, value) = (events::key(&header.digest), events::encode(sequence));
        if self.expect_index(Table::Events, key, &value, counts) {
            let row = self.get(Table::Events, key)?;
            self.points_back(header, Table::Events, row, events::decode);
        }

        let kind = header.kind.as_str();
        self.index(header, Table::Kinds, &kinds::key(kind, sequence), counts)?;
        for (name, value) in header.attributes.iter() {
            let key = attributes::key(name, value, sequence);
            self.index(header, Table::Attributes, &key, counts)?;
        }
        for parent in &header.parents {
            let key = children::key(parent.id.sequence(), kind, sequence);
            self.index(header, Table::Children, &key, counts)?;
        }
        if let Some(micro) = header.micro_cluster {
            self.index(header, Table::Micros, &micros::key(micro, sequence), counts)?;
        }
        Ok(())
    }

    /// Takes note that there should be this row of an index. Whether it is to be looked up now.
    fn expect_index(
        &mut self,
        table: Table,
        key: &[u8],
        value: &[u8],
        counts: &mut Counts,
    ) -> bool {
        debug_assert!(SUMMED.contains(&table), "{table} is no index");
        expect_row(counts, table);
        if let Some(row_sums) = &mut self.row_sums {
            counts.sums[table.index()].add(row_sums.of(key, value));
        }
        let is_looked_up = !self.lookups.spares(table);
        if !is_looked_up {
            // It is read with the others of its table, or was.
            counts.bytes += (key.len() + value.len()) as u64;
        }
        is_looked_up
    }

    /// An index row, which is all key.
    fn index(
        &mut self,
        header: &EventHeader,
        table: Table,
        key: &[u8],
        counts: &mut Counts,
    ) -> Result<(), Error> {
        if !self.expect_index(table, key, &[], counts) {
            return Ok(());
        }
        let row = self.get(table, key)?;
        if let Some(value) = self.present(header, table, row)
            && !value.is_empty()
        {
            self.problem(header, table, "the row is not empty");
        }
        Ok(())
    }

    /// A row that must lead to the event's sequence.
    fn points_back(
        &mut self,
        header: &EventHeader,
        table: Table,
        row: Row,
        decode: impl FnOnce(Bytes) -> Result<u64, DecodeError>,
    ) {
        let Some(row) = self.present(header, table, row) else {
            return;
        };
        match decode(row) {
            Ok(sequence) if sequence == header.sequence => {}
            Ok(sequence) => {
                self.problem(
                    header,
                    table,
                    format!("the row leads to sequence {sequence}"),
                );
            }
            Err(error) => self.unreadable(header, table, error.to_string()),
        }
    }

    /// The header of another event that `header` names.
    fn other(&mut self, header: &EventHeader, sequence: u64) -> Result<Other, Error> {
        debug_assert!(
            sequence < header.sequence,
            "headers name earlier events only"
        );
        if let Some(known) = self.others.get(&sequence) {
            return Ok(*known);
        }
        let other = match self.get(Table::Headers, &encode_sequence(sequence))? {
            Row::Present(row) => store::headers::decode(sequence, row)
                .map_or(Other::Unreadable, |header| Other::Found((&header).into())),
            Row::Missing => Other::Missing,
            // Its own problem.
            Row::Damaged(_) => Other::Unreadable,
        };
        self.others.insert(sequence, other);
        Ok(other)
    }

    fn get(&mut self, table: Table, key: &[u8]) -> Result<Row, Error> {
        let row = get(self.engine, table, key)?;
        if let Row::Present(value) = &row {
            self.bytes += (key.len() + value.len()) as u64;
        }
        Ok(row)
    }

    fn present(&mut self, header: &EventHeader, table: Table, row: Row) -> Option<Bytes> {
        match row {
            Row::Present(row) => Some(row),
            Row::Missing => {
                self.problem(header, table, "the row is missing");
                None
            }
            Row::Damaged(error) => {
                self.unreadable(header, table, error.to_string());
                None
            }
        }
    }

    /// Notes that a row of the event cannot be read.
    fn unreadable(&mut self, header: &EventHeader, table: Table, detail: impl Into<String>) {
        self.problem(header, table, detail);
        if let Some(finding) = self.findings.last_mut() {
            finding.problem.is_unreadable = true;
        }
    }

    fn problem(&mut self, header: &EventHeader, table: Table, detail: impl Into<String>) {
        self.finding(header, table, detail, None);
    }

    fn finding(
        &mut self,
        header: &EventHeader,
        table: Table,
        detail: impl Into<String>,
        unless_damaged: Option<u64>,
    ) {
        let problem = Problem {
            sequence: Some(header.sequence),
            id: Some(header.id),
            table: Some(table),
            detail: detail.into(),
            is_unreadable: false,
        };
        self.findings.push(Finding {
            problem,
            unless_damaged,
        });
    }
}

fn expect_row(counts: &mut Counts, table: Table) {
    counts.rows[table.index()] += 1;
}
