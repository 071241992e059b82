//! The rows of accepted commands.

use std::sync::Arc;

use bytes::Bytes;

use super::overlay::{Overlay, View};
use super::plan::{NewEvent, Plan, Planned};
use super::state::State;
use crate::command::{Create, Label, Precondition, PreparedEvent};
use crate::core::{CursorName, Digest, Embedding, EmbeddingInfo, EventHeader, IntentLabel};
use crate::engine::{Batch, Engine, Table};
use crate::error::Error;
use crate::hash;
use crate::intent::{Assignment, Changes, Clusterer, IntentId};
use crate::store::history::{STATE_HEIGHT, Subtree};
use crate::store::journal::{self, Change, Place};
use crate::store::meta::{self, Settings};
use crate::store::{
    attributes, children, embeddings, encode_sequence, events, headers, history, kinds, micros,
    payload_digests, payloads,
};

/// What the commands of one entry write.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) state: &'a mut State,
    pub(super) overlay: Overlay,
    pub(super) clusterer: &'a mut Clusterer,
    pub(super) batch: Batch,
    /// Memory for one row after another.
    pub(super) row: Vec<u8>,
}

impl Writer<'_> {
    /// Creates the vault.
    pub(super) fn create(&mut self, create: &Create) {
        let settings = Settings {
            cluster_id: create.cluster_id,
            history_id: create.history_id,
            created_level: create.feature_level,
            feature_level: create.feature_level,
            dimension: create.dimension,
            model: create.model.clone(),
            intents: create.intents,
            created_unix_ms: self.state.unix_ms,
        };
        let row = meta::encode_settings(&settings);
        self.state.settings = Some(settings);
        self.chain_meta(meta::SETTINGS, &row);
        self.batch.put(Table::Meta, meta::SETTINGS, row);
    }

    /// Stores the new events of a commit and moves its cursors. Returns a header for each event.
    pub(super) fn commit(
        &mut self,
        plan: Plan<'_>,
        preconditions: &[Precondition],
    ) -> Vec<Arc<EventHeader>> {
        let new: Vec<_> = plan.new.into_iter().map(|new| self.event(new)).collect();
        // Where nothing is new, the commit was applied before, and its cursors have moved.
        if !new.is_empty() {
            let moves = preconditions
                .iter()
                .filter_map(|precondition| match precondition {
                    Precondition::CursorMove { name, to, .. } => Some((name, *to)),
                    _ => None,
                });
            for (index, (name, to)) in (0..).zip(moves) {
                self.move_cursor(name, to, index);
            }
        }
        plan.events
            .into_iter()
            .map(|planned| match planned {
                Planned::New(index) => Arc::clone(&new[index]),
                Planned::Repeated(index) => deduplicated(&new[index]),
                Planned::Stored(header) => deduplicated(&header),
            })
            .collect()
    }

    /// Stores a new event.
    pub(super) fn event(&mut self, new: NewEvent<'_>) -> Arc<EventHeader> {
        let NewEvent {
            event,
            sequence,
            digest,
            id,
            parents,
            payload_sequence,
            foreseen,
        } = new;
        let key = encode_sequence(sequence);
        if payload_sequence.is_none() {
            let payload_key = payload_digests::key(&event.payload_digest);
            payloads::put(&mut self.batch, sequence, &event.payload);
            self.batch.put(
                Table::PayloadDigests,
                payload_key,
                payload_digests::encode(sequence),
            );
        }
        let embedding = event.embedding.as_ref().map(|embedding| {
            embeddings::put(&mut self.batch, sequence, embedding);
            self.fix_space(event, embedding);
            EmbeddingInfo {
                digest: embedding.digest(),
                dimension: dimension(embedding),
            }
        });
        let assignment = event
            .embedding
            .as_ref()
            .map(|embedding| self.assign(embedding, sequence));
        let header = EventHeader {
            id,
            sequence,
            unix_ms: self.state.unix_ms,
            kind: event.kind.clone(),
            digest,
            payload_digest: event.payload_digest,
            payload_bytes: u32::try_from(event.payload.len()).expect("at most 1 MiB"),
            payload_sequence: payload_sequence.unwrap_or(sequence),
            salt: event.salt.clone(),
            parents,
            embedding,
            attributes: event.attributes.clone(),
            micro_cluster: assignment.map(|assignment| assignment.micro_cluster),
            intent: assignment.map(|assignment| assignment.intent),
            deduplicated: false,
        };
        self.index(&header);
        headers::encode_to(&mut self.row, &header);
        self.state.chain(&self.row);
        self.batch.put(Table::Headers, key, &self.row);
        if header.embedding.is_some() {
            let changes = self.clusterer.settle(sequence);
            self.write_changes(changes);
        }
        self.extend_history(&header);
        let header = Arc::new(header);
        self.overlay.add(Arc::clone(&header), foreseen);
        header
    }

    fn index(&mut self, header: &EventHeader) {
        let (kind, sequence) = (header.kind.as_str(), header.sequence);
        let batch = &mut self.batch;
        batch.put(
            Table::Events,
            events::key(&header.digest),
            events::encode(sequence),
        );
        kinds::put(batch, kind, sequence);
        for parent in &header.parents {
            let key = children::key(parent.id.sequence(), kind, sequence);
            batch.put(Table::Children, key, b"");
        }
        for (name, value) in header.attributes.iter() {
            let key = attributes::key(name, value, sequence);
            batch.put(Table::Attributes, key, b"");
        }
        if let Some(micro) = header.micro_cluster {
            let key = micros::key(micro, sequence);
            batch.put(Table::Micros, key, b"");
        }
    }

    fn assign(&mut self, embedding: &Embedding, sequence: u64) -> Assignment {
        let settings = self.state.settings.as_ref();
        let parameters = settings.expect("a vault is created first").intents;
        self.clusterer.assign(parameters, embedding, sequence)
    }

    /// Labels an intent; `None` if there is none of that id.
    pub(super) fn label(&mut self, label: &Label) -> Option<IntentId> {
        let intent = self.clusterer.resolve(label.intent)?;
        let text = label.label.as_ref().map_or("", IntentLabel::as_str);
        let changes = self.clusterer.label(intent, text);
        self.write_changes(changes);
        let label = label.label.clone();
        self.note(0, &Change::Label { intent, label });
        Some(intent)
    }

    /// Raises the feature level to `level`, which is above the vault's.
    pub(super) fn raise(&mut self, level: u32) {
        let Some(settings) = &mut self.state.settings else {
            return;
        };
        settings.feature_level = level;
        let row = meta::encode_settings(settings);
        self.batch.put(Table::Meta, meta::SETTINGS, row);
        self.state.chain(&meta::level_link(level));
        self.note(0, &Change::FeatureLevel { level });
    }

    fn write_changes(&mut self, changes: Changes) {
        for link in changes.links {
            self.state.chain(&link);
        }
        for (key, row) in changes.rows {
            match row {
                Some(row) => self.batch.put(Table::Clusters, key, row),
                None => self.batch.delete(Table::Clusters, key),
            }
        }
    }

    fn extend_history(&mut self, header: &EventHeader) {
        let embedding = header
            .embedding
            .map_or(Digest::ZERO, |embedding| embedding.digest);
        let leaf = hash::leaf(header.sequence, header.unix_ms, &header.digest, &embedding);
        let state_digest = self.state.state_digest;
        self.state.frontier.push(leaf, |completed| {
            let subtree = Subtree {
                root: completed.root,
                state_digest: (completed.height == STATE_HEIGHT).then_some(state_digest),
            };
            let key = history::key(completed.height, completed.index);
            self.batch
                .put(Table::History, key, history::encode(&subtree));
        });
    }

    /// The first embedded event fixes the vault's dimension and model, where its creation has not.
    fn fix_space(&mut self, event: &PreparedEvent, embedding: &Embedding) {
        let Some(settings) = &mut self.state.settings else {
            return;
        };
        let is_fixed =
            settings.dimension.is_some() && (settings.model.is_some() || event.model.is_none());
        if is_fixed || self.clusterer.embedded() > 0 {
            return;
        }
        settings.dimension.get_or_insert(dimension(embedding));
        if settings.model.is_none() {
            settings.model.clone_from(&event.model);
        }
        self.batch
            .put(Table::Meta, meta::SETTINGS, meta::encode_settings(settings));
    }

    fn move_cursor(&mut self, name: &CursorName, position: u64, index: u8) {
        let change = Change::Cursor {
            name: name.clone(),
            position,
        };
        self.note(index, &change);
        self.put_cursor(name, position);
    }

    /// Puts a cursor somewhere, by a command of its own.
    pub(super) fn save_cursor(&mut self, name: &CursorName, position: u64) {
        let change = Change::CursorSaved {
            name: name.clone(),
            position,
        };
        self.note(0, &change);
        self.put_cursor(name, position);
    }

    fn put_cursor(&mut self, name: &CursorName, position: u64) {
        let key = meta::cursor_key(name);
        let row = meta::encode_cursor(name, position);
        self.chain_meta(&key, &row);
        self.batch.put(Table::Meta, key, row);
        self.overlay.move_cursor(name.clone(), Some(position));
    }

    /// Removes a cursor that is there.
    pub(super) fn delete_cursor(&mut self, name: &CursorName) {
        self.note(0, &Change::CursorDeleted { name: name.clone() });
        self.state.chain(&meta::cursor_deletion_link(name));
        self.batch.delete(Table::Meta, meta::cursor_key(name));
        self.overlay.move_cursor(name.clone(), None);
    }

    /// Sets a row of groups or credentials, or deletes it, and keeps the sum over all of them.
    pub(super) fn put_summed(
        &mut self,
        engine: &dyn Engine,
        key: Vec<u8>,
        row: Option<Vec<u8>>,
    ) -> Result<(), Error> {
        let view = View {
            engine,
            overlay: &self.overlay,
        };
        let old = view.group_row(&key)?;
        let sum = self.state.group_sum_mut();
        if let Some(old) = old {
            sum.subtract(&key, &old);
        }
        if let Some(row) = &row {
            sum.add(&key, row);
        }
        let row = row.map(Bytes::from);
        match &row {
            Some(row) => self.batch.put(Table::Meta, &key, row),
            None => self.batch.delete(Table::Meta, &key),
        }
        self.overlay.set_group_row(key, row);
        Ok(())
    }

    /// Notes what changes beside the events. Not in the state chain: that has what it changes.
    fn note(&mut self, index: u8, change: &Change) {
        let place = Place {
            sequence: self.state.sequence(),
            revision: self.state.revision,
            index,
        };
        let row = journal::encode(place, change);
        self.batch.put(Table::Meta, journal::key(place), row);
    }

    fn chain_meta(&mut self, key: &[u8], row: &[u8]) {
        self.state.chain(&meta::state_link(key, row));
    }
}

fn dimension(embedding: &Embedding) -> u16 {
    u16::try_from(embedding.dimension()).expect("at most 4,096")
}

fn deduplicated(header: &EventHeader) -> Arc<EventHeader> {
    Arc::new(EventHeader {
        deduplicated: true,
        ..header.clone()
    })
}
