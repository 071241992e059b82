//! `cargo xtask soak`: the long runs of what the suite runs shortly, one after the other: the nemesis of the tests, the
//! simulation with seeds that nobody has run, the fuzz targets.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use crate::fuzz;
use crate::namespace;
use crate::process::Processes;
use crate::setup;
use crate::simulate::{self, Runs};
use crate::workspace::Workspace;

/// Nemesis, simulation, fuzz targets: each gets an equal share of the time.
const PARTS: u64 = 3;
/// Seeds of the simulation that are run before the time is looked at again.
const SEEDS: u64 = 20;
/// Seeds begin here and a multiple of [`SEEDS_APART`] further on, far from those that the suite runs.
const SEEDS_FIRST: u64 = 1_000_000;
/// So that soaks which begin one second after the other have no seed in common.
const SEEDS_APART: u64 = 100_000;

/// Builds everything, and runs each part for its share of `minutes`; builds take their time besides.
///
/// # Errors
/// Something is missing on the machine, or a promise does not hold; the command that repeats the faults was printed.
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
    let share = Duration::from_secs(minutes * 60 / PARTS);
    parts(workspace, processes, share, seed).with_context(|| format!("`{again}` failed"))
}

fn parts(workspace: &Workspace, processes: &Processes, share: Duration, seed: u64) -> Result<()> {
    println!("==> nemesis: {share:?}");
    processes.run(&mut workspace.build_toka())?;
    processes.run(&mut nemesis(workspace, share, seed))?;
    println!("==> simulation: {share:?}");
    let seeds = simulate_for(workspace, processes, share, seed)?;
    println!("==> fuzz targets: {share:?}");
    let targets = targets(&workspace.root)?;
    let seconds = (share.as_secs() / targets).max(1);
    fuzz::run(workspace, processes, None, seconds, false)?;
    println!(
        "soak: passed: {share:?} of faults and more, {seeds} seeds of the simulation, {targets} fuzz targets for \
         {seconds} s each"
    );
    Ok(())
}

/// As in `cargo xtask test`, `--workspace`: features are the same, and nothing is compiled a second time.
fn nemesis(workspace: &Workspace, share: Duration, seed: u64) -> Command {
    let mut command = workspace.cargo();
    command
        .args(["test", "--workspace", "--test", "nemesis"])
        .args(["--", "--nocapture"])
        .env("TOKA_BIN", workspace.toka_bin())
        .env("TOKA_NEMESIS_SECONDS", share.as_secs().to_string())
        .env("TOKA_SEED", seed.to_string());
    namespace::inside(&command)
}

/// Runs seeds until the time is over, at least [`SEEDS`] of them, and says how many. The build is a part of the time.
fn simulate_for(
    workspace: &Workspace,
    processes: &Processes,
    share: Duration,
    seed: u64,
) -> Result<u64> {
    let (started, from) = (Instant::now(), first_seed(seed));
    let mut done = 0;
    loop {
        let runs = Runs {
            seeds: SEEDS,
            first: from + done,
            bug: None,
        };
        simulate::run(workspace, processes, &runs)?;
        done += SEEDS;
        if started.elapsed() >= share || done >= SEEDS_APART {
            return Ok(done);
        }
    }
}

/// The first seed of the simulation in the soak that `seed` draws.
const fn first_seed(seed: u64) -> u64 {
    // Seeds of soaks are seconds, or chosen by hand: a remainder leaves room for all that is added.
    SEEDS_FIRST + seed % (u32::MAX as u64) * SEEDS_APART
}

/// How many fuzz targets there are: each has a corpus.
fn targets(root: &Path) -> Result<u64> {
    let corpora = root.join("tests").join("fuzz").join("corpus");
    let entries = std::fs::read_dir(&corpora);
    let entries = entries.with_context(|| format!("reading {}", corpora.display()))?;
    let count = entries.count() as u64;
    ensure!(count > 0, "{} is empty", corpora.display());
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soaks_share_no_seed_with_each_other_or_with_the_suite() {
        let first = first_seed(0);
        assert!(first >= SEEDS_FIRST);
        assert_eq!(first_seed(1) - first, SEEDS_APART);
        // The largest that may be given.
        assert!(first_seed(u64::MAX).checked_add(SEEDS_APART).is_some());
    }
}
