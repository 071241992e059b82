//! `toka completions` and `toka man`.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{cli, output};

/// Prints the completions of a shell.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::command(), "toka", &mut script);
    output::bytes(&script)
}

/// Prints the manual page, or writes one page per command.
pub(crate) fn man(directory: Option<PathBuf>) -> Result<()> {
    let command = cli::command();
    match directory {
        Some(directory) => {
            std::fs::create_dir_all(&directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
            clap_mangen::generate_to(command, &directory)
                .with_context(|| format!("cannot write into {}", directory.display()))
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            page.flush()?;
            output::bytes(&page)
        }
    }
}
