//! `toka verify`: checks everything that a node has, or that is in a data directory.

mod running;
mod stopped;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use toka_ledger::verify::Report;

use crate::cli::{Format, Global, Verify};
use crate::failure::Failure;
use crate::output;

/// What a check has come to.
struct Checked {
    /// Absent: nothing was checked beyond the files.
    report: Option<Report>,
    /// What is wrong with files, and where.
    files: Vec<String>,
    /// The node that was checked, where it is one that runs.
    node_id: Option<u64>,
}

impl Checked {
    fn problems_total(&self) -> u64 {
        let rows = self
            .report
            .as_ref()
            .map_or(0, |report| report.problems_total);
        rows + self.files.len() as u64
    }
}

pub(crate) async fn run(global: &Global, flags: Verify, format: Format) -> Result<()> {
    let begin = Instant::now();
    let checked = match &global.data {
        Some(_) if !global.endpoint.is_empty() => bail!(Failure::Usage(
            "either --data, of a node that is stopped, or --endpoint, of one that runs".to_owned()
        )),
        Some(_) if flags.rate_limit.is_some() => bail!(Failure::Usage(
            "--rate-limit is for a node that runs: nobody else waits for the disk".to_owned()
        )),
        Some(path) => stopped::check(path, flags.threads).await?,
        None => running::check(global, &flags).await?,
    };
    show(&checked, begin.elapsed(), format)?;
    match checked.problems_total() {
        0 => Ok(()),
        1 => bail!(Failure::Damaged("1 problem found".to_owned())),
        problems => bail!(Failure::Damaged(format!("{problems} problems found"))),
    }
}

fn show(checked: &Checked, elapsed: Duration, format: Format) -> Result<()> {
    let none = Report::default();
    let report = checked.report.as_ref().unwrap_or(&none);
    let rows = report.problems.iter().map(ToString::to_string);
    let problems: Vec<String> = checked.files.iter().cloned().chain(rows).collect();
    if format == Format::Json {
        return output::json(&serde_json::json!({
            "node_id": checked.node_id,
            "events": report.events,
            "payloads": report.payloads,
            "embeddings": report.embeddings,
            "erased": report.erased,
            "history_root": report.history_root,
            "state_digest": report.state_digest,
            "bytes": report.bytes,
            "elapsed_ms": u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            "problems": problems,
            "problems_total": checked.problems_total(),
        }));
    }
    for problem in &problems {
        output::line(problem)?;
    }
    let root = match checked.problems_total() {
        0 => format!("; history root {}", report.history_root),
        _ => String::new(),
    };
    let node = checked
        .node_id
        .map_or_else(String::new, |node_id| format!("node {node_id}: "));
    output::line(&format!(
        "{node}{} events checked, {} payloads, {} embeddings, {} erased; {} bytes of rows in {:.1} s{root}",
        report.events,
        report.payloads,
        report.embeddings,
        report.erased,
        report.bytes,
        elapsed.as_secs_f64()
    ))
}
