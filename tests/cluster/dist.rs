//! The archive that `cargo xtask dist` writes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use toka_tests::process;
use toka_tests::python;

const ENVIRONMENT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/python-for-dist");
/// Checks a bill of materials against the schema of its format.
const VALIDATE: &str = "
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
sys.exit(str(error) if error else 0)
";

/// Runs a command to its end and returns what it says.
fn run(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The unpacked archive.
fn make(directory: &Path) -> Result<PathBuf> {
    let output = directory.join("output");
    let mut xtask = Command::new(process::xtask()?);
    xtask.arg("dist").arg("--bin").arg(process::binary()?);
    let said = run(xtask.arg("--output").arg(&output))?;
    let archive = said.lines().last().context("the path of the archive")?;
    let name = Path::new(archive).file_name().context("a name")?;
    let name = name.to_string_lossy();
    let check = format!("{name}.sha256");
    let mut sums = Command::new("sha256sum");
    run(sums
        .args(["--check", "--strict", &check])
        .current_dir(&output))?;
    run(Command::new("tar")
        .arg("-xzf")
        .arg(archive)
        .arg("-C")
        .arg(directory))?;
    let unpacked = name.strip_suffix(".tar.gz").context("a tar.gz")?;
    Ok(directory.join(unpacked))
}

fn names(directory: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(directory)? {
        names.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

#[test]
fn archive_has_all_that_comes_with_a_program() -> Result<()> {
    let directory = TempDir::with_prefix("toka-test-dist-")?;
    let root = make(directory.path())?;
    let mut sums = Command::new("sha256sum");
    run(sums
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(&root))?;
    let version = run(Command::new(root.join("toka")).arg("--version"))?;
    ensure!(version == run(Command::new(process::binary()?).arg("--version"))?);
    let completions = names(&root.join("completions"))?;
    let expected = ["_toka", "_toka.ps1", "toka.bash", "toka.elv", "toka.fish"];
    ensure!(completions.iter().eq(expected), "{completions:?}");
    let pages = names(&root.join("man/man1"))?;
    for page in ["toka.1", "toka-serve.1", "toka-debug-bundle.1"] {
        ensure!(pages.contains(page), "{page} is not in {pages:?}");
    }

    let bom = root.join("sbom.cdx.json");
    let python = python::with_package(
        Path::new(ENVIRONMENT),
        "cyclonedx-python-lib",
        "cyclonedx.validation.json",
    )?;
    run(Command::new(python).args(["-c", VALIDATE]).arg(&bom))?;
    let bom: Value = serde_json::from_str(&std::fs::read_to_string(&bom)?)?;
    let licences = std::fs::read_to_string(root.join("THIRD-PARTY-LICENSES.txt"))?;
    let components = bom["components"].as_array().context("components")?;
    // Those of this repository have no checksum of a registry, and licences of their own.
    let foreign = components.iter().filter(|one| one["hashes"].is_array());
    let mut count = 0;
    for component in foreign {
        let name = component["name"].as_str().context("a name")?;
        let version = component["version"].as_str().context("a version")?;
        let line = format!("{name} {version}");
        // In the list, and over at least one text.
        ensure!(licences.matches(&line).count() >= 2, "{line}");
        count += 1;
    }
    ensure!(count > 100, "{count} packages");
    // In the console's page.
    let is_script = |one: &&Value| {
        one["purl"]
            .as_str()
            .is_some_and(|url| url.starts_with("pkg:npm/"))
    };
    let scripts: Vec<&Value> = components.iter().filter(is_script).collect();
    ensure!(!scripts.is_empty(), "no packages of npm");
    for script in scripts {
        let name = script["name"].as_str().context("a name")?;
        ensure!(licences.contains(&format!("\n{name} ")), "{name}");
    }
    for licence in [
        "Apache License",
        "Permission is hereby granted",
        "LevelDB Authors",
    ] {
        ensure!(licences.contains(licence), "{licence}");
    }
    Ok(())
}
