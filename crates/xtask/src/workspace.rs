//! Where the workspace is, and how cargo is called on it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::metadata::Metadata;

/// The checkout that `cargo xtask` was called in.
pub(crate) struct Workspace {
    /// The directory of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target directory; respects `CARGO_TARGET_DIR`.
    pub(crate) target: PathBuf,
    /// The workspace's packages, without external dependencies.
    pub(crate) metadata: Metadata,
}

#[derive(Deserialize)]
struct Directories {
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

impl Workspace {
    /// Asks `cargo metadata`; builds nothing and needs no network.
    pub(crate) fn locate() -> Result<Self> {
        let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let output = cargo_in(&manifest_dir)
            .args(["metadata", "--format-version", "1", "--no-deps"])
            .output()
            .context("cannot run `cargo metadata`")?;
        if !output.status.success() {
            bail!(
                "`cargo metadata` failed:\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let directories: Directories = serde_json::from_slice(&output.stdout)?;
        Ok(Self {
            root: directories.workspace_root,
            target: directories.target_directory,
            metadata: serde_json::from_slice(&output.stdout)?,
        })
    }

    /// `cargo`, run in the workspace's root.
    pub(crate) fn cargo(&self) -> Command {
        cargo_in(&self.root)
    }

    /// The `toka` binary as the dev profile builds it.
    pub(crate) fn toka_bin(&self) -> PathBuf {
        self.target.join("debug").join("toka")
    }

    /// `cargo build` of the `toka` binary.
    ///
    /// `--workspace` even though one binary is wanted: features are then unified as in the clippy and
    /// test steps, and no dependency, RocksDB least of all, is compiled a second time.
    pub(crate) fn build_toka(&self) -> Command {
        let mut command = self.cargo();
        command.args(["build", "--workspace", "--bin", "toka"]);
        command
    }

    /// The `toka` binary as the release profile builds it.
    pub(crate) fn release_bin(&self) -> PathBuf {
        self.target.join("release").join("toka")
    }

    /// `cargo build` of the `toka` binary for others.
    pub(crate) fn build_release(&self) -> Command {
        let mut command = self.build_toka();
        command.args(["--release", "--locked"]);
        command
    }

    /// The `toka` binary of the next feature level, for tests of upgrades.
    pub(crate) fn next_bin(&self) -> PathBuf {
        self.target.join("debug").join("toka-next")
    }

    /// `cargo build` of the `toka` binary of the next feature level, which lands where the ordinary one does.
    pub(crate) fn build_next(&self) -> Command {
        let mut command = self.build_toka();
        command.args(["--features", "toka-cli/next-feature-level"]);
        command
    }

    /// The build directories of the dev profile that hold a compiled RocksDB; more than one where its
    /// features, or those of the tools that build it, differed between builds.
    pub(crate) fn rocksdb_builds(&self) -> BTreeSet<PathBuf> {
        std::fs::read_dir(self.target.join("debug").join("build"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|build| build.path())
            .filter(|build| build.join("out").join("librocksdb.a").is_file())
            .collect()
    }
}

fn cargo_in(directory: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(directory);
    forget_package(&mut command);
    command
}

/// `cargo run` describes xtask's own package here; a nested build must not see it.
pub(crate) fn forget_package(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
}
