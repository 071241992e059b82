//! The micro-clusters: what is known of each, and the sums of their events.

use super::kernel::Share;
use super::{IntentId, MicroClusterId};

/// What is known of a micro-cluster beside its sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Micro {
    pub(super) id: MicroClusterId,
    /// The intent that it belongs to now.
    pub(super) intent: IntentId,
    /// Events that the sums stand for, 1 to the parameter `count_cap`.
    pub(super) weight: u32,
    /// Events that joined, those of folded micro-clusters included.
    pub(super) events: u64,
    /// Sequence of the first of them.
    pub(super) first: u64,
    /// Sequence of the last of them.
    pub(super) last: u64,
}

/// All micro-clusters, one row each, in the order of their ids.
#[derive(Clone, Debug)]
pub(super) struct Micros {
    dimension: usize,
    rows: Vec<Micro>,
    /// Sums of the rows' embeddings, shape `[rows, dimension]`, Q14. At most 2^14 times the weight
    /// each, so at most 2^26.
    sums: Vec<i32>,
    /// Rows that differ from what was saved last.
    changed: Vec<bool>,
}

impl Micros {
    pub(super) const fn new(dimension: usize) -> Self {
        Self {
            dimension,
            rows: Vec::new(),
            sums: Vec::new(),
            changed: Vec::new(),
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn rows(&self) -> &[Micro] {
        &self.rows
    }

    pub(super) fn row(&self, row: usize) -> &Micro {
        &self.rows[row]
    }

    /// Sums of the first `rows` rows, shape `[rows, dimension]`.
    pub(super) fn sums_of_first(&self, rows: usize) -> &[i32] {
        &self.sums[..rows * self.dimension]
    }

    /// Sums of one row, shape `[dimension]`.
    pub(super) fn sums(&self, row: usize) -> &[i32] {
        &self.sums[row * self.dimension..][..self.dimension]
    }

    /// The row of a micro-cluster.
    pub(super) fn find(&self, id: MicroClusterId) -> Option<usize> {
        self.rows.binary_search_by_key(&id, |micro| micro.id).ok()
    }

    /// Adds a micro-cluster behind all others; its id must be above theirs.
    pub(super) fn push(&mut self, micro: Micro, sums: impl Iterator<Item = i32>) {
        debug_assert!(self.rows.last().is_none_or(|last| last.id < micro.id));
        self.rows.push(micro);
        self.sums.extend(sums);
        self.changed.push(true);
        debug_assert_eq!(self.sums.len(), self.rows.len() * self.dimension);
    }

    /// Counts an event to a row, whose sums the caller adds it to: a full row (`weight` is 2^`decay_shift`) first
    /// loses one part in 2^`decay_shift` of them.
    pub(super) fn count(
        &mut self,
        row: usize,
        sequence: u64,
        decay_shift: u32,
    ) -> (Share, &mut [i32]) {
        let micro = &mut self.rows[row];
        let is_full = micro.weight >> decay_shift != 0;
        micro.weight += u32::from(!is_full);
        micro.events += 1;
        micro.last = sequence;
        self.changed[row] = true;
        let share = Share {
            weight: i32::try_from(micro.weight).expect("at most 4,096"),
            decay_shift: is_full.then_some(decay_shift),
        };
        let sums = &mut self.sums[row * self.dimension..][..self.dimension];
        (share, sums)
    }

    /// Moves a row to another intent.
    pub(super) fn set_intent(&mut self, row: usize, intent: IntentId) {
        self.changed[row] |= self.rows[row].intent != intent;
        self.rows[row].intent = intent;
    }

    /// Lets row `to` take over what row `from` stands for, its weight not above `cap`. Row `from`
    /// stays until [`Micros::remove`].
    pub(super) fn fold(&mut self, from: usize, to: usize, cap: u32) {
        let folded = self.rows[from];
        let micro = &mut self.rows[to];
        let weight = micro.weight + folded.weight;
        micro.weight = weight.min(cap);
        micro.events += folded.events;
        micro.first = micro.first.min(folded.first);
        micro.last = micro.last.max(folded.last);
        self.changed[to] = true;
        let (kept, total) = (i64::from(micro.weight), i64::from(weight));
        for at in 0..self.dimension {
            let sum = self.sums[to * self.dimension + at] + self.sums[from * self.dimension + at];
            // At most 2^14 times the kept weight again, which fits.
            let scaled = (i64::from(sum) * kept).div_euclid(total);
            self.sums[to * self.dimension + at] = i32::try_from(scaled).expect("at most 2^26");
        }
    }

    /// Takes out rows; `is_removed` has one flag for each.
    pub(super) fn remove(&mut self, is_removed: &[bool]) {
        let mut kept = 0;
        for (row, &is_removed) in is_removed.iter().enumerate() {
            if is_removed {
                continue;
            }
            self.rows[kept] = self.rows[row];
            self.changed[kept] = self.changed[row];
            let from = row * self.dimension;
            self.sums
                .copy_within(from..from + self.dimension, kept * self.dimension);
            kept += 1;
        }
        self.rows.truncate(kept);
        self.changed.truncate(kept);
        self.sums.truncate(kept * self.dimension);
    }

    /// The centre of a row relative to `mean`, times its weight: `S - n*mu`, shape `[dimension]`.
    pub(super) fn centre(&self, row: usize, mean: &[i32], out: &mut Vec<i32>) {
        let weight = i32::try_from(self.rows[row].weight).expect("at most 4,096");
        out.clear();
        let sums = self.sums(row).iter().zip(mean);
        out.extend(sums.map(|(&sum, &mean)| sum - weight * mean));
    }

    /// The rows that differ from what was saved, which they do not from now on.
    pub(super) fn take_changed(&mut self) -> Vec<usize> {
        let rows = (0..self.rows.len()).filter(|&row| std::mem::take(&mut self.changed[row]));
        rows.collect()
    }

    /// Memory, bytes.
    pub(super) fn bytes(&self) -> usize {
        let row = size_of::<Micro>() + size_of::<bool>() + self.dimension * size_of::<i32>();
        self.rows.len() * row
    }
}
