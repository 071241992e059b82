//! The rows that may be a query's best.

use super::table::Best;

/// A row, and what its score does not exceed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) bound: i64,
    pub(super) row: u32,
}

/// The candidates of one query.
///
/// It misses a row only if the row's score is below the bar, or if `keep` rows that it holds are
/// better. So the best of all rows but `keep - 1` is in it.
#[derive(Clone, Debug)]
pub(super) struct Shortlist {
    candidates: Vec<Candidate>,
    floor: i64,
    keep: usize,
    room: usize,
}

impl Shortlist {
    /// For scores from `bar` on. With more than `room` candidates it settles for the `keep` best.
    pub(super) fn new(bar: i64, keep: usize, room: usize) -> Self {
        debug_assert!(0 < keep && keep < room);
        Self {
            candidates: Vec::new(),
            floor: bar,
            keep,
            room,
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.candidates.len()
    }

    /// A row whose bound is lower is of no interest.
    pub(super) fn floor(&self) -> i64 {
        self.floor
    }

    /// Takes note of a row; rows come in ascending order. True if there is no room for another
    /// one until [`settle`](Self::settle).
    pub(super) fn add(&mut self, candidate: Candidate) -> bool {
        // The filters before this are a little too generous.
        if candidate.bound >= self.floor {
            self.candidates.push(candidate);
        }
        self.candidates.len() >= self.room
    }

    /// Keeps the best; `score` tells a candidate's score, which is at most its bound.
    pub(super) fn settle(&mut self, score: impl Fn(Candidate) -> i64) {
        for candidate in &mut self.candidates {
            candidate.bound = score(*candidate);
        }
        self.sort();
        self.candidates.truncate(self.keep);
        // A later row with the same score would come after these.
        let last = self.candidates.last().map_or(self.floor, |last| last.bound);
        self.floor = self.floor.max(last);
    }

    /// The highest bound first, the lowest row first among equals.
    pub(super) fn sort(&mut self) {
        self.candidates
            .sort_unstable_by_key(|candidate| (-candidate.bound, candidate.row));
    }

    /// The best of `best` and the candidates that are not `excluded`; they must be sorted.
    pub(super) fn best(
        &self,
        bar: i64,
        mut best: Option<Best>,
        excluded: &[u32],
        score: impl Fn(usize) -> i64,
    ) -> Option<Best> {
        for candidate in &self.candidates {
            if best.is_some_and(|best| best.score > candidate.bound) {
                break;
            }
            if !excluded.contains(&candidate.row) {
                let row = candidate.row as usize;
                best = Best::better(best, row, score(row), bar);
            }
        }
        best
    }
}
