//! `cargo xtask simulate`: the deterministic simulation of whole clusters, tests/simulation.
//!
//! Its builds have flags of their own, and so a target directory of their own: they make no other build begin anew.

use std::process::Command;

use anyhow::Result;

use crate::process::Processes;
use crate::workspace::Workspace;

/// Seeds that CI runs.
const CI_SEEDS: u64 = 24;
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

/// What CI runs: the simulation's own tests, and a fixed number of seeds.
///
/// # Errors
/// As [`run`].
pub(crate) fn check(workspace: &Workspace, processes: &Processes) -> Result<()> {
    processes.run(&mut cargo(workspace, "test"))?;
    let runs = Runs {
        seeds: CI_SEEDS,
        first: 1,
        bug: None,
    };
    run(workspace, processes, &runs)
}

/// Clippy, on what other builds do not have.
pub(crate) fn clippy(workspace: &Workspace) -> Command {
    let mut command = cargo(workspace, "clippy");
    command.args(["--all-targets", "--", "-D", "warnings"]);
    command
}
