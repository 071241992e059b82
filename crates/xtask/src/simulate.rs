//! `cargo xtask simulate`: the deterministic simulation of whole clusters, tests/simulation.
//!
//! No step of the suite yet: see docs/reliability.md. Its builds have flags of their own, and so a target directory
//! of their own: they make no other build begin anew.

use anyhow::Result;

use crate::process::Processes;
use crate::workspace::Workspace;

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

/// Runs seeds one after the other, as many at once as there are cores.
///
/// # Errors
/// Something does not hold; what, and how to see it again, was printed.
pub(crate) fn run(workspace: &Workspace, processes: &Processes, runs: &Runs<'_>) -> Result<()> {
    let mut command = workspace.cargo();
    command
        .args([
            "run",
            "--quiet",
            "--package",
            "toka-simulation",
            "--target-dir",
        ])
        .arg(workspace.target.join("simulation"))
        .env("RUSTFLAGS", FLAGS);
    command.args(["--", "run"]);
    command.args(["--seeds", &runs.seeds.to_string()]);
    command.args(["--first", &runs.first.to_string()]);
    command.args(runs.bug.iter().flat_map(|bug| ["--bug", bug]));
    processes.run(&mut command)
}
