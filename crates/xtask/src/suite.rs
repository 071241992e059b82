//! `cargo xtask test`: every check and test, in order, each named and timed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::process::{Process, Processes};
use crate::workspace::Workspace;
use crate::{console, fuzz, instructions, namespace, python, setup, simulate, story, tidy, wheel};

/// Workspaces of their own.
const FORMATTED_APART: [&str; 2] = ["tests/fuzz/Cargo.toml", "tests/peers/Cargo.toml"];
/// The longest that a check without compilation may take.
const CHECK_LIMIT: Duration = Duration::from_secs(300);

/// Steps that ran, with their times.
struct Suite {
    started: Instant,
    done: Vec<(&'static str, Duration)>,
}

impl Suite {
    /// Runs one step; the error of a failed one carries its name.
    fn step<T>(&mut self, name: &'static str, body: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("==> {name}");
        let started = Instant::now();
        let result = body();
        let took = started.elapsed();
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        println!("<== {name}: {verdict} in {:.1} s", took.as_secs_f64());
        self.done.push((name, took));
        result.with_context(|| format!("step `{name}` failed"))
    }

    fn print_summary(&self, passed: bool) {
        println!("\nsummary");
        for (index, (name, took)) in self.done.iter().enumerate() {
            let failed = !passed && index + 1 == self.done.len();
            let verdict = if failed { "FAILED" } else { "ok" };
            println!("  {verdict:<6} {:>8.1} s  {name}", took.as_secs_f64());
        }
        let verdict = if passed {
            "all steps passed"
        } else {
            "stopped at the first failure"
        };
        println!(
            "{verdict}; {:.1} s in all",
            self.started.elapsed().as_secs_f64()
        );
    }
}

/// Runs all steps, or with `fast` those without documentation, clusters, real and simulated, and fuzz targets.
pub(crate) fn run(workspace: &Workspace, processes: &Processes, fast: bool) -> Result<()> {
    let mut suite = Suite {
        started: Instant::now(),
        done: Vec::new(),
    };
    let result = run_steps(&mut suite, workspace, processes, fast);
    suite.print_summary(result.is_ok());
    result
}

fn run_steps(
    suite: &mut Suite,
    workspace: &Workspace,
    processes: &Processes,
    fast: bool,
) -> Result<()> {
    suite.step("set up the machine", || set_up(workspace, processes, fast))?;
    let rocksdb_before = workspace.rocksdb_builds();
    // RocksDB takes the longest by far: it compiles while the steps below, none of them a build, run.
    let mut build = start_build(workspace, processes)?;
    let captured = |mut command: Command| -> Result<()> {
        processes.run_captured(&mut command, CHECK_LIMIT).map(drop)
    };
    suite.step("format", || {
        captured(format_check(workspace))?;
        FORMATTED_APART
            .iter()
            .try_for_each(|manifest| captured(format_check_of(workspace, manifest)))
    })?;
    suite.step("tidy", || tidy::run(workspace))?;
    let tools = suite.step("python tools", || python::prepare(workspace, processes))?;
    suite.step("buf lint", || {
        let mut command = Command::new(&tools.buf);
        command
            .arg("lint")
            .current_dir(workspace.root.join("proto"));
        captured(command)
    })?;
    suite.step("cargo deny", || captured(deny(workspace, &tools.deny)))?;
    suite.step("console as its sources make it", || {
        console::check(workspace, processes, &tools)
    })?;
    suite.step("build toka", || build.wait_success())?;
    suite.step("build toka of the next feature level", || {
        build_next(workspace, processes)
    })?;
    suite.step("clippy", || processes.run(&mut clippy(workspace)))?;
    suite.step("ledger without RocksDB", || {
        let mut command = workspace.cargo();
        command.args(["check", "-p", "toka-ledger", "--no-default-features"]);
        processes.run(&mut command)
    })?;
    if !fast {
        suite.step("documentation", || {
            processes.run(&mut documentation(workspace))
        })?;
        simulate_and_fuzz(suite, workspace, processes)?;
    }
    suite.step("tests", || {
        let mut command = tests(workspace, fast);
        command
            .env("TOKA_BIN", workspace.toka_bin())
            .env("TOKA_NEXT_BIN", workspace.next_bin())
            .env("TOKA_PYTHON", &tools.python);
        processes.run(&mut command)
    })?;
    if !fast {
        use_what_was_built(suite, workspace, processes, &tools)?;
    }
    suite.step("RocksDB compiled at most once", || {
        check_compiled_once(&rocksdb_before, &workspace.rocksdb_builds())
    })
}

/// What the steps need. What is missing is told now, and not after an hour.
fn set_up(workspace: &Workspace, processes: &Processes, fast: bool) -> Result<()> {
    setup::ensure(processes, &[setup::BUILD, setup::TEST])?;
    if fast {
        return Ok(());
    }
    setup::ensure(processes, &[setup::IMAGE, setup::INSTRUCTIONS])?;
    instructions::read_baseline(workspace)?;
    namespace::ensure(processes)
}

/// What the tests leave room for, and goes by what they have built.
fn use_what_was_built(
    suite: &mut Suite,
    workspace: &Workspace,
    processes: &Processes,
    tools: &python::Tools,
) -> Result<()> {
    play_story(suite, workspace, processes)?;
    test_wheel(suite, workspace, processes, tools)?;
    count_instructions(suite, workspace, processes)
}

/// As the command. The tests run its agents too, and play no story with them.
fn play_story(suite: &mut Suite, workspace: &Workspace, processes: &Processes) -> Result<()> {
    suite.step("story", || {
        story::run(workspace, processes, Some(&workspace.toka_bin()), None)
    })
}

/// After all other builds, with which the extension module shares its dependencies.
fn test_wheel(
    suite: &mut Suite,
    workspace: &Workspace,
    processes: &Processes,
    tools: &python::Tools,
) -> Result<()> {
    suite.step("wheel for Python", || {
        let (toka, dev) = (workspace.toka_bin(), wheel::Profile::Dev);
        wheel::build_and_test(workspace, processes, tools, &toka, dev)
    })
}

/// Fails for what takes more instructions than before; prints Criterion's times of the same paths, which never fail.
fn count_instructions(
    suite: &mut Suite,
    workspace: &Workspace,
    processes: &Processes,
) -> Result<()> {
    suite.step("instructions of the hot paths, and times", || {
        instructions::run(workspace, processes, false)
    })
}

/// What has builds of its own, with flags that the others must not have. None of them compiles RocksDB.
fn simulate_and_fuzz(
    suite: &mut Suite,
    workspace: &Workspace,
    processes: &Processes,
) -> Result<()> {
    suite.step("clippy of the simulation", || {
        processes.run(&mut simulate::clippy(workspace))
    })?;
    suite.step("tests of the simulation", || {
        processes.run(&mut simulate::tests(workspace))
    })?;
    suite.step("simulation", || {
        simulate::run_seeds_of_suite(workspace, processes)
    })?;
    let fuzzer = suite.step("build fuzz targets", || {
        fuzz::Fuzzer::build(workspace, processes)
    })?;
    suite.step("kept inputs of the fuzz targets", || {
        fuzzer.replay_kept_inputs()
    })?;
    suite.step("fuzz, briefly", || fuzzer.smoke())
}

/// Ten minutes each time: the steps must agree on the features of RocksDB's build script.
fn check_compiled_once(before: &BTreeSet<PathBuf>, after: &BTreeSet<PathBuf>) -> Result<()> {
    let new: Vec<&PathBuf> = after.difference(before).collect();
    ensure!(
        new.len() <= 1,
        "RocksDB was compiled {} times; the features of its build dependencies differ between steps \
         (compare `cargo tree -e features,build -i cc` for each): {new:?}",
        new.len()
    );
    Ok(())
}

/// The only cargo build that runs beside other steps.
fn start_build(workspace: &Workspace, processes: &Processes) -> Result<Process> {
    if workspace.rocksdb_builds().is_empty() {
        println!("RocksDB is compiled once: about ten minutes on two cores");
    }
    processes.spawn(&mut workspace.build_toka())
}

/// Builds `toka` of the next feature level and puts it aside. Cargo keeps the parts of both builds; the ordinary
/// binary only has to be put back in its place.
pub(crate) fn build_next(workspace: &Workspace, processes: &Processes) -> Result<()> {
    processes.run(&mut workspace.build_next())?;
    let (built, next) = (workspace.toka_bin(), workspace.next_bin());
    std::fs::copy(&built, &next).with_context(|| format!("cannot write {}", next.display()))?;
    processes.run(&mut workspace.build_toka())
}

fn format_check(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command.args(["fmt", "--all", "--check"]);
    command
}

fn format_check_of(workspace: &Workspace, manifest: &str) -> Command {
    let mut command = workspace.cargo();
    command.args(["fmt", "--manifest-path", manifest, "--check"]);
    command
}

/// Licences, sources and banned crates. Not advisories: their database is not reached from everywhere, and changes without
/// a change in this repository.
fn deny(workspace: &Workspace, program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--workspace", "--locked", "check", "--hide-inclusion-graph"])
        .args(["bans", "licenses", "sources"])
        .current_dir(&workspace.root);
    command
}

fn clippy(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command.args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]);
    command
}

