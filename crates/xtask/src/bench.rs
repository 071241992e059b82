//! `cargo xtask bench`: the table of `docs/benchmarks.md`.

use std::path::Path;

use anyhow::{Context, Result};

use crate::demo;
use crate::demo::cluster::Cluster;
use crate::demo::progress::Progress;
use crate::demo::toka::Toka;
use crate::process::Processes;
use crate::workspace::Workspace;

/// Measured for so long, after a second of warm-up.
const DURATION: &str = "5s";
const CLIENTS: [&str; 3] = ["1", "64", "512"];

/// Starts three nodes, runs each load against them, and prints a row for each.
///
/// # Errors
/// A node or a load failed.
pub(crate) fn run(workspace: &Workspace, processes: &Processes, bin: Option<&Path>) -> Result<()> {
    let progress = Progress::start();
    let bin = match bin {
        Some(bin) => bin.to_owned(),
        None => demo::build(workspace, processes, &progress)?,
    };
    let directory = workspace
        .target
        .join(format!("bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("creating {}", directory.display()))?;
    let toka = Toka::new(bin, processes.clone());
    println!("| event | mode | clients | commits/s | p50 ms | p99 ms |");
    println!("|---|---|---|---|---|---|");
    for (event, dimension) in [("256 B", "0"), ("256 B + 768 dimensions", "768")] {
        for mode in ["unary", "stream"] {
            // Each load of a kind begins with an empty vault, so that none pays for another.
            let data = directory.join(format!("{mode}-{dimension}"));
            std::fs::create_dir_all(&data)?;
            let mut cluster = Cluster::start(&toka, &data)?;
            for clients in CLIENTS {
                let flags = [
                    "--clients",
                    clients,
                    "--duration",
                    DURATION,
                    "--payload-bytes",
                    "256",
                    "--dim",
                    dimension,
                    "--mode",
                    mode,
                ];
                let bench = toka.bench(&cluster.endpoints(), &flags)?;
                println!(
                    "| {event} | {mode} | {clients} | {:.0} | {:.2} | {:.2} |",
                    bench.commits_per_second, bench.p50_ms, bench.p99_ms
                );
            }
            cluster.stop(&progress);
        }
    }
    std::fs::remove_dir_all(&directory).with_context(|| format!("removing {}", directory.display()))
}
