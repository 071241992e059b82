//! `toka get` and `toka log`.

use std::io::IsTerminal as _;

use anyhow::{Result, bail};
use futures::StreamExt as _;
use serde_json::json;

use crate::cli::{self, Format, Until};
use crate::failure::Failure;
use crate::output::{self, PayloadView};
use crate::target::{Include, Listing, Record, Target, Times, parse_selector};

/// Events that `toka log` shows on a terminal unless told otherwise.
const TERMINAL_LIMIT: u64 = 20;
/// Characters of a payload, and of an embedding, in a table.
const PAYLOAD_CHARACTERS: usize = 60;

pub(crate) async fn get(target: &Target, flags: cli::Get, format: Format) -> Result<()> {
    let include = Include {
        payload: true,
        embedding: flags.embedding,
    };
    let selector = parse_selector(&flags.event)?;
    let Some(record) = target
        .get(selector, include, flags.read.consistency)
        .await?
    else {
        bail!(Failure::NotFound(format!("event {}", flags.event)));
    };
    if flags.raw {
        return match &record.payload {
            Some(PayloadView::Present(bytes)) => output::bytes(bytes),
            _ => bail!("the payload was erased"),
        };
    }
    match format {
        Format::Json => output::json(&json(&record)),
        Format::Table => details(&record),
    }
}

/// An event as a line of JSON.
pub(crate) fn json(record: &Record) -> serde_json::Value {
    let mut value = output::event_json(&record.header, record.payload.as_ref());
    if let Some(embedding) = &record.embedding {
        value["embedding"] = floats(embedding);
    }
    value
}

/// Components as floats that quantise to the same integers again.
pub(crate) fn floats(embedding: &[i16]) -> serde_json::Value {
    embedding.iter().map(|&q| f64::from(q) / 16_384.0).collect()
}

fn details(record: &Record) -> Result<()> {
    let serde_json::Value::Object(fields) = json(record) else {
        return Ok(());
    };
    let mut table = output::table(&[]);
    for (name, value) in fields {
        let text = match (name.as_str(), value) {
            ("unix_ms", _) => toka_backup::rfc3339(record.header.unix_ms),
            (_, serde_json::Value::String(text)) => text,
            ("payload", value) => serde_json::to_string_pretty(&value)?,
            (_, value) => value.to_string(),
        };
        let name = if name == "unix_ms" { "time" } else { &name };
        table.add_row([name, &text]);
    }
    output::line(&table.to_string())
}

pub(crate) async fn log(target: &Target, flags: cli::Log, format: Format) -> Result<()> {
    let on_terminal = format == Format::Table && std::io::stdout().is_terminal();
    let limit = flags
        .limit
        .or_else(|| on_terminal.then_some(TERMINAL_LIMIT))
        .unwrap_or(u64::MAX);
    // On a terminal the last events are wanted, oldest of them first, as `git log` pages show
    // the newest; a range or an order that was asked for is followed as it is.
    let is_bounded = flags.after > 0 || flags.since.is_some() || flags.limit.is_some();
    let is_page = flags.paging.is_wanted();
    let tail = on_terminal && !flags.reverse && !is_bounded && !is_page;
    let (until, until_time) = match flags.until {
        None => (None, None),
        Some(Until::Sequence(sequence)) => (Some(sequence), None),
        Some(Until::Time(unix_ms)) => (None, Some(unix_ms)),
    };
    let listing = Listing {
        after: flags.after,
        until,
        times: Times {
            from: flags.since,
            until: until_time,
        },
        filter: target.filter(flags.filter).await?,
        reverse: flags.reverse || tail,
        include: Include {
            payload: !flags.no_payload,
            embedding: flags.embedding,
        },
        consistency: flags.read.consistency,
    };
    if is_page {
        return page(target, listing, &flags.paging, format).await;
    }
    let mut records = target
        .list(listing)
        .take(usize::try_from(limit).unwrap_or(usize::MAX));
    if format == Format::Json {
        while let Some(record) = records.next().await {
            output::json(&json(&record?))?;
        }
        return Ok(());
    }
    let mut rows = Vec::new();
    while let Some(record) = records.next().await {
        rows.push(cells(&record?, flags.embedding));
    }
    if tail {
        rows.reverse();
    }
    output::line(&table(rows, flags.embedding))
}

/// One page, and what asks for the next one.
async fn page(
    target: &Target,
    listing: Listing,
    paging: &cli::Paging,
    format: Format,
) -> Result<()> {
    let with_embedding = listing.include.embedding;
    let (records, next) = target.page(listing, paging).await?;
    if format == Format::Json {
        records
            .iter()
            .try_for_each(|record| output::json(&json(record)))?;
        return output::json(&json!({ "next_page_token": next }));
    }
    let rows = records.iter().map(|record| cells(record, with_embedding));
    output::line(&table(rows.collect(), with_embedding))?;
    match next {
        Some(token) => output::dim(&format!("next page: --page-token {token}")),
        None => Ok(()),
    }
}

/// A table of rows that [`cells`] made.
pub(crate) fn table(rows: Vec<Vec<String>>, with_embedding: bool) -> String {
    let mut columns = vec!["sequence", "time", "kind", "id", "parents", "payload"];
    if with_embedding {
        columns.push("embedding");
    }
    let mut table = output::table(&columns);
    table.add_rows(rows);
    table.to_string()
}

/// An event as a row of a table, perhaps with its embedding.
pub(crate) fn cells(record: &Record, with_embedding: bool) -> Vec<String> {
    let mut cells = Vec::from(row(record));
    if with_embedding {
        let embedding = record.embedding.as_deref().map(floats);
        let text = embedding.map(|components| components.to_string());
        cells.push(output::cut(&text.unwrap_or_default(), PAYLOAD_CHARACTERS));
    }
    cells
}

/// An event as a row of a table.
pub(crate) fn row(record: &Record) -> [String; 6] {
    let header = &record.header;
    [
        header.sequence.to_string(),
        toka_backup::rfc3339(header.unix_ms),
        header.kind.to_string(),
        header.id.to_string(),
        header.parents.len().to_string(),
        record
            .payload
            .as_ref()
            .map(|p| p.short(PAYLOAD_CHARACTERS))
            .unwrap_or_default(),
    ]
}
