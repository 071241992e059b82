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

    /// Begins anew, in the memory that is there.
    pub(super) fn restart(&mut self, bar: i64, keep: usize, room: usize) {
        debug_assert!(0 < keep && keep < room);
        self.candidates.clear();
        (self.floor, self.keep, self.room) = (bar, keep, room);
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
        if self.candidates.len() > self.keep {
            // The lowest row first among equals.
            let rank = |candidate: &Candidate| (-candidate.bound, candidate.row);
            let (_, worst, _) = self
                .candidates
                .select_nth_unstable_by_key(self.keep - 1, rank);
            // A later row with the same score would come after these.
            self.floor = self.floor.max(worst.bound);
            self.candidates.truncate(self.keep);
        }
    }

    /// The best of `best` and the candidates that are not `excluded`. Few are scored: the one with the
    /// highest bound, which is seldom far from the best, and those whose bounds reach the best so far.
    pub(super) fn best(
        &self,
        bar: i64,
        mut best: Option<Best>,
        excluded: &[u32],
        score: impl Fn(usize) -> i64,
    ) -> Option<Best> {
        let mut highest: Option<Candidate> = None;
        for candidate in &self.candidates {
            // Few get as far as the excluded ones.
            let is_lower = highest.is_some_and(|highest| candidate.bound < highest.bound);
            if !is_lower && !excluded.contains(&candidate.row) {
                highest = Some(*candidate);
            }
        }
        let Some(Candidate { row: first, .. }) = highest else {
            return best;
        };
        best = Best::better(best, first as usize, score(first as usize), bar);
        for candidate in self.candidates.iter() {
            let is_below = best.is_some_and(|best| best.score > candidate.bound);
            if is_below || candidate.row == first || excluded.contains(&candidate.row) {
                continue;
            }
            let row = candidate.row as usize;
            best = Best::better(best, row, score(row), bar);
        }
        best
    }
}
