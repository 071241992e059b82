//! How well the intents of a vault agree with what people say that texts mean.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use toka_tests::command::Toka;

fn data(file: &str) -> PathBuf {
    toka_tests::manifest_dir().join("data/hwu64").join(file)
}

/// Runs a stream through `toka bench intents` with further `flags`; returns the lines that it writes.
async fn bench(file: &str, dimension: &str, flags: &[&str]) -> Result<Vec<Value>> {
    let home = TempDir::with_prefix("toka-test-intents-")?;
    let (file, labels) = (data(file), data("utterances.jsonl"));
    let path = |path: &Path| path.to_str().map(str::to_owned).context("a path in UTF-8");
    let mut arguments = vec![
        "bench".to_owned(),
        "intents".to_owned(),
        path(&file)?,
        "--dim".to_owned(),
        dimension.to_owned(),
        "--labels".to_owned(),
        path(&labels)?,
        "--output".to_owned(),
        "json".to_owned(),
    ];
    arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    Toka::new(home.path()).json(&arguments).await
}

async fn check(file: &str, dimension: &str, order: Option<&str>, ari: f64) -> Result<()> {
    let order = order.map(|order| data(order).display().to_string());
    let flags: Vec<_> = order.iter().flat_map(|order| ["--order", order]).collect();
    let mut lines = bench(file, dimension, &flags).await?;
    let summary = lines.pop().context("no summary")?;
    ensure!(summary.get("resolved_intent").is_none(), "{summary}");
    ensure!(summary["events"] == lines.len(), "{summary}");
    for (sequence, line) in (1..).zip(&lines) {
        let fields = line.as_object().context("no object")?;
        let mut names: Vec<_> = fields.keys().map(String::as_str).collect();
        names.sort_unstable();
        ensure!(
            names == ["intent", "micro_cluster", "resolved_intent", "sequence"],
            "{line}"
        );
        ensure!(line["sequence"] == sequence, "{line}");
    }
    let found = summary["ari"].as_f64().context("no ARI")?;
    ensure!(found >= ari, "{found} is below {ari}: {summary}");
    Ok(())
}

#[tokio::test]
async fn minilm_stream_in_file_order() -> Result<()> {
    check("hwu64-2000.minilm384.f32", "384", None, 0.48).await
}

#[tokio::test]
async fn minilm_stream_in_bursts() -> Result<()> {
    let order = Some("order-bursty.u32");
    check("hwu64-2000.minilm384.f32", "384", order, 0.48).await
}

#[tokio::test]
async fn mpnet_stream_in_file_order() -> Result<()> {
    check("hwu64-1000.mpnet768.f32", "768", None, 0.50).await
}

#[tokio::test]
async fn search_through_the_nearest_intents_finds_nearly_all() -> Result<()> {
    let flags = ["--queries", "200", "--memory"];
    let mut lines = bench("hwu64-2000.minilm384.f32", "384", &flags).await?;
    let summary = lines.pop().context("no summary")?;
    let recall = summary["recall"].as_array().context("no recall")?;
    let of = |probes: Value| recall.iter().find(|line| line["probes"] == probes);
    let number = |line: &Value, field: &str| line[field].as_f64().context("no number");
    let exact = of("exact".into()).context("no exact search")?;
    ensure!(number(exact, "recall_at_10")? == 1.0 && number(exact, "compared")? == 2000.0);
    let usual = of(8.into()).context("no search in 8 intents")?;
    ensure!(number(usual, "recall_at_10")? >= 0.95, "{usual}");
    ensure!(number(usual, "compared")? < 400.0, "{usual}");
    Ok(())
}

#[tokio::test]
async fn bad_streams_are_refused() -> Result<()> {
    let home = TempDir::with_prefix("toka-test-intents-")?;
    let toka = Toka::new(home.path());
    let file = data("hwu64-2000.minilm384.f32");
    let file = file.to_str().context("a path in UTF-8")?;
    let ran = toka
        .run(&["bench", "intents", file, "--dim", "385"])
        .await?;
    ensure!(ran.code == Some(2) && ran.stderr.contains("385"), "{ran:?}");
    let labels = home.path().join("labels");
    std::fs::write(&labels, "one\ntwo\n")?;
    let labels = labels.to_str().context("a path in UTF-8")?;
    let ran = toka
        .run(&["bench", "intents", file, "--dim", "384", "--labels", labels])
        .await?;
    ensure!(
        ran.code == Some(5) && ran.stderr.contains("2 labels"),
        "{ran:?}"
    );
    let rows = home.path().join("rows");
    std::fs::write(
        &rows,
        [1.0_f32, 2.0, 3.0, f32::NAN].map(f32::to_le_bytes).concat(),
    )?;
    let rows = rows.to_str().context("a path in UTF-8")?;
    let ran = toka.run(&["bench", "intents", rows, "--dim", "2"]).await?;
    ensure!(
        ran.code == Some(5) && ran.stderr.contains("row 1"),
        "{ran:?}"
    );
    for (order, expected) in [
        (&[0_u32, 0][..], "row 0 twice"),
        (&[0, 2], "row 2"),
        (&[1], "4 bytes"),
    ] {
        std::fs::write(rows, [1.0_f32, 2.0].map(f32::to_le_bytes).concat())?;
        let file = home.path().join("order");
        let bytes: Vec<u8> = order.iter().flat_map(|row| row.to_le_bytes()).collect();
        std::fs::write(&file, bytes)?;
        let file = file.to_str().context("a path in UTF-8")?;
        let ran = toka
            .run(&["bench", "intents", rows, "--dim", "1", "--order", file])
            .await?;
        ensure!(
            ran.code == Some(5) && ran.stderr.contains(expected),
            "{expected:?} is not in {ran:?}"
        );
    }
    Ok(())
}
