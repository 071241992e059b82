use proptest::prelude::*;

use super::*;
use crate::intent::block::Block;

const TAU_Q30: u32 = 1 << 29;

/// The definition: every row, one after the other.
fn scan(table: &Table, query: &Query, bar: i64) -> Option<Best> {
    (0..table.len()).fold(None, |best: Option<Best>, row| {
        let pairs = table.row(row).iter().zip(query.direction());
        let dot: i64 = pairs.map(|(a, b)| i64::from(*a) * i64::from(*b)).sum();
        let score = dot * i64::from(table.weights[row]);
        let higher = best.is_none_or(|best| score > best.score);
        (score >= bar && higher)
            .then_some(Best { row, score })
            .or(best)
    })
}

fn table(kernel: Kernel, centres: &[Vec<i32>]) -> Table {
    let mut table = Table::new(centres[0].len(), kernel);
    table.reserve(centres.len());
    for centre in centres {
        table.push(centre);
    }
    table
}

/// Answers like the scan, alone and in blocks, while rows change.
fn check(table: &mut Table, events: &[Vec<i32>], tau_q30: u32) {
    let queries: Vec<Query> = events.iter().map(|event| Query::new(event)).collect();
    let mut block = Block::new();
    for (queries, events) in queries
        .chunks(BLOCK_QUERIES_MAX)
        .zip(events.chunks(BLOCK_QUERIES_MAX))
    {
        block.score(table, queries, tau_q30);
        for (index, query) in queries.iter().enumerate() {
            let bar = query.bar(tau_q30);
            let expected = scan(table, query, bar);
            assert_eq!(table.best_above(query, bar), expected);
            assert_eq!(block.best_above(table, index), expected);
            assert_eq!(table.best(query), scan(table, query, i64::MIN));
            match expected {
                Some(best) => {
                    assert_eq!(table.score(best.row, query), best.score);
                    let row = table.row(best.row).iter().zip(&events[index]);
                    let moved: Vec<i32> = row.map(|(a, b)| i32::from(*a) * 4 + b / 2).collect();
                    table.set(best.row, &moved);
                }
                None => table.push(&events[index]),
            }
        }
    }
}

/// Every kernel, with a sketch and without.
fn check_all(centres: &[Vec<i32>], events: &[Vec<i32>], tau_q30: u32) {
    for kernel in Kernel::available() {
        let mut plain = table(kernel, centres);
        let mut sketched = plain.clone();
        sketched.train_sketch();
        check(&mut plain, events, tau_q30);
        check(&mut sketched, events, tau_q30);
        assert_eq!(plain.lines, sketched.lines);
        assert_eq!(plain.weights, sketched.weights);
    }
}

/// A vector about `topic`, of the same stream of numbers on every run.
fn about(topic: u64, spread: i32, seed: u64, dimension: usize) -> Vec<i32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut noise = |range: i32| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as i32 % range - range / 2
    };
    let centre = |i: usize| ((topic * 7919 + 1) * (i as u64 + 3) * 104_729 % 2001) as i32 - 1000;
    (0..dimension).map(|i| centre(i) + noise(spread)).collect()
}

#[test]
fn weights_follow_the_norm() {
    let table = table(Kernel::detect(), &[vec![5, 0], vec![0, 0], vec![-3, 3]]);
    assert_eq!(table.row(0), [127, 0]);
    assert_eq!(table.weights[0], ((1_u64 << 40) / (127 << 10)) as u32);
    assert_eq!(table.weights[1], 0);
    assert_eq!(table.weights[2], ((1_u64 << 40) / 183_915) as u32);
}

#[test]
fn lowest_row_wins_a_tie() {
    let centre = about(1, 100, 1, 70);
    let centres = vec![centre.clone(); 40];
    let query = Query::new(&centre);
    for kernel in Kernel::available() {
        let mut table = table(kernel, &centres);
        assert_eq!(table.best(&query).map(|best| best.row), Some(0));
        table.train_sketch();
        assert_eq!(table.best(&query).map(|best| best.row), Some(0));
        let mut block = Block::new();
        block.score(&mut table, std::slice::from_ref(&query), TAU_Q30);
        table.set(0, &[0; 70]);
        assert_eq!(block.best_above(&table, 0).map(|best| best.row), Some(1));
        table.set(0, &centre);
        assert_eq!(block.best_above(&table, 0).map(|best| best.row), Some(0));
    }
}

#[test]
fn best_of_nothing_is_none() {
    let mut table = Table::new(3, Kernel::detect());
    let query = Query::new(&[1, 2, 3]);
    assert_eq!(table.best(&query), None);
    let mut block = Block::new();
    block.score(&mut table, std::slice::from_ref(&query), TAU_Q30);
    assert_eq!(block.best_above(&table, 0), None);
    table.push(&[1, 2, 4]);
    assert_eq!(block.best_above(&table, 0), table.best(&query));
    assert!(table.best(&query).is_some());
}

