//! The space of a vault's embeddings: micro-clusters, intents, and how an event finds its place.

use std::collections::BTreeMap;

use super::kernel::{Kernel, Sums};
use super::macro_clustering::spread;
use super::micro::{Micro, Micros};
use super::names::Names;
use super::pending::Pending;
use super::table::{SKETCH_MICROS_MIN, Table};
use super::{IntentId, MicroClusterId, Parameters};
use crate::core::Embedding;
use crate::store::clusters::SavedState;

/// Embedded events at which the first macro-clustering is due in any case; then at each doubling.
const FIRST_GROUPING: u64 = 64;

/// The embeddings of an intent, summed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Sum of its micro-clusters' sums, shape `[dimension]`: at most 2^14 times the weight each.
    pub(super) sums: Vec<i64>,
    /// Sum of their weights, at most 2^26.
    pub(super) weight: u64,
}

impl Group {
    fn new(dimension: usize) -> Self {
        Self {
            sums: vec![0; dimension],
            weight: 0,
        }
    }

    fn add(&mut self, weight: u32, sums: impl Iterator<Item = i64>) {
        self.weight += u64::from(weight);
        for (sum, part) in self.sums.iter_mut().zip(sums) {
            *sum += part;
        }
    }
}

/// Everything that `apply` knows of the embeddings so far.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) parameters: Parameters,
    pub(super) dimension: usize,
    /// Embedded events so far.
    pub(super) embedded: u64,
    /// Sums of all embeddings, shape `[dimension]`, Q14.
    pub(super) sums: Vec<i64>,
    /// Mean as of the last macro-clustering, shape `[dimension]`, Q14.
    pub(super) mean: Vec<i32>,
    pub(super) micros: Micros,
    /// Directions of the micro-clusters' centres, row by row; `None` while the history is replayed.
    pub(super) table: Option<Table>,
    pub(super) groups: BTreeMap<IntentId, Group>,
    pub(super) names: Names,
    pub(super) next_micro: MicroClusterId,
    pub(super) next_intent: IntentId,
    /// Micro-clusters made since the last macro-clustering looked.
    pub(super) born: u32,
    /// Micro-clusters that it looked at.
    pub(super) grouped: u32,
    /// Embedded events at which the next one is due in any case.
    pub(super) doubling: u64,
    /// Macro-clusterings that took effect.
    pub(super) records: u64,
    pub(super) pending: Option<Pending>,
    /// Embedded events as of the last save.
    pub(super) saved: u64,
    /// Micro-clusters that were saved and are gone since.
    pub(super) removed: Vec<MicroClusterId>,
    pub(super) kernel: Kernel,
    /// Reused for each event: the centre that it moves, shape `[dimension]`.
    centre: Vec<i32>,
}

/// Where an event goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Into the micro-cluster in this row.
    Row(usize),
    /// Into a new micro-cluster; of this intent, or of the most similar one, or a new one.
    New(Option<IntentId>),
}

impl Space {
    pub(super) fn new(parameters: Parameters, dimension: usize) -> Self {
        Self {
            parameters,
            dimension,
            embedded: 0,
            sums: vec![0; dimension],
            mean: vec![0; dimension],
            micros: Micros::new(dimension),
            table: None,
            groups: BTreeMap::new(),
            names: Names::default(),
            next_micro: MicroClusterId(1),
            next_intent: IntentId(1),
            born: 0,
            grouped: 0,
            doubling: FIRST_GROUPING,
            records: 0,
            pending: None,
            saved: 0,
            removed: Vec::new(),
            kernel: Kernel::detect(),
            centre: vec![0; dimension],
        }
    }

    /// Goes on from what was saved. The micro-clusters are added by the caller.
    pub(super) fn from_saved(parameters: Parameters, saved: SavedState) -> Self {
        let dimension = saved.sums.len();
        Self {
            embedded: saved.embedded,
            sums: saved.sums,
            next_micro: saved.next_micro,
            next_intent: saved.next_intent,
            born: saved.born,
            grouped: saved.grouped,
            doubling: saved.doubling,
            records: saved.records,
            saved: saved.embedded,
            mean: saved.mean,
            ..Self::new(parameters, dimension)
        }
    }

    /// Whether no micro-cluster can be added.
    pub(super) fn is_full(&self) -> bool {
        self.micros.len() >= self.parameters.micro_clusters_max as usize
            || self.next_micro.0 == u32::MAX
    }

    /// `event - mean`, shape `[dimension]`, of an event of that shape.
    pub(super) fn relative(&self, event: &Embedding, out: &mut Vec<i32>) {
        out.resize(self.dimension, 0);
        self.kernel.relative(event.pairs(), &self.mean, out);
    }

    /// Adds an event, of the space's dimension, at its place. Returns the micro-cluster and its intent.
    pub(super) fn add(
        &mut self,
        place: Place,
        event: &Embedding,
        sequence: u64,
    ) -> (MicroClusterId, IntentId) {
        self.embedded += 1;
        let row = match place {
            Place::Row(row) => {
                self.join(row, event, sequence);
                row
            }
            Place::New(intent) => self.found(intent, event, sequence),
        };
        let Micro { id, intent, .. } = *self.micros.row(row);
        (id, intent)
    }

