//! `toka intents` and `toka search`.

mod plot;

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Result;
use futures::StreamExt as _;
use serde_json::{Value, json};
use toka_client::IntentId;
use toka_ledger::{Embedding, Filter};

use super::read;
use crate::cli::{self, Consistency, Format, Global, IntentsCommand};
use crate::target::{Hit, Include, Intent, Listing, Target, Times, Wanted};
use crate::{embed, output};

/// Intents that are shown on a terminal unless told otherwise.
const TERMINAL_LIMIT: usize = 20;
/// Time between two drawings of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Examples of each intent unless told otherwise.
const EXAMPLES_DEFAULT: u32 = 1;
/// Characters of an example in a table.
const EXAMPLE_CHARACTERS: usize = 50;

pub(crate) async fn run(
    target: &Target,
    global: &Global,
    flags: cli::Intents,
    format: Format,
) -> Result<()> {
    if let Some(file) = &flags.plot {
        return Box::pin(plot::run(target, &flags, file, format)).await;
    }
    match flags.command {
        None if flags.watch => watch(target, &flags, format).await,
        None => {
            let intents = list(target, &flags, format).await?;
            show(&intents, format)
        }
        Some(IntentsCommand::Get { intent }) => {
            let intent = target.intent(IntentId(intent), 8).await?;
            match format {
                Format::Json => output::json(&json(&intent)),
                Format::Table => details(&intent),
            }
        }
        Some(IntentsCommand::Events { intent, limit }) => {
            events(target, IntentId(intent), limit, format).await
        }
        Some(IntentsCommand::Label { intent, label, .. }) => {
            let label = label.as_deref();
            let labelled = target.label(IntentId(intent), label).await?;
            match (format, label) {
                (Format::Json, _) => output::json(&json!({ "intent": labelled, "label": label })),
                (Format::Table, Some(label)) => {
                    output::line(&format!("intent {labelled} is {label:?}"))
                }
                (Format::Table, None) => output::line(&format!("intent {labelled} has no label")),
            }
        }
        Some(IntentsCommand::Classify { query, embed }) => {
            let embedding = embed::query(target, &query, &embed, global.timeout).await?;
            classify(target, &embedding, format).await
        }
    }
}

async fn list(target: &Target, flags: &cli::Intents, format: Format) -> Result<Vec<Intent>> {
    let on_terminal = format == Format::Table && std::io::stdout().is_terminal();
    let limit = flags.limit.or(on_terminal.then_some(TERMINAL_LIMIT));
    let limit = limit.unwrap_or(usize::MAX);
    let examples = flags.examples.unwrap_or(EXAMPLES_DEFAULT);
    target.intents(examples, flags.skip_tentative, limit).await
}

fn show(intents: &[Intent], format: Format) -> Result<()> {
    match format {
        Format::Json => intents
            .iter()
            .try_for_each(|intent| output::json(&json(intent))),
        Format::Table => output::line(&table(intents)),
    }
}

async fn watch(target: &Target, flags: &cli::Intents, format: Format) -> Result<()> {
    let clears = format == Format::Table && std::io::stdout().is_terminal();
    let draw = async {
        loop {
            let intents = list(target, flags, format).await?;
            if clears {
                // Clears the screen and goes to its corner.
                output::line(&format!("\u{1b}[2J\u{1b}[H{}", table(&intents)))?;
            } else {
                show(&intents, format)?;
            }
            tokio::time::sleep(WATCH_INTERVAL).await;
        }
    };
    tokio::select! {
        done = tokio::signal::ctrl_c() => Ok(done?),
        failed = draw => failed,
    }
}

fn table(intents: &[Intent]) -> String {
    let mut table = output::table(&[
        "intent",
        "label",
        "events",
        "coherence",
        "first",
        "last",
        "example",
    ]);
    for intent in intents {
        let summary = &intent.summary;
        let mark = if summary.is_tentative { "?" } else { "" };
        table.add_row([
            format!("{}{mark}", summary.intent),
            summary.label.clone().unwrap_or_default(),
            summary.events.to_string(),
            format!("{:.2}", summary.coherence),
            summary.first.to_string(),
            summary.last.to_string(),
            intent.examples.first().map(example).unwrap_or_default(),
        ]);
    }
    table.to_string()
}

fn example(hit: &Hit) -> String {
    let payload = hit.record.payload.as_ref();
    payload
        .map(|payload| payload.short(EXAMPLE_CHARACTERS))
        .unwrap_or_default()
}

