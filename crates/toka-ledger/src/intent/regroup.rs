//! When the macro-clustering runs, and what follows from it.

use std::collections::{BTreeMap, VecDeque};

use super::clusterer::Changes;
use super::macro_clustering::{Frozen, Linkage, group, name_groups};
use super::micro::Micro;
use super::pending::{Pending, Snapshot};
use super::query::Query;
use super::space::Space;
use super::{IntentId, MicroClusterId, Parameters, Record};
use crate::seam::Threads;
use crate::store::clusters;

/// Fewest new micro-clusters that make a macro-clustering due.
const BORN_MIN: u32 = 16;
/// One new micro-cluster in so many makes it due when there are many.
const BORN_SHARE: u32 = 8;

/// Where the results of macro-clusterings come from.
pub(super) enum Source<'a> {
    /// They are calculated, large ones on a thread, and written.
    Calculated {
        threads: &'a dyn Threads,
        changes: &'a mut Changes,
    },
    /// They are in records, in order; what is not there has not taken effect yet.
    Recorded(&'a mut VecDeque<Record>),
}

/// A record that should be there is not, or is of another macro-clustering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordMismatch;

impl Space {
    /// After the event at `sequence`, lets a macro-clustering take effect that was begun for then.
    pub(super) fn finish_regrouping(
        &mut self,
        sequence: u64,
        source: Source<'_>,
    ) -> Result<(), RecordMismatch> {
        match self.pending.take_if(|pending| self.embedded >= pending.due) {
            Some(pending) => {
                let groups = || pending.groups().to_vec();
                self.take_effect(sequence, &pending.snapshot, groups, source)
            }
            None => Ok(()),
        }
    }

    /// After the event at `sequence`, begins a macro-clustering if it is time. A small one takes effect
    /// at once.
    pub(super) fn begin_regrouping(
        &mut self,
        sequence: u64,
        source: Source<'_>,
    ) -> Result<(), RecordMismatch> {
        if self.pending.is_some() || !self.is_due() {
            return Ok(());
        }
        let snapshot = self.freeze();
        let linkage = linkage(&self.parameters);
        if snapshot.len() < self.parameters.background_micro_clusters as usize {
            let groups = || group(&snapshot.frozen, &linkage);
            return self.take_effect(sequence, &snapshot, groups, source);
        }
        let wait = u64::from(self.parameters.background_events).max(snapshot.len() as u64);
        let mut pending = Pending::new(snapshot, self.embedded + wait, linkage);
        if let Source::Calculated { threads, .. } = source {
            pending.start(threads);
        }
        self.pending = Some(pending);
        Ok(())
    }

    fn is_due(&self) -> bool {
        self.embedded >= self.doubling || self.born >= BORN_MIN.max(self.grouped / BORN_SHARE)
    }

    /// What a macro-clustering of the present state looks at.
    fn freeze(&mut self) -> Snapshot {
        while self.doubling <= self.embedded {
            self.doubling *= 2;
        }
        self.born = 0;
        self.grouped = u32::try_from(self.micros.len()).expect("at most 16,384");
        let divisor = i64::try_from(self.embedded).expect("below 2^42")
            + i64::from(self.parameters.mean_shrink);
        let mean = self.sums.iter().map(|sum| {
            i32::try_from(sum.div_euclid(divisor)).expect("no mean is above its largest part, 2^14")
        });
        let rows = self.micros.rows();
        Snapshot {
            embedded: self.embedded,
            events: rows.iter().map(|micro| micro.events).collect(),
            frozen: Frozen {
                dimension: self.dimension,
                mean: mean.collect(),
                sums: self.micros.sums_of_first(rows.len()).to_vec(),
                weights: rows.iter().map(|micro| micro.weight).collect(),
            },
        }
    }

