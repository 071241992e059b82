//! `cargo xtask fuzz`: the fuzz targets of `tests/fuzz`, each over its corpus and on from there.
//!
//! The product is built with the toolchain that the repository names; these targets need nightly, for the sanitizer
//! and the counters that guide libFuzzer.

use std::ffi::OsString;
use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::process::Processes;
use crate::workspace::Workspace;

/// Seconds for each target where nobody says otherwise: the ten minutes of `docs/fuzzing.md`.
pub(crate) const SECONDS: u64 = 600;
/// Seconds for each target in `cargo xtask test`, from its corpus on.
const SMOKE_SECONDS: u64 = 3;

const TOOLCHAIN: &str = "nightly";
/// The version that the options below are of.
const CARGO_FUZZ: &str = "0.13.2";
/// Largest input that is made, bytes; longer ones find nothing more, and slower.
const INPUT_BYTES_MAX: u64 = 4096;
/// Memory of a target, MiB. The largest decoder takes a few megabytes; more is a leak, or a length that was believed.
const MEMORY_MIB: u64 = 1024;
/// The longest that one input may take, seconds.
const INPUT_SECONDS: u64 = 10;
const ASK_LIMIT: Duration = Duration::from_secs(60);
/// The longest that all kept inputs of a target may take together.
const REPLAY_LIMIT: Duration = Duration::from_secs(120);

/// What the targets are built and run with.
pub(crate) struct Fuzzer<'a> {
    workspace: &'a Workspace,
    processes: &'a Processes,
    /// Where `cargo-fuzz` is, in front of what is there already.
    path: OsString,
    dir: PathBuf,
    target_dir: PathBuf,
}

/// Builds the targets and runs `target`, or each of them, for `seconds`; or writes the seeds of each again.
///
/// # Errors
/// A target does not build, or an input broke a promise; the message before says which file holds it.
pub(crate) fn run(
    workspace: &Workspace,
    processes: &Processes,
    target: Option<&str>,
    seconds: u64,
    seeds: bool,
) -> Result<()> {
    let fuzzer = Fuzzer::build(workspace, processes)?;
    let targets = fuzzer.targets()?;
    let chosen: Vec<&String> = targets
        .iter()
        .filter(|name| target.is_none_or(|target| target == *name))
        .collect();
    ensure!(
        !chosen.is_empty(),
        "there is no such target; there are: {}",
        targets.join(", ")
    );
    for name in chosen {
        if seeds {
            fuzzer.write_seeds(name)?;
        } else {
            fuzzer.run(name, seconds, &fuzzer.found(name))?;
        }
    }
    Ok(())
}

/// Every kept input once, by the ordinary toolchain: for whoever has no nightly.
pub(crate) fn replay_corpora(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command
        // Opens the private decoders; cargo-fuzz sets it too.
        .env("RUSTFLAGS", "--cfg fuzzing")
        .args(["test", "--lib", "--manifest-path", "tests/fuzz/Cargo.toml"])
        .arg("--target-dir")
        .arg(workspace.target.join("fuzz-corpora"))
        // Not the tests of the files that it includes: they run where those belong, optimised.
        .args(["--", "corpora::"]);
    command
}

impl<'a> Fuzzer<'a> {
    /// Installs what is missing and builds all targets.
    ///
    /// # Errors
    /// Nightly or cargo-fuzz cannot be installed, or a target does not build.
    pub(crate) fn build(workspace: &'a Workspace, processes: &'a Processes) -> Result<Self> {
        require_toolchain(processes)?;
        let tools = workspace.target.join("xtask-tools");
        install_cargo_fuzz(processes, &tools)?;
        let mut path = tools.join("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let fuzzer = Self {
            workspace,
            processes,
            path,
            dir: workspace.root.join("tests").join("fuzz"),
            target_dir: workspace.target.join("fuzz"),
        };
        processes.run(&mut fuzzer.cargo_fuzz("build"))?;
        Ok(fuzzer)
    }

    fn cargo_fuzz(&self, command: &str) -> Command {
        let mut cargo = self.workspace.cargo();
        cargo
            .env("RUSTUP_TOOLCHAIN", TOOLCHAIN)
            .env("PATH", &self.path)
            .args(["fuzz", command, "--fuzz-dir"])
            .arg(&self.dir)
            .arg("--target-dir")
            .arg(&self.target_dir);
        cargo
    }

    fn targets(&self) -> Result<Vec<String>> {
        let mut list = self.workspace.cargo();
        list.env("RUSTUP_TOOLCHAIN", TOOLCHAIN)
            .env("PATH", &self.path)
            .args(["fuzz", "list", "--fuzz-dir"])
            .arg(&self.dir);
        let listed = self.processes.run_captured(&mut list, ASK_LIMIT)?;
        Ok(listed.lines().map(ToOwned::to_owned).collect())
    }

    /// The inputs of a target that are kept in the repository.
    fn corpus(&self, name: &str) -> Result<PathBuf> {
        let corpus = self.dir.join("corpus").join(name);
        ensure!(
            corpus.is_dir(),
            "{} is missing; `cargo xtask fuzz --seeds` writes it",
            corpus.display()
        );
        Ok(corpus)
    }

