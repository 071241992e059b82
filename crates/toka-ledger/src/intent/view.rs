//! What readers ask of the intents.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::clusterer::Clusterer;
use super::macro_clustering::{coherence, spread};
use super::query::Query;
use super::regroup::linkage;
use super::space::Space;
use super::table::Table;
use super::{IntentId, MicroClusterId};
use crate::core::Embedding;

/// An intent with fewer events is shown as tentative.
pub const TENTATIVE_EVENTS: u64 = 5;

/// An intent as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Which one.
    pub intent: IntentId,
    /// What people call it.
    pub label: Option<String>,
    /// Events in it.
    pub events: u64,
    /// Micro-clusters in it.
    pub micro_clusters: u32,
    /// Mean similarity of two of its events, relative to the mean of all, between about -1 and 1; of a
    /// small intent pulled towards 0.15.
    pub coherence: f32,
    /// Sequence of its first event.
    pub first: u64,
    /// Sequence of its last event.
    pub last: u64,
    /// It has fewer than [`TENTATIVE_EVENTS`] events.
    pub is_tentative: bool,
}

/// How many there are, and the memory that they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Intents in use.
    pub intents: usize,
    /// Micro-clusters in use.
    pub micro_clusters: usize,
    /// The table that every event is compared with, bytes.
    pub table_bytes: usize,
    /// Everything else, bytes.
    pub other_bytes: usize,
}

/// Where an event with some embedding would go.
#[derive(Clone, Debug, PartialEq)]
pub struct Classification {
    /// The micro-cluster that it would join, and how similar it is to that one's centre, a cosine of
    /// -1 to 1; `None` if it would make a new one.
    pub micro_cluster: Option<(MicroClusterId, f32)>,
    /// The intent that it would be of; `None` if that would be a new one.
    pub intent: Option<IntentId>,
    /// Mean similarity to the events of each intent, the most similar first.
    pub nearest: Vec<(IntentId, f32)>,
}

/// Micro-clusters of an intent, in the order in which they are to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) intent: IntentId,
    /// With all ids under which each has events.
    pub(crate) micro_clusters: Vec<MicroClusterId>,
}

impl Clusterer {
    /// All intents, the largest first; of equally large ones the oldest.
    pub(crate) fn summaries(&self) -> Vec<Summary> {
        let mut summaries = self.summaries_of(|_| true);
        summaries.sort_by_key(|summary| (Reverse(summary.events), summary.intent));
        summaries
    }

    /// The intent that `intent` is now; `None` if there never was one of that id.
    pub(crate) fn summary(&self, intent: IntentId) -> Option<Summary> {
        let resolved = self.resolve(intent)?;
        self.summaries_of(|intent| intent == resolved).pop()
    }

    /// The intents that `is_wanted`, by id.
    fn summaries_of(&self, is_wanted: impl Fn(IntentId) -> bool) -> Vec<Summary> {
        let Some(space) = self.space() else {
            return Vec::new();
        };
        let mut summaries: BTreeMap<IntentId, Summary> = BTreeMap::new();
        let rows = space.micros.rows().iter();
        for micro in rows.filter(|micro| is_wanted(micro.intent)) {
            let intent = micro.intent;
            let summary = summaries.entry(intent).or_insert_with(|| Summary {
                intent,
                label: space.names.labels.get(&intent).cloned(),
                events: 0,
                micro_clusters: 0,
                coherence: space.coherence(intent),
                first: micro.first,
                last: micro.last,
                is_tentative: false,
            });
            summary.events += micro.events;
            summary.micro_clusters += 1;
            summary.first = summary.first.min(micro.first);
            summary.last = summary.last.max(micro.last);
        }
        let mut summaries: Vec<_> = summaries.into_values().collect();
        for summary in &mut summaries {
            summary.is_tentative = summary.events < TENTATIVE_EVENTS;
        }
        summaries
    }

    /// The intents that `intent` led through and the one that it is now, in order; empty while it is in
    /// use. `None` if there never was one of that id.
    pub(crate) fn successors(&self, intent: IntentId) -> Option<Vec<IntentId>> {
        self.resolve(intent)?;
        let space = self.space()?;
        Some(space.names.successors_of(intent))
    }

    /// The intent that the events of `micro` are of now.
    pub(crate) fn intent_of(&self, micro: MicroClusterId) -> Option<IntentId> {
        let space = self.space()?;
        let row = space.micros.find(space.names.root(micro))?;
        Some(space.micros.row(row).intent)
    }

    /// All ids of micro-clusters whose events are of one of `intents`, those of folded ones included.
    pub(crate) fn members(&self, intents: &BTreeSet<IntentId>) -> BTreeSet<MicroClusterId> {
        let Some(space) = self.space() else {
            return BTreeSet::new();
        };
        let rows = space.micros.rows().iter();
        rows.filter(|micro| intents.contains(&micro.intent))
            .flat_map(|micro| std::iter::once(micro.id).chain(space.names.folded(micro.id)))
            .collect()
    }

    /// Where an event with `embedding`, of the vault's dimension, would go now; at most `limit`
    /// intents.
    pub(crate) fn classify(&self, embedding: &Embedding, limit: usize) -> Classification {
        let mut classification = Classification {
            micro_cluster: None,
            intent: None,
            nearest: Vec::new(),
        };
        let Some((space, relative)) = self.place(embedding) else {
            return classification;
        };
        let query = Query::new(&relative);
        let table = space.table.as_ref().expect("no reader sees a replay");
        let bar = query.bar(space.parameters.tau_q30);
        let best = if space.is_full() {
            table.best(&query)
        } else {
            table.best_above(&query, bar).filter(|_| !query.is_zero())
        };
        if let Some(best) = best {
            let micro = space.micros.row(best.row);
            classification.micro_cluster = Some((micro.id, cosine(best.score, &query)));
            classification.intent = Some(micro.intent);
        } else {
            classification.intent = space.most_similar(&relative);
        }
        let mut nearest: Vec<_> = space.similarities(&relative).collect();
        nearest.sort_by_key(|&(intent, similarity)| (Reverse(similarity), intent));
        nearest.truncate(limit);
        classification.nearest = nearest
            .into_iter()
            .map(|(intent, similarity)| (intent, from_q28(similarity)))
            .collect();
        classification
    }

