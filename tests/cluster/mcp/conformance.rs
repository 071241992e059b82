//! The official conformance suite: what `toka mcp` offers passes, and the rest stands in a file, with reasons.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use toka_tests::cluster::{self, Cluster};
use toka_tests::command::Toka;
use toka_tests::mcp::Served;
use toka_tests::nodejs;

/// Package, lock file and expected failures.
const SUITE: &str = "clients/mcp-conformance";
const NODE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/python-nodejs");
const INSTALLED: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/mcp-conformance");
const PROGRAM: &str = "node_modules/@modelcontextprotocol/conformance/dist/index.js";
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
    let suite = toka_tests::manifest_dir().join(SUITE);
    nodejs::install(Path::new(NODE), &suite, Path::new(INSTALLED))
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
