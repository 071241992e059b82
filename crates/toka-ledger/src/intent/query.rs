//! An event's direction, as the scan takes it.

use super::kernel::{Line, flat, flat_mut, lines_for};
use super::quantize::{isqrt, quantize};

/// A mean-centred embedding, quantised for one scan.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pub(super) lines: Vec<Line>,
    pub(super) square: u32,
    dimension: usize,
}

impl Query {
    /// Quantises `y`, shape `[dimension]`, magnitudes at most
    /// [`MAGNITUDE_MAX`](super::quantize::MAGNITUDE_MAX).
    #[must_use]
    pub fn new(y: &[i32]) -> Self {
        let mut query = Self::default();
        query.set(y);
        query
    }

    /// Becomes [`Query::new`] of `y`, in the memory that is there.
    pub fn set(&mut self, y: &[i32]) {
        if self.dimension != y.len() {
            self.dimension = y.len();
            // What fills up the last line is zero, and stays so.
            self.lines.clear();
            self.lines.resize(lines_for(y.len()), Line::ZERO);
        }
        self.square = quantize(y, &mut flat_mut(&mut self.lines)[..y.len()]);
    }

    /// The quantised direction, shape `[dimension]`.
    #[must_use]
    pub fn direction(&self) -> &[i8] {
        &flat(&self.lines)[..self.dimension]
    }

    /// The event is the mean of all events; it matches nothing.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.square == 0
    }

    /// 2^10 times the norm of the direction, rounded down.
    #[must_use]
    pub fn norm(&self) -> i64 {
        isqrt(u64::from(self.square) << 20) as i64
    }

    /// The smallest score that matches at the threshold `tau_q30 / 2^30`, which is at most 1.
    #[must_use]
    pub fn bar(&self, tau_q30: u32) -> i64 {
        (i64::from(tau_q30) * self.norm() + 1023) >> 10
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bar_is_the_smallest_score_that_matches(
            y in prop::collection::vec(-300_000_i32..300_000, 1..200),
            tau_q30 in 0_u32..=1 << 30,
        ) {
            let query = Query::new(&y);
            let matches = |score: i64| score << 10 >= i64::from(tau_q30) * query.norm();
            let bar = query.bar(tau_q30);
            prop_assert!(matches(bar));
            prop_assert!(!matches(bar - 1));
        }
    }
}
