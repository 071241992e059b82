//! `cargo xtask simulate`: the deterministic simulation of whole clusters, tests/simulation.
//!
//! Its builds have flags of their own, and so a target directory of their own: they make no other build begin anew.

use std::process::Command;

use anyhow::Result;

use crate::process::Processes;
use crate::workspace::Workspace;

/// Seeds that the suite runs: the same each time.
const SUITE_SEEDS: u64 = 40;
/// As in `.cargo/config.toml`, which this takes the place of, and the simulation's own.
const FLAGS: &str = "--cfg tokio_unstable --cfg simulation";

/// What is to be run.
pub(crate) struct Runs<'a> {
    /// How many seeds.
    pub(crate) seeds: u64,
    /// The first of them.
    pub(crate) first: u64,
    /// A known bug to switch on.
    pub(crate) bug: Option<&'a str>,
}

/// Of `tests/simulation` alone: with others it would get their features, RocksDB's among them.
fn cargo(workspace: &Workspace, subcommand: &str) -> Command {
    let mut command = workspace.cargo();
    command
        .args([subcommand, "--package", "toka-simulation", "--target-dir"])
        .arg(workspace.target.join("simulation"))
        .env("RUSTFLAGS", FLAGS);
    command
}

/// Runs seeds one after the other, as many at once as there are cores.
///
/// # Errors
/// Something does not hold; what, and how to see it again, was printed.
pub(crate) fn run(workspace: &Workspace, processes: &Processes, runs: &Runs<'_>) -> Result<()> {
    let mut command = cargo(workspace, "run");
    command.args(["--quiet", "--", "run"]);
    command.args(["--seeds", &runs.seeds.to_string()]);
    command.args(["--first", &runs.first.to_string()]);
    command.args(runs.bug.iter().flat_map(|bug| ["--bug", bug]));
    processes.run(&mut command)
}

/// The seeds of the suite.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_seeds_of_suite(workspace: &Workspace, processes: &Processes) -> Result<()> {
    let runs = Runs {
        seeds: SUITE_SEEDS,
        first: 1,
        bug: None,
    };
    run(workspace, processes, &runs)
}

/// The simulation's own tests: that seeds repeat, and that known bugs are found.
pub(crate) fn tests(workspace: &Workspace) -> Command {
    cargo(workspace, "test")
}

/// Clippy, on what other builds do not have.
pub(crate) fn clippy(workspace: &Workspace) -> Command {
    let mut command = cargo(workspace, "clippy");
    command.args(["--all-targets", "--", "-D", "warnings"]);
    command
}
