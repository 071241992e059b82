//! `cargo xtask dist`: an archive with the binary, completions, manual pages, the licences of everything that is in
//! the binary, a bill of materials (CycloneDX), and checksums. The same commit gives the same bytes around the binary.

mod licences;
mod packages;
mod sbom;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use self::packages::Packages;
use crate::console;
use crate::process::Processes;
use crate::release::{self, Release, captured};
use crate::setup;
use crate::workspace::Workspace;

/// Shells, and what their completions are called where they look for them.
const COMPLETIONS: [(&str, &str); 5] = [
    ("bash", "toka.bash"),
    ("elvish", "toka.elv"),
    ("fish", "toka.fish"),
    ("powershell", "_toka.ps1"),
    ("zsh", "_toka"),
];
/// Of the repository.
const DOCUMENTS: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];
/// In the archive, of everything else in it.
const CHECKSUMS: &str = "SHA256SUMS";

/// Writes the archive into `output`, else below the target directory.
///
/// # Errors
/// The build failed, or a dependency has no licence that can be given away with it.
pub(crate) fn run(
    workspace: &Workspace,
    processes: &Processes,
    bin: Option<&Path>,
    output: Option<&Path>,
) -> Result<()> {
    setup::ensure(processes, &[setup::BUILD])?;
    let default = workspace.target.join("dist");
    let output = std::path::absolute(output.unwrap_or(&default))?;
    let work = output.join("dist.work");
    release::emptied(&work)?;
    let release = Release::prepare(workspace, processes, bin, &work)?;
    let target = host(workspace, processes)?;
    let name = format!("toka-vault-{}-{target}", release.version);
    let root = work.join(&name);
    std::fs::create_dir_all(&root)?;
    fill(workspace, processes, &release, &target, &root)?;
    let files = files_below(&root)?;
    release::checksums(processes, &root, &files, &root.join(CHECKSUMS))?;
    let archive = format!("{name}.tar.gz");
    let path = output.join(&archive);
    let mut tar = release::tar(&path, 0, release.epoch, &work);
    // Without the time of the compression.
    tar.arg("--use-compress-program=gzip -9 -n");
    captured(processes, tar.arg("--create").arg(&name))?;
    let sums = output.join(format!("{archive}.sha256"));
    release::checksums(processes, &output, &[archive.into()], &sums)?;
    std::fs::remove_dir_all(&work)?;
    println!("{}", path.display());
    Ok(())
}

/// Everything but the checksums.
fn fill(
    workspace: &Workspace,
    processes: &Processes,
    release: &Release,
    target: &str,
    root: &Path,
) -> Result<()> {
    std::fs::rename(&release.bin, root.join("toka"))?;
    let toka = || Command::new(root.join("toka"));
    for document in DOCUMENTS {
        let from = workspace.root.join(document);
        std::fs::copy(&from, root.join(document))
            .with_context(|| format!("cannot copy {}", from.display()))?;
    }
    let completions = root.join("completions");
    std::fs::create_dir_all(&completions)?;
    for (shell, name) in COMPLETIONS {
        let script = captured(processes, toka().args(["completions", shell]))?;
        std::fs::write(completions.join(name), script)?;
    }
    captured(processes, toka().arg("man").arg(root.join("man/man1")))?;
    let packages = Packages::read(workspace, processes, target)?;
    let licences = licences::text(&packages.all, &workspace.root)?;
    let notice = console::notice(workspace)?;
    std::fs::write(
        root.join("THIRD-PARTY-LICENSES.txt"),
        format!("{licences}\n{notice}"),
    )?;
    let page = console::packages(&notice)?;
    let sbom = sbom::document(&packages, &page, release)?;
    let sbom = serde_json::to_string_pretty(&sbom)?;
    std::fs::write(root.join("sbom.cdx.json"), sbom + "\n")?;
    Ok(())
}

/// The target that binaries are built for when none is named.
fn host(workspace: &Workspace, processes: &Processes) -> Result<String> {
    let mut rustc = Command::new("rustc");
    rustc.arg("-vV").current_dir(&workspace.root);
    let said = captured(processes, &mut rustc)?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.with_context(|| format!("no host in {said}"))?;
    Ok(host.to_owned())
}

/// All files below a directory, relative to it and sorted.
fn files_below(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                files.push(path.strip_prefix(root)?.to_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_below_directories_and_sorted() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(directory.path().join("b/c")).expect("created");
        for name in ["z", "b/c/d", "b/a"] {
            std::fs::write(directory.path().join(name), name).expect("written");
        }
        let files = files_below(directory.path()).expect("read");
        assert_eq!(files, ["b/a", "b/c/d", "z"].map(PathBuf::from));
    }
}
