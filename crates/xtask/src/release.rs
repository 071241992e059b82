//! What is given to others, and written the same each time: the binary without debug information, and archives
//! whose files have the time of the commit.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::process::{Processes, describe};
use crate::workspace::Workspace;

/// The longest that a step other than the build may take.
pub(crate) const STEP_LIMIT: Duration = Duration::from_secs(600);
/// Read and written by its owner, read by everybody, executed by those who may.
const MODE: &str = "u=rwX,go=rX";

/// A `toka` to be given away.
pub(crate) struct Release {
    /// The binary, in the working directory, without debug information.
    pub(crate) bin: PathBuf,
    /// What it says of itself, such as `0.1.0`.
    pub(crate) version: String,
    /// Time of the commit, seconds since the Unix epoch.
    pub(crate) epoch: u64,
    /// The same as RFC 3339 has it.
    pub(crate) created: String,
    /// The commit; absent outside a checkout.
    pub(crate) revision: Option<String>,
}

impl Release {
    /// Builds the release binary unless `bin` is one already, and puts it into `directory`.
    pub(crate) fn prepare(
        workspace: &Workspace,
        processes: &Processes,
        bin: Option<&Path>,
        directory: &Path,
    ) -> Result<Self> {
        let built = match bin {
            Some(bin) => bin.to_owned(),
            None => {
                processes.run(&mut workspace.build_release())?;
                workspace.release_bin()
            }
        };
        let bin = directory.join("toka");
        std::fs::copy(&built, &bin).with_context(|| format!("cannot copy {}", built.display()))?;
        captured(
            processes,
            Command::new("strip").arg("--strip-debug").arg(&bin),
        )?;
        let said = captured(processes, Command::new(&bin).arg("--version"))?;
        let version = said.trim().strip_prefix("toka ");
        let version = version.with_context(|| format!("`toka --version` says {said:?}"))?;
        let epoch = epoch(workspace, processes)?;
        let date = format!("--date=@{epoch}");
        let mut created = Command::new("date");
        created.args(["--utc", &date, "+%Y-%m-%dT%H:%M:%SZ"]);
        Ok(Self {
            bin,
            version: version.to_owned(),
            epoch,
            created: captured(processes, &mut created)?.trim().to_owned(),
            revision: git(workspace, processes, &["rev-parse", "HEAD"]),
        })
    }
}

/// `SOURCE_DATE_EPOCH`, else the time of the commit.
fn epoch(workspace: &Workspace, processes: &Processes) -> Result<u64> {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok();
    let seconds = given.or_else(|| git(workspace, processes, &["log", "-1", "--format=%ct"]));
    let Some(seconds) = seconds else {
        bail!(
            "this is no git checkout: set SOURCE_DATE_EPOCH to the time that the files shall have"
        )
    };
    let parsed = seconds.parse();
    parsed.with_context(|| format!("{seconds:?} is no time in seconds since the Unix epoch"))
}

fn git(workspace: &Workspace, processes: &Processes, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(&workspace.root).args(arguments);
    let answer = captured(processes, &mut command).ok()?;
    Some(answer.trim().to_owned())
}

/// Runs `command` and returns what it says.
pub(crate) fn captured(processes: &Processes, command: &mut Command) -> Result<String> {
    let name = describe(command);
    let said = processes.run_captured(command, STEP_LIMIT);
    said.with_context(|| format!("running `{name}`"))
}

/// An empty directory of that name; what was in it is gone.
pub(crate) fn emptied(directory: &Path) -> Result<()> {
    if directory.exists() {
        let removed = std::fs::remove_dir_all(directory);
        removed.with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    let created = std::fs::create_dir_all(directory);
    created.with_context(|| format!("cannot create {}", directory.display()))
}

/// `tar` of files in `from`: sorted, all of one owner, with the time of the release. Names of files to take, and
/// whether they are appended, are for the caller to add.
pub(crate) fn tar(archive: &Path, owner: u32, epoch: u64, from: &Path) -> Command {
    let mut command = Command::new("tar");
    command
        .args(["--sort=name", "--format=gnu", "--numeric-owner"])
        .arg(format!("--owner={owner}"))
        .arg(format!("--group={owner}"))
        .arg(format!("--mtime=@{epoch}"))
        .arg(format!("--mode={MODE}"))
        .arg("--file")
        .arg(archive)
        .arg("--directory")
        .arg(from);
    command
}

/// Writes the SHA-256 checksums of `files`, relative to `directory`, into `target`, for `sha256sum --check` there.
pub(crate) fn checksums(
    processes: &Processes,
    directory: &Path,
    files: &[PathBuf],
    target: &Path,
) -> Result<()> {
    ensure!(!files.is_empty(), "{} is empty", directory.display());
    let mut command = Command::new("sha256sum");
    command.arg("--").args(files).current_dir(directory);
    let sums = captured(processes, &mut command)?;
    std::fs::write(target, sums).with_context(|| format!("cannot write {}", target.display()))
}
