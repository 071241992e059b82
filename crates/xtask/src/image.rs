//! `cargo xtask image`: an OCI archive with `toka` and what of Debian it needs, made without a container daemon and
//! without pulling an image.
//!
//! Two layers: files of Debian packages, unpacked and not configured, so that there is no shell and no package
//! manager; and the binary. The same commit and the same packages give the same bytes.

mod base;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::Processes;
use crate::release::{self, Release, captured};
use crate::setup;
use crate::workspace::Workspace;

/// Who `toka` runs as: nobody of the host's.
const USER: u32 = 65532;
/// Where its data are; the only directory that is its own.
const HOME: &str = "/var/lib/toka";
/// Clients, other nodes, HTTP.
const PORTS: [&str; 3] = ["7311/tcp", "7312/tcp", "7313/tcp"];

/// What is wanted.
pub(crate) struct Wanted<'a> {
    /// A binary to use instead of building one.
    pub(crate) bin: Option<&'a Path>,
    /// The image's name, without a tag.
    pub(crate) name: &'a str,
    /// Debian's release; absent: the machine's, which the binary was linked on.
    pub(crate) suite: Option<&'a str>,
    /// Directory for the archive.
    pub(crate) output: Option<&'a Path>,
}

/// Writes the archive, and says how to use it.
///
/// # Errors
/// Something is missing on the machine, Debian cannot be reached, or the build failed.
pub(crate) fn run(workspace: &Workspace, processes: &Processes, wanted: &Wanted<'_>) -> Result<()> {
    setup::ensure(processes, &[setup::IMAGE])?;
    let default = workspace.target.join("dist");
    let output = std::path::absolute(wanted.output.unwrap_or(&default))?;
    let work = output.join("image.work");
    release::emptied(&work)?;
    let release = Release::prepare(workspace, processes, wanted.bin, &work)?;
    let suite = match wanted.suite {
        Some(suite) => suite.to_owned(),
        None => base::suite_of_machine()?,
    };
    println!("files of Debian {suite}");
    let base = base::layer(processes, &release, &suite, &work)?;
    let own = own_layer(processes, &release, &work)?;
    let layout = work.join("oci");
    assemble(
        processes,
        &release,
        &layout,
        &[(base, format!("Debian {suite}")), (own, "toka".to_owned())],
    )?;
    let name = full_name(wanted.name, &release.version);
    name_for_containerd(&layout.join("index.json"), &name)?;
    let archive = output.join(format!("toka-vault-{}.oci.tar", release.version));
    let mut tar = release::tar(&archive, 0, release.epoch, &layout);
    captured(
        processes,
        tar.args(["--create", "blobs", "index.json", "oci-layout"]),
    )?;
    let file = PathBuf::from(archive.file_name().context("it has a name")?);
    let sums = archive.with_extension("tar.sha256");
    release::checksums(processes, &output, &[file], &sums)?;
    std::fs::remove_dir_all(&work)?;
    println!("{name} is in {}", archive.display());
    println!("  kind load image-archive {}", archive.display());
    println!(
        "  skopeo copy oci-archive:{}:{} docker://REGISTRY/NAME:{1}",
        archive.display(),
        release.version
    );
    Ok(())
}

/// The binary, and a directory that is the user's own.
fn own_layer(processes: &Processes, release: &Release, work: &Path) -> Result<PathBuf> {
    let files = work.join("own");
    let bin = files.join("usr/bin");
    std::fs::create_dir_all(&bin)?;
    std::fs::create_dir_all(files.join("var/lib/toka"))?;
    std::fs::copy(&release.bin, bin.join("toka"))?;
    let layer = work.join("own.tar");
    let tar = |owner| release::tar(&layer, owner, release.epoch, &files);
    captured(processes, tar(0).args(["--create", "usr/bin/toka"]))?;
    captured(processes, tar(USER).args(["--append", "var/lib/toka"]))?;
    Ok(layer)
}

