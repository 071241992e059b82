//! Hosts: network namespaces of a test's own, each with one node, on one bridge.
//!
//! A test that needs them runs again as the first process of new namespaces, of processes, of mounts and of the
//! network. It has neither a name nor a way out; when the test ends, or is killed, the kernel ends every process in
//! it and removes every address, rule and mount. Nothing can stay behind.

mod network;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

pub use self::network::{Addresses, Lost, Network};

/// Set in the environment of the test that runs inside.
const INSIDE: &str = "TOKA_TEST_INSIDE_NETNS";

/// Whether this is the test `name` inside. If it is not, that is run, and must pass.
///
/// # Errors
/// It fails, or namespaces cannot be made here.
pub fn is_inside(name: &str) -> Result<bool> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(true);
    }
    ensure!(
        rustix::process::geteuid().is_root(),
        "network namespaces are needed, and only root can make them; \
         `unshare -Urm cargo test -p toka-tests --test nemesis` makes you that"
    );
    // It goes when this thread does, and takes everything inside with it.
    let status = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "--net", "--mount"])
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(std::env::current_exe()?)
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .env("PATH", path_of_root())
        .stdin(Stdio::null())
        .status()
        .context("cannot start setpriv and unshare; they are in util-linux")?;
    ensure!(
        status.success(),
        "{name} has failed inside its namespaces: {status}"
    );
    Ok(false)
}

/// With the directories of `ip`, `nft` and `tc`, which are not everybody's.
fn path_of_root() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

/// Runs a tool that must succeed.
fn run(program: &str, arguments: &str) -> Result<()> {
    ask(program, arguments).map(drop)
}

/// Runs a tool that must succeed, and returns what it says.
fn ask(program: &str, arguments: &str) -> Result<Vec<u8>> {
    let mut command = Command::new(program);
    command.args(arguments.split_whitespace());
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| {
        format!("cannot start {program}; `cargo xtask setup` installs what is missing")
    })?;
    ensure!(
        output.status.success(),
        "{program} {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

/// The network namespace of process `pid`.
fn namespace(pid: &str) -> Result<PathBuf> {
    let path = Path::new("/proc").join(pid).join("ns/net");
    std::fs::read_link(&path).with_context(|| format!("reading {}", path.display()))
}
