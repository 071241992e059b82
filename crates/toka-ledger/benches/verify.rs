//! Verifying a vault on disk, and reading the same files.
//!
//! `cargo bench -p toka-ledger --bench verify`
//!
//! Both are given in bytes of files a second. After the first run all files are in the operating system's memory:
//! what is compared is what verifying costs beyond reading, on any disk. `docs/benchmarks.md` has the commands for
//! a disk that is cold.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use toka_ledger::engine::Engine as _;
use toka_ledger::engine::rocks::{RocksEngine, RocksOptions};
use toka_ledger::verify::{Blocks, Options, verify_with};
use toka_ledger::{EventDraft, Ledger, VaultBus};

/// A vault: name, events, bytes of each payload, dimension of each embedding (0: none).
const VAULTS: [(&str, u64, usize, usize); 3] = [
    ("64 KiB", 2_000, 64 << 10, 0),
    ("1 KiB", 50_000, 1 << 10, 0),
    ("1 KiB and 384 dimensions", 20_000, 1 << 10, 384),
];
const THREADS: [usize; 3] = [1, 2, 4];
const BATCH_BYTES: usize = 1 << 20;
/// What vectors mean, as texts do: nearly every event joins a micro-cluster.
const MEANINGS: u64 = 200;

/// Noise, which does not compress.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_be_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

fn vector(number: u64, dimension: usize) -> Vec<f32> {
    let components = noise(number % MEANINGS, dimension);
    let own = noise(MEANINGS + number, dimension);
    let both = components.iter().zip(own);
    both.map(|(meaning, own)| f32::from(*meaning) - 127.5 + f32::from(own) / 16.0)
        .collect()
}

/// A closed vault in `dir`, all of it in table files.
fn make(dir: &Path, events: u64, payload_bytes: usize, dimension: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let vault = VaultBus::open(dir).expect("created");
        let batch = (BATCH_BYTES / payload_bytes).clamp(1, 500) as u64;
        let mut number = 0;
        while number < events {
            let numbers = number..events.min(number + batch);
            number = numbers.end;
            let drafts = numbers.map(|number| {
                let draft = EventDraft::new(["talk.say", "tool.call"][(number % 2) as usize])
                    .payload_bytes(noise(u64::MAX - number, payload_bytes))
                    .source("bench");
                match dimension {
                    0 => draft,
                    dimension => draft.embedding(&vector(number, dimension)),
                }
            });
            let drafts: Vec<EventDraft> = drafts.collect();
            vault.commit_batch(drafts).await.expect("committed");
        }
        vault.close().await;
    });
    let engine = RocksEngine::open(&dir.join("ledger"), &RocksOptions::default()).expect("opened");
    engine.flush().expect("flushed");
}

/// Reads all files, as fast as one thread can.
fn read(ledger: &Path) -> u64 {
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    for entry in fs::read_dir(ledger).expect("listed") {
        let mut file = File::open(entry.expect("listed").path()).expect("opened");
        loop {
            match file.read(&mut buffer).expect("read") {
                0 => break,
                read => total += read as u64,
            }
        }
    }
    total
}

fn verified(ledger: &Path, threads: usize) {
    let options = RocksOptions {
        create: false,
        read_only: true,
        ..RocksOptions::default()
    };
    let engine = RocksEngine::open(ledger, &options).expect("opened");
    let (reader, _) = Ledger::read_only(Arc::new(engine)).expect("opened");
    let options = Options {
        blocks: Blocks::WholeFiles,
        ..Options::parallel(threads)
    };
    let report = verify_with(&reader, &options, &mut |_| {});
    let report = report.expect("readable").expect("nobody ends it");
    assert!(report.is_intact(), "{:?}", report.problems);
}

fn bench(criterion: &mut Criterion) {
    for (name, events, payload_bytes, dimension) in VAULTS {
        let dir = tempfile::tempdir().expect("a temporary directory");
        make(dir.path(), events, payload_bytes, dimension);
        let ledger = dir.path().join("ledger");
        let mut group = criterion.benchmark_group(format!("verify/{name}"));
        group.throughput(Throughput::Bytes(read(&ledger)));
        group.sample_size(10);
        group.bench_function("read", |bencher| {
            bencher.iter(|| black_box(read(&ledger)));
        });
        for threads in THREADS {
            group.bench_function(BenchmarkId::new("verify", threads), |bencher| {
                bencher.iter(|| verified(&ledger, threads));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
