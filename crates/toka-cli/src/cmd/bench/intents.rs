//! `toka bench intents`: any stream of vectors through an embedded vault.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use toka_ledger::{EventDraft, EventHeader, VaultBus};

use super::agreement::{Agreement, agreement};
use super::recall;
use crate::cli::{BenchIntents, Format};
use crate::failure::Failure;
use crate::output;

pub(super) async fn run(flags: BenchIntents, format: Format) -> Result<()> {
    let rows = Rows::read(&flags.file, usize::from(flags.dim))?;
    let order = match &flags.order {
        Some(file) => read_order(file, rows.len())?,
        None => (0..rows.len()).collect(),
    };
    let labels = flags
        .labels
        .as_ref()
        .map(|file| read_labels(file, rows.len()))
        .transpose()?;
    let directory = tempfile::tempdir()?;
    let vault = if flags.memory {
        VaultBus::builder().open_in_memory()?
    } else {
        VaultBus::open(directory.path().join("vault"))?
    };
    let begin = Instant::now();
    let mut headers = Vec::with_capacity(order.len());
    for batch in order.chunks(flags.batch as usize) {
        let drafts = batch.iter().map(|&row| {
            // Equal vectors are events of their own.
            EventDraft::new("bench.intents")
                .payload(&row)
                .embedding(rows.row(row))
        });
        let committed = vault.commit_batch(drafts.collect::<Vec<_>>()).await;
        headers.extend(committed.map_err(|error| Failure::Refused(error.to_string()))?);
    }
    let seconds = begin.elapsed().as_secs_f64();
    let intents = resolve(&vault, &headers)?;
    let agreement = labels.map(|labels| {
        let classes: Vec<_> = order.iter().map(|&row| &labels[row]).collect();
        agreement(&intents, &classes)
    });
    let mut summary = summary(&vault, &flags, headers.len(), seconds, agreement);
    if let Some(queries) = flags.queries {
        summary["recall"] = recall::measure(&vault, &rows, queries as usize)?;
    }
    vault.close().await;
    match format {
        Format::Json => {
            for (header, resolved) in headers.iter().zip(&intents) {
                output::json(&json!({
                    "sequence": header.sequence,
                    "micro_cluster": header.micro_cluster,
                    "intent": header.intent,
                    "resolved_intent": resolved,
                }))?;
            }
            output::json(&summary)
        }
        Format::Table => table(&summary),
    }
}

/// The intent of each event as of the end.
fn resolve(vault: &VaultBus, headers: &[EventHeader]) -> Result<Vec<u64>> {
    let reader = vault.reader();
    headers
        .iter()
        .map(|header| {
            let micro = header
                .micro_cluster
                .context("an event has no micro-cluster")?;
            let intent = reader
                .intent_of(micro)
                .context("a micro-cluster is of no intent")?;
            Ok(intent.0)
        })
        .collect()
}

fn summary(
    vault: &VaultBus,
    flags: &BenchIntents,
    events: usize,
    seconds: f64,
    agreement: Option<Agreement>,
) -> Value {
    let usage = vault.reader().intent_usage();
    let intents = vault.intents();
    let mut summary = json!({
        "events": events,
        "dimension": flags.dim,
        "intents": intents.len(),
        "tentative_intents": intents.iter().filter(|intent| intent.is_tentative).count(),
        "micro_clusters": usage.micro_clusters,
        "seconds": seconds,
        "events_per_s": events as f64 / seconds.max(1e-9),
        "table_bytes": usage.table_bytes,
        "other_bytes": usage.other_bytes,
    });
    if let Some(agreement) = agreement {
        summary["ari"] = agreement.ari.into();
        summary["v_measure"] = agreement.v_measure.into();
        summary["homogeneity"] = agreement.homogeneity.into();
        summary["completeness"] = agreement.completeness.into();
    }
    summary
}

fn table(summary: &Value) -> Result<()> {
    let Value::Object(fields) = summary else {
        return Ok(());
    };
    let mut table = output::table(&[]);
    for (name, value) in fields {
        let text = match value.as_f64() {
            Some(number) if value.is_f64() => format!("{number:.4}"),
            _ => value.to_string(),
        };
        if !value.is_array() {
            table.add_row([name.replace('_', " "), text]);
        }
    }
    output::line(&table.to_string())?;
    match summary["recall"].as_array() {
        Some(lines) => output::line(&recall::table(lines)),
        None => Ok(()),
    }
}

/// Vectors, shape `[rows, dimension]`.
pub(super) struct Rows {
    dimension: usize,
    components: Vec<f32>,
}

impl Rows {
    fn read(file: &Path, dimension: usize) -> Result<Self> {
        let bytes = read(file)?;
        let row_bytes = 4 * dimension;
        if bytes.is_empty() || !bytes.len().is_multiple_of(row_bytes) {
            bail!(Failure::Usage(format!(
                "{} has {} bytes, which is no whole number of rows of {dimension} f32 ({row_bytes} \
                 bytes); is --dim right?",
                file.display(),
                bytes.len()
            )));
        }
        let components: Vec<f32> = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect();
        for (index, row) in components.chunks_exact(dimension).enumerate() {
            let wrong = if row.iter().any(|x| !x.is_finite()) {
                "has a component that is not finite"
            } else if row.iter().all(|x| *x == 0.0) {
                "is zero everywhere"
            } else {
                continue;
            };
            let file = file.display();
            bail!(Failure::Refused(format!("row {index} of {file} {wrong}")));
        }
        Ok(Self {
            dimension,
            components,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.components.len() / self.dimension
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.components[row * self.dimension..][..self.dimension]
    }
}

fn read_order(file: &Path, rows: usize) -> Result<Vec<usize>> {
    let bytes = read(file)?;
    let order: Vec<usize> = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| u32::from_le_bytes(*bytes) as usize)
        .collect();
    let refused = |why: String| Failure::Refused(format!("{} {why}", file.display()));
    let mut is_named = vec![false; rows];
    for &row in &order {
        match is_named.get_mut(row) {
            None => bail!(refused(format!(
                "names row {row}; there are {rows}, from 0"
            ))),
            Some(true) => bail!(refused(format!("names row {row} twice"))),
            Some(named) => *named = true,
        }
    }
    if order.len() < rows || !bytes.len().is_multiple_of(4) {
        let bytes = bytes.len();
        bail!(refused(format!(
            "has {bytes} bytes; an order of {rows} rows has {}",
            4 * rows
        )));
    }
    Ok(order)
}

fn read_labels(file: &Path, rows: usize) -> Result<Vec<String>> {
    let text = String::from_utf8(read(file)?)
        .with_context(|| format!("{} is not UTF-8", file.display()))?;
    let labels: Vec<String> = text.lines().take(rows).map(label).collect();
    if labels.len() < rows {
        bail!(Failure::Refused(format!(
            "{} has {} labels for {rows} rows",
            file.display(),
            labels.len()
        )));
    }
    Ok(labels)
}

/// The `label` of a line of JSON, or else the line.
fn label(line: &str) -> String {
    let value: Option<Value> = serde_json::from_str(line).ok();
    match value.as_ref().and_then(|value| value.get("label")) {
        Some(Value::String(label)) => label.clone(),
        Some(label) => label.to_string(),
        None => line.to_owned(),
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}
