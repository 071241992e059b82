//! How long it takes to find an event's micro-cluster, per event, against a plain scan in `f32`.
//!
//! The vectors resemble embeddings of short texts. There are 150 topics, with micro-clusters about them and
//! events about those: the cosine of an event with its own micro-cluster is about 0.65, and of two
//! micro-clusters of a topic about 0.45. The kernels' times do not depend on the data; the sketch's do.
//!
//! The plain scan is done in several ways, since one chain of additions would be bound by their latency. At the end
//! a table compares the medians with that of the fastest one.

use std::cell::RefCell;
use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::{Measurement, WallTime};
use criterion::{BenchmarkId, Criterion};
use toka_ledger::intent::block::Block;
use toka_ledger::intent::kernel::{BLOCK_QUERIES_MAX, Kernel};
use toka_ledger::intent::query::Query;
use toka_ledger::intent::table::Table;

use self::vectors::{DIMENSION, Noise};

mod vectors;

const TOPICS: usize = 150;
const EVENTS: usize = 4 * BLOCK_QUERIES_MAX;
const TAU_Q30: u32 = 1 << 29;

fn main() {
    let testing = std::env::args().any(|argument| argument == "--test");
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .configure_from_args();
    let report = Report::default();
    // A test only has to see that it runs.
    let sizes: &[usize] = if testing { &[100] } else { &[1_000, 10_000] };
    for &micro_clusters in sizes {
        compare(&mut criterion, &report, micro_clusters);
    }
    criterion.final_summary();
    report.print();
}

fn compare(criterion: &mut Criterion, report: &Report, micro_clusters: usize) {
    let data = Data::new(micro_clusters);
    let mut group = criterion.benchmark_group(format!("scan/{micro_clusters}"));
    let mut bench = |name: String, run: &mut dyn FnMut(usize) -> usize| {
        group.bench_function(BenchmarkId::from_parameter(&name), |bencher| {
            bencher.iter_custom(|events| {
                let rounds = (events as usize).div_ceil(EVENTS);
                let start = WallTime.start();
                for round in 0..rounds {
                    black_box(run(black_box(round)));
                }
                let per_event = WallTime.end(start).div_f64((rounds * EVENTS) as f64);
                report.add(micro_clusters, &name, per_event);
                per_event.mul_f64(events as f64)
            });
        });
    };
    for (name, best) in plain::scans() {
        bench(format!("f32, {name}"), &mut |_| {
            let best = |event| best(&data.plain_centres, event).0;
            data.plain_events.chunks_exact(DIMENSION).map(best).sum()
        });
    }
    for kernel in Kernel::available() {
        for sketch in [false, true] {
            let mut table = data.table(kernel);
            let mut suffix = "";
            if sketch {
                table.train_sketch();
                suffix = ", sketch";
            }
            report.memory(micro_clusters, sketch, &table);
            bench(format!("i8 {}{suffix}", kernel.name()), &mut |_| {
                let best = |query: &Query| table.best_above(query, query.bar(TAU_Q30));
                let rows = data.queries.iter().map(best);
                rows.flatten().map(|best| best.row).sum()
            });
            let mut block = Block::new();
            let name = format!("i8 {}, block of 32{suffix}", kernel.name());
            bench(name, &mut |_| {
                let mut rows = 0;
                for queries in data.queries.chunks(BLOCK_QUERIES_MAX) {
                    block.score(&mut table, queries, TAU_Q30);
                    for index in 0..queries.len() {
                        rows += block.best_above(&table, index).map_or(0, |best| best.row);
                    }
                }
                rows
            });
        }
    }
    let mut table = data.table(Kernel::detect());
    let start = WallTime.start();
    table.train_sketch();
    report.note(format!(
        "{micro_clusters} micro-clusters: training a sketch took {:?}",
        WallTime.end(start)
    ));
}

struct Data {
    /// Row by row, unit norm.
    plain_centres: Vec<f32>,
    plain_events: Vec<f32>,
    centres: Vec<Vec<i32>>,
    queries: Vec<Query>,
}