/// An OCI layout of layers, each with what it is made of.
fn assemble(
    processes: &Processes,
    release: &Release,
    layout: &Path,
    layers: &[(PathBuf, String)],
) -> Result<()> {
    let umoci = |words: &[&str]| {
        let mut command = Command::new("umoci");
        command.args(words);
        command
    };
    let image = format!("{}:{}", layout.display(), release.version);
    let created = ["--history.created", &release.created];
    captured(processes, umoci(&["init", "--layout"]).arg(layout))?;
    captured(processes, &mut umoci(&["new", "--image", &image]))?;
    for (layer, what) in layers {
        let mut add = umoci(&["raw", "add-layer", "--image", &image]);
        add.args(created)
            .args(["--history.created_by", what])
            .arg(layer);
        captured(processes, &mut add)?;
    }
    let user = format!("{USER}:{USER}");
    let mut config = umoci(&["config", "--image", &image, "--no-history"]);
    config
        .args(["--created", &release.created, "--os", "linux"])
        .args(["--architecture", architecture()?])
        .args(["--config.user", &user, "--config.workingdir", HOME])
        .args(["--config.volume", HOME])
        .args(["--config.entrypoint", "/usr/bin/toka"]);
    for port in PORTS {
        config.args(["--config.exposedports", port]);
    }
    let label = |name: &str, value: &str| format!("org.opencontainers.image.{name}={value}");
    let mut labels = vec![
        label("title", "Toka Vault"),
        label("version", &release.version),
        label("licenses", "MIT OR Apache-2.0"),
    ];
    labels.extend(
        release
            .revision
            .iter()
            .map(|revision| label("revision", revision)),
    );
    for label in labels {
        config.arg("--config.label").arg(label);
    }
    captured(processes, &mut config)?;
    // What the steps in between have left.
    captured(processes, umoci(&["gc", "--layout"]).arg(layout)).map(drop)
}

/// As images name it.
fn architecture() -> Result<&'static str> {
    let known = match std::env::consts::ARCH {
        "x86_64" => Some("amd64"),
        "aarch64" => Some("arm64"),
        _ => None,
    };
    known.with_context(|| format!("images of {} are not made", std::env::consts::ARCH))
}

/// The name as containerd has it: with a registry and a tag.
fn full_name(name: &str, tag: &str) -> String {
    let first = name.split_once('/').map(|(first, _)| first);
    match first {
        Some(first) if first == "localhost" || first.contains(['.', ':']) => {
            format!("{name}:{tag}")
        }
        Some(_) => format!("docker.io/{name}:{tag}"),
        None => format!("docker.io/library/{name}:{tag}"),
    }
}

/// Says in the index what containerd, and with it kind, calls the image; the layout itself has room for a tag only.
fn name_for_containerd(index: &Path, name: &str) -> Result<()> {
    let text = std::fs::read_to_string(index)?;
    let mut value: Value = serde_json::from_str(&text)?;
    let annotations = value.pointer_mut("/manifests/0/annotations");
    let annotations = annotations.and_then(Value::as_object_mut);
    let annotations = annotations.with_context(|| format!("no image in {text}"))?;
    annotations.insert("io.containerd.image.name".to_owned(), name.into());
    ensure!(
        value.pointer("/manifests/1").is_none(),
        "more than one image in {text}"
    );
    std::fs::write(index, serde_json::to_vec(&value)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_kubernetes_looks_for() {
        for (given, full) in [
            ("toka-vault", "docker.io/library/toka-vault:1"),
            ("toka/vault", "docker.io/toka/vault:1"),
            ("ghcr.io/toka/vault", "ghcr.io/toka/vault:1"),
            ("localhost/vault", "localhost/vault:1"),
            ("registry:5000/vault", "registry:5000/vault:1"),
        ] {
            assert_eq!(full_name(given, "1"), full);
        }
    }

    #[test]
    fn index_keeps_its_tag_beside_the_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let index = directory.path().join("index.json");
        let before = r#"{"manifests":[{"annotations":{"org.opencontainers.image.ref.name":"1"}}]}"#;
        std::fs::write(&index, before).expect("written");
        name_for_containerd(&index, "a/b:1").expect("one image");
        let after = std::fs::read_to_string(&index).expect("read");
        let after: Value = serde_json::from_str(&after).expect("JSON");
        let annotations = &after["manifests"][0]["annotations"];
        assert_eq!(annotations["org.opencontainers.image.ref.name"], "1");
        assert_eq!(annotations["io.containerd.image.name"], "a/b:1");
        std::fs::write(&index, "{}").expect("written");
        assert!(name_for_containerd(&index, "a").is_err());
    }
}
