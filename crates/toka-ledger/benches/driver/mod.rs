//! Runs hot paths: under Criterion for times, or one of them alone for callgrind (`cargo xtask instructions`).

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::{Measurement, WallTime};
use criterion::{Criterion, Throughput};

/// Runs that callgrind counts,
const COUNTED_RUNS: u64 = 4;
/// and those before, with which allocations and tables settle.
const EARLIER_RUNS: u64 = 2;

/// Something that is done for every event, or for every read.
pub(crate) trait HotPath {
    /// Makes what the next run takes; is not measured.
    fn prepare(&mut self) {}

    /// Does it, for [`Named::items`] events.
    fn run(&mut self);
}

/// A hot path.
pub(crate) struct Named {
    pub(crate) name: &'static str,
    /// Events, or reads, of one run.
    pub(crate) items: u64,
    pub(crate) make: fn() -> Box<dyn HotPath>,
}

/// `--list-paths` names all paths, each with the number of items that are counted; `--count NAME` runs one of them so
/// that callgrind can count it; everything else is Criterion's.
pub(crate) fn main(paths: &[Named]) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--list-paths"] => {
            for path in paths {
                println!("{}\t{}", path.name, path.items * COUNTED_RUNS);
            }
        }
        ["--count", name] => {
            let path = paths.iter().find(|path| path.name == name);
            count(&mut *(path.expect("a name of --list-paths").make)());
        }
        _ => times(paths),
    }
}

fn times(paths: &[Named]) {
    let mut criterion = Criterion::default().configure_from_args();
    for path in paths {
        let mut hot = (path.make)();
        let mut group = criterion.benchmark_group(path.name);
        group.throughput(Throughput::Elements(path.items));
        group.bench_function("run", |bencher| {
            bencher.iter_custom(|runs| {
                let mut time = Duration::ZERO;
                for _ in 0..runs {
                    hot.prepare();
                    let begin = WallTime.start();
                    hot.run();
                    time += WallTime.end(begin);
                }
                time
            });
        });
        group.finish();
    }
    criterion.final_summary();
}

fn count(hot: &mut dyn HotPath) {
    for run in 0..EARLIER_RUNS + COUNTED_RUNS {
        hot.prepare();
        if run < EARLIER_RUNS {
            hot.run();
        } else {
            toka_counted_region(hot);
        }
    }
}

/// Callgrind counts from its entry to its return, and knows it by this name.
#[inline(never)]
fn toka_counted_region(hot: &mut dyn HotPath) {
    hot.run();
    // Not a tail call, after which there would be no return.
    black_box(hot);
}
