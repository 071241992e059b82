//! The intents of a vault as `apply` drives them.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use super::kernel::Kernel;
use super::lookahead::Lookahead;
use super::persist;
use super::regroup::Source;
use super::space::{Place, Space};
use super::table::Table;
use super::{IntentId, MicroClusterId, Parameters};
use crate::core::{Digest, Embedding};
use crate::seam::Threads;

/// Where an event went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) micro_cluster: MicroClusterId,
    pub(crate) intent: IntentId,
}

/// What an event or a label changes in the table `clusters`.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Rows to put, or without a value to delete.
    pub(crate) rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// What the state chain goes on with, in order.
    pub(crate) links: Vec<Vec<u8>>,
}

impl Changes {
    pub(super) fn put(&mut self, key: Vec<u8>, row: Vec<u8>) {
        self.rows.push((key, Some(row)));
    }

    pub(super) fn delete(&mut self, key: Vec<u8>) {
        self.rows.push((key, None));
    }
}

/// Groups events as they are applied.
pub(crate) struct Clusterer {
    /// Of large macro-clusterings.
    threads: Arc<dyn Threads>,
    kernel: Kernel,
    /// `None` until the vault's dimension is known.
    space: Option<Space>,
    lookahead: Lookahead,
}

impl Clusterer {
    /// Of a vault without embedded events. `threads` runs what does not fit between two events.
    pub(crate) fn new(threads: Arc<dyn Threads>) -> Self {
        Self {
            threads,
            kernel: Kernel::detect(),
            space: None,
            lookahead: Lookahead::default(),
        }
    }

    /// Goes on in a space that was rebuilt without its table.
    pub(super) fn with_space(threads: Arc<dyn Threads>, mut space: Space) -> Self {
        let mut clusterer = Self::new(threads);
        space.table = Some(Table::new(space.dimension, clusterer.kernel));
        space.rebuild_table();
        space.train_sketch();
        if let Some(pending) = &mut space.pending {
            pending.start(&*clusterer.threads);
        }
        clusterer.space = Some(space);
        clusterer
    }

    pub(super) const fn space(&self) -> Option<&Space> {
        self.space.as_ref()
    }

    /// Dimension of the embeddings; `None` until it is known.
    pub(crate) fn dimension(&self) -> Option<usize> {
        self.space.as_ref().map(|space| space.dimension)
    }

    /// Waits for a macro-clustering that takes effect within the next `events` embedded events. Needs no
    /// exclusive access, so that nobody else has to wait.
    pub(crate) fn wait_for_pending(&self, events: usize) {
        let pending = self.space.as_ref().and_then(|space| {
            let until = space.embedded + events as u64;
            space
                .pending
                .as_ref()
                .filter(|pending| pending.due <= until)
        });
        if let Some(pending) = pending {
            pending.groups();
        }
    }

    /// Embedded events so far.
    pub(crate) fn embedded(&self) -> u64 {
        self.space.as_ref().map_or(0, |space| space.embedded)
    }

    /// Digest of everything that decides where events go, centroids included, right after the event at
    /// `sequence`; `None` if a later event has found its place already. Zeros before the first embedded event,
    /// whether or not the dimension is known.
    pub(crate) fn digest_after(&self, sequence: u64) -> Option<Digest> {
        let Some(space) = self.space.as_ref().filter(|space| space.embedded > 0) else {
            return Some(Digest::ZERO);
        };
        // A micro-cluster that is folded leaves this to the other one.
        let is_later = space
            .micros
            .rows()
            .iter()
            .any(|micro| micro.last > sequence);
        (!is_later).then(|| Digest(space.digest()))
    }

    /// Announces the embeddings that may come next, in order; they are scored together. Some may belong
    /// to commits that will be refused, and be of any dimension.
    pub(crate) fn expect(&mut self, embeddings: Vec<Embedding>) {
        self.lookahead.expect(embeddings);
        if let Some(space) = &self.space {
            self.lookahead.keep_dimension(space.dimension);
        }
    }

    /// Finds the place of an event with an embedding, and puts it there. All embeddings of a vault have
    /// the same dimension.
    pub(crate) fn assign(
        &mut self,
        parameters: Parameters,
        embedding: &Embedding,
        sequence: u64,
    ) -> Assignment {
        let kernel = self.kernel;
        let lookahead = &mut self.lookahead;
        let space = self.space.get_or_insert_with(|| {
            lookahead.keep_dimension(embedding.dimension());
            let mut space = Space::new(parameters, embedding.dimension());
            space.table = Some(Table::new(space.dimension, kernel));
            space
        });
        let place = match self.lookahead.find(space, embedding) {
            Some(row) => Place::Row(row),
            None => Place::New(None),
        };
        let (micro_cluster, intent) = space.add(place, embedding, sequence);
        Assignment {
            micro_cluster,
            intent,
        }
    }

    /// Does what is due after the event at `sequence`, which was assigned: macro-clustering, saving.
    pub(crate) fn settle(&mut self, sequence: u64) -> Changes {
        let mut changes = Changes::default();
        let Some(space) = &mut self.space else {
            return changes;
        };
        let (records, threads) = (space.records, &*self.threads);
        let source = Source::Calculated {
            threads,
            changes: &mut changes,
        };
        let finished = space.finish_regrouping(sequence, source);
        // In between, since one may be pending nearly all the time.
        persist::save(space, sequence, &mut changes);
        let source = Source::Calculated {
            threads,
            changes: &mut changes,
        };
        finished
            .and_then(|()| space.begin_regrouping(sequence, source))
            .expect("only records can fail to match");
        persist::check(space, sequence, &mut changes);
        if space.records != records {
            self.lookahead.invalidate();
        }
        changes
    }

    /// The intent that `intent` is now; `None` if there never was one of that id.
    pub(crate) fn resolve(&self, intent: IntentId) -> Option<IntentId> {
        let space = self.space.as_ref()?;
        let resolved = space.names.resolve(intent);
        space.groups.contains_key(&resolved).then_some(resolved)
    }

    /// Labels an intent that is in use; an empty label takes it off.
    pub(crate) fn label(&mut self, intent: IntentId, label: &str) -> Changes {
        let mut changes = Changes::default();
        if let Some(space) = &mut self.space {
            space.set_label(intent, label, &mut changes);
        }
        changes
    }
}

impl fmt::Debug for Clusterer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = self.space.as_ref();
        f.debug_struct("Clusterer")
            .field("embedded", &space.map_or(0, |space| space.embedded))
            .field(
                "micro_clusters",
                &space.map_or(0, |space| space.micros.len()),
            )
            .field("intents", &space.map_or(0, |space| space.groups.len()))
            .finish_non_exhaustive()
    }
}
