//! Macro-clustering of micro-clusters like those of real text.
//!
//! `cargo bench -p toka-ledger --no-default-features --bench intent_macro`

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use toka_ledger::intent::macro_clustering::{Frozen, Linkage, group};

/// The vault's defaults.
const LINKAGE: Linkage = Linkage {
    rho_q16: 55_706,
    floor_q28: 13_421_773,
    w0_q28: 40_265_318,
    n0: 8,
};

/// xorshift64.
struct Random(u64);

impl Random {
    /// Uniform in -1..1.
    fn component(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    /// Components with a norm of about `length`.
    fn vector(&mut self, dimension: usize, length: f64) -> Vec<f64> {
        let scale = length * (3.0 / dimension as f64).sqrt();
        (0..dimension).map(|_| self.component() * scale).collect()
    }
}

/// Ten micro-clusters to an intent, with a mean pair similarity of 0.35 inside an intent (once
/// centred), and 1 to 20 events each.
fn clustered(rows: usize, dimension: usize) -> Frozen {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let shared = random.vector(dimension, 0.4);
    let intents = rows.div_ceil(10);
    let centres: Vec<Vec<f64>> = (0..intents)
        .map(|_| random.vector(dimension, 0.59))
        .collect();
    let mut frozen = Frozen {
        dimension,
        mean: shared.iter().map(|c| (c * 14_900.0) as i32).collect(),
        sums: Vec::with_capacity(rows * dimension),
        weights: Vec::with_capacity(rows),
    };
    for row in 0..rows {
        let own = random.vector(dimension, 0.81);
        let components = shared.iter().zip(&centres[row * 7 % intents]).zip(&own);
        let components: Vec<f64> = components.map(|((s, c), o)| s + c + o).collect();
        let norm = components.iter().map(|c| c * c).sum::<f64>().sqrt();
        let weight = 1 + (random.component().abs() * 20.0) as u32;
        let scale = 16_384.0 / norm * f64::from(weight);
        let sums = components.iter().map(|c| (c * scale) as i32);
        frozen.sums.extend(sums);
        frozen.weights.push(weight);
    }
    frozen
}

fn bench_group(criterion: &mut Criterion) {
    // `cargo test` runs each once, unoptimised.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let shapes: &[(usize, usize)] = if measured {
        &[(1_000, 384), (1_000, 768), (4_096, 768)]
    } else {
        &[(100, 64)]
    };
    let mut benches = criterion.benchmark_group("macro_clustering");
    benches.sample_size(10);
    for &(rows, dimension) in shapes {
        let frozen = clustered(rows, dimension);
        let id = BenchmarkId::from_parameter(format!("k={rows}/d={dimension}"));
        benches.bench_with_input(id, &frozen, |bencher, frozen| {
            bencher.iter(|| group(black_box(frozen), &LINKAGE));
        });
    }
    benches.finish();
}

criterion_group!(benches, bench_group);
criterion_main!(benches);
