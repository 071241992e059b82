//! `toka import`: JSON Lines into the vault.
//!
//! Digests are computed here, so that an event can name parents which are still on their way; that
//! keeps the stream full. Repeating an import stores nothing twice, which is how one that broke
//! off is resumed.

mod line;

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use indicatif::ProgressBar;
use serde_json::json;
use toka_ledger::credentials::AUDIT_KIND_PREFIX;
use toka_ledger::read::Selector;
use toka_ledger::{Digest, EventId};
use tokio::io::AsyncRead;
use tokio_util::codec::{FramedRead, LinesCodec};

pub(crate) use self::line::Line;
use crate::cli::{self, Consistency, Format, Global};
use crate::embed::{self, Embedder, Unembedded};
use crate::failure::Failure;
use crate::target::{Include, Target};
use crate::{output, progress};

/// Longest line, bytes: the largest payload as JSON with room for an embedding.
const LINE_BYTES_MAX: usize = 16 << 20;

/// Read at once, so that what is ready makes whole batches.
const READ_BYTES: usize = 1 << 20;

/// The lines that were sent and have no answer yet: number and `ref`.
type Sent = Arc<Mutex<VecDeque<(u64, Option<String>)>>>;

pub(crate) async fn run(
    target: &Target,
    global: &Global,
    flags: cli::Import,
    format: Format,
) -> Result<()> {
    let begin = Instant::now();
    let (input, length) = open(&flags.file).await?;
    let bar = progress::bar(length, "bytes");
    let sent = Sent::default();
    let embedder = Embedder::wanted(&flags.embed, global.timeout).await?;
    let wants_embeddings = embedder.is_some();
    let drafts = drafts(target, input, flags.rate, wants_embeddings, &sent, &bar);
    let drafts = match embedder {
        Some(embedder) => embedder.embed_all(drafts).boxed(),
        None => drafts.map_ok(|(draft, _)| draft).boxed(),
    };
    let mut results = target.commit_all(drafts, flags.in_flight as usize);
    let (mut events, mut deduplicated, mut without) = (0_u64, 0_u64, 0_u64);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        let next = tokio::select! {
            biased;
            _ = &mut interrupted => Some(Err(Failure::Interrupted.into())),
            next = results.next() => next,
        };
        let Some(result) = next else { break };
        if result.is_err() && events > 0 {
            bar.suspend(|| {
                eprintln!("note: {events} events are stored; repeat the import to go on")
            });
        }
        let line = sent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        let number = line.as_ref().map(|(number, _)| *number);
        let header = match (result, number) {
            (Ok(header), _) => header,
            (Err(error), Some(number)) => {
                return Err(error.context(format!(
                    "line {number}, and nothing after it, is not \
                    confirmed; repeating the import is safe"
                )));
            }
            (Err(error), None) => return Err(error),
        };
        events += 1;
        deduplicated += u64::from(header.deduplicated);
        without += u64::from(wants_embeddings && header.embedding.is_none());
        if format == Format::Json {
            output::json(&json!({
                "ref": line.and_then(|(_, name)| name),
                "id": header.id,
                "sequence": header.sequence,
                "digest": header.digest,
                "deduplicated": header.deduplicated,
            }))?;
        }
    }
    bar.finish_and_clear();
    summary(format, events, deduplicated, begin.elapsed())?;
    if without > 0 {
        eprintln!("note: {without} events were {}", embed::STORED_WITHOUT);
    }
    Ok(())
}

fn summary(format: Format, events: u64, deduplicated: u64, elapsed: Duration) -> Result<()> {
    let (stored, seconds) = (events - deduplicated, elapsed.as_secs_f64());
    match format {
        Format::Json => output::json(&json!({
            "events": events,
            "stored": stored,
            "deduplicated": deduplicated,
            "seconds": seconds,
        })),
        Format::Table => output::line(&format!(
            "{events} events in {seconds:.1} s: {stored} stored, {deduplicated} already stored"
        )),
    }
}

/// The input, and its length in bytes (0 if not known).
async fn open(path: &Path) -> Result<(Box<dyn AsyncRead + Send + Unpin>, u64)> {
    if path == Path::new("-") {
        return Ok((Box::new(tokio::io::stdin()), 0));
    }
    let file = tokio::fs::File::open(path)
        .await
        .with_context(|| format!("cannot open {}", path.display()))?;
    let length = file.metadata().await?.len();
    Ok((Box::new(file), length))
}