fn documentation(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command
        .args(["doc", "--no-deps", "--workspace"])
        .env("RUSTDOCFLAGS", "-D warnings");
    command
}

/// Unit, property, cluster and doc tests.
fn tests(workspace: &Workspace, fast: bool) -> Command {
    let mut command = workspace.cargo();
    // One failure does not hide those of other crates.
    command.args(["test", "--workspace", "--no-fail-fast"]);
    if fast {
        command.args(["--exclude", "toka-tests"]);
        return command;
    }
    namespace::inside(&command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_compilation_of_rocksdb_fails() {
        let builds = |names: &[&str]| names.iter().map(PathBuf::from).collect::<BTreeSet<_>>();
        let check = |before, after| check_compiled_once(&builds(before), &builds(after));
        assert!(check(&[], &["a"]).is_ok());
        assert!(check(&["old", "a"], &["old", "a"]).is_ok());
        assert!(check(&[], &["a", "b"]).is_err());
    }

    #[test]
    fn failed_step_is_named_and_last() {
        let mut suite = Suite {
            started: Instant::now(),
            done: Vec::new(),
        };
        suite
            .step("first", || Ok(()))
            .expect("the first step passes");
        let error = suite
            .step::<()>("second", || anyhow::bail!("broken"))
            .expect_err("the second step fails");
        assert_eq!(format!("{error:#}"), "step `second` failed: broken");
        assert_eq!(suite.done.last().map(|(name, _)| *name), Some("second"));
    }
}