#[test]
fn block_survives_more_changes_than_it_has_queries() {
    let centres: Vec<Vec<i32>> = (0..100).map(|seed| about(1, 400, seed, 40)).collect();
    let query = Query::new(&about(1, 400, 1000, 40));
    for sketched in [false, true] {
        let mut table = table(Kernel::detect(), &centres);
        if sketched {
            table.train_sketch();
        }
        let mut block = Block::new();
        block.score(&mut table, std::slice::from_ref(&query), TAU_Q30);
        for _ in 0..100 {
            let bar = query.bar(TAU_Q30);
            let expected = scan(&table, &query, bar);
            assert_eq!(block.best_above(&table, 0), expected);
            let Some(best) = expected else { break };
            table.set(best.row, &[0; 40]);
        }
        assert_eq!(block.best_above(&table, 0), None);
    }
}

#[test]
fn block_outlived_by_a_cleared_table_scans_anew() {
    let mut table = table(Kernel::detect(), &[vec![1, 0], vec![0, 1]]);
    let mut block = Block::new();
    block.score(&mut table, &[Query::new(&[0, 1])], TAU_Q30);
    table.clear();
    assert_eq!(block.best_above(&table, 0), None);
    table.push(&[0, 1]);
    assert_eq!(block.best_above(&table, 0).map(|best| best.row), Some(0));
}

#[test]
fn memory_is_below_a_megabyte_per_thousand_rows() {
    let mut table = Table::new(768, Kernel::detect());
    let row = about(1, 500, 1, 768);
    for _ in 0..4_096 {
        table.push(&row);
        if table.len() == SKETCH_MICROS_MIN {
            table.train_sketch();
        }
        let per_row = table.bytes() / table.len();
        assert!(
            table.len() < 1_000 || per_row < 1_000,
            "{per_row} bytes with {} rows",
            table.len()
        );
    }
}

#[test]
fn clustered_events_are_answered_alike() {
    let centres: Vec<Vec<i32>> = (0..300)
        .map(|seed| about(seed % 20, 2500, seed, 100))
        .collect();
    let events: Vec<Vec<i32>> = (0..96)
        .map(|seed| about(seed % 23, 2500, seed + 1000, 100))
        .collect();
    for tau_q30 in [0, 1 << 28, TAU_Q30, 900 << 20, 1 << 30] {
        check_all(&centres, &events, tau_q30);
    }
}

#[test]
fn more_candidates_than_a_list_has_room_for_are_answered_alike() {
    // No row is below these bars, so that every row is a candidate by its bound.
    let centres: Vec<Vec<i32>> = (0..2_500)
        .map(|seed| about(seed % 3, 800, seed, 20))
        .collect();
    assert!(centres.len() > 2 * SKETCH_CANDIDATES_MAX);
    let events: Vec<Vec<i32>> = (0..10)
        .map(|seed| about(seed % 4, 800, seed + 9_000, 20))
        .collect();
    check_all(&centres, &events, 0);
}

#[test]
fn sketch_skips_rows_of_other_topics() {
    let centres: Vec<Vec<i32>> = (0..600)
        .map(|seed| about(seed % 20, 1000, seed, 200))
        .collect();
    let mut table = table(Kernel::detect(), &centres);
    table.train_sketch();
    let query = Query::new(&about(3, 1000, 5000, 200));
    let mut shortlist = Shortlist::new(query.bar(TAU_Q30), 1, 600);
    table.scan(
        &query.lines,
        &[query.square],
        std::slice::from_mut(&mut shortlist),
    );
    // The 30 rows of its topic, and next to none of the others.
    assert!((30..60).contains(&shortlist.len()), "{}", shortlist.len());
}

/// Vectors that are alike, opposite, zero, sparse, or the largest that there are.
fn vectors(
    count: std::ops::Range<usize>,
    dimension: usize,
) -> impl Strategy<Value = Vec<Vec<i32>>> {
    const MAX: i32 = crate::intent::quantize::MAGNITUDE_MAX;
    let vector = prop_oneof![
        prop::collection::vec(-3000_i32..3000, dimension),
        prop::collection::vec(prop_oneof![Just(-MAX), Just(MAX)], dimension),
        prop::collection::vec(prop_oneof![9 => Just(0), 1 => -9_i32..9], dimension),
        Just(vec![0; dimension]),
        Just(vec![1; dimension]),
        Just(vec![-1; dimension]),
        (0..dimension).prop_map(move |i| (0..dimension).map(|j| i32::from(i == j)).collect()),
        (0_u64..3, 1_i32..2000, any::<u64>())
            .prop_map(move |(topic, spread, seed)| about(topic, spread, seed, dimension)),
    ];
    prop::collection::vec(vector, count)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.div_ceil(4)))]
    #[test]
    fn any_events_are_answered_alike(
        (centres, events) in prop_oneof![1_usize..150, Just(384)].prop_flat_map(|dimension| {
            (vectors(1..120, dimension), vectors(1..40, dimension))
        }),
        tau_q30 in prop_oneof![Just(0), Just(TAU_Q30), Just(1 << 30), 0_u32..=1 << 30],
    ) {
        check_all(&centres, &events, tau_q30);
    }
}
