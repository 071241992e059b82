//! A Python with the gRPC packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// The versions that `cargo xtask test` installs.
const REQUIREMENTS: &str = include_str!("../../crates/xtask/requirements.txt");

/// `TOKA_PYTHON`, else the one of a virtual environment in `directory`, which is made if need be.
pub fn interpreter(directory: &Path) -> Result<PathBuf> {
    if let Some(python) = std::env::var_os("TOKA_PYTHON") {
        return Ok(python.into());
    }
    let python = directory.join("bin").join("python");
    if has_packages(&python) {
        return Ok(python);
    }
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(directory))?;
    let packages = REQUIREMENTS
        .lines()
        .filter(|line| line.starts_with("grpcio") || line.starts_with("protobuf"));
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ];
    run(Command::new(&python).args(install).args(packages)).context("installing from PyPI")?;
    Ok(python)
}

fn has_packages(python: &Path) -> bool {
    let check = ["-c", "import grpc, grpc_reflection, google.protobuf"];
    let output = Command::new(python).args(check).output();
    output.is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {said}",
        output.status
    );
    Ok(())
}
