//! `toka bench import`.

use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use tempfile::NamedTempFile;
use toka_measure::{Events, Summary};
use tokio::process::Command;

use super::report::{self, Row};
use super::session::{Session, events};
use crate::cli::{BenchImport, Format, Global};
use crate::failure::Failure;
use crate::output;

pub(super) async fn run(global: &Global, flags: BenchImport, format: Format) -> Result<()> {
    let session = Session::open(global, &flags.nodes).await?;
    let parent = flags.nodes.own.directory.clone();
    let parent = parent.unwrap_or_else(std::env::temp_dir);
    let file = NamedTempFile::with_prefix_in("toka-bench-", &parent)
        .with_context(|| format!("cannot write to {}", parent.display()))?;
    let (events, count) = (events(flags.events), flags.import_events);
    write(&file, events, count)?;
    let bytes = file.as_file().metadata()?.len();
    let begin = Instant::now();
    import(&session, file.path(), flags.in_flight).await?;
    let seconds = begin.elapsed().as_secs_f64();
    let summary = Summary {
        acknowledged: count,
        seconds,
        per_second: count as f64 / seconds,
        ..Summary::default()
    };
    let mib = bytes as f64 / f64::from(1 << 20) / seconds;
    let row = Row::new("import", summary).with("mib_per_second", mib);
    report::rows(&[row], format)?;
    session.close().await
}

/// `toka import`, a process of its own, as people run it.
async fn import(session: &Session, file: &Path, in_flight: u32) -> Result<()> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TOKA_") {
            command.env_remove(name);
        }
    }
    session.reached().hand_over(&mut command);
    let status = command
        .args(["--output", "table", "import"])
        .arg(file)
        .args(["--in-flight", &in_flight.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .context("cannot start this program")?;
    if !status.success() {
        bail!(Failure::Unavailable(format!(
            "`toka import` failed ({status})"
        )));
    }
    Ok(())
}

fn write(file: &NamedTempFile, events: Events, count: u64) -> Result<()> {
    let mut lines = BufWriter::new(file.as_file());
    for number in 0..count {
        // Half the bytes, for twice as many digits.
        let payload = events.payload(number, Instant::now());
        let text = output::hex(&payload[..payload.len().div_ceil(2)]);
        let mut line = json!({ "kind": "bench.import", "payload": { "text": text } });
        if let Some(embedding) = events.embedding(number) {
            line["embedding"] = json!(embedding);
        }
        serde_json::to_writer(&mut lines, &line)?;
        lines.write_all(b"\n")?;
    }
    Ok(lines.flush()?)
}