fn details(intent: &Intent) -> Result<()> {
    if !intent.successors.is_empty() {
        let chain: Vec<_> = intent.successors.iter().map(ToString::to_string).collect();
        output::line(&format!("retired; goes on as {}", chain.join(", then ")))?;
    }
    output::line(&table(std::slice::from_ref(intent)))?;
    hits(&intent.examples)
}

fn hits(hits: &[Hit]) -> Result<()> {
    let mut table = output::table(&["similarity", "sequence", "kind", "id", "payload"]);
    for hit in hits {
        let header = &hit.record.header;
        table.add_row([
            format!("{:.3}", hit.similarity),
            header.sequence.to_string(),
            header.kind.to_string(),
            header.id.to_string(),
            example(hit),
        ]);
    }
    output::line(&table.to_string())
}

fn json(intent: &Intent) -> Value {
    let summary = &intent.summary;
    json!({
        "intent": summary.intent,
        "label": summary.label,
        "events": summary.events,
        "micro_clusters": summary.micro_clusters,
        "coherence": summary.coherence,
        "first_sequence": summary.first,
        "last_sequence": summary.last,
        "tentative": summary.is_tentative,
        "successors": intent.successors,
        "examples": intent.examples.iter().map(hit_json).collect::<Vec<_>>(),
    })
}

fn hit_json(hit: &Hit) -> Value {
    let mut value = read::json(&hit.record);
    value["similarity"] = hit.similarity.into();
    value
}

async fn events(target: &Target, intent: IntentId, limit: u64, format: Format) -> Result<()> {
    // An intent that never was is an error, not an empty list.
    target.intent(intent, 0).await?;
    let mut records = target
        .list(Listing {
            after: 0,
            until: None,
            times: Times::default(),
            filter: Filter {
                intents: vec![intent],
                ..Filter::default()
            },
            reverse: false,
            include: Include {
                payload: true,
                embedding: false,
            },
            consistency: Consistency::Linearizable,
        })
        .take(usize::try_from(limit).unwrap_or(usize::MAX));
    let mut rows = Vec::new();
    while let Some(record) = records.next().await {
        match format {
            Format::Json => output::json(&read::json(&record?))?,
            Format::Table => rows.push(read::cells(&record?, false)),
        }
    }
    if format == Format::Json {
        return Ok(());
    }
    output::line(&read::table(rows, false))
}

async fn classify(target: &Target, embedding: &Embedding, format: Format) -> Result<()> {
    let told = target.classify(embedding).await?;
    let (micro_cluster, similarity) = told.micro_cluster.unzip();
    if format == Format::Json {
        let near = |&(intent, similarity): &(IntentId, f32)| json!({ "intent": intent, "similarity": similarity });
        return output::json(&json!({
            "micro_cluster": micro_cluster,
            "similarity": similarity,
            "intent": told.intent,
            "nearest": told.nearest.iter().map(near).collect::<Vec<_>>(),
        }));
    }
    output::line(&match (told.intent, similarity) {
        (Some(intent), Some(similarity)) => {
            format!("intent {intent} (similarity {similarity:.2} to its micro-cluster)")
        }
        (Some(intent), None) => format!("intent {intent}, in a new micro-cluster"),
        (None, _) => "a new intent".to_owned(),
    })?;
    let mut table = output::table(&["intent", "mean similarity"]);
    for (intent, similarity) in told.nearest {
        table.add_row([intent.to_string(), format!("{similarity:.3}")]);
    }
    output::line(&table.to_string())
}

pub(crate) async fn search(
    target: &Target,
    global: &Global,
    flags: cli::Search,
    format: Format,
) -> Result<()> {
    let found = target
        .search(Wanted {
            embedding: embed::query(target, &flags.query, &flags.embed, global.timeout).await?,
            limit: flags.limit,
            probes: (!flags.exact).then_some(flags.probes),
            filter: target.filter(flags.filter).await?,
            consistency: flags.read.consistency,
        })
        .await?;
    if format == Format::Json {
        return found
            .hits
            .iter()
            .try_for_each(|hit| output::json(&hit_json(hit)));
    }
    hits(&found.hits)?;
    let how = if found.is_exact {
        "every event that matches"
    } else {
        "those of the nearest intents; --exact compares all"
    };
    output::line(&format!("{} events compared: {how}", found.compared))
}