impl Data {
    fn new(micro_clusters: usize) -> Self {
        let mut noise = Noise(1);
        let topics: Vec<Vec<f32>> = (0..TOPICS).map(|_| noise.vector()).collect();
        let centres: Vec<Vec<f32>> = (0..micro_clusters)
            .map(|index| noise.near(&topics[index % TOPICS], 0.45))
            .collect();
        let events: Vec<Vec<f32>> = (0..EVENTS)
            .map(|index| noise.near(&centres[index * 7919 % micro_clusters], 0.42))
            .collect();
        let centred = |vector: &Vec<f32>| -> Vec<i32> {
            vector.iter().map(|x| (x * 16_384.0) as i32).collect()
        };
        Self {
            plain_centres: centres.concat(),
            plain_events: events.concat(),
            queries: events
                .iter()
                .map(|event| Query::new(&centred(event)))
                .collect(),
            centres: centres.iter().map(centred).collect(),
        }
    }

    fn table(&self, kernel: Kernel) -> Table {
        let mut table = Table::new(DIMENSION, kernel);
        table.reserve(self.centres.len());
        for centre in &self.centres {
            table.push(centre);
        }
        table
    }
}

/// What a vault without quantisation would do: a plain scan in `f32`, in 16 lanes. The fastest way of adding up is
/// what the others are compared with.
mod plain {
    use super::DIMENSION;

    const LANES: usize = 16;

    /// A way to find the row with the highest dot product among rows, shape `[rows * DIMENSION]`; returns both.
    pub(super) type Best = fn(&[f32], &[f32]) -> (usize, f32);

    /// All ways, with their names.
    pub(super) fn scans() -> Vec<(&'static str, Best)> {
        let mut scans: Vec<(&str, Best)> = vec![
            ("1 accumulator, fused", fused_1),
            ("4 accumulators", separate_4),
            ("4 accumulators, fused", fused_4),
        ];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f") {
            scans.push(("4 accumulators, intrinsics", intrinsics_4));
        }
        scans
    }

    /// Compiled for the best of this CPU.
    macro_rules! scan {
        ($name:ident, $accumulators:literal, $add:expr) => {
            fn $name(rows: &[f32], query: &[f32]) -> (usize, f32) {
                #[cfg(target_arch = "x86_64")]
                {
                    #[target_feature(enable = "avx512f")]
                    fn avx512(rows: &[f32], query: &[f32]) -> (usize, f32) {
                        best_with::<$accumulators>(rows, query, $add)
                    }

                    #[target_feature(enable = "avx2,fma")]
                    fn avx2(rows: &[f32], query: &[f32]) -> (usize, f32) {
                        best_with::<$accumulators>(rows, query, $add)
                    }

                    if is_x86_feature_detected!("avx512f") {
                        // SAFETY: the CPU has AVX-512 F.
                        return unsafe { avx512(rows, query) };
                    }
                    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                        // SAFETY: the CPU has AVX2 and FMA.
                        return unsafe { avx2(rows, query) };
                    }
                }
                best_with::<$accumulators>(rows, query, $add)
            }
        };
    }

    // One chain of additions: it takes the latency of 48 of them. What was measured before 2026-11-27.
    scan!(fused_1, 1, |sum: f32, a: f32, b: f32| a.mul_add(b, sum));
    scan!(separate_4, 4, |sum: f32, a: f32, b: f32| sum + a * b);
    scan!(fused_4, 4, |sum: f32, a: f32, b: f32| a.mul_add(b, sum));

    #[inline(always)]
    fn best_with<const ACCUMULATORS: usize>(
        rows: &[f32],
        query: &[f32],
        add: impl Fn(f32, f32, f32) -> f32,
    ) -> (usize, f32) {
        let query = query.as_chunks::<LANES>().0.as_chunks::<ACCUMULATORS>().0;
        let mut best = (0, f32::MIN);
        for (index, row) in rows.chunks_exact(DIMENSION).enumerate() {
            let row = row.as_chunks::<LANES>().0.as_chunks::<ACCUMULATORS>().0;
            let mut sums = [[0.0; LANES]; ACCUMULATORS];
            for (row, query) in row.iter().zip(query) {
                for (sums, (row, query)) in sums.iter_mut().zip(row.iter().zip(query)) {
                    for (sum, (a, b)) in sums.iter_mut().zip(row.iter().zip(query)) {
                        *sum = add(*sum, *a, *b);
                    }
                }
            }
            let dot = total(&sums);
            if dot > best.1 {
                best = (index, dot);
            }
        }
        best
    }

    /// In a tree: one after the other would take longer than the products.
    #[inline(always)]
    fn total<const ACCUMULATORS: usize>(sums: &[[f32; LANES]; ACCUMULATORS]) -> f32 {
        let mut lanes = [0.0; LANES];
        for sums in sums {
            for (lane, sum) in lanes.iter_mut().zip(sums) {
                *lane += sum;
            }
        }
        let mut width = LANES / 2;
        while width > 0 {
            let (low, high) = lanes.split_at_mut(width);
            for (low, high) in low.iter_mut().zip(high) {
                *low += *high;
            }
            width /= 2;
        }
        lanes[0]
    }

    #[cfg(target_arch = "x86_64")]
    fn intrinsics_4(rows: &[f32], query: &[f32]) -> (usize, f32) {
        use std::arch::x86_64::{
            _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_reduce_add_ps,
            _mm512_setzero_ps,
        };

        #[target_feature(enable = "avx512f")]
        fn best(rows: &[f32], query: &[f32]) -> (usize, f32) {
            let query = query.as_chunks::<LANES>().0.as_chunks::<4>().0;
            let mut best = (0, f32::MIN);
            for (index, row) in rows.chunks_exact(DIMENSION).enumerate() {
                let row = row.as_chunks::<LANES>().0.as_chunks::<4>().0;
                let mut sums = [_mm512_setzero_ps(); 4];
                for (row, query) in row.iter().zip(query) {
                    for (sum, (a, b)) in sums.iter_mut().zip(row.iter().zip(query)) {
                        // SAFETY: each has the 16 components that are loaded.
                        let (a, b) =
                            unsafe { (_mm512_loadu_ps(a.as_ptr()), _mm512_loadu_ps(b.as_ptr())) };
                        *sum = _mm512_fmadd_ps(a, b, *sum);
                    }
                }
                let [a, b, c, d] = sums;
                let sum = _mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d));
                let dot = _mm512_reduce_add_ps(sum);
                if dot > best.1 {
                    best = (index, dot);
                }
            }
            best
        }

        assert!(is_x86_feature_detected!("avx512f"));
        // SAFETY: the CPU has AVX-512 F.
        unsafe { best(rows, query) }
    }
}

