//! What a search through the nearest intents finds of what an exact search finds.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use toka_ledger::read::{Found, Search};
use toka_ledger::{Embedding, Filter, VaultBus};

use super::intents::Rows;
use crate::output;

/// Hits of each search, beside the event whose vector is searched for.
const HITS: usize = 10;
/// Intents that are looked into.
const PROBES: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// Searches for `queries` rows of the stream, evenly spaced. Recall is the share of the [`HITS`]
/// nearest other events that is found.
pub(super) fn measure(vault: &VaultBus, rows: &Rows, queries: usize) -> Result<Value> {
    let queries = queries.clamp(1, rows.len());
    let chosen = (0..queries).map(|query| query * rows.len() / queries);
    let embeddings = chosen
        .map(|row| Embedding::from_f32(rows.row(row)))
        .collect::<Result<Vec<_>, _>>()?;
    let run = |probes| {
        let begin = Instant::now();
        let found = embeddings
            .iter()
            .map(|embedding| search(vault, embedding, probes))
            .collect::<Result<Vec<_>>>()?;
        anyhow::Ok((found, begin.elapsed()))
    };
    let (exact, time) = run(None)?;
    let mut lines = vec![line("exact".into(), &exact, &exact, time)];
    for probes in PROBES {
        let (found, time) = run(Some(probes))?;
        lines.push(line(probes.into(), &found, &exact, time));
    }
    Ok(lines.into())
}

fn search(vault: &VaultBus, embedding: &Embedding, probes: Option<usize>) -> Result<Found> {
    let search = Search {
        embedding: embedding.clone(),
        // The event itself is the nearest.
        limit: HITS + 1,
        probes,
        filter: Filter::default(),
    };
    Ok(vault.reader().search(&search)?)
}

fn line(probes: Value, found: &[Found], exact: &[Found], time: Duration) -> Value {
    let (mut wanted, mut hit, mut compared) = (0, 0, 0);
    for (found, exact) in found.iter().zip(exact) {
        let sequences = |found: &Found| -> BTreeSet<u64> {
            let others = found.hits.iter().skip(1);
            others.map(|hit| hit.header.sequence).collect()
        };
        let nearest = sequences(exact);
        wanted += nearest.len();
        hit += sequences(found).intersection(&nearest).count();
        compared += found.compared;
    }
    let queries = found.len() as f64;
    json!({
        "probes": probes,
        "recall_at_10": hit as f64 / wanted.max(1) as f64,
        "compared": compared as f64 / queries,
        "ms": time.as_secs_f64() * 1e3 / queries,
    })
}

/// What [`measure`] gives, for people.
pub(super) fn table(lines: &[Value]) -> String {
    let mut table = output::table(&["intents looked into", "recall of 10", "compared", "ms"]);
    for line in lines {
        let number = |name: &str| line[name].as_f64().unwrap_or(f64::NAN);
        let probes = line["probes"]
            .as_str()
            .map_or_else(|| line["probes"].to_string(), str::to_owned);
        table.add_row([
            probes,
            format!("{:.3}", number("recall_at_10")),
            format!("{:.0}", number("compared")),
            format!("{:.2}", number("ms")),
        ]);
    }
    table.to_string()
}