    /// The intents in the order in which events near `embedding`, of the vault's dimension, are found
    /// in them: by their most similar micro-cluster.
    pub(crate) fn probes(&self, embedding: &Embedding) -> Vec<Probe> {
        let Some((space, relative)) = self.place(embedding) else {
            return Vec::new();
        };
        space.probes(&relative, |_| true)
    }

    /// The micro-clusters of an intent, those nearest to its centre first, and the centre's direction,
    /// shape `[dimension]`.
    pub(crate) fn centre(&self, intent: IntentId) -> Option<(Probe, Vec<f32>)> {
        let space = self.space()?;
        let mean = space.mean_of(intent)?;
        let relative: Vec<i32> = mean.iter().zip(&space.mean).map(|(a, b)| a - b).collect();
        let probe = space.probes(&relative, |of| of == intent).pop()?;
        Some((probe, floats(&mean)))
    }

    /// The direction of an intent's centre, shape `[dimension]`, of any norm.
    pub(crate) fn direction(&self, intent: IntentId) -> Option<Vec<f32>> {
        Some(floats(&self.space()?.mean_of(intent)?))
    }

    /// How many there are, and the memory that they take.
    pub(crate) fn usage(&self) -> Usage {
        self.space().map_or_else(Usage::default, |space| {
            let group_bytes = space.dimension * size_of::<i64>();
            Usage {
                intents: space.groups.len(),
                micro_clusters: space.micros.len(),
                table_bytes: space.table.as_ref().map_or(0, Table::bytes),
                other_bytes: space.micros.bytes() + space.groups.len() * group_bytes,
            }
        })
    }

    fn place(&self, embedding: &Embedding) -> Option<(&Space, Vec<i32>)> {
        // A reader may have looked at the settings just before the first embedded event came.
        let space = self
            .space()
            .filter(|space| space.dimension == embedding.dimension())?;
        let mut relative = Vec::with_capacity(space.dimension);
        space.relative(embedding, &mut relative);
        Some((space, relative))
    }
}

impl Space {
    /// The mean of an intent's embeddings, shape `[dimension]`, Q14.
    fn mean_of(&self, intent: IntentId) -> Option<Vec<i32>> {
        let group = self.groups.get(&intent)?;
        let weight = i64::try_from(group.weight).expect("at most 2^26");
        let mean = group.sums.iter();
        let mean =
            mean.map(|sum| i32::try_from(sum.div_euclid(weight)).expect("a mean of 2^14 at most"));
        Some(mean.collect())
    }

    fn coherence(&self, intent: IntentId) -> f32 {
        let Some(group) = self.groups.get(&intent) else {
            return 0.0;
        };
        let weight = i64::try_from(group.weight).expect("at most 2^26");
        let squared: i64 = group
            .sums
            .iter()
            .zip(&self.mean)
            .map(|(sum, &mean)| {
                let centred = sum.div_euclid(weight) - i64::from(mean);
                centred * centred
            })
            .sum();
        // At most 2^31 by 2^28.
        let similarity_q28 = (squared << 28).div_euclid(spread(&self.mean));
        from_q28(coherence(
            similarity_q28,
            group.weight,
            &linkage(&self.parameters),
        ))
    }

    /// Intents that `is_wanted`, by their micro-cluster most similar to `relative`.
    fn probes(&self, relative: &[i32], is_wanted: impl Fn(IntentId) -> bool) -> Vec<Probe> {
        let query = Query::new(relative);
        let table = self.table.as_ref().expect("no reader sees a replay");
        let mut rows: Vec<_> = self
            .micros
            .rows()
            .iter()
            .enumerate()
            .filter(|(_, micro)| is_wanted(micro.intent))
            .map(|(row, micro)| (Reverse(table.score(row, &query)), micro.id, micro.intent))
            .collect();
        rows.sort_unstable();
        let mut order = BTreeMap::new();
        let mut probes: Vec<Probe> = Vec::new();
        for (_, micro, intent) in rows {
            let at = *order.entry(intent).or_insert_with(|| {
                probes.push(Probe {
                    intent,
                    micro_clusters: Vec::new(),
                });
                probes.len() - 1
            });
            let micro_clusters = &mut probes[at].micro_clusters;
            micro_clusters.push(micro);
            micro_clusters.extend(self.names.folded(micro));
        }
        probes
    }
}

fn floats(mean: &[i32]) -> Vec<f32> {
    #[allow(clippy::cast_precision_loss, reason = "at most 2^14")]
    let floats = mean.iter().map(|&x| x as f32).collect();
    floats
}

/// The cosine that a score stands for, -1 to 1 also where rounding makes it more; 0 for a query without a direction.
fn cosine(score: i64, query: &Query) -> f32 {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "shown to people"
    )]
    let cosine = (score as f64 / ((query.norm() << 20).max(1)) as f64) as f32;
    cosine.clamp(-1.0, 1.0)
}

fn from_q28(value: i64) -> f32 {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "shown to people"
    )]
    let value = (value as f64 / f64::from(1_u32 << 28)) as f32;
    value
}