    /// Where this machine's findings go, from one run to the next.
    fn found(&self, name: &str) -> PathBuf {
        self.workspace.target.join("fuzz-corpus").join(name)
    }

    /// Every kept input once, whole, however long it is.
    ///
    /// # Errors
    /// One of them breaks a promise, or a corpus is missing.
    pub(crate) fn replay_kept_inputs(&self) -> Result<()> {
        for name in self.targets()? {
            let corpus = self.corpus(&name)?;
            let entries = std::fs::read_dir(&corpus)?.collect::<std::io::Result<Vec<_>>>()?;
            let mut inputs: Vec<PathBuf> = entries.iter().map(DirEntry::path).collect();
            inputs.sort();
            ensure!(!inputs.is_empty(), "{} is empty", corpus.display());
            let mut command = self.cargo_fuzz("run");
            command.arg(&name).args(&inputs).arg("--").args([
                format!("-rss_limit_mb={MEMORY_MIB}"),
                format!("-timeout={INPUT_SECONDS}"),
            ]);
            let replayed = self.processes.run_captured(&mut command, REPLAY_LIMIT);
            replayed.with_context(|| format!("target {name}"))?;
            println!("{name}: {} inputs", inputs.len());
        }
        Ok(())
    }

    /// Each target for a moment; what it finds new is not kept.
    ///
    /// # Errors
    /// An input breaks a promise; the message before says which file holds it.
    pub(crate) fn smoke(&self) -> Result<()> {
        let found = self.workspace.target.join("fuzz-smoke");
        for name in self.targets()? {
            if found.exists() {
                std::fs::remove_dir_all(&found)
                    .with_context(|| format!("removing {}", found.display()))?;
            }
            self.run(&name, SMOKE_SECONDS, &found)?;
        }
        Ok(())
    }

    /// Runs a target over its corpus and for `seconds`, beginning with what is in `found` too, where it puts what it
    /// finds new.
    fn run(&self, name: &str, seconds: u64, found: &Path) -> Result<()> {
        let corpus = self.corpus(name)?;
        std::fs::create_dir_all(found).with_context(|| format!("creating {}", found.display()))?;
        let mut command = self.cargo_fuzz("run");
        // libFuzzer writes to the first directory only.
        command.arg(name).arg(found).arg(&corpus).arg("--").args([
            format!("-max_total_time={seconds}"),
            format!("-max_len={INPUT_BYTES_MAX}"),
            format!("-rss_limit_mb={MEMORY_MIB}"),
            format!("-timeout={INPUT_SECONDS}"),
            "-print_final_stats=1".to_owned(),
            "-verbosity=0".to_owned(),
        ]);
        println!("fuzz {name}: {seconds} s");
        self.processes
            .run(&mut command)
            .with_context(|| format!("target {name}: the input is in tests/fuzz/artifacts/{name}"))
    }

    fn write_seeds(&self, name: &str) -> Result<()> {
        let mut command = self.cargo_fuzz("run");
        let corpus = self.dir.join("corpus").join(name);
        command.env("TOKA_FUZZ_SEEDS", &corpus).arg(name);
        self.processes.run(&mut command)
    }
}

/// # Errors
/// It is not installed, and cannot be.
fn require_toolchain(processes: &Processes) -> Result<()> {
    let mut ask = Command::new("rustup");
    ask.args(["toolchain", "list"]);
    let installed = processes.run_captured(&mut ask, ASK_LIMIT).context(
        "fuzzing needs rustup, which the toolchain that the repository names comes with too",
    )?;
    if installed.lines().any(|name| name.starts_with(TOOLCHAIN)) {
        return Ok(());
    }
    println!("missing on this machine: the {TOOLCHAIN} toolchain; installing with rustup");
    let mut install = Command::new("rustup");
    install.args([
        "toolchain",
        "install",
        TOOLCHAIN,
        "--profile",
        "minimal",
        "--no-self-update",
    ]);
    processes.run(&mut install)
}

fn install_cargo_fuzz(processes: &Processes, tools: &Path) -> Result<()> {
    let binary = tools.join("bin").join("cargo-fuzz");
    if binary.is_file() {
        let version = processes.run_captured(Command::new(&binary).arg("--version"), ASK_LIMIT)?;
        if version.trim().ends_with(CARGO_FUZZ) {
            return Ok(());
        }
    }
    println!("installing cargo-fuzz {CARGO_FUZZ}");
    let mut install = Command::new("cargo");
    // Not a part of this workspace: with the toolchain that can build it.
    install
        .env("RUSTUP_TOOLCHAIN", TOOLCHAIN)
        .args(["install", "cargo-fuzz", "--locked", "--force", "--version"])
        .arg(CARGO_FUZZ)
        .arg("--root")
        .arg(tools);
    processes.run(&mut install)?;
    if !binary.is_file() {
        bail!("cargo install has left no {}", binary.display());
    }
    Ok(())
}
