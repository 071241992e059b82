//! The way through the history, event by event.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::chain::Chains;
use super::clusters::Clusters;
use super::journal::Journal;
use super::report::{Progress, Report};
use super::rows::{Row, Rows, get};
use crate::core::{Digest, Embedding, EventHeader};
use crate::engine::{Engine, Table};
use crate::error::Error;
use crate::hash;
use crate::read::Position;
use crate::store::journal::Change;
use crate::store::{
    self, Settings, Stored, attributes, children, encode_sequence, events, kinds, meta, micros,
    payload_digests,
};

/// Events between two reports of progress.
const PROGRESS_EVENTS: u64 = 256;

/// What the headers say about the other tables.
pub(super) struct Walked {
    /// The last event that was checked.
    pub(super) head: u64,
    /// Events whose headers cannot be read.
    pub(super) damaged: BTreeSet<u64>,
    /// Rows that there should be, by [`Table::index`].
    pub(super) rows: [u64; Table::ALL.len()],
}

struct Walk<'a> {
    engine: &'a dyn Engine,
    report: &'a mut Report,
    payloads: Rows<'a>,
    embeddings: Rows<'a>,
    settings: Option<Settings>,
    clusters: Clusters,
    last_unix_ms: u64,
    walked: Walked,
}

/// Checks all events up to `position`.
pub(super) fn walk(
    engine: &dyn Engine,
    position: &Position,
    report: &mut Report,
    progress: &mut dyn FnMut(Progress),
) -> Result<Walked, Error> {
    let meta = super::meta::check(engine, position, report)?;
    let mut chains = Chains::new(engine, &meta);
    let total = position.sequence;
    let mut walk = Walk {
        engine,
        payloads: Rows::new(engine, Table::Payloads),
        embeddings: Rows::new(engine, Table::Embeddings),
        clusters: Clusters::new(meta.settings.as_ref()),
        settings: meta.settings,
        last_unix_ms: 0,
        walked: Walked {
            head: total,
            damaged: BTreeSet::new(),
            rows: [0; Table::ALL.len()],
        },
        report,
    };
    let mut headers = Rows::new(engine, Table::Headers);
    let mut journal = Journal::new(engine, position.revision);
    // The level may have been raised before there was an event.
    for change in journal.behind(0)? {
        chains.follow(&walk.change(&change));
    }
    for sequence in 1..=total {
        let row = headers.at(sequence)?;
        match walk.header(sequence, row)? {
            Some(checked) => {
                let links = walk.cluster(&checked);
                if !walk.clusters.is_complete() {
                    chains.lose_links();
                }
                chains.push(&checked.header, &checked.row, &links, walk.report)?;
            }
            None => {
                walk.clusters.lose();
                chains.lose(sequence, walk.report)?;
            }
        }
        for change in journal.behind(sequence)? {
            chains.follow(&walk.change(&change));
        }
        if sequence.is_multiple_of(PROGRESS_EVENTS) || sequence == total {
            progress(Progress {
                checked: sequence,
                total,
            });
        }
    }
    let Walk {
        walked,
        report,
        clusters,
        ..
    } = walk;
    report.events = total;
    clusters.finish(engine, position, report)?;
    chains.finish(position, report);
    Ok(walked)
}

/// An event whose header could be read.
struct Checked {
    header: EventHeader,
    /// What the header is stored as.
    row: Bytes,
    /// The embedding, if it has one that could be read.
    embedding: Option<Embedding>,
}

