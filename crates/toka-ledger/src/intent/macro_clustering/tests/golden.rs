//! Pinned results: a change of any bit is a new feature level.

use super::*;

/// Knuth's MMIX generator, by its upper bits.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, bound: u32) -> i32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        let drawn = (self.0 >> 32) % u64::from(bound);
        i32::try_from(drawn).expect("bounds are small")
    }

    /// Components within +-`largest`.
    fn vector(&mut self, largest: u32) -> Vec<i32> {
        let component = |_| self.below(2 * largest + 1) - i32::try_from(largest).expect("small");
        (0..DIMENSION).map(component).collect()
    }
}

const DIMENSION: usize = 100;

/// 600 micro-clusters about 40 centres, all with a share of one direction in common.
fn frozen() -> Frozen {
    let mut lcg = Lcg(2_026);
    let shared = lcg.vector(700);
    let centres: Vec<Vec<i32>> = (0..40).map(|_| lcg.vector(1_100)).collect();
    let mut frozen = Frozen {
        dimension: DIMENSION,
        mean: shared.clone(),
        sums: Vec::new(),
        weights: Vec::new(),
    };
    for row in 0..600 {
        let noise = lcg.vector(1_700);
        let weight = 1 + lcg.below(if row % 10 == 0 { 1_024 } else { 12 });
        let components = shared.iter().zip(&centres[row % 40]).zip(&noise);
        let sums = components.map(|((s, c), n)| (s + c + n / 2) * weight + n % weight);
        frozen.sums.extend(sums);
        frozen
            .weights
            .push(u32::try_from(weight).expect("positive"));
    }
    frozen
}

#[test]
fn the_grouping_of_pseudo_random_input_is_pinned() {
    let groups = group(&frozen(), &DEFAULTS);
    let roots = (0..).zip(&groups).filter(|(row, root)| *row == **root);
    let bytes: Vec<u8> = groups.iter().flat_map(|root| root.to_le_bytes()).collect();
    assert_eq!(roots.count(), 80);
    assert_eq!(
        blake3::hash(&bytes).to_hex().as_str(),
        "db7e5f972fc0d32cc5a2524a548660f0c4eba2788d0fa4f85780baf654066318"
    );
}

#[test]
fn the_pinned_grouping_is_as_defined() {
    let frozen = frozen();
    let first = Frozen {
        sums: frozen.sums[..120 * DIMENSION].to_vec(),
        weights: frozen.weights[..120].to_vec(),
        ..frozen
    };
    let expected = definition::group(&first, &DEFAULTS);
    assert_eq!(group(&first, &DEFAULTS), expected);
}
