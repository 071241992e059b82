//! Three agents over real utterances: triage says what each is about, work answers it, review corrects them, and triage
//! learns from that.
//!
//! ```sh
//! cargo run -p toka-agents --example pipeline                              # in memory
//! cargo run -p toka-agents --example pipeline -- --data ./pipeline         # again and again, on disk
//! cargo run -p toka-agents --example pipeline -- --endpoint 127.0.0.1:7311 # on a cluster, such as `toka dev`
//! ```
//!
//! `--events N` takes so many of the 2,000 utterances (300).

mod agents;
mod corpus;

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use smart_embedder::SmartEmbedder;
use toka_agents::{
    Agent, Counters, GroupSource, Projection, Runner, Settings, Smart, Source, Store,
};
use toka_client::Client;
use toka_ledger::{ConsumerName, EventDraft, Filter, GroupName, Selector, VaultBus};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::agents::{REVIEW, Review, Reviewed, Triage, Work};
use crate::corpus::Utterance;

/// Utterances that are committed together.
const BATCH_EVENTS: usize = 100;
/// Instances that share the work.
const WORKERS: usize = 2;

/// What is asked for on the command line.
struct Arguments {
    endpoints: Vec<String>,
    data: Option<String>,
    events: usize,
}

fn arguments() -> Result<Arguments> {
    let mut arguments = Arguments {
        endpoints: Vec::new(),
        data: None,
        events: 300,
    };
    let mut words = std::env::args().skip(1);
    while let Some(flag) = words.next() {
        let value = words
            .next()
            .with_context(|| format!("{flag} has no value"))?;
        match flag.as_str() {
            "--endpoint" => arguments.endpoints.push(value),
            "--data" => arguments.data = Some(value),
            "--events" => arguments.events = value.parse().context("--events is no number")?,
            _ => bail!("{flag} is not known: --endpoint HOST:PORT, --data DIRECTORY, --events N"),
        }
    }
    Ok(arguments)
}

async fn open(arguments: &Arguments) -> Result<Arc<dyn Store>> {
    if !arguments.endpoints.is_empty() {
        let endpoints = arguments.endpoints.iter().cloned();
        return Ok(Arc::new(Client::connect(endpoints).await?));
    }
    let vault = match &arguments.data {
        Some(directory) => VaultBus::open(directory)?,
        None => VaultBus::builder().open_in_memory()?,
    };
    Ok(Arc::new(vault))
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = arguments()?;
    let store = open(&arguments).await?;
    let embedder = SmartEmbedder::default();
    let utterances = corpus::read(arguments.events)?;
    let reviews = follow_reviews(&store);

    let stop = CancellationToken::new();
    let mut agents = JoinSet::new();
    start(
        &mut agents,
        &store,
        &embedder,
        Triage,
        "triage",
        None,
        &stop,
    )?;
    for number in 1..=WORKERS {
        let consumer = ConsumerName::new(&format!("work-{number}"))?;
        let group = GroupSource::new(GroupName::new("pipeline.work")?, consumer);
        start(
            &mut agents,
            &store,
            &embedder,
            Work,
            "work",
            Some(group),
            &stop,
        )?;
    }
    let review = Review::new(&utterances);
    start(
        &mut agents,
        &store,
        &embedder,
        review,
        "review",
        None,
        &stop,
    )?;

    commit(&*store, &embedder, &utterances).await?;
    while reviews.read(Vec::len) < utterances.len() {
        tokio::select! {
            progress = reviews.wait_for(reviews.position() + 1) => progress?,
            ended = agents.join_next() => {
                let (name, _) = ended.context("there are agents")??.context("an agent")?;
                bail!("{name} has ended before it was told to");
            }
        }
    }
    stop.cancel();
    while let Some(ended) = agents.join_next().await {
        let (name, counters) = ended?.context("an agent")?;
        println!("{name:7} {}", serde_json::to_string(&counters)?);
    }
    reviews.read(|reviews| report(reviews));
    show_lineage(&*store, &reviews).await
}

/// Runs an agent until it is told to stop.
fn start<A: Agent>(
    agents: &mut JoinSet<Result<(String, Counters)>>,
    store: &Arc<dyn Store>,
    embedder: &SmartEmbedder,
    agent: A,
    name: &str,
    group: Option<GroupSource>,
    stop: &CancellationToken,
) -> Result<()> {
    let mut settings = Settings::new(name)?;
    settings.embedder = Some(Arc::new(Smart(embedder.clone())));
    settings.snapshot_every = 100;
    if let Some(group) = group {
        settings.source = Source::Group(group);
    }
    let runner = Runner::new(agent, Arc::clone(store), settings)?;
    let stop = stop.clone();
    agents.spawn(async move {
        runner.run(&stop).await?;
        Ok((runner.name().to_owned(), runner.metrics().counters()))
    });
    Ok(())
}

/// Commits what people have said. What is in the vault already is not stored again.
async fn commit(
    store: &dyn Store,
    embedder: &SmartEmbedder,
    utterances: &[Utterance],
) -> Result<()> {
    for batch in utterances.chunks(BATCH_EVENTS) {
        let events = batch.iter().map(|one| (corpus::UTTERANCE, &one.text));
        let vectors = embedder.embed_events(events).await?;
        let drafts = batch.iter().zip(&vectors).map(|(one, vector)| {
            let draft = EventDraft::new(corpus::UTTERANCE).payload(&one.text);
            draft.embedding(vector).model(embedder.model_id())
        });
        store.commit(drafts.collect(), Vec::new()).await?;
    }
    Ok(())
}

/// A review, and where it is.
type Line = (u64, Reviewed);

fn follow_reviews(store: &Arc<dyn Store>) -> Projection<Vec<Line>> {
    let filter = Filter {
        kind_prefixes: vec![REVIEW.to_owned()],
        ..Filter::default()
    };
    let lines = Vec::new();
    Projection::follow(
        Arc::clone(store),
        filter,
        0,
        lines,
        |lines: &mut Vec<Line>, event| {
            if let Ok(reviewed) = event.payload_as() {
                lines.push((event.sequence(), reviewed));
            }
        },
    )
}

/// How many triage has got right, hundred by hundred.
fn report(reviews: &[Line]) {
    for (number, hundred) in (1..).zip(reviews.chunks(100)) {
        let right = hundred.iter().filter(|(_, reviewed)| reviewed.is_right);
        println!(
            "{:4} reviewed: {:3} of the last {} were right",
            (number - 1) * 100 + hundred.len(),
            right.count(),
            hundred.len()
        );
    }
}

/// What the last review comes from: its first parent, and so on.
async fn show_lineage(store: &dyn Store, reviews: &Projection<Vec<Line>>) -> Result<()> {
    let last = reviews.read(|reviews| reviews.last().map(|(sequence, _)| *sequence));
    let mut next = last.map(Selector::Sequence);
    println!("the last review comes from:");
    while let Some(selector) = next {
        let event = store
            .get(selector)
            .await?
            .context("an ancestor is missing")?;
        let by = event
            .header
            .attributes
            .source
            .as_deref()
            .unwrap_or("people");
        println!("{:6} {:10} by {by}", event.sequence(), event.kind());
        next = event
            .header
            .parents
            .first()
            .map(|parent| Selector::Id(parent.id));
    }
    Ok(())
}
