use proptest::prelude::*;

use super::*;

/// The definition, which every kernel has to equal.
fn scalar(row: &[i8], query: &[i8]) -> i32 {
    let mut sum = 0;
    for (a, b) in row.iter().zip(query) {
        sum += i32::from(*a) * i32::from(*b);
    }
    sum
}

fn lines(vectors: &[Vec<i8>]) -> Vec<Line> {
    let per_vector = lines_for(vectors[0].len());
    let mut lines = vec![Line::ZERO; per_vector * vectors.len()];
    for (vector, lines) in vectors.iter().zip(lines.chunks_exact_mut(per_vector)) {
        flat_mut(lines)[..vector.len()].copy_from_slice(vector);
    }
    lines
}

fn check(rows: &[Vec<i8>], queries: &[Vec<i8>]) {
    let expected: Vec<i32> = rows
        .iter()
        .flat_map(|row| queries.iter().map(|query| scalar(row, query)))
        .collect();
    let per_vector = lines_for(rows[0].len());
    let stride = queries.len() + 3;
    for kernel in Kernel::available() {
        let mut out = vec![i32::MIN; rows.len() * stride];
        let (row_lines, query_lines) = (lines(rows), lines(queries));
        kernel.dots(&row_lines, &query_lines, per_vector, &mut out, stride);
        let alone: Vec<i32> = row_lines
            .chunks_exact(per_vector)
            .flat_map(|row| {
                let queries = query_lines.chunks_exact(per_vector);
                queries.map(move |query| kernel.dot(row, query))
            })
            .collect();
        assert_eq!(alone, expected, "{}", kernel.name());
        let found: Vec<i32> = out
            .chunks_exact(stride)
            .flat_map(|row| row[..queries.len()].to_vec())
            .collect();
        assert_eq!(found, expected, "{}", kernel.name());
        // What lies between the rows is left alone.
        let between = out
            .chunks_exact(stride)
            .flat_map(|row| &row[queries.len()..]);
        assert!(between.copied().all(|value| value == i32::MIN));
    }
}

#[test]
fn extremes_do_not_saturate() {
    for dimension in [1, 31, 64, 65, 768, 4096] {
        let vectors = [
            vec![127; dimension],
            vec![-127; dimension],
            vec![0; dimension],
            (0..dimension)
                .map(|i| if i % 2 == 0 { 127 } else { -127 })
                .collect(),
            (0..dimension)
                .map(|i| if i % 3 == 0 { -127 } else { 0 })
                .collect(),
        ];
        check(&vectors, &vectors);
    }
}

#[test]
fn detect_is_the_last_available() {
    assert_eq!(Kernel::available().last(), Some(&Kernel::detect()));
    assert_eq!(Kernel::available()[0].name(), "portable");
}

fn vectors(count: std::ops::Range<usize>, dimension: usize) -> impl Strategy<Value = Vec<Vec<i8>>> {
    let component = prop_oneof![Just(-127), Just(127), Just(0), -127_i8..=127];
    prop::collection::vec(prop::collection::vec(component, dimension), count)
}

fn sieves() -> impl Strategy<Value = (Tile, Sieve)> {
    let seeds = prop::collection::vec(-1000_i32..1000, TILE_ROWS * BLOCK_QUERIES_MAX);
    seeds.prop_map(|seeds| {
        let mut tile = Tile::ZERO;
        let mut sieve = Sieve::CLOSED;
        tile.dots.copy_from_slice(&seeds);
        let floats = |first: usize| std::array::from_fn(|i| seeds[first + i] as f32 / 1000.0);
        tile.slope = floats(0);
        tile.rest = floats(32);
        tile.hits = std::array::from_fn(|i| seeds[64 + i].unsigned_abs());
        sieve.scale = floats(96);
        sieve.rest = floats(128);
        sieve.floor = floats(160);
        (tile, sieve)
    })
}

proptest! {
    #[test]
    fn kernels_equal_the_scalar_loop(
        (rows, queries) in prop_oneof![1_usize..200, Just(768)].prop_flat_map(|dimension| {
            (vectors(1..10, dimension), vectors(1..10, dimension))
        })
    ) {
        check(&rows, &queries);
    }

    #[test]
    fn kernels_sift_alike(
        (tile, sieve) in sieves(),
        stride in prop_oneof![Just(1_usize), Just(8), Just(24), Just(32)],
    ) {
        let mut expected = tile.clone();
        Kernel::available()[0].sift(&mut expected, stride, &sieve);
        for kernel in Kernel::available() {
            let mut found = tile.clone();
            kernel.sift(&mut found, stride, &sieve);
            prop_assert_eq!(found.hits, expected.hits, "{}", kernel.name());
        }
    }
}