    fn take_effect(
        &mut self,
        sequence: u64,
        snapshot: &Snapshot,
        groups: impl FnOnce() -> Vec<u32>,
        source: Source<'_>,
    ) -> Result<(), RecordMismatch> {
        match source {
            Source::Calculated { changes, .. } => {
                let mut record = self.name(sequence, snapshot, &groups());
                self.move_rows(&record, &snapshot.frozen.mean);
                self.rebuild_table();
                record.folded = self.choose_folds();
                let went = self.fold(&record.folded);
                if !record.folded.is_empty() {
                    self.rebuild_table();
                }
                self.train_sketch();
                self.rebuild_groups();
                self.retire_emptied(&mut record, went);
                self.carry_labels(&record, changes);
                self.note(&record, changes);
            }
            // The names were found with the records; the table is made once everything is replayed.
            Source::Recorded(records) => {
                let record = records.pop_front().ok_or(RecordMismatch)?;
                if (record.sequence, record.embedded) != (sequence, snapshot.embedded) {
                    return Err(RecordMismatch);
                }
                self.move_rows(&record, &snapshot.frozen.mean);
                self.fold(&record.folded);
                self.rebuild_groups();
            }
        }
        self.records += 1;
        Ok(())
    }

    /// What `groups` (one number for each micro-cluster of the snapshot) means for intents' ids.
    fn name(&self, sequence: u64, snapshot: &Snapshot, groups: &[u32]) -> Record {
        let rows = self.micros.rows();
        let old: Vec<IntentId> = rows[..snapshot.len()]
            .iter()
            .map(|micro| micro.intent)
            .collect();
        let named = name_groups(groups, &old, &snapshot.events, self.next_intent.0);
        let successors: BTreeMap<_, _> = named.retired.iter().copied().collect();
        // Micro-clusters that are younger than the snapshot keep their intent, or go where most of it
        // went.
        let young = rows[snapshot.len()..]
            .iter()
            .map(|micro| *successors.get(&micro.intent).unwrap_or(&micro.intent));
        let new = named.intents.iter().copied().chain(young);
        Record {
            sequence,
            embedded: snapshot.embedded,
            next_intent: IntentId(named.next),
            moved: rows
                .iter()
                .zip(new)
                .filter(|(micro, new)| micro.intent != *new)
                .map(|(micro, new)| (micro.id, micro.intent, new))
                .collect(),
            retired: named.retired,
            folded: Vec::new(),
        }
    }

    fn move_rows(&mut self, record: &Record, mean: &[i32]) {
        for &(micro, _, to) in &record.moved {
            if let Some(row) = self.micros.find(micro) {
                self.micros.set_intent(row, to);
            }
        }
        self.next_intent = record.next_intent;
        self.mean.copy_from_slice(mean);
    }

    /// Near the cap: which micro-clusters go into which others. The longest untouched go, each into
    /// the most similar one that stays, of its intent if there is one.
    fn choose_folds(&self) -> Vec<(MicroClusterId, MicroClusterId)> {
        let (Some(table), rows) = (&self.table, self.micros.rows()) else {
            return Vec::new();
        };
        let cap = self.parameters.micro_clusters_max as usize;
        if rows.len() <= cap * 7 / 8 {
            return Vec::new();
        }
        let mut by_age: Vec<usize> = (0..rows.len()).collect();
        by_age.sort_by_key(|&row| (rows[row].last, rows[row].id));
        let (folded, kept) = by_age.split_at(rows.len() - cap * 3 / 4);
        let mut kept = kept.to_vec();
        kept.sort_unstable();
        let mut centre = Vec::with_capacity(self.dimension);
        let folds = folded.iter().map(|&from| {
            self.micros.centre(from, &self.mean, &mut centre);
            let query = Query::new(&centre);
            let most_similar = |of_intent: Option<IntentId>| {
                kept.iter()
                    .filter(|&&to| of_intent.is_none_or(|intent| rows[to].intent == intent))
                    .max_by_key(|&&to| (table.score(to, &query), std::cmp::Reverse(to)))
            };
            let to = most_similar(Some(rows[from].intent))
                .or_else(|| most_similar(None))
                .expect("three in four of the cap stay");
            (rows[from].id, rows[*to].id)
        });
        folds.collect()
    }