    fn join(&mut self, row: usize, event: &Embedding, sequence: u64) {
        let before = *self.micros.row(row);
        let group = self
            .groups
            .get_mut(&before.intent)
            .expect("each micro-cluster's intent is there");
        let shift = self.parameters.decay_shift();
        let (share, micro) = self.micros.count(row, sequence, shift);
        let sums = Sums {
            all: &mut self.sums,
            intent: &mut group.sums,
            micro,
        };
        self.kernel
            .join(event.pairs(), share, sums, &self.mean, &mut self.centre);
        group.weight += u64::from(self.micros.row(row).weight - before.weight);
        if let Some(table) = &mut self.table {
            table.set(row, &self.centre);
        }
    }

    /// Makes a micro-cluster of one event. Returns its row.
    fn found(&mut self, intent: Option<IntentId>, event: &Embedding, sequence: u64) -> usize {
        for (sum, component) in self.sums.iter_mut().zip(event.iter()) {
            *sum += i64::from(component);
        }
        let mut relative = Vec::with_capacity(self.dimension);
        self.relative(event, &mut relative);
        let intent = intent
            .or_else(|| self.most_similar(&relative))
            .unwrap_or(self.next_intent);
        if intent.0 >= self.next_intent.0 {
            self.next_intent = IntentId(intent.0 + 1);
        }
        let id = self.next_micro;
        self.next_micro = MicroClusterId(id.0 + 1);
        self.born += 1;
        let micro = Micro {
            id,
            intent,
            weight: 1,
            events: 1,
            first: sequence,
            last: sequence,
        };
        self.micros.push(micro, event.iter().map(i32::from));
        self.groups
            .entry(intent)
            .or_insert_with(|| Group::new(self.dimension))
            .add(1, event.iter().map(i64::from));
        if let Some(table) = &mut self.table {
            table.push(&relative);
        }
        self.micros.len() - 1
    }

    /// The intent that an event at `relative` is most similar to on average, if it is similar enough to
    /// be one of its micro-clusters; of equally similar ones the oldest.
    pub(super) fn most_similar(&self, relative: &[i32]) -> Option<IntentId> {
        let rho = u64::from(self.parameters.rho_q16);
        let bar = i64::try_from((rho * u64::from(self.parameters.prior_q28)) >> 16)
            .expect("a product of 2^16 and 2^28");
        let mut best = None;
        for (intent, similarity_q28) in self.similarities(relative) {
            if similarity_q28 >= best.map_or(bar, |(_, best)| best + 1) {
                best = Some((intent, similarity_q28));
            }
        }
        best.map(|(intent, _)| intent)
    }

    /// Mean similarity of an event at `relative` to the events of each intent, Q28, by id.
    pub(super) fn similarities<'a>(
        &'a self,
        relative: &'a [i32],
    ) -> impl Iterator<Item = (IntentId, i64)> + 'a {
        let spread = spread(&self.mean);
        let to_mean = dot(relative, self.mean.iter().copied().map(i64::from));
        self.groups.iter().map(move |(&intent, group)| {
            // By Cauchy and Schwarz: at most 2^40 by 2^16, and no partial sum is larger.
            let sum = dot(relative, group.sums.iter().copied());
            let weight = i64::try_from(group.weight).expect("at most 2^26");
            let product = sum.div_euclid(weight) - to_mean;
            // At most 2^31 by 2^28.
            (intent, (product << 28).div_euclid(spread))
        })
    }

    /// Makes the intents' sums anew from their micro-clusters.
    pub(super) fn rebuild_groups(&mut self) {
        self.groups.clear();
        for (row, micro) in self.micros.rows().iter().enumerate() {
            let sums = self.micros.sums(row).iter().copied().map(i64::from);
            self.groups
                .entry(micro.intent)
                .or_insert_with(|| Group::new(self.dimension))
                .add(micro.weight, sums);
        }
    }

    /// Makes the table of directions anew, for a new mean or new rows.
    pub(super) fn rebuild_table(&mut self) {
        let Some(table) = &mut self.table else {
            return;
        };
        table.clear();
        let mut centre = Vec::with_capacity(self.dimension);
        for row in 0..self.micros.len() {
            self.micros.centre(row, &self.mean, &mut centre);
            table.push(&centre);
        }
    }

    /// Lets a large table skip what cannot be the best. Changes no answer; making the table anew undoes it.
    pub(super) fn train_sketch(&mut self) {
        if let Some(table) = &mut self.table
            && table.len() >= SKETCH_MICROS_MIN
        {
            table.train_sketch();
        }
    }
}

fn dot(a: &[i32], b: impl Iterator<Item = i64>) -> i64 {
    a.iter().zip(b).map(|(&a, b)| i64::from(a) * b).sum()
}
