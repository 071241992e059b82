//! `toka watch`: events as they are committed.

use anyhow::Result;
use futures::StreamExt as _;
use serde_json::json;
use toka_ledger::CursorName;

use super::read;
use crate::cli::{self, Format};
use crate::failure::Failure;
use crate::output;
use crate::target::{Begin, Include, Status, Target, Watched, Watching};

pub(crate) async fn run(target: &Target, flags: cli::Watch, format: Format) -> Result<()> {
    let include = Include {
        payload: !flags.no_payload,
        embedding: flags.embedding,
    };
    let until = flags.until.unwrap_or(u64::MAX);
    let filter = target.filter(flags.filter).await?;
    let from = match flags.from_cursor {
        Some(name) => Begin::Cursor(cursor_name(&name)?),
        None => Begin::From(flags.from),
    };
    let watching = target.watch(from, flags.history, filter, include);
    let Watching {
        history_id,
        mut messages,
    } = watching.await?;
    let history_id = output::history(history_id);
    while let Some(item) = messages.next().await {
        let seen = match item? {
            Watched::Continued(intent, successor) => {
                match format {
                    Format::Json => output::json(&json!({
                        "intent_continued": { "intent": intent, "successor": successor },
                    }))?,
                    Format::Table => output::line(&format!(
                        "intent {intent} was retired; following intent {successor}"
                    ))?,
                }
                continue;
            }
            Watched::Event(record) => {
                // With a filter, the last match may stand before `until`.
                if record.header.sequence > until {
                    return Ok(());
                }
                match format {
                    Format::Json => {
                        // With the sequence, a position to go on after.
                        let mut value = read::json(&record);
                        value["history_id"] = history_id.as_str().into();
                        output::json(&value)?;
                    }
                    Format::Table => {
                        output::line(&read::cells(&record, include.embedding).join("  "))?;
                    }
                }
                record.header.sequence
            }
            Watched::Status(status) => {
                if flags.status {
                    show(status, format)?;
                }
                status.sequence()
            }
        };
        if seen >= until {
            return Ok(());
        }
    }
    Ok(())
}

/// How far it has come, for programs or for people.
fn show(status: Status, format: Format) -> Result<()> {
    let (value, text) = match status {
        Status::Checkpoint { sequence, unix_ms } => (
            json!({ "checkpoint": { "sequence": sequence, "unix_ms": unix_ms } }),
            format!("seen up to {sequence}, {}", toka_backup::rfc3339(unix_ms)),
        ),
        Status::CaughtUp { sequence, lag } => (
            json!({ "caught_up": { "sequence": sequence, "lag": lag } }),
            format!("caught up at {sequence}, {lag} events since"),
        ),
        Status::FellBehind { sequence, lag } => (
            json!({ "fell_behind": { "sequence": sequence, "lag": lag } }),
            format!("fell behind at {sequence}, {lag} events since"),
        ),
    };
    match format {
        Format::Json => output::json(&value),
        Format::Table => output::dim(&text),
    }
}

fn cursor_name(name: &str) -> Result<CursorName> {
    CursorName::new(name).map_err(|error| Failure::Usage(error.to_string()).into())
}
