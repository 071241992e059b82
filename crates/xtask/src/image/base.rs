//! The layer below the binary: the C and C++ libraries, root certificates, and what tells a scanner of
//! vulnerabilities which packages they are of.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::{HOME, USER};
use crate::namespace;
use crate::process::Processes;
use crate::release::{self, Release, captured};

/// Packages that files are taken from; what they depend on is fetched, and of that nothing is taken but the
/// libraries which these need.
const PACKAGES: &str = "base-files,ca-certificates,libc6,libstdc++6";
/// Packages that files are taken from, as they begin: that of libgcc's licence has the compiler's version in its name.
const KEPT: [&str; 6] = [
    "base-files",
    "ca-certificates",
    "gcc-",
    "libc6",
    "libgcc-s1",
    "libstdc++6",
];
/// Which files are unpacked; the last rule that matches a path holds.
const RULES: &[&str] = &[
    "path-exclude=/*",
    "path-include=/lib/*",
    "path-include=/lib64/*",
    "path-include=/usr/lib/*",
    "path-include=/usr/lib64/*",
    // Character sets other than UTF-8, and OpenSSL, which is only there to configure the certificates.
    "path-exclude=/usr/lib/*/gconv*",
    "path-exclude=/usr/lib/*/engines-*",
    "path-exclude=/usr/lib/*/ossl-modules*",
    "path-exclude=/usr/lib/*/libcrypto*",
    "path-exclude=/usr/lib/*/libssl*",
    "path-exclude=/usr/lib/*/libz*",
    "path-exclude=/usr/lib/ssl*",
    "path-include=/usr/share/ca-certificates/*",
    "path-include=/usr/share/doc/base-files/copyright",
    "path-include=/usr/share/doc/ca-certificates/copyright",
    "path-include=/usr/share/doc/gcc-*-base/copyright",
    "path-include=/usr/share/doc/libc6/copyright",
    "path-include=/usr/share/doc/libgcc-s1*",
    "path-include=/usr/share/doc/libstdc++6*",
];
/// Notes what was unpacked, where scanners look for it in images without a package manager.
const NOTE_PACKAGES: &str = r#"mkdir -p "$1/var/lib/dpkg/status.d" && cd "$1/var/cache/apt/archives" &&
    for deb in *.deb; do
        dpkg-deb --field "$deb" > "$1/var/lib/dpkg/status.d/$(dpkg-deb --field "$deb" Package)" || exit 1
    done"#;
/// The directories that are taken from what is unpacked.
const TAKEN: [&str; 4] = ["lib", "lib64", "usr", "var/lib/dpkg/status.d"];

/// The release of Debian that this machine runs: the binary needs its C library, or a newer one.
///
/// # Errors
/// It runs none.
pub(super) fn suite_of_machine() -> Result<String> {
    let path = "/etc/os-release";
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    match suite_of(&text) {
        Some(suite) => Ok(suite),
        None => bail!(
            "this machine does not run Debian: name with --suite a release of Debian whose C library is not older \
             than the one that `toka` was linked with"
        ),
    }
}

fn suite_of(os_release: &str) -> Option<String> {
    let field = |name: &str| {
        let value = os_release.lines().find_map(|line| line.strip_prefix(name));
        value.map(|value| value.trim_matches('"').to_owned())
    };
    let codename = field("VERSION_CODENAME=");
    codename.filter(|_| field("ID=").is_some_and(|id| id == "debian"))
}

