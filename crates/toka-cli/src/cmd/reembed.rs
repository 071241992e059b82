//! `toka reembed`: a vault with the embeddings of another model.
//!
//! Identity is payload, kind, parents and salt, so the copy has the same digests. Events are stored in
//! the order of the original, and every answer is compared with it; that also makes a run that broke off
//! one that is continued by repeating it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::json;
use toka_ledger::prepare::EventDraft;
use toka_ledger::{Digest, EventHeader, Filter};

use super::import::{Unembedded, embedded};
use crate::cli::{self, Consistency, Format, Global};
use crate::embed::{self, Embedder};
use crate::failure::Failure;
use crate::output::{self, PayloadView};
use crate::progress;
use crate::target::{Include, Listing, Record, Target};

/// Commits without an answer.
const IN_FLIGHT: usize = 512;

pub(crate) async fn run(
    source: &Target,
    global: &Global,
    flags: cli::Reembed,
    format: Format,
) -> Result<()> {
    let Some(spec) = flags.embed.spec() else {
        bail!(Failure::Usage(
            "name the new model with --embedder or TOKA_EMBEDDER".to_owned()
        ));
    };
    let embedder = Embedder::open(spec).await?;
    let target = open(global, &flags).await?;
    let copied = copy(source, &target, embedder, flags.all).await;
    let closed = target.close().await;
    let (copied, ()) = (copied?, closed?);
    match format {
        Format::Json => output::json(&json!({
            "events": copied.events,
            "embedded": copied.embedded,
            "deduplicated": copied.deduplicated,
            "seconds": copied.seconds,
        })),
        Format::Table => output::line(&format!(
            "{} events in {:.1} s, {} of them with an embedding; digests and order are those of the \
             original",
            copied.events, copied.seconds, copied.embedded
        )),
    }
}

struct Copied {
    events: u64,
    embedded: u64,
    deduplicated: u64,
    seconds: f64,
}

async fn open(global: &Global, flags: &cli::Reembed) -> Result<Target> {
    if let (Some(from), Some(to)) = (&global.data, &flags.directory)
        && std::path::absolute(from)? == std::path::absolute(to)?
    {
        bail!(Failure::Usage(
            "the new vault needs a directory of its own".to_owned()
        ));
    }
    let new = Global {
        endpoint: flags.to.clone(),
        context: None,
        data: flags.directory.clone(),
        output: global.output,
        timeout: global.timeout,
    };
    Target::open(&new, true).await.context("the new vault")
}

async fn copy(
    source: &Target,
    target: &Target,
    embedder: Embedder,
    embed_all: bool,
) -> Result<Copied> {
    let begin = Instant::now();
    let bar = progress::bar(0, "events");
    // Sequence and digest in the original of what has no answer yet.
    let expected: Mutex<VecDeque<(u64, Digest)>> = Mutex::default();
    let records = source.list(Listing {
        after: 0,
        until: None,
        filter: Filter::default(),
        reverse: false,
        include: Include {
            payload: true,
            embedding: false,
        },
        consistency: Consistency::Linearizable,
    });
    let drafts = records.and_then(|record| {
        let header = &record.header;
        let mut expected = expected.lock().unwrap_or_else(PoisonError::into_inner);
        expected.push_back((header.sequence, header.digest));
        let draft = draft(&record, embed_all);
        futures::future::ready(
            draft.with_context(|| format!("event {} (sequence {})", header.id, header.sequence)),
        )
    });
    let mut answers = target.commit_all(embedded(drafts, embedder).boxed(), IN_FLIGHT);
    let mut copied = Copied {
        events: 0,
        embedded: 0,
        deduplicated: 0,
        seconds: 0.0,
    };
    while let Some(answer) = answers.next().await {
        let header = answer?;
        let mut expected = expected.lock().unwrap_or_else(PoisonError::into_inner);
        let original = expected.pop_front().context("more answers than events")?;
        drop(expected);
        check(&header, original)?;
        copied.events += 1;
        copied.embedded += u64::from(header.embedding.is_some());
        copied.deduplicated += u64::from(header.deduplicated);
        bar.inc(1);
    }
    bar.finish_and_clear();
    copied.seconds = begin.elapsed().as_secs_f64();
    Ok(copied)
}

/// The event again, to be embedded anew.
fn draft(record: &Record, embed_all: bool) -> Result<Unembedded> {
    let header = &record.header;
    let Some(PayloadView::Present(payload)) = &record.payload else {
        bail!(Failure::Refused(
            "its payload was erased, so it cannot be copied".to_owned()
        ));
    };
    let mut draft = EventDraft::new(header.kind.as_str())
        .payload_bytes(payload.clone())
        .salt(header.salt.as_bytes())
        .parents_by_digest(header.parents.iter().map(|parent| parent.digest));
    let attributes = &header.attributes;
    if let Some(source) = &attributes.source {
        draft = draft.source(source);
    }
    if let Some(content_type) = &attributes.content_type {
        draft = draft.content_type(content_type);
    }
    for (name, value) in &attributes.pairs {
        draft = draft.attribute(name, value);
    }
    let is_embedded = embed_all || header.embedding.is_some();
    let event = is_embedded.then(|| embed::event(header.kind.as_str(), payload));
    Ok((draft, event.transpose()?))
}

fn check(header: &EventHeader, (sequence, digest): (u64, Digest)) -> Result<()> {
    if (header.sequence, header.digest) == (sequence, digest) {
        return Ok(());
    }
    bail!(Failure::Refused(format!(
        "event {digest} has sequence {sequence} in the original, and {} in the new vault: other events \
         were stored there. Copy into an empty vault, or repeat an interrupted copy",
        header.sequence
    )))
}
