//! The licences of everything that is in the binary, read from the packages themselves.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::packages::Package;

/// How files with licences begin, in capitals.
const NAMES: [&str; 6] = [
    "LICENSE",
    "LICENCE",
    "COPYING",
    "COPYRIGHT",
    "NOTICE",
    "UNLICENSE",
];
/// Directories of a package that are looked into: C libraries are two below its own.
const DEPTH_MAX: usize = 3;
/// A file that is longer is no licence.
const BYTES_MAX: u64 = 256 << 10;
/// Of directories that are no part of what is compiled.
const SKIPPED: [&str; 5] = ["benches", "contrib", "examples", "programs", "tests"];
const RULE: &str =
    "\n--------------------------------------------------------------------------------\n";

/// Everything in one text: each package of a registry with its licence, then each licence once.
///
/// # Errors
/// A package has no licence that can be given away with it.
pub(super) fn text(packages: &[Package], root: &Path) -> Result<String> {
    let foreign = packages.iter().filter(|package| package.source.is_some());
    let foreign: Vec<&Package> = foreign.collect();
    let mut found = BTreeMap::new();
    for package in &foreign {
        found.insert(&package.id, files(package)?);
    }
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut list = String::new();
    for package in &foreign {
        let expression = package.expression();
        let expression = expression.unwrap_or_else(|| "a licence of its own".to_owned());
        let label = format!("{} {}", package.name, package.version);
        writeln!(list, "{label}: {expression}")?;
        let mut paths = found[&package.id].clone();
        if paths.is_empty() {
            paths = stand_in(package, &foreign, &found, root)?;
        }
        for path in paths {
            let bytes = std::fs::read(&path);
            let bytes = bytes.with_context(|| format!("cannot read {}", path.display()))?;
            let text = String::from_utf8_lossy(&bytes).replace('\r', "");
            let text = text.trim_end().to_owned();
            let users = users.entry(text).or_default();
            if !users.contains(&label) {
                users.push(label.clone());
            }
        }
    }
    let mut whole = format!(
        "Toka Vault is MIT OR Apache-2.0 (LICENSE-MIT, LICENSE-APACHE). The binary contains these packages:\n\n{list}"
    );
    for (text, users) in users {
        write!(whole, "{RULE}{}{RULE}\n{text}\n", users.join("\n"))?;
    }
    Ok(whole)
}

/// For a package without the text of its licence: that of another package from the same repository, or the text of
/// Apache-2.0, which is the same for all.
fn stand_in(
    package: &Package,
    packages: &[&Package],
    found: &BTreeMap<&String, Vec<PathBuf>>,
    root: &Path,
) -> Result<Vec<PathBuf>> {
    let repository = |one: &Package| {
        let url = one.repository.as_deref()?;
        // Some name the directory within it.
        let url = url.split("/tree/").next()?;
        Some(
            url.trim_end_matches('/')
                .trim_end_matches(".git")
                .to_owned(),
        )
    };
    let own = repository(package);
    let is_beside =
        |one: &&&Package| own.is_some() && repository(one) == own && one.license == package.license;
    let mut beside = packages.iter().filter(is_beside);
    if let Some(one) = beside.find(|one| !found[&one.id].is_empty()) {
        return Ok(found[&one.id].clone());
    }
    let expression = package.expression().unwrap_or_default();
    let choices: Vec<&str> = expression.split(" OR ").collect();
    if choices.contains(&"Apache-2.0") {
        return Ok(vec![root.join("LICENSE-APACHE")]);
    }
    bail!(
        "{} {} ({expression}) comes without the text of its licence",
        package.name,
        package.version
    )
}

/// The files with licences in a package, sorted.
fn files(package: &Package) -> Result<Vec<PathBuf>> {
    let directory = package.manifest_path.parent();
    let directory = directory.context("a manifest is in a directory")?;
    let mut files = Vec::new();
    look_into(directory, DEPTH_MAX, &mut files)
        .with_context(|| format!("looking for licences in {}", directory.display()))?;
    if let Some(named) = &package.license_file {
        let named = directory.join(named);
        if named.is_file() && !files.contains(&named) {
            files.push(named);
        }
    }
    files.sort();
    Ok(files)
}

fn look_into(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let name = name.to_string_lossy();
        let begins = |begin: &&str| name.to_ascii_uppercase().starts_with(begin);
        if kind.is_dir() && depth > 0 && !SKIPPED.contains(&&*name) && !name.starts_with('.') {
            look_into(&entry.path(), depth - 1, files)?;
        } else if kind.is_file()
            && NAMES.iter().any(begins)
            && !name.ends_with(".rs")
            && entry.metadata()?.len() <= BYTES_MAX
        {
            files.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(root: &Path, name: &str, license: &str, files: &[(&str, &str)]) -> Package {
        let directory = root.join(name);
        std::fs::create_dir_all(&directory).expect("created");
        for (file, text) in files {
            let path = directory.join(file);
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("created");
            std::fs::write(path, text).expect("written");
        }
        Package {
            id: name.to_owned(),
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            license: Some(license.to_owned()),
            manifest_path: directory.join("Cargo.toml"),
            repository: Some(format!("https://example.org/{}", &name[..3])),
            source: Some("registry".to_owned()),
            ..Package::default()
        }
    }

    #[test]
    fn each_licence_is_there_once_with_those_that_it_is_of() {
        let root = tempfile::tempdir().expect("a directory");
        let root = root.path();
        std::fs::write(root.join("LICENSE-APACHE"), "Apache's").expect("written");
        let same = ("LICENSE-MIT", "by us\r\n");
        let c = ("vendor/lib/COPYING", "of C");
        let packages = [
            package(
                root,
                "one",
                "MIT",
                &[same, ("src/license.rs", "code"), ("tests/LICENSE", "data")],
            ),
            package(root, "two-sys", "MIT", &[same, c]),
            package(root, "two-beside", "MIT", &[]),
            package(root, "three", "MIT/Apache-2.0", &[]),
        ];
        let text = text(&packages, root).expect("all have one");
        assert!(text.contains("three 1.0.0: MIT OR Apache-2.0\n"), "{text}");
        assert!(
            text.contains("\none 1.0.0\ntwo-sys 1.0.0\ntwo-beside 1.0.0\n"),
            "{text}"
        );
        for licence in ["by us", "of C", "Apache's"] {
            assert_eq!(text.matches(licence).count(), 1, "{licence}: {text}");
        }
        for other in ["code", "data"] {
            assert!(!text.contains(other), "{text}");
        }
    }

    #[test]
    fn package_without_a_text_is_refused_by_name() {
        let root = tempfile::tempdir().expect("a directory");
        let packages = [package(root.path(), "one", "MIT", &[])];
        let error = text(&packages, root.path()).expect_err("no text");
        assert!(error.to_string().contains("one 1.0.0 (MIT)"), "{error}");
    }
}
