//! What is measured of Toka Vault alone, against figures that no peer has: by its own `toka bench`.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::results::Results;
use crate::store::Programs;
use crate::targets::name;

/// An event's own bytes: payload, and two for each component.
const EVENT_BYTES: f64 = 256.0 + 2.0 * 768.0;
const SMALL_BYTES: f64 = 256.0;

/// Runs them all, once. `long`: also those that take many minutes.
pub(crate) async fn measure(
    programs: &Programs,
    parent: &Path,
    long: bool,
    results: &mut Results,
) -> Result<()> {
    let bench = Bench { programs, parent };
    bench.reads(results).await?;
    bench.leaders(results).await?;
    bench.disk(results).await?;
    bench.embedded(results).await?;
    if long {
        bench.long(results).await?;
    }
    Ok(())
}

struct Bench<'a> {
    programs: &'a Programs,
    parent: &'a Path,
}

impl Bench<'_> {
    async fn reads(&self, results: &mut Results) -> Result<()> {
        for (figure, events, dimension) in [
            (name::CATCH_UP, "200000", "768"),
            (name::CATCH_UP_SMALL, "1000000", "0"),
        ] {
            let arguments = [
                "subscribe",
                "--local",
                "--subscribers",
                "1",
                "--catch-up",
                events,
                "--dim",
                dimension,
            ];
            let rows = self.run(&arguments).await?;
            results.add_alone(figure, number(&rows, "catch up", "per_second")?);
        }
        let rows = self.run(&["restart", "--fill-events", "1000000"]).await?;
        results.add_alone(
            name::RESTART_READS,
            number(&rows, "restart", "serving_median_ms")?,
        );
        results.add_alone(
            name::RESTART_QUORUM,
            number(&rows, "restart", "ready_median_ms")?,
        );
        Ok(())
    }

    async fn leaders(&self, results: &mut Results) -> Result<()> {
        for (figure, incident) in [(name::TRANSFER, "transfer"), (name::TERMINATE, "terminate")] {
            let rows = self.run(&["failover", "--incident", incident]).await?;
            results.add_alone(figure, number(&rows, "failover", "median_ms")?);
        }
        Ok(())
    }

    /// Compaction has time to come to rest.
    async fn disk(&self, results: &mut Results) -> Result<()> {
        for (written, on_disk, dimension, own) in [
            (name::WRITTEN, name::ON_DISK, "768", EVENT_BYTES),
            (name::WRITTEN_SMALL, name::ON_DISK_SMALL, "0", SMALL_BYTES),
        ] {
            let arguments = [
                "commit",
                "--local",
                "--mode",
                "stream",
                "--clients",
                "512",
                "--duration",
                "30s",
                "--settle",
                "30s",
                "--dim",
                dimension,
            ];
            let rows = self.run(&arguments).await?;
            let of = |field| Ok::<_, anyhow::Error>(number(&rows, "commit", field)? / own);
            results.add_alone(written, of("written_bytes_per_item")?);
            results.add_alone(on_disk, of("ledger_bytes_per_event")?);
        }
        Ok(())
    }

    async fn embedded(&self, results: &mut Results) -> Result<()> {
        for (figure, dimension) in [(name::EMBEDDED_SMALL, "0"), (name::EMBEDDED, "768")] {
            let arguments = ["embedded", "--clients", "64", "--dim", dimension];
            let rows = self.run(&arguments).await?;
            let share = number(&rows, "embedded vault", "share_of_bare_percent")?;
            results.add_alone(figure, share);
        }
        let rows = self.run(&["embedded", "--mode", "batch", "--clients", "8"]);
        let rate = number(&rows.await?, "embedded vault", "per_second")?;
        results.add_alone(name::EMBEDDED_BATCHES, rate);
        Ok(())
    }

    async fn long(&self, results: &mut Results) -> Result<()> {
        let rows = self.run(&[
            "commit",
            "--local",
            "--mode",
            "stream",
            "--clients",
            "512",
            "--duration",
            "10m",
            "--dim",
            "768",
        ]);
        results.add_alone(
            name::ELECTIONS,
            number(&rows.await?, "commit", "elections")?,
        );
        let rows = self.run(&["embedded", "--grow-to", "10000000"]).await?;
        let rates: Vec<_> = rows
            .iter()
            .filter_map(|row| row["per_second"].as_f64())
            .collect();
        let (first, last) = rates.first().zip(rates.last()).context("no rows")?;
        results.add_alone(name::GROWTH, last / first);
        Ok(())
    }

    /// `toka bench` with further arguments; returns the lines of JSON that it writes.
    async fn run(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let shown = arguments.join(" ");
        eprintln!("toka bench {shown}");
        let output = Command::new(&self.programs.toka)
            .args(["--output", "json", "--timeout", "60s", "bench"])
            .args(arguments)
            .args([OsStr::new("--directory"), self.parent.as_os_str()])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot start toka")?;
        ensure!(
            output.status.success(),
            "`toka bench {shown}` failed ({})",
            output.status
        );
        let lines = String::from_utf8(output.stdout)?;
        lines
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
            .collect()
    }
}

/// A figure of the row of that name.
fn number(rows: &[Value], what: &str, field: &str) -> Result<f64> {
    let row = rows.iter().find(|row| row["what"] == what);
    let figure = row.and_then(|row| row[field].as_f64());
    figure.with_context(|| format!("`toka bench` says nothing of {field}: {rows:?}"))
}