impl Walk<'_> {
    /// Clusters an event again. Returns what the state chain goes on with.
    fn cluster(&mut self, checked: &Checked) -> Vec<Vec<u8>> {
        match &checked.embedding {
            Some(embedding) => self.clusters.push(&checked.header, embedding, self.report),
            None => {
                if checked.header.embedding.is_some() {
                    self.clusters.lose();
                }
                Vec::new()
            }
        }
    }

    /// What the state chain goes on with where something changed beside the events.
    fn change(&mut self, change: &Change) -> Vec<Vec<u8>> {
        match change {
            Change::Cursor { name, position } | Change::CursorSaved { name, position } => {
                let key = meta::cursor_key(name);
                let row = meta::encode_cursor(name, *position);
                vec![meta::state_link(&key, &row)]
            }
            Change::CursorDeleted { name } => vec![meta::cursor_deletion_link(name)],
            Change::FeatureLevel { level } => vec![meta::level_link(*level)],
            Change::Label { intent, label } => self.clusters.label(*intent, label.as_ref()),
        }
    }

    /// Checks the event whose header is in `row`; returns it if it can be read.
    fn header(&mut self, sequence: u64, row: Row) -> Result<Option<Checked>, Error> {
        let decoded = match row {
            Row::Missing => Err("the row is missing".to_owned()),
            Row::Damaged(error) => Err(error.to_string()),
            Row::Present(row) => store::headers::decode(sequence, row.clone())
                .map(|header| (header, row))
                .map_err(|error| error.to_string()),
        };
        match decoded {
            Ok((header, row)) => {
                let embedding = self.event(&header)?;
                Ok(Some(Checked {
                    header,
                    row,
                    embedding,
                }))
            }
            Err(detail) => {
                self.report.event(sequence, None, Table::Headers, detail);
                self.walked.damaged.insert(sequence);
                Ok(None)
            }
        }
    }

    /// Checks everything about an event. Returns its embedding.
    fn event(&mut self, header: &EventHeader) -> Result<Option<Embedding>, Error> {
        self.expect_row(Table::Headers);
        if header.unix_ms < self.last_unix_ms {
            let detail = format!(
                "its time is before that of its predecessor, {}",
                self.last_unix_ms
            );
            self.problem(header, Table::Headers, detail);
        }
        self.last_unix_ms = header.unix_ms;
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
        self.payload(header)?;
        let embedding = self.embedding(header)?;
        self.indexes(header)?;
        Ok(embedding)
    }

    fn parents(&mut self, header: &EventHeader) -> Result<(), Error> {
        for parent in &header.parents {
            let sequence = parent.id.sequence();
            let found = self.other(header, sequence)?;
            let is_wrong = match found {
                Other::Found(found) => found.id != parent.id || found.digest != parent.digest,
                Other::Missing => true,
                Other::Unreadable => false,
            };
            if is_wrong {
                let detail = format!("its parent {} is not the event at {sequence}", parent.id);
                self.problem(header, Table::Headers, detail);
            }
        }
        Ok(())
    }

    fn payload(&mut self, header: &EventHeader) -> Result<(), Error> {
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
        self.expect_row(Table::Payloads);
        self.expect_row(Table::PayloadDigests);
        let row = self.payloads.at(sequence)?;
        let Some(row) = self.present(header, Table::Payloads, row) else {
            return Ok(());
        };
        match store::payloads::decode(sequence, row) {
            Ok(Stored::Present(payload)) => {
                self.report.payloads += 1;
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
            Ok(Stored::Erased) => self.report.erased += 1,
            Err(error) => self.problem(header, Table::Payloads, error.to_string()),
        }
        let key = payload_digests::key(&header.payload_digest);
        let row = get(self.engine, Table::PayloadDigests, key)?;
        self.points_back(header, Table::PayloadDigests, row, payload_digests::decode);
        Ok(())
    }

    fn embedding(&mut self, header: &EventHeader) -> Result<Option<Embedding>, Error> {
        let Some(info) = &header.embedding else {
            return Ok(None);
        };
        self.expect_row(Table::Embeddings);
        if self
            .settings
            .as_ref()
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
                self.report.embeddings += 1;
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
            Ok(Stored::Erased) => self.report.erased += 1,
            Err(error) => self.problem(header, Table::Embeddings, error.to_string()),
        }
        Ok(None)
    }

    fn indexes(&mut self, header: &EventHeader) -> Result<(), Error> {
        let sequence = header.sequence;
        self.expect_row(Table::Events);
        let row = get(self.engine, Table::Events, events::key(&header.digest))?;
        self.points_back(header, Table::Events, row, events::decode);

        let kind = header.kind.as_str();
        self.index(header, Table::Kinds, &kinds::key(kind, sequence))?;
        for (name, value) in header.attributes.iter() {
            self.index(
                header,
                Table::Attributes,
                &attributes::key(name, value, sequence),
            )?;
        }
        for parent in &header.parents {
            let key = children::key(parent.id.sequence(), kind, sequence);
            self.index(header, Table::Children, &key)?;
        }
        if let Some(micro) = header.micro_cluster {
            self.index(header, Table::Micros, &micros::key(micro, sequence))?;
        }
        Ok(())
    }

    /// An index row, which is all key.
    fn index(&mut self, header: &EventHeader, table: Table, key: &[u8]) -> Result<(), Error> {
        self.expect_row(table);
        let row = get(self.engine, table, key)?;
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
        decode: impl FnOnce(Bytes) -> Result<u64, crate::codec::DecodeError>,
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
            Err(error) => self.problem(header, table, error.to_string()),
        }
    }

    /// The header of another event that `header` names.
    fn other(&self, header: &EventHeader, sequence: u64) -> Result<Other, Error> {
        debug_assert!(
            sequence < header.sequence,
            "headers name earlier events only"
        );
        Ok(
            match get(self.engine, Table::Headers, &encode_sequence(sequence))? {
                Row::Present(row) => store::headers::decode(sequence, row)
                    .map_or(Other::Unreadable, |header| Other::Found(Box::new(header))),
                Row::Missing if !self.walked.damaged.contains(&sequence) => Other::Missing,
                // Its own problem, told already.
                Row::Missing | Row::Damaged(_) => Other::Unreadable,
            },
        )
    }

    fn present(&mut self, header: &EventHeader, table: Table, row: Row) -> Option<Bytes> {
        match row {
            Row::Present(row) => Some(row),
            Row::Missing => {
                self.problem(header, table, "the row is missing");
                None
            }
            Row::Damaged(error) => {
                self.problem(header, table, error.to_string());
                None
            }
        }
    }

    fn expect_row(&mut self, table: Table) {
        self.walked.rows[table.index()] += 1;
    }

    fn problem(&mut self, header: &EventHeader, table: Table, detail: impl Into<String>) {
        self.report
            .event(header.sequence, Some(header.id), table, detail);
    }
}

enum Other {
    Found(Box<EventHeader>),
    Missing,
    Unreadable,
}
