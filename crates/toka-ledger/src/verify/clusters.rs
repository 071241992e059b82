//! The intents, found once more: every event is clustered again, and every macro-clustering made again.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::meta::stored_sequence;
use super::report::Report;
use crate::core::{Embedding, EventHeader, IntentId, IntentLabel};
use crate::engine::{Direction, Engine, Table};
use crate::error::Error;
use crate::intent::{Clusterer, Parameters};
use crate::read::Position;
use crate::seam::Threads;
use crate::store::clusters::{LABEL, RECORD, decode_intent_key, decode_label};
use crate::store::{self, Settings};

/// Clusters the events of a history again.
pub(super) struct Clusters {
    parameters: Parameters,
    /// `None` once an event could not be read: what follows depends on it.
    clusterer: Option<Clusterer>,
    /// Rows that should be there.
    expected: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Clusters {
    /// Macro-clusterings that do not fit between two events run on `threads`.
    pub(super) fn new(settings: Option<&Settings>, threads: &Arc<dyn Threads>) -> Self {
        Self {
            parameters: settings.map_or_else(Parameters::default, |settings| settings.intents),
            clusterer: settings.map(|_| Clusterer::new(Arc::clone(threads))),
            expected: BTreeMap::new(),
        }
    }

    /// Whether all events so far could be clustered.
    pub(super) const fn is_complete(&self) -> bool {
        self.clusterer.is_some()
    }

    /// Announces the embeddings that come next, in order: they are scored together.
    pub(super) fn expect(&mut self, embeddings: Vec<Embedding>) {
        if let Some(clusterer) = &mut self.clusterer {
            clusterer.expect(embeddings);
        }
    }

    /// Goes on past an event that cannot be read, or was erased.
    pub(super) fn lose(&mut self) {
        self.clusterer = None;
    }

    /// Goes on with an event that has an embedding. Returns what the state chain goes on with.
    pub(super) fn push(
        &mut self,
        header: &EventHeader,
        embedding: &Embedding,
        report: &mut Report,
    ) -> Vec<Vec<u8>> {
        let Some(clusterer) = &mut self.clusterer else {
            return Vec::new();
        };
        if clusterer
            .dimension()
            .is_some_and(|dimension| dimension != embedding.dimension())
        {
            // Its own problem, told already.
            self.clusterer = None;
            return Vec::new();
        }
        let assignment = clusterer.assign(self.parameters, embedding, header.sequence);
        let expected = (Some(assignment.micro_cluster), Some(assignment.intent));
        if (header.micro_cluster, header.intent) != expected {
            let detail = format!(
                "its micro-cluster should be {} and its intent {}",
                assignment.micro_cluster, assignment.intent
            );
            report.event(header.sequence, Some(header.id), Table::Headers, detail);
            // Told once: whatever follows builds on it.
            self.clusterer = None;
            return Vec::new();
        }
        let changes = clusterer.settle(header.sequence);
        for (key, row) in changes.rows {
            if key.starts_with(LABEL) {
                // What became of the label of an intent that was retired.
                continue;
            }
            match row {
                Some(row) => self.expected.insert(key, row),
                None => self.expected.remove(&key),
            };
        }
        changes.links
    }

    /// Labels an intent again. Returns what the state chain goes on with.
    pub(super) fn label(&mut self, intent: IntentId, label: Option<&IntentLabel>) -> Vec<Vec<u8>> {
        let Some(clusterer) = &mut self.clusterer else {
            return Vec::new();
        };
        let label = label.map_or("", IntentLabel::as_str);
        // The rows of labels are not compared: later commands may have changed them.
        clusterer.label(intent, label).links
    }

    /// Compares what should be stored with what is.
    pub(super) fn finish(
        self,
        engine: &dyn Engine,
        position: &Position,
        report: &mut Report,
    ) -> Result<(), Error> {
        let mut stored = BTreeMap::new();
        for row in engine.scan(Table::Clusters, &[], None, Direction::Forward) {
            match row {
                Ok((key, value)) => {
                    if let Some(detail) = label_problem(&key, &value) {
                        report.row(Table::Clusters, detail);
                    }
                    if !key.starts_with(LABEL) {
                        stored.insert(key, value);
                    }
                }
                Err(error) => {
                    report.damage(error)?;
                    return Ok(());
                }
            }
        }
        if !self.is_complete() {
            return Ok(());
        }
        // Commits since the check began may have saved a newer state; records stay as they are.
        let is_behind = stored_sequence(engine)? > position.sequence;
        for (key, row) in &self.expected {
            if is_behind && !key.starts_with(RECORD) {
                continue;
            }
            let detail = match stored.get(&key[..]) {
                Some(found) if found == row => continue,
                Some(_) => "is not what it should be",
                None => "is missing",
            };
            report.row(Table::Clusters, format!("row {} {detail}", store::hex(key)));
        }
        if !is_behind {
            for key in stored
                .keys()
                .filter(|key| !self.expected.contains_key(&key[..]))
            {
                let key = store::hex(key);
                report.row(Table::Clusters, format!("row {key} belongs to no event"));
            }
        }
        Ok(())
    }
}

/// Labels may be changed while the history is checked: they are only read.
fn label_problem(key: &Bytes, value: &Bytes) -> Option<String> {
    if !key.starts_with(LABEL) {
        return None;
    }
    let decoded = decode_intent_key(LABEL, key).and_then(|id| decode_label(id, value.clone()));
    decoded
        .err()
        .map(|error| format!("row {}: {error}", store::hex(key)))
}