/// Each line as a draft, its parents named by their digests, and what is to be embedded of it.
fn drafts<'a>(
    target: &'a Target,
    input: Box<dyn AsyncRead + Send + Unpin>,
    rate: Option<u32>,
    to_embed: bool,
    sent: &Sent,
    bar: &ProgressBar,
) -> impl Stream<Item = Result<Unembedded>> + Send + use<'a> {
    let lines = FramedRead::with_capacity(
        input,
        LinesCodec::new_with_max_length(LINE_BYTES_MAX),
        READ_BYTES,
    );
    let names = Names {
        target,
        by_ref: HashMap::new(),
        by_id: HashMap::new(),
    };
    let state = State {
        lines,
        names,
        number: 0,
        to_embed,
        has_left_out: false,
        pace: Pace::new(rate),
        sent: Arc::clone(sent),
        bar: bar.clone(),
    };
    futures::stream::try_unfold(state, |mut state| async move {
        Ok(state.next().await?.map(|draft| (draft, state)))
    })
}

struct State<'a> {
    lines: FramedRead<Box<dyn AsyncRead + Send + Unpin>, LinesCodec>,
    names: Names<'a>,
    number: u64,
    to_embed: bool,
    /// Events that the vault alone makes were left out.
    has_left_out: bool,
    pace: Pace,
    sent: Sent,
    bar: ProgressBar,
}

impl State<'_> {
    async fn next(&mut self) -> Result<Option<Unembedded>> {
        loop {
            let Some(text) = self.lines.next().await else {
                return Ok(None);
            };
            self.number += 1;
            let number = self.number;
            let text = text.with_context(|| format!("line {number}"))?;
            self.bar.inc(text.len() as u64 + 1);
            if text.trim().is_empty() {
                continue;
            }
            let line = Line::parse(&text).with_context(|| format!("line {number}"))?;
            if line.is_audit() {
                self.leave_out(number);
                continue;
            }
            self.pace.wait().await;
            let (name, draft) = self
                .draft(line)
                .await
                .with_context(|| format!("line {number}"))?;
            let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.push_back((number, name));
            return Ok(Some(draft));
        }
    }

    /// What another vault has written down of itself is none of this one's.
    fn leave_out(&mut self, number: u64) {
        if !self.has_left_out {
            self.has_left_out = true;
            self.bar.suspend(|| {
                eprintln!(
                    "note: line {number}, and others like it, are left out: events of kinds under \
                     {AUDIT_KIND_PREFIX} are made by the vault alone"
                )
            });
        }
    }

    async fn draft(&mut self, line: Line) -> Result<(Option<String>, Unembedded)> {
        let mut parents = Vec::with_capacity(line.parents.len());
        for parent in &line.parents {
            parents.push(self.names.resolve(parent).await?);
        }
        let (draft, digest) = line.draft(&parents, self.to_embed)?;
        if let Some(name) = &line.name
            && let Some(other) = self.names.by_ref.insert(name.clone(), digest)
            && other != digest
        {
            bail!("ref {name:?} names two different events");
        }
        Ok((line.name, draft))
    }
}

/// What parents are called.
struct Names<'a> {
    target: &'a Target,
    by_ref: HashMap<String, Digest>,
    by_id: HashMap<EventId, Digest>,
}

impl Names<'_> {
    /// A `ref` of an earlier line, a digest, or the id of an event in the vault.
    async fn resolve(&mut self, name: &str) -> Result<Digest> {
        if let Some(digest) = self.by_ref.get(name) {
            return Ok(*digest);
        }
        if let Ok(digest) = name.parse() {
            return Ok(digest);
        }
        let Ok(id) = name.parse::<EventId>() else {
            bail!("parent {name:?} is no ref of an earlier line, no digest and no id");
        };
        if let Some(digest) = self.by_id.get(&id) {
            return Ok(*digest);
        }
        let selector = Selector::Id(id);
        let parent = self
            .target
            .get(selector, Include::default(), Consistency::Linearizable)
            .await?;
        let Some(parent) = parent else {
            bail!("parent {name} is not in the vault")
        };
        self.by_id.insert(id, parent.header.digest);
        Ok(parent.header.digest)
    }
}

/// Spreads events evenly over time.
struct Pace {
    interval: Option<tokio::time::Interval>,
}

impl Pace {
    fn new(rate: Option<u32>) -> Self {
        let interval = rate.map(|rate| tokio::time::interval(Duration::from_secs(1) / rate));
        Self { interval }
    }

    async fn wait(&mut self) {
        if let Some(interval) = &mut self.interval {
            interval.tick().await;
        }
    }
}
