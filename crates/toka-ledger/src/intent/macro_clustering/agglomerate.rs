//! Average linkage, relative to the coherence of the groups.
//!
//! By definition: of all pairs of groups merge the one with the highest ratio of similarity to bar,
//! ties to the lowest rows, until no ratio reaches one. Done as written that takes k^3 steps.
//! Here each row remembers its best later row; a merge changes the ratios of one group only, so that few
//! rows have to look again, and those only once they would be next.

use super::pairs::Pairs;

/// One, Q28.
const ONE_Q28: i64 = 1 << 28;

/// The least ratio that merges, Q16.
const ONE_Q16: i64 = 1 << 16;

/// When two groups are similar enough to be one.
///
/// A and B merge if their mean similarity reaches `max(floor, rho * min(w_A, w_B))`, w being their
/// [`coherence`]. Small groups have a low bar and join easily; large coherent ones must be nearly
/// as similar to each other as inside. So one setting fits loose and tight corpora.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linkage {
    /// Share of the coherence that a similarity must reach, Q16.
    pub rho_q16: u32,
    /// Least similarity that merges, Q28; zero counts as 2^-28.
    pub floor_q28: u32,
    /// Coherence that a group is assumed to have before its events say otherwise, Q28.
    pub w0_q28: u32,
    /// Events that the assumption counts for.
    pub n0: u32,
}

impl Linkage {
    /// What a group's similarity to a more coherent one must reach, Q28; positive.
    fn bar(&self, coherence: i64) -> i64 {
        let bar = (i128::from(self.rho_q16) * i128::from(coherence)) >> 16;
        saturated(bar).max(i64::from(self.floor_q28)).max(1)
    }
}

/// Mean similarity of a group's events to each other, shrunk to the prior of `linkage`; Q28.
///
/// `self_similarity_q28` is the mean over all ordered pairs of its `weight` events, each with itself
/// included.
#[must_use]
pub fn coherence(self_similarity_q28: i64, weight: u64, linkage: &Linkage) -> i64 {
    // An event's similarity to itself is one on average; what remains of the sum over an event's
    // row is its similarity to the other `weight - 1`.
    let others = i128::from(weight) * i128::from(self_similarity_q28) - i128::from(ONE_Q28);
    let prior = i128::from(linkage.w0_q28) * i128::from(linkage.n0);
    let count = i128::from(weight) - 1 + i128::from(linkage.n0);
    saturated((others + prior).div_euclid(count.max(1)))
}

fn saturated(value: i128) -> i64 {
    let bounds = (i128::from(i64::MIN), i128::from(i64::MAX));
    i64::try_from(value.clamp(bounds.0, bounds.1)).expect("clamped")
}

/// Groups rows of `weights` events each; for each row the lowest row of its group.
///
/// Similarities are below 2^47 in absolute value, and the weights sum to less than 2^47.
pub(super) fn agglomerate(pairs: Pairs, weights: Vec<u64>, linkage: &Linkage) -> Vec<u32> {
    let mut groups = Groups::new(pairs, weights, linkage);
    while let Some((low, high)) = groups.closest() {
        groups.merge(low, high);
    }
    groups.roots()
}

/// The best of a row's later rows, or none with a ratio of one or more.
#[derive(Clone, Copy)]
struct Nearest {
    /// Q16; 0 if there is none.
    ratio: i64,
    /// The lowest of those with this ratio.
    row: usize,
    /// If not, `ratio` is an upper bound, and `row` means nothing.
    exact: bool,
}

const NONE: Nearest = Nearest {
    ratio: 0,
    row: usize::MAX,
    exact: true,
};

struct Groups<'a> {
    linkage: &'a Linkage,
    /// Mean similarities of the groups, each in its lowest row; `i64::MIN` in those of the others.
    pairs: Pairs,
    weights: Vec<u64>,
    bars: Vec<i64>,
    nearest: Vec<Nearest>,
    /// Lowest rows of the groups, ascending.
    alive: Vec<usize>,
    /// The row that a row was merged into, or itself; never a higher one.
    parents: Vec<u32>,
    /// No weighted sum of two similarities overflows an i64.
    narrow: bool,
}

impl<'a> Groups<'a> {
    fn new(pairs: Pairs, weights: Vec<u64>, linkage: &'a Linkage) -> Self {
        let len = pairs.len();
        let bar = |(row, &weight)| {
            let self_similarity = pairs.row(row)[0];
            linkage.bar(coherence(self_similarity, weight, linkage))
        };
        let bars = weights.iter().enumerate().map(bar).collect();
        // Means round down, but not below the least of what they are of: similarities stay within
        // the magnitude that they have now.
        let largest = u128::from(pairs.magnitude()) * u128::from(weights.iter().sum::<u64>());
        let mut groups = Self {
            linkage,
            bars,
            narrow: i64::try_from(largest).is_ok(),
            nearest: vec![NONE; len],
            alive: (0..len).collect(),
            parents: (0..u32::try_from(len).expect("at most 16,384 rows")).collect(),
            pairs,
            weights,
        };
        for row in 0..len {
            groups.nearest[row] = groups.look(row);
        }
        groups
    }