    /// Folds micro-clusters into others. Returns how many events of each intent went where.
    fn fold(
        &mut self,
        folds: &[(MicroClusterId, MicroClusterId)],
    ) -> BTreeMap<IntentId, BTreeMap<IntentId, u64>> {
        let mut went: BTreeMap<IntentId, BTreeMap<IntentId, u64>> = BTreeMap::new();
        let mut is_removed = vec![false; self.micros.len()];
        for &(from, to) in folds {
            let (Some(from), Some(to)) = (self.micros.find(from), self.micros.find(to)) else {
                continue;
            };
            let Micro { intent, events, .. } = *self.micros.row(from);
            let into = self.micros.row(to).intent;
            *went.entry(intent).or_default().entry(into).or_default() += events;
            self.micros.fold(from, to, self.parameters.count_cap);
            is_removed[from] = true;
        }
        if !folds.is_empty() {
            self.removed.extend(folds.iter().map(|&(from, _)| from));
            self.micros.remove(&is_removed);
        }
        went
    }

    /// Retires intents that lost their last micro-cluster by folding: the successor is the intent that
    /// most of the events went to.
    fn retire_emptied(
        &self,
        record: &mut Record,
        went: BTreeMap<IntentId, BTreeMap<IntentId, u64>>,
    ) {
        for (intent, by_intent) in went {
            if self.groups.contains_key(&intent) {
                continue;
            }
            let successor = by_intent
                .into_iter()
                .max_by_key(|&(intent, events)| (events, std::cmp::Reverse(intent)));
            if let Some((successor, _)) = successor {
                record.retired.push((intent, successor));
            }
        }
        record.retired.sort_unstable();
    }

    /// Takes the record into the names, and into what is written.
    fn note(&mut self, record: &Record, changes: &mut Changes) {
        let number = self.records;
        let row = clusters::encode_record(number, record);
        let key = clusters::record_key(number);
        changes.links.push(clusters::state_link(&key, &row));
        changes.put(key, row);
        for &(micro, into) in &record.folded {
            self.names.fold(micro, into);
            changes.put(
                clusters::alias_key(micro),
                clusters::encode_alias(micro, into),
            );
        }
        for &(intent, successor) in &record.retired {
            self.names.successors.insert(intent, successor);
            changes.put(
                clusters::successor_key(intent),
                clusters::encode_successor(intent, successor),
            );
        }
    }

    /// People know a group by its label: it stays with most of the events, unless they have one.
    fn carry_labels(&mut self, record: &Record, changes: &mut Changes) {
        let retired: BTreeMap<_, _> = record.retired.iter().copied().collect();
        for &(intent, successor) in &record.retired {
            // One that folding has emptied may be retired by the same record.
            let mut last = successor;
            while let Some(&next) = retired.get(&last) {
                last = next;
            }
            if let Some(label) = self.names.labels.get(&intent).cloned()
                && !self.names.labels.contains_key(&last)
            {
                self.set_label(last, &label, changes);
            }
        }
    }

    /// Labels an intent; an empty label takes it off.
    pub(super) fn set_label(&mut self, intent: IntentId, label: &str, changes: &mut Changes) {
        let key = clusters::label_key(intent);
        // Without a label the row stays, so that the state chain has something to cover.
        let row = clusters::encode_label(intent, label);
        changes.links.push(clusters::state_link(&key, &row));
        changes.put(key, row);
        if label.is_empty() {
            self.names.labels.remove(&intent);
        } else {
            self.names.labels.insert(intent, label.to_owned());
        }
    }
}

/// How groups are merged.
pub(super) const fn linkage(parameters: &Parameters) -> Linkage {
    Linkage {
        rho_q16: parameters.rho_q16,
        floor_q28: parameters.floor_q28,
        w0_q28: parameters.prior_q28,
        n0: parameters.prior_events,
    }
}
