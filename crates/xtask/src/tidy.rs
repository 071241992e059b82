//! The repository's own rules, checked as a test.

mod cycles;
mod edges;
mod protos;
mod repository;
mod rust;
mod tree;

use anyhow::{Result, bail};

use crate::workspace::Workspace;

/// Checks every rule and prints every violation.
///
/// # Errors
/// A rule is violated, or the repository cannot be read.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let files = tree::read(&workspace.root)?;
    let mut problems = edges::check(&workspace.metadata);
    problems.extend(repository::check(&files));
    problems.extend(rust::check(&files));
    problems.extend(protos::check(&files));
    problems.extend(cycles::check(&files));
    if problems.is_empty() {
        println!("tidy: {} files, no violations", files.len());
        return Ok(());
    }
    for problem in &problems {
        println!("tidy: {problem}");
    }
    bail!("tidy: {} violations", problems.len());
}
