//! `toka reembed`: a vault with the embeddings of another model.
//!
//! Identity is payload, kind, parents and salt, so the copy has the same digests. Events are stored in
//! the order of the original, and every answer is compared with it. What the new vault holds at the
//! beginning must be what such a copy begins with: then a run that broke off is continued.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::json;
use toka_ledger::prepare::EventDraft;
use toka_ledger::{Digest, EventHeader, Filter};

use crate::cli::{self, Consistency, Format, Global};
use crate::embed::{self, Embedder, Unembedded};
use crate::failure::Failure;
use crate::output::{self, PayloadView};
use crate::progress;
use crate::target::{Include, Listing, Record, Target, Times};

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
    let embedder = Embedder::open(spec, global.timeout).await?;
    let target = open(source, global, &flags).await?;
    let copied = async {
        let begun = begun(source, &target, &embedder, &flags).await?;
        copy(source, &target, embedder, &flags, begun).await
    };
    let copied = copied.await;
    let closed = target.close().await;
    let (copied, ()) = (copied?, closed?);
    match format {
        Format::Json => output::json(&json!({
            "events": copied.events,
            "embedded": copied.embedded,
            "copied_before": copied.before,
            "seconds": copied.seconds,
        })),
        Format::Table => output::line(&format!(
            "{} events in {:.1} s, {} of them with an embedding, {} copied before; digests and order are \
             those of the original",
            copied.events, copied.seconds, copied.embedded, copied.before
        )),
    }
}

#[derive(Clone, Copy, Default)]
struct Copied {
    /// In the new vault, and those of them with an embedding.
    events: u64,
    embedded: u64,
    /// Those that an earlier run has copied, and the sequence of the last one.
    before: u64,
    last: u64,
    seconds: f64,
}

async fn open(source: &Target, global: &Global, flags: &cli::Reembed) -> Result<Target> {
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
        // Credentials and authorities are those of the original.
        ..global.clone()
    };
    let intents = source.intent_settings().await?.unwrap_or_default();
    let target = Target::open_with(&new, true, intents);
    let target = target.await.context("the new vault")?;
    if let Some(theirs) = target.intent_settings().await?
        && theirs != intents
    {
        // A cluster has settings of its own, and an earlier run may have had others.
        eprintln!("note: the new vault groups its events by other settings than the original");
    }
    Ok(target)
}

/// What an earlier run has copied.
///
/// # Errors
/// The new vault is no copy of `source` with this model, or the beginning of one. Nothing was written.
async fn begun(
    source: &Target,
    target: &Target,
    embedder: &Embedder,
    flags: &cli::Reembed,
) -> Result<Copied> {
    let refused = |why: String| {
        Failure::Refused(format!(
            "the new vault {why}. Copy into an empty vault, or repeat an interrupted copy"
        ))
    };
    if let Some(model) = target.embedding_model().await?
        && model != embedder.model()
    {
        let ours = embedder.model();
        bail!(refused(format!(
            "has embeddings of {model:?}, not {ours:?}"
        )));
    }
    // Only the payload tells what cannot be embedded.
    let include = Include {
        payload: flags.skip_unreadable,
        embedding: false,
    };
    let mut originals = source.list(listing(0, include));
    let mut copies = target.list(listing(0, Include::default()));
    let mut begun = Copied::default();
    while let Some(copy) = copies.next().await {
        let copy = copy?.header;
        let is_copy = match originals.next().await.transpose()? {
            Some(original) => {
                let is_embedded = match flags.skip_unreadable {
                    true => draft(&original, flags)?.1.is_some(),
                    false => flags.all || original.header.embedding.is_some(),
                };
                let original = &original.header;
                (original.sequence, original.digest) == (copy.sequence, copy.digest)
                    && is_embedded == copy.embedding.is_some()
            }
            None => false,
        };
        if !is_copy {
            bail!(refused(format!(
                "holds event {} (sequence {}), which is not there in the original, or not embedded alike",
                copy.id, copy.sequence
            )));
        }
        begun.events += 1;
        begun.embedded += u64::from(copy.embedding.is_some());
        begun.last = copy.sequence;
    }
    begun.before = begun.events;
    Ok(begun)
}

/// All events after a sequence.
fn listing(after: u64, include: Include) -> Listing {
    Listing {
        after,
        until: None,
        times: Times::default(),
        filter: Filter::default(),
        reverse: false,
        include,
        consistency: Consistency::Linearizable,
    }
}

async fn copy(
    source: &Target,
    target: &Target,
    embedder: Embedder,
    flags: &cli::Reembed,
    begun: Copied,
) -> Result<Copied> {
    let begin = Instant::now();
    let bar = progress::bar(0, "events");
    // Sequence and digest in the original of what has no answer yet.
    let expected: Mutex<VecDeque<(u64, Digest)>> = Mutex::default();
    let payloads = Include {
        payload: true,
        embedding: false,
    };
    let records = source.list(listing(begun.last, payloads));
    let drafts = records.and_then(|record| {
        let header = &record.header;
        let mut expected = expected.lock().unwrap_or_else(PoisonError::into_inner);
        expected.push_back((header.sequence, header.digest));
        let draft = draft(&record, flags);
        futures::future::ready(
            draft.with_context(|| format!("event {} (sequence {})", header.id, header.sequence)),
        )
    });
    let mut answers = target.commit_all(embedder.embed_all(drafts).boxed(), IN_FLIGHT);
    let mut copied = begun;
    while let Some(answer) = answers.next().await {
        let header = answer?;
        let mut expected = expected.lock().unwrap_or_else(PoisonError::into_inner);
        let original = expected.pop_front().context("more answers than events")?;
        drop(expected);
        check(&header, original)?;
        copied.events += 1;
        copied.embedded += u64::from(header.embedding.is_some());
        bar.inc(1);
    }
    bar.finish_and_clear();
    copied.seconds = begin.elapsed().as_secs_f64();
    Ok(copied)
}

/// The event again, to be embedded anew.
fn draft(record: &Record, flags: &cli::Reembed) -> Result<Unembedded> {
    let header = &record.header;
    let Some(PayloadView::Present(payload)) = &record.payload else {
        bail!(Failure::Refused(
            "its payload was erased, so it cannot be copied".to_owned()
        ));
    };
    let draft = EventDraft::new(header.kind.as_str())
        .payload_bytes(payload.clone())
        .salt(header.salt.as_bytes())
        .parents_by_digest(header.parents.iter().map(|parent| parent.digest))
        .attributes(header.attributes.clone());
    let is_embedded = flags.all || header.embedding.is_some();
    let event = is_embedded.then(|| embed::event(header.kind.as_str(), payload));
    match event {
        Some(Err(_)) if flags.skip_unreadable => Ok((draft, None)),
        event => Ok((draft, event.transpose()?)),
    }
}

fn check(header: &EventHeader, (sequence, digest): (u64, Digest)) -> Result<()> {
    if (header.sequence, header.digest) == (sequence, digest) {
        return Ok(());
    }
    bail!(Failure::Refused(format!(
        "event {digest} has sequence {sequence} in the original, and {} in the new vault: something else \
         is storing events there, so it is no copy; begin again with an empty vault",
        header.sequence
    )))
}
