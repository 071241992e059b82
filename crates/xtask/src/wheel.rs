//! `cargo xtask python`: the wheel of crates/toka-python, built by maturin, and tested as its users have it: installed into a
//! fresh virtual environment.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::Processes;
use crate::python::{self, Tools};
use crate::setup;
use crate::workspace::{Workspace, forget_package};

const INSTALL_LIMIT: Duration = Duration::from_secs(600);
/// The tag of wheels for the oldest interpreter that is supported and for every later one; `pyo3`'s feature decides it.
const ABI: &str = "cp311-abi3";

/// How the extension module is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// With the workspace, whose builds it shares.
    Dev,
    /// By itself, with the features that it is given away with.
    Release,
}

/// Builds what it needs (`toka` unless it is given), and tests the wheel; `release`: the one that is given away.
///
/// # Errors
/// The wheel is not built, or a test fails.
pub(crate) fn run(
    workspace: &Workspace,
    processes: &Processes,
    bin: Option<&Path>,
    release: bool,
) -> Result<()> {
    let profile = match release {
        true => Profile::Release,
        false => Profile::Dev,
    };
    setup::ensure(processes, &[setup::BUILD, setup::TEST])?;
    let tools = python::prepare(workspace, processes)?;
    let toka = match bin {
        Some(bin) => {
            std::path::absolute(bin).with_context(|| format!("no path: {}", bin.display()))?
        }
        None => {
            processes.run(&mut workspace.build_toka())?;
            workspace.toka_bin()
        }
    };
    build_and_test(workspace, processes, &tools, &toka, profile)
}

/// Builds the wheel, and tests it with a `toka` that is there.
///
/// # Errors
/// The wheel is not built, or a test fails.
pub(crate) fn build_and_test(
    workspace: &Workspace,
    processes: &Processes,
    tools: &Tools,
    toka: &Path,
    profile: Profile,
) -> Result<()> {
    let wheel = build(workspace, processes, tools, profile)?;
    println!("built {}", wheel.display());
    test(workspace, processes, tools, &wheel, toka)
}

fn package(workspace: &Workspace) -> PathBuf {
    workspace.root.join("crates").join("toka-python")
}

fn build(
    workspace: &Workspace,
    processes: &Processes,
    tools: &Tools,
    profile: Profile,
) -> Result<PathBuf> {
    let package = package(workspace);
    let output = match profile {
        Profile::Dev => workspace.target.join("python").join("wheels"),
        Profile::Release => workspace.target.join("dist"),
    };
    remove_wheels(&output)?;
    let mut command = Command::new(&tools.maturin);
    command
        .args(["build", "--manifest-path"])
        .arg(package.join("Cargo.toml"))
        .arg("--interpreter")
        .arg(&tools.python)
        .arg("--out")
        .arg(&output)
        .current_dir(&workspace.root);
    forget_package(&mut command);
    match profile {
        Profile::Dev => command
            .args(["--compatibility", "linux", "--compression-level", "1"])
            .env("CARGO", package.join("cargo.sh")),
        Profile::Release => command
            .args(["--release", "--locked", "--strip"])
            .env_remove("CARGO"),
    };
    processes.run(&mut command)?;
    let built = wheels(&output)?;
    ensure!(
        built.len() == 1,
        "maturin was to make one wheel in {}: {built:?}",
        output.display()
    );
    let wheel = built.into_iter().next().context("there is one")?;
    ensure!(
        is_for_every_interpreter(&wheel),
        "{} is of one version of Python, and was to be of {ABI} and later",
        wheel.display()
    );
    Ok(wheel)
}

/// Whether its name says so; pip goes by that.
fn is_for_every_interpreter(wheel: &Path) -> bool {
    let name = wheel.file_name().unwrap_or_default().to_string_lossy();
    name.contains(&format!("-{ABI}-"))
}

/// An older one must not be taken for the new one.
fn remove_wheels(directory: &Path) -> Result<()> {
    for wheel in wheels(directory)? {
        std::fs::remove_file(&wheel).with_context(|| format!("removing {}", wheel.display()))?;
    }
    Ok(())
}

/// The wheels in a directory, which need not be there.
fn wheels(directory: &Path) -> Result<Vec<PathBuf>> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let entries =
        std::fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
    let mut wheels = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            wheels.push(path);
        }
    }
    Ok(wheels)
}

/// Runs pytest in an environment that has the wheel, and nowhere near the package's source.
fn test(
    workspace: &Workspace,
    processes: &Processes,
    tools: &Tools,
    wheel: &Path,
    toka: &Path,
) -> Result<()> {
    let tests = package(workspace).join("tests");
    let directory = workspace.target.join("python");
    let venv = directory.join("venv");
    let mut create = Command::new(&tools.python);
    create.args(["-m", "venv", "--clear"]).arg(&venv);
    processes.run_captured(&mut create, INSTALL_LIMIT)?;
    let python = venv.join("bin").join("python");
    let mut install = Command::new(&python);
    install
        .args(["-m", "pip", "install", "--quiet"])
        .args(["--disable-pip-version-check", "-r"])
        .arg(tests.join("requirements.txt"))
        .arg(wheel);
    processes
        .run_captured(&mut install, INSTALL_LIMIT)
        .context("installing the wheel, and what it is tested with, from PyPI")?;
    let mut pytest = Command::new(&python);
    pytest
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .arg(&tests)
        .env("TOKA_BIN", toka)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(&directory);
    processes.run(&mut pytest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wheel_of_one_interpreter_is_told_from_one_of_all() {
        let all = Path::new("out/toka_vault-0.1.0-cp311-abi3-linux_x86_64.whl");
        let one = Path::new("out/toka_vault-0.1.0-cp311-cp311-linux_x86_64.whl");
        assert!(is_for_every_interpreter(all) && !is_for_every_interpreter(one));
    }

    #[test]
    fn only_wheels_are_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["a.whl", "b.tar.gz"] {
            std::fs::write(directory.path().join(name), "").expect("written");
        }
        remove_wheels(directory.path()).expect("removed");
        assert!(!directory.path().join("a.whl").exists());
        assert!(directory.path().join("b.tar.gz").exists());
        remove_wheels(&directory.path().join("absent")).expect("nothing to do");
    }
}
