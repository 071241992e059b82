//! `cargo xtask soak`: the nemesis of the tests, for as long as one likes.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::namespace;
use crate::process::Processes;
use crate::setup;
use crate::workspace::Workspace;

/// Builds everything, and runs `tests/nemesis` with so many minutes of faults.
///
/// # Errors
/// Something is missing on the machine, or was lost by the nodes; the command that repeats the faults was printed.
pub(crate) fn run(
    workspace: &Workspace,
    processes: &Processes,
    minutes: u64,
    seed: Option<u64>,
) -> Result<()> {
    setup::ensure(processes, &[setup::BUILD, setup::TEST])?;
    namespace::ensure(processes)?;
    let seed = match seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    };
    let again = format!("cargo xtask soak --minutes {minutes} --seed {seed}");
    println!("the same faults again: {again}");
    processes.run(&mut workspace.build_toka())?;
    let run = processes.run(&mut test(workspace, minutes, seed));
    run.with_context(|| format!("`{again}` failed"))
}

/// As in `cargo xtask test`, `--workspace`: features are the same, and nothing is compiled a second time.
fn test(workspace: &Workspace, minutes: u64, seed: u64) -> Command {
    let mut command = workspace.cargo();
    command
        .args(["test", "--workspace", "--test", "nemesis"])
        .args(["--", "--nocapture"])
        .env("TOKA_BIN", workspace.toka_bin())
        .env("TOKA_NEMESIS_SECONDS", (minutes * 60).to_string())
        .env("TOKA_SEED", seed.to_string());
    namespace::inside(&command)
}
