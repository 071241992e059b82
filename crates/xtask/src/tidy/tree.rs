//! The repository's text files.

use std::path::Path;

use anyhow::{Context, Result};

/// Larger files are data.
const TEXT_BYTES_MAX: u64 = 1024 * 1024;

/// Directories that hold no source.
const SKIPPED: &[&str] = &[".git", "target", ".venv", "__pycache__", "node_modules"];

/// A text file of the repository.
#[derive(Debug)]
pub(crate) struct File {
    /// Relative to the root, with `/` between components.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the whole file is test code.
    pub(crate) fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs")
            || self.path.split('/').any(|component| component == "tests")
    }
}

/// Reads all text files below `root`, sorted by path.
pub(crate) fn read(root: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    walk(root, "", &mut files)?;
    files.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(files)
}

fn walk(directory: &Path, prefix: &str, files: &mut Vec<File>) -> Result<()> {
    let entries =
        std::fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}/{name}")
        };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            // The tag marks caches: cargo's target directory, whatever its name.
            let is_cache = entry.path().join("CACHEDIR.TAG").exists();
            if !SKIPPED.contains(&name.as_str()) && !is_cache {
                walk(&entry.path(), &path, files)?;
            }
        } else if kind.is_file() && entry.metadata()?.len() <= TEXT_BYTES_MAX {
            let bytes = std::fs::read(entry.path()).with_context(|| format!("reading {path}"))?;
            if let Ok(text) = String::from_utf8(bytes) {
                files.push(File { path, text });
            }
        }
    }
    Ok(())
}

/// A file for the tests of the rules.
#[cfg(test)]
pub(crate) fn file(path: &str, text: &str) -> File {
    File {
        path: path.into(),
        text: text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_skips_caches_and_binary_files() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let write = |path: &str, bytes: &[u8]| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            std::fs::write(path, bytes).expect("a file");
        };
        write("a/b.rs", b"fn b() {}");
        write("a/data.bin", &[0xff, 0xfe]);
        write("built/CACHEDIR.TAG", b"");
        write("built/c.rs", b"");
        write("target/d.rs", b"");
        let files = read(root.path()).expect("a readable tree");
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["a/b.rs"]);
    }
}
