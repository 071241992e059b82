//! `toka cursor`: positions that the vault keeps under a name.

use anyhow::Result;
use serde_json::json;
use toka_ledger::CursorName;

use crate::cli::{self, Format};
use crate::output;
use crate::target::Target;

pub(crate) async fn run(target: &Target, command: cli::Cursor, format: Format) -> Result<()> {
    match command {
        cli::Cursor::List => list(target, format).await,
        cli::Cursor::Get { name } => {
            let name = CursorName::new(&name)?;
            let sequence = target.cursor(&name).await?;
            show(&name, sequence, format)
        }
        cli::Cursor::Save {
            name,
            sequence,
            from,
        } => {
            let name = CursorName::new(&name)?;
            target.save_cursor(&name, from, sequence).await?;
            show(&name, sequence, format)
        }
        cli::Cursor::Delete { name, from } => {
            let name = CursorName::new(&name)?;
            target.delete_cursor(&name, from).await?;
            match format {
                Format::Json => output::json(&json!({ "cursor": name, "deleted": true })),
                Format::Table => output::line(&format!("cursor {name} is deleted")),
            }
        }
    }
}

fn show(name: &CursorName, sequence: u64, format: Format) -> Result<()> {
    match format {
        Format::Json => output::json(&json!({ "cursor": name, "sequence": sequence })),
        Format::Table => output::line(&format!("cursor {name} is at {sequence}")),
    }
}

async fn list(target: &Target, format: Format) -> Result<()> {
    let cursors = target.cursors().await?;
    if format == Format::Json {
        return cursors
            .iter()
            .try_for_each(|(name, sequence)| show(name, *sequence, format));
    }
    let mut table = output::table(&["cursor", "sequence"]);
    for (name, sequence) in cursors {
        table.add_row([name.to_string(), sequence.to_string()]);
    }
    output::line(&table.to_string())
}
