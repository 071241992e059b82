//! How well two groupings of the same things agree.

use std::collections::BTreeMap;

/// Agreement of a grouping with the truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Agreement {
    /// Adjusted Rand index (Hubert and Arabie, 1985): 1 for equal groupings, about 0 for chance.
    pub(crate) ari: f64,
    /// Each group has things of one class only: 1; all classes mixed: 0 (Rosenberg and Hirschberg, 2007).
    pub(crate) homogeneity: f64,
    /// Each class is in one group only: 1.
    pub(crate) completeness: f64,
    /// Harmonic mean of the two.
    pub(crate) v_measure: f64,
}

/// Compares `groups` with `classes`, which have one item for each thing.
pub(crate) fn agreement<G: Ord + Copy, C: Ord>(groups: &[G], classes: &[C]) -> Agreement {
    debug_assert_eq!(groups.len(), classes.len());
    let (mut cells, mut rows, mut columns) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (&group, class) in groups.iter().zip(classes) {
        *cells.entry((group, class)).or_insert(0_u64) += 1;
        *rows.entry(group).or_insert(0_u64) += 1;
        *columns.entry(class).or_insert(0_u64) += 1;
    }
    let total = groups.len() as u64;
    let (group_entropy, class_entropy) = (
        entropy(rows.values(), total),
        entropy(columns.values(), total),
    );
    let joint = entropy(cells.values(), total);
    // What is known of the one is not left to be known of the other.
    let share = |left: f64, whole: f64| {
        if whole > 0.0 {
            (1.0 - left / whole).clamp(0.0, 1.0)
        } else {
            1.0
        }
    };
    let homogeneity = share(joint - group_entropy, class_entropy);
    let completeness = share(joint - class_entropy, group_entropy);
    let sum = homogeneity + completeness;
    Agreement {
        ari: adjusted_rand(cells.values(), rows.values(), columns.values(), total),
        homogeneity,
        completeness,
        v_measure: if sum > 0.0 {
            2.0 * homogeneity * completeness / sum
        } else {
            0.0
        },
    }
}

fn adjusted_rand<'a>(
    cells: impl Iterator<Item = &'a u64>,
    rows: impl Iterator<Item = &'a u64>,
    columns: impl Iterator<Item = &'a u64>,
    total: u64,
) -> f64 {
    let pairs = |n: u64| n as f64 * (n.saturating_sub(1)) as f64 / 2.0;
    let together: f64 = cells.map(|&n| pairs(n)).sum();
    let in_rows: f64 = rows.map(|&n| pairs(n)).sum();
    let in_columns: f64 = columns.map(|&n| pairs(n)).sum();
    let expected = in_rows * in_columns / pairs(total).max(1.0);
    let most = f64::midpoint(in_rows, in_columns);
    if (most - expected).abs() < f64::EPSILON {
        // Both are one group, or both are single things: equal.
        return 1.0;
    }
    (together - expected) / (most - expected)
}

fn entropy<'a>(counts: impl Iterator<Item = &'a u64>, total: u64) -> f64 {
    let total = total as f64;
    counts
        .map(|&n| n as f64 / total)
        .map(|share| -share * share.ln())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn equal_groupings_agree_whatever_their_names() {
        let found = agreement(&[5, 5, 7, 7], &["a", "a", "b", "b"]);
        assert!(near(found.ari, 1.0) && near(found.v_measure, 1.0));
    }

    #[test]
    fn known_examples_have_their_known_values() {
        // Pairs: 1 together of 2 and 2; expected 2 * 1 / 6.
        let found = agreement(&[0, 0, 1, 2], &[0, 0, 1, 1]);
        assert!(near(found.ari, 4.0 / 7.0), "{found:?}");
        assert!(near(found.homogeneity, 1.0), "{found:?}");
        assert!(near(found.completeness, 2.0 / 3.0), "{found:?}");
        assert!(near(found.v_measure, 0.8), "{found:?}");
        let found = agreement(&[0, 1, 0, 1], &[0, 0, 1, 1]);
        assert!(
            near(found.ari, -0.5) && near(found.v_measure, 0.0),
            "{found:?}"
        );
    }

    #[test]
    fn degenerate_groupings_are_defined() {
        assert!(near(agreement(&[1, 1, 1], &["a", "a", "a"]).ari, 1.0));
        assert!(near(agreement(&[1, 2, 3], &["a", "b", "c"]).ari, 1.0));
        let found = agreement(&[1, 2, 3], &["a", "a", "a"]);
        assert!(
            near(found.ari, 0.0) && near(found.homogeneity, 1.0),
            "{found:?}"
        );
    }
}
