//! The product against the definition, written as naively as it reads.

mod definition;
mod golden;
mod names;

use proptest::prelude::*;

use super::pairs::Pairs;
use super::*;

/// The vault's defaults.
const DEFAULTS: Linkage = Linkage {
    rho_q16: 55_706,
    floor_q28: 13_421_773,
    w0_q28: 40_265_318,
    n0: 8,
};

fn any_linkage() -> impl Strategy<Value = Linkage> {
    let rho = prop_oneof![Just(0), Just(55_706), Just(1 << 16), any::<u32>()];
    let q28 = || prop_oneof![Just(0), 1_u32..1 << 26, Just(1 << 28), any::<u32>()];
    let n0 = prop_oneof![Just(0), Just(8), any::<u32>()];
    let any = (rho, q28(), q28(), n0).prop_map(|(rho_q16, floor_q28, w0_q28, n0)| Linkage {
        rho_q16,
        floor_q28,
        w0_q28,
        n0,
    });
    prop_oneof![Just(DEFAULTS), any]
}

/// `direction` made `length` long, in f64: inputs of properties need not be reproducible.
fn scaled(direction: &[i32], length: f64) -> Vec<i32> {
    let squares = direction.iter().map(|&c| f64::from(c) * f64::from(c));
    let norm = squares.sum::<f64>().sqrt().max(1.0);
    let component = |&c: &i32| (f64::from(c) / norm * length).round() as i32;
    direction.iter().map(component).collect()
}

/// Micro-clusters around up to five directions or their opposites: equal, close, or anywhere.
fn any_frozen() -> impl Strategy<Value = Frozen> {
    let noise = prop_oneof![Just(0), Just(2), Just(40), Just(500)];
    (1_usize..=6, 1_usize..=5, noise).prop_flat_map(|(dimension, centres, noise)| {
        let direction = || proptest::collection::vec(-128..128_i32, dimension);
        let off = proptest::collection::vec(-noise..=noise, dimension);
        let weight = prop_oneof![Just(1_u32), 1_u32..=8, 1_u32..=4_096, Just(4_096)];
        let length = prop_oneof![Just(1.0), 0.5..1.0_f64];
        let micro = (0..centres, off, any::<bool>(), weight, length);
        // The mean: none, that of scattered events, that of nearly equal ones.
        let mean = prop_oneof![
            Just(None),
            (0.0..0.99_f64).prop_map(Some),
            (0.999..1.004_f64).prop_map(Some)
        ];
        (
            proptest::collection::vec(direction(), centres),
            proptest::collection::vec(micro, 1..=40),
            mean,
        )
            .prop_map(move |(centres, micros, mean)| {
                let mut frozen = Frozen {
                    dimension,
                    mean: scaled(&centres[0], 16_384.0 * mean.unwrap_or(0.0)),
                    sums: Vec::new(),
                    weights: Vec::new(),
                };
                for (centre, off, opposite, weight, length) in micros {
                    let sign = if opposite { -1 } else { 1 };
                    let components = centres[centre].iter().zip(&off);
                    let direction: Vec<i32> = components.map(|(&c, &o)| sign * (c + o)).collect();
                    let total = 16_384.0 * length * f64::from(weight);
                    frozen.sums.extend(scaled(&direction, total));
                    frozen.weights.push(weight);
                }
                frozen
            })
    })
}

/// A matrix of few values, so that ties are common, or of any that are allowed.
fn any_pairs() -> impl Strategy<Value = (Vec<Vec<i64>>, Vec<u64>)> {
    let few = prop_oneof![Just(0_i64), Just(1 << 26), Just(1 << 27), Just(1 << 28)];
    let similarity = prop_oneof![
        Just(few.boxed()),
        Just((-(1_i64 << 28)..=1 << 28).boxed()),
        Just((-(1_i64 << 39)..=1 << 39).boxed()),
    ];
    // The last makes sums of weighted similarities pass an i64.
    let weight = prop_oneof![
        Just((1..=2_u64).boxed()),
        Just((1..=4_096_u64).boxed()),
        Just((1..=1_u64 << 26).boxed()),
    ];
    (1_usize..=40, similarity, weight).prop_flat_map(|(len, similarity, weight)| {
        let row = proptest::collection::vec(similarity, len);
        (
            proptest::collection::vec(row, len),
            proptest::collection::vec(weight, len),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4 * ProptestConfig::default().cases))]

    #[test]
    fn group_is_as_defined(frozen in any_frozen(), linkage in any_linkage()) {
        let expected = definition::group(&frozen, &linkage);
        prop_assert_eq!(group(&frozen, &linkage), expected);
    }

    #[test]
    fn agglomeration_is_as_defined((cells, weights) in any_pairs(), linkage in any_linkage()) {
        let len = weights.len();
        let mut pairs = Pairs::new(len);
        let mut square = vec![vec![0_i128; len]; len];
        for a in 0..len {
            for b in a..len {
                *pairs.at(a, b) = cells[a][b];
                square[a][b] = cells[a][b].into();
                square[b][a] = cells[a][b].into();
            }
        }
        let wide = weights.iter().copied().map(i128::from).collect();
        let expected = definition::agglomerate(square, wide, &linkage);
        prop_assert_eq!(agglomerate::agglomerate(pairs, weights, &linkage), expected);
    }
}

#[test]
fn nothing_groups_to_nothing() {
    let frozen = Frozen {
        dimension: 3,
        mean: vec![0; 3],
        sums: Vec::new(),
        weights: Vec::new(),
    };
    assert_eq!(group(&frozen, &DEFAULTS), Vec::<u32>::new());
}

#[test]
fn equal_directions_group_and_opposite_ones_do_not() {
    let frozen = Frozen {
        dimension: 2,
        mean: vec![0; 2],
        sums: [[16_384, 0], [-16_384, 0], [3 * 16_384, 0], [0, 16_384]].concat(),
        weights: vec![1, 1, 3, 1],
    };
    assert_eq!(group(&frozen, &DEFAULTS), [0, 1, 0, 3]);
}

#[test]
fn a_mean_rounds_down_and_stays_within_the_multiplier() {
    let mut out = [0; 4];
    let mean = [0, 1, -16_384, 16_384];
    centred(&[-7, 7, 2 * 16_384, -2 * 16_384], 2, &mean, &mut out);
    assert_eq!(out, [-4, 2, 32_767, -32_767]);
}

#[test]
fn the_spread_of_equal_events_is_not_zero() {
    assert_eq!(spread(&[0, 0]), 1 << 28);
    assert_eq!(spread(&[8_192, 0]), (1 << 28) - (1 << 26));
    assert_eq!(spread(&[16_384, 0]), 1 << 20);
    assert_eq!(spread(&[16_384, 16_384]), 1 << 20);
}

#[test]
fn coherence_of_one_event_is_the_prior() {
    let prior = i64::from(DEFAULTS.w0_q28);
    assert_eq!(coherence(1 << 28, 1, &DEFAULTS), prior);
    // With many equal events the prior no longer counts.
    let many = coherence(1 << 28, 1 << 26, &DEFAULTS);
    assert!((many - (1 << 28)).abs() < 100, "{many}");
}

#[test]
fn coherence_of_one_event_without_a_prior_does_not_divide_by_zero() {
    let linkage = Linkage { n0: 0, ..DEFAULTS };
    assert_eq!(coherence((1 << 28) + 5, 1, &linkage), 5);
}