/// An event, the sums of all embeddings, of the intent and of the micro-cluster, and the mean, as large as they can
/// be. Of 768 components, or of a number that fills up no vector.
#[derive(Clone, Debug)]
struct Join {
    event: Vec<i16>,
    all: Vec<i64>,
    intent: Vec<i64>,
    micro: Vec<i32>,
    mean: Vec<i32>,
}

fn joins() -> impl Strategy<Value = Join> {
    let dimensions = prop_oneof![1_usize..70, Just(768)];
    dimensions.prop_flat_map(|dimension| {
        let parts = (
            prop::collection::vec(-(1_i16 << 14)..=1 << 14, dimension),
            prop::collection::vec(-(1_i64 << 56)..=1 << 56, dimension),
            prop::collection::vec(-(1_i64 << 40)..=1 << 40, dimension),
            prop::collection::vec(-(1_i32 << 26)..=1 << 26, dimension),
            prop::collection::vec(-(1_i32 << 14)..=1 << 14, dimension),
        );
        parts.prop_map(|(event, all, intent, micro, mean)| Join {
            event,
            all,
            intent,
            micro,
            mean,
        })
    })
}

fn pairs(event: &[i16]) -> Vec<[u8; 2]> {
    event
        .iter()
        .map(|component| component.to_le_bytes())
        .collect()
}

fn widened(numbers: &[i32]) -> Vec<i64> {
    numbers.iter().copied().map(i64::from).collect()
}

proptest! {
    #[test]
    fn kernels_join_as_it_is_defined(
        join in joins(),
        weight in 1_i32..=4_096,
        decay_shift in prop::option::of(1_u32..=12),
    ) {
        let mut expected = join.clone();
        let (mut micros, mut centres) = (Vec::new(), Vec::new());
        for (at, component) in join.event.iter().enumerate() {
            let before = i64::from(join.micro[at]);
            let lost = decay_shift.map_or(0, |shift| before.div_euclid(1 << shift));
            let gained = i64::from(*component) - lost;
            expected.all[at] += i64::from(*component);
            expected.intent[at] += gained;
            micros.push(before + gained);
            centres.push(before + gained - i64::from(weight) * i64::from(join.mean[at]));
        }
        let share = Share { weight, decay_shift };
        for kernel in Kernel::available() {
            let mut found = join.clone();
            let mut centre = vec![1; join.event.len()];
            let sums = Sums {
                all: &mut found.all,
                intent: &mut found.intent,
                micro: &mut found.micro,
            };
            kernel.join(&pairs(&join.event), share, sums, &join.mean, &mut centre);
            prop_assert_eq!(&found.all, &expected.all, "{}", kernel.name());
            prop_assert_eq!(&found.intent, &expected.intent, "{}", kernel.name());
            prop_assert_eq!(&widened(&found.micro), &micros, "{}", kernel.name());
            prop_assert_eq!(&widened(&centre), &centres, "{}", kernel.name());
        }
    }

    #[test]
    fn kernels_subtract_the_mean(join in joins()) {
        let parts = join.event.iter().zip(&join.mean);
        let expected: Vec<i32> = parts.map(|(event, mean)| i32::from(*event) - mean).collect();
        for kernel in Kernel::available() {
            let mut found = vec![1; expected.len()];
            kernel.relative(&pairs(&join.event), &join.mean, &mut found);
            prop_assert_eq!(&found, &expected, "{}", kernel.name());
        }
    }

    #[test]
    fn largest_magnitude_is_the_same_on_every_path(v in prop::collection::vec(any::<i32>(), 0..100)) {
        let expected = v.iter().map(|component| component.unsigned_abs()).max().unwrap_or(0);
        prop_assert_eq!(largest(&v), expected);
        prop_assert_eq!(portable::largest(&v), expected);
    }
}

proptest! {
    #[test]
    fn directions_are_the_same_on_every_path(
        v in prop::collection::vec(-(1_i32 << 28)..=1 << 28, 0..100),
        shift in 0_u32..24,
    ) {
        let v: Vec<i32> = v.into_iter().map(|component| component >> shift).collect();
        let largest = v.iter().map(|component| component.unsigned_abs()).max();
        // With less, the ratio is no i32.
        let largest = largest.unwrap_or(0).max(255);
        let ratio = i32::try_from((127_i64 << 32) / i64::from(largest)).expect("below 2^31");
        let rounded = |component: &i32| (i64::from(*component) * i64::from(ratio) + (1 << 31)) >> 32;
        let expected: Vec<i64> = v.iter().map(rounded).collect();
        let square: i64 = expected.iter().map(|direction| direction * direction).sum();
        for path in [directions, portable::directions] {
            let mut out = vec![1; v.len()];
            prop_assert_eq!(i64::from(path(&v, ratio, &mut out)), square);
            let out: Vec<i64> = out.into_iter().map(i64::from).collect();
            prop_assert_eq!(&out, &expected);
        }
    }
}
