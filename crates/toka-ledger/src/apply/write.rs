//! The rows of accepted commands.

use std::sync::Arc;

use super::overlay::Overlay;
use super::plan::{NewEvent, Plan, Planned};
use super::state::State;
use crate::command::{Create, Precondition};
use crate::core::{CursorName, Digest, EmbeddingInfo, EventHeader};
use crate::engine::{Batch, Table};
use crate::hash;
use crate::store::history::{STATE_HEIGHT, Subtree};
use crate::store::meta::{self, Settings};
use crate::store::{
    Stored, attributes, children, embeddings, encode_sequence, events, headers, history, kinds,
    payload_digests, payloads,
};

/// What the commands of one entry write.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) state: &'a mut State,
    pub(super) overlay: Overlay,
    pub(super) batch: Batch,
}

impl Writer<'_> {
    /// Creates the vault.
    pub(super) fn create(&mut self, create: &Create) {
        let settings = Settings {
            cluster_id: create.cluster_id,
            history_id: create.history_id,
            feature_level: create.feature_level,
            dimension: create.dimension,
            created_unix_ms: self.state.unix_ms,
        };
        self.state.settings = Some(settings);
        let row = meta::encode_settings(&settings);
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
            for precondition in preconditions {
                if let Precondition::CursorMove { name, to, .. } = precondition {
                    self.move_cursor(name, *to);
                }
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

    fn event(&mut self, new: NewEvent<'_>) -> Arc<EventHeader> {
        let NewEvent {
            event,
            sequence,
            digest,
            id,
            parents,
            payload_sequence,
        } = new;
        let key = encode_sequence(sequence);
        if payload_sequence.is_none() {
            let payload_key = payload_digests::key(&event.payload_digest);
            let row = payloads::encode(sequence, &Stored::Present(event.payload.clone()));
            self.batch.put(Table::Payloads, key, row);
            self.batch.put(
                Table::PayloadDigests,
                payload_key,
                payload_digests::encode(sequence),
            );
        }
        let embedding = event.embedding.as_ref().map(|embedding| {
            let row = embeddings::encode(sequence, &Stored::Present(embedding.clone()));
            self.batch.put(Table::Embeddings, key, row);
            let dimension = u16::try_from(embedding.dimension()).expect("at most 4,096");
            self.fix_dimension(dimension);
            EmbeddingInfo {
                digest: embedding.digest(),
                dimension,
            }
        });
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
            micro_cluster: None,
            intent: None,
            deduplicated: false,
        };
        self.index(&header);
        let row = headers::encode(&header);
        self.state.chain(&row);
        self.batch.put(Table::Headers, key, row);
        self.extend_history(&header);
        let header = Arc::new(header);
        self.overlay.add(Arc::clone(&header));
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
        batch.put(Table::Kinds, kinds::key(kind, sequence), []);
        for parent in &header.parents {
            let key = children::key(parent.id.sequence(), kind, sequence);
            batch.put(Table::Children, key, []);
        }
        for (name, value) in header.attributes.iter() {
            batch.put(
                Table::Attributes,
                attributes::key(name, value, sequence),
                [],
            );
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

    /// The first embedded event fixes the vault's dimension.
    fn fix_dimension(&mut self, dimension: u16) {
        if let Some(settings) = &mut self.state.settings
            && settings.dimension.is_none()
        {
            settings.dimension = Some(dimension);
            self.batch
                .put(Table::Meta, meta::SETTINGS, meta::encode_settings(settings));
        }
    }

    fn move_cursor(&mut self, name: &CursorName, position: u64) {
        let key = meta::cursor_key(name);
        let row = meta::encode_cursor(name, position);
        self.chain_meta(&key, &row);
        self.batch.put(Table::Meta, key, row);
        self.overlay.move_cursor(name.clone(), position);
    }

    fn chain_meta(&mut self, key: &[u8], row: &[u8]) {
        self.state.chain(&meta::state_link(key, row));
    }
}

fn deduplicated(header: &EventHeader) -> Arc<EventHeader> {
    Arc::new(EventHeader {
        deduplicated: true,
        ..header.clone()
    })
}