    /// The pair with the highest ratio, if that is one or more; of equal ones that with the lowest
    /// row, then the lowest other row.
    fn closest(&mut self) -> Option<(usize, usize)> {
        loop {
            let mut top = None;
            let mut highest = ONE_Q16 - 1;
            for &row in &self.alive {
                if self.nearest[row].ratio > highest {
                    highest = self.nearest[row].ratio;
                    top = Some(row);
                }
            }
            let row = top?;
            // Where the first of the highest is exact, the bounds of the others are no higher, and a
            // higher row does not win a tie.
            if self.nearest[row].exact {
                return Some((row, self.nearest[row].row));
            }
            self.nearest[row] = self.look(row);
        }
    }

    fn look(&self, row: usize) -> Nearest {
        let mut nearest = NONE;
        let bar = self.bars[row];
        let later = self.pairs.row(row)[1..].iter().zip(&self.bars[row + 1..]);
        for (column, (&similarity, &other)) in (row + 1..).zip(later) {
            let ratio = ratio(similarity, bar.min(other));
            if ratio > nearest.ratio {
                nearest = Nearest {
                    ratio,
                    row: column,
                    exact: true,
                };
            }
        }
        nearest
    }

    fn merge(&mut self, low: usize, high: usize) {
        let mean = Mean {
            low: self.weights[low],
            high: self.weights[high],
            narrow: self.narrow,
        };
        let self_similarity = mean.of_group(
            *self.pairs.at(low, low),
            *self.pairs.at(high, high),
            *self.pairs.at(low, high),
        );
        *self.pairs.at(low, low) = self_similarity;
        self.weights[low] += self.weights[high];
        self.bars[low] =
            self.linkage
                .bar(coherence(self_similarity, self.weights[low], self.linkage));
        self.parents[high] = u32::try_from(low).expect("at most 16,384 rows");
        self.alive.retain(|&row| row != high);
        *self.pairs.at(low, high) = i64::MIN;
        for at in 0..self.alive.len() {
            let row = self.alive[at];
            if row != low {
                let of_high = std::mem::replace(self.pairs.at(row, high), i64::MIN);
                let similarity = self.pairs.at(row, low);
                *similarity = mean.of(*similarity, of_high);
                let similarity = *similarity;
                self.update(row, low, high, similarity);
            }
        }
        self.nearest[low] = self.look(low);
    }

    /// What `row` knows of its best later row, once `high` is gone and `low` is `similarity` to it.
    fn update(&mut self, row: usize, low: usize, high: usize, similarity: i64) {
        let nearest = &mut self.nearest[row];
        let lost = nearest.row == low || nearest.row == high;
        if row > low {
            // The pair belongs to `low`. Without `high` the best is no better than it was.
            nearest.exact &= !lost;
            return;
        }
        let ratio = ratio(similarity, self.bars[row].min(self.bars[low]));
        if ratio > nearest.ratio {
            *nearest = Nearest {
                ratio,
                row: low,
                exact: true,
            };
        } else if ratio < nearest.ratio {
            nearest.exact &= !lost;
        } else if nearest.exact {
            // All others with this ratio are at or after `nearest.row`; `high` is after `low`.
            nearest.row = nearest.row.min(low);
        }
    }

    fn roots(&self) -> Vec<u32> {
        let mut roots: Vec<u32> = Vec::with_capacity(self.parents.len());
        for (row, &parent) in self.parents.iter().enumerate() {
            // Parents come first, so theirs is known.
            roots.push(roots.get(parent as usize).copied().unwrap_or(parent));
            debug_assert!(parent as usize <= row);
        }
        roots
    }
}

/// Similarity by bar, Q16; 0 where that is below one.
fn ratio(similarity: i64, bar: i64) -> i64 {
    if similarity < bar {
        0
    } else {
        (similarity << 16) / bar
    }
}

/// Similarities of what two groups become, as means weighted by their events; rounded down.
struct Mean {
    low: u64,
    high: u64,
    narrow: bool,
}

impl Mean {
    /// To another group, from theirs to it.
    fn of(&self, low: i64, high: i64) -> i64 {
        if self.narrow {
            let [low_weight, high_weight] =
                [self.low, self.high].map(|weight| i64::try_from(weight).expect("below 2^47"));
            (low_weight * low + high_weight * high).div_euclid(low_weight + high_weight)
        } else {
            let sum =
                i128::from(self.low) * i128::from(low) + i128::from(self.high) * i128::from(high);
            saturated(sum.div_euclid(i128::from(self.low + self.high)))
        }
    }

    /// To itself, from theirs to themselves and to each other.
    ///
    /// Weights are below 2^47 and similarities below 2^47, so the sum is below 2^(47 + 47 + 47).
    fn of_group(&self, low: i64, high: i64, across: i64) -> i64 {
        let [a, b] = [self.low, self.high].map(i128::from);
        let [low, high, across] = [low, high, across].map(i128::from);
        let sum = a * a * low + b * b * high + 2 * a * b * across;
        saturated(sum.div_euclid((a + b) * (a + b)))
    }
}
