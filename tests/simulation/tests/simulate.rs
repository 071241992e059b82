//! The simulation finds what it is there to find, and finds it again.

#![cfg(simulation)]

use std::process::Command;

/// Runs the simulation; returns whether all was well, and what it printed.
fn simulate(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toka-simulation"));
    let output = command.args(arguments).output().expect("it runs");
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), text.concat())
}

/// Runs one seed, and returns its trace.
fn trace(seed: u64, name: &str) -> (String, Vec<u8>) {
    let file = format!("{}/seed-{seed}-{name}.trace", env!("CARGO_TARGET_TMPDIR"));
    let (_, text) = simulate(&["one", &seed.to_string(), "--trace", &file]);
    let trace = std::fs::read(&file).expect("a trace");
    std::fs::remove_file(&file).expect("removed");
    (text, trace)
}

#[test]
fn one_seed_gives_one_trace() {
    for seed in [1, 2] {
        let (first, second) = (trace(seed, "first"), trace(seed, "second"));
        assert!(first.1.len() > 100_000, "a whole run has more to tell");
        assert!(
            first == second,
            "seed {seed} gives two traces: {} {}",
            first.0,
            second.0
        );
    }
}

#[test]
fn other_seeds_give_other_traces() {
    assert_ne!(trace(3, "this").1, trace(4, "that").1);
}

/// Within so many seeds, from the first on. Most often the first few do; docs/reliability.md has how many of them, and
/// each change of the simulation is another draw.
fn finds(bug: &str, seeds: u64) {
    let (is_found, text) = simulate(&["run", "--bug", bug, "--seeds", &seeds.to_string()]);
    assert!(is_found, "{bug} was not found within {seeds} seeds: {text}");
    let replay = format!(" --bug {bug}");
    assert!(
        text.contains("replay it with: cargo xtask simulate --seeds 1 --first "),
        "{text}"
    );
    assert!(text.contains(&replay), "{text}");
}

#[test]
fn acknowledging_before_the_flush_is_found() {
    finds("acknowledge-before-flush", 20);
}

#[test]
fn purging_before_the_snapshot_is_durable_is_found() {
    finds("purge-before-snapshot", 20);
}

#[test]
fn applying_ahead_of_the_durable_log_is_found() {
    finds("apply-ahead-of-log", 300);
}

#[test]
fn follower_that_votes_twice_is_found() {
    finds("vote-twice", 100);
}

#[test]
fn order_of_a_hash_map_in_apply_is_found() {
    finds("hash-map-order", 20);
}
