//! Prometheus' own checks.

use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Fails with what promtool says, if it finds fault with anything: `words` are its arguments, `input` is what it reads.
pub fn run(words: &[&str], input: &str, directory: &Path) -> Result<()> {
    let mut file = tempfile::tempfile()?;
    file.write_all(input.as_bytes())?;
    file.rewind()?;
    let output = Command::new("promtool")
        .args(words)
        .current_dir(directory)
        .stdin(file)
        .output()
        .context(
            "cannot run promtool, which `cargo xtask test` installs with Debian's prometheus",
        )?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "promtool {words:?}: {}: {stdout}{stderr}",
        output.status
    );
    Ok(())
}

/// Names of metrics in a text, such as an expression of PromQL: whatever begins with `toka_`.
pub fn metrics_in(text: &str) -> Vec<&str> {
    let is_of_name =
        |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    let words = text.split(|letter: char| !is_of_name(letter));
    words.filter(|word| word.starts_with("toka_")).collect()
}