/// All measurements, by micro-clusters and name, in the order of the benchmark.
#[derive(Default)]
struct Report {
    samples: RefCell<Vec<(usize, String, Vec<Duration>)>>,
    notes: RefCell<Vec<String>>,
}

impl Report {
    fn add(&self, micro_clusters: usize, name: &str, per_event: Duration) {
        let mut samples = self.samples.borrow_mut();
        let known = samples
            .iter_mut()
            .find(|(count, other, _)| *count == micro_clusters && other == name);
        match known {
            Some((_, _, times)) => times.push(per_event),
            None => samples.push((micro_clusters, name.to_owned(), vec![per_event])),
        }
    }

    fn memory(&self, micro_clusters: usize, sketch: bool, table: &Table) {
        let sketch = if sketch { "with" } else { "without" };
        self.note(format!(
            "{micro_clusters} micro-clusters, {sketch} a sketch: {} bytes per 1,000",
            table.bytes() * 1_000 / table.len()
        ));
    }

    fn note(&self, note: String) {
        let mut notes = self.notes.borrow_mut();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    fn print(&self) {
        println!(
            "{:>6}  {:36} {:>11}  of the fastest f32",
            "k", "scan", "per event"
        );
        let samples = self.samples.borrow();
        let median = |times: &[Duration]| {
            let mut times = times.to_vec();
            times.sort();
            times[times.len() / 2]
        };
        for (micro_clusters, name, times) in &*samples {
            let plain = samples
                .iter()
                .filter(|(count, name, _)| count == micro_clusters && name.starts_with("f32"))
                .map(|(_, _, times)| median(times))
                .min()
                .unwrap_or_default();
            let median = median(times);
            let ratio = plain.as_secs_f64() / median.as_secs_f64();
            let micros = median.as_secs_f64() * 1e6;
            println!("{micro_clusters:>6}  {name:36} {micros:>8.2} us  1/{ratio:.1}");
        }
        for note in &*self.notes.borrow() {
            println!("{note}");
        }
    }
}