/// Writes the layer and returns its path.
pub(super) fn layer(
    processes: &Processes,
    release: &Release,
    suite: &str,
    work: &Path,
) -> Result<PathBuf> {
    let unpacked = work.join("debian.tar");
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap
        .args(["--quiet", "--variant=extract", "--skip=output/dev"])
        .arg(format!("--include={PACKAGES}"))
        .arg(format!("--extract-hook={NOTE_PACKAGES}"))
        .args(RULES.iter().map(|rule| format!("--dpkgopt={rule}")))
        .arg(suite)
        .arg(&unpacked)
        .env("SOURCE_DATE_EPOCH", release.epoch.to_string());
    captured(processes, &mut namespace::inside(&mmdebstrap))
        .context("fetching packages of Debian")?;
    let root = work.join("base");
    std::fs::create_dir_all(&root)?;
    let mut untar = Command::new("tar");
    untar.arg("--extract").arg("--file").arg(&unpacked);
    untar.arg("--no-same-owner").arg("--directory").arg(&root);
    // Releases differ in which of them there are.
    let names = captured(
        processes,
        Command::new("tar")
            .arg("--list")
            .arg("--file")
            .arg(&unpacked),
    )?;
    let taken = TAKEN.map(|name| format!("./{name}"));
    let is_there = |name: &&String| {
        names
            .lines()
            .any(|line| line.trim_end_matches('/') == **name)
    };
    captured(processes, untar.args(taken.iter().filter(is_there)))?;
    complete(&root)?;
    let layer = work.join("base.tar");
    let tar = || release::tar(&layer, 0, release.epoch, &root);
    captured(processes, tar().args(["--create", "--exclude=./tmp", "."]))?;
    // Everybody writes there, and nobody deletes what is another's.
    captured(processes, tar().args(["--mode=1777", "--append", "./tmp"]))?;
    Ok(layer)
}

/// What the packages would have written when they were configured.
fn complete(root: &Path) -> Result<()> {
    for name in ["lib", "lib64"] {
        let (link, target) = (root.join(name), format!("usr/{name}"));
        if !link.exists() && root.join(&target).exists() {
            std::os::unix::fs::symlink(&target, &link)?;
        }
    }
    let status = root.join("var/lib/dpkg/status.d");
    for entry in std::fs::read_dir(&status)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !KEPT.iter().any(|kept| name.starts_with(kept)) {
            std::fs::remove_file(entry.path())?;
        }
    }
    let certificates = certificates(&root.join("usr/share/ca-certificates"))?;
    let files = [
        ("etc/ssl/certs/ca-certificates.crt", certificates),
        (
            "etc/passwd",
            format!(
                "root:x:0:0:root:/:/nologin\ntoka:x:{USER}:{USER}:Toka Vault:{HOME}:/nologin\n"
            ),
        ),
        ("etc/group", format!("root:x:0:\ntoka:x:{USER}:\n")),
        ("etc/nsswitch.conf", "hosts: files dns\n".to_owned()),
    ];
    for (name, text) in files {
        let path = root.join(name);
        let directory = path.parent().context("it has a parent")?;
        std::fs::create_dir_all(directory)?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    std::os::unix::fs::symlink("../usr/lib/os-release", root.join("etc/os-release"))?;
    std::fs::create_dir_all(root.join("tmp"))?;
    Ok(())
}

/// All root certificates in one text, in the order of their names.
fn certificates(directory: &Path) -> Result<String> {
    let mut paths = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = std::fs::read_dir(&directory);
        let entries = entries.with_context(|| format!("cannot read {}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "crt") {
                paths.push(path);
            }
        }
    }
    ensure!(
        !paths.is_empty(),
        "no certificates in {}",
        directory.display()
    );
    paths.sort();
    let texts = paths.iter().map(|path| {
        let text = std::fs::read_to_string(path)?;
        Ok(format!("{}\n", text.trim_end()))
    });
    texts.collect::<Result<String>>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suite_is_of_debian_alone() {
        let debian = "NAME=\"Debian GNU/Linux\"\nVERSION_CODENAME=trixie\nID=debian\n";
        assert_eq!(suite_of(debian).as_deref(), Some("trixie"));
        let other = "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n";
        assert_eq!(suite_of(other), None);
    }

    #[test]
    fn certificates_are_sorted_and_end_in_one_line_each() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("mozilla")).expect("created");
        for (name, text) in [("b.crt", "B"), ("a.crt", "A\n\n"), ("readme.txt", "no")] {
            std::fs::write(directory.path().join("mozilla").join(name), text).expect("written");
        }
        assert_eq!(certificates(directory.path()).expect("two"), "A\nB\n");
    }
}
