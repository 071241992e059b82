//! `toka commit`: one event.

use std::collections::BTreeSet;
use std::io::Read as _;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use toka_ledger::command::{ParentName, Precondition};
use toka_ledger::prepare::{EventDraft, is_claim};
use toka_ledger::read::Selector;
use toka_ledger::{CursorName, EventHeader, GroupName, Kind};

use crate::cli::{self, Consistency, Format, Global};
use crate::embed::{self, Embedder};
use crate::failure::Failure;
use crate::target::{Include, Target, parse_selector};
use crate::{output, payload};

pub(crate) async fn run(
    target: &Target,
    global: &Global,
    flags: cli::Commit,
    format: Format,
) -> Result<()> {
    if let Some(history_id) = flags.history {
        target.expect_history(history_id)?;
    }
    let preconditions = preconditions(target, &flags).await?;
    let payload = read_payload(&flags)?;
    let mut draft = EventDraft::new(&flags.kind).payload_bytes(payload.clone());
    for parent in &flags.parent {
        draft = draft.parent_by_name(parent_name(target, parent).await?);
    }
    let salt = salt(&flags, &preconditions)?;
    if let Some(salt) = &salt {
        draft = draft.salt(salt);
    }
    let wants_embedding = flags.embedding.is_some() || flags.embed.spec().is_some();
    if let Some(embedding) = &flags.embedding {
        draft = draft.embedding(&embed::read_vector(embedding)?);
    } else if let Some(embedder) = Embedder::wanted(&flags.embed, global.timeout).await? {
        let event = embed::event(&flags.kind, &payload)?;
        let embedded = embedder.embed(vec![(draft, Some(event))]).await?;
        draft = embedded.into_iter().next().context("one draft went in")?;
    }
    if let Some(model) = &flags.embedding_model {
        draft = draft.model(model);
    }
    if let Some(source) = flags.source {
        draft = draft.source(source);
    }
    if let Some(content_type) = flags.content_type {
        draft = draft.content_type(content_type);
    }
    let mut names = BTreeSet::new();
    for (name, value) in flags.attribute {
        if !names.insert(name.clone()) {
            bail!(Failure::Usage(format!(
                "attribute {name:?} is given twice; it has one value"
            )));
        }
        draft = draft.attribute(name, value);
    }
    let committed = commit(target, draft, preconditions).await;
    let headers = match (committed, salt, flags.salt) {
        // What was made here must be known for a repeat to be the same event. Where preconditions did not hold nothing
        // was stored that a repeat could find.
        (Err(error), Some(salt), None) if !is_violation(&error) && !is_absent(&error) => {
            let salt = output::hex(&salt);
            return Err(error.context(format!("to repeat this commit safely, add --salt {salt}")));
        }
        (committed, _, _) => committed?,
    };
    let header = headers
        .first()
        .context("the vault answered without an event")?;
    show(header, format)?;
    if wants_embedding && header.embedding.is_none() {
        eprintln!("note: {}", embed::STORED_WITHOUT);
    }
    Ok(())
}

/// Commits. A delivery is of no consumer also where there is no such group: that is said then.
async fn commit(
    target: &Target,
    draft: EventDraft,
    preconditions: Vec<Precondition>,
) -> Result<Vec<EventHeader>> {
    let group = |condition: &Precondition| match condition {
        Precondition::Acknowledge { group, .. } => Some(group.clone()),
        _ => None,
    };
    let groups: Vec<GroupName> = preconditions.iter().filter_map(group).collect();
    let violated = match target.commit(vec![draft], preconditions).await {
        Err(error) if is_violation(&error) => error,
        committed => return committed,
    };
    for group in groups {
        if let Err(error) = target.group(&group).await
            && is_absent(&error)
        {
            bail!(Failure::NotFound(format!("group {group}; {violated}")));
        }
    }
    Err(violated)
}

fn is_violation(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<Failure>(), Some(Failure::Violated(_)))
}

fn is_absent(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<Failure>(), Some(Failure::NotFound(_)))
}

fn show(header: &EventHeader, format: Format) -> Result<()> {
    match format {
        Format::Json => {
            let mut value = output::event_json(header, None);
            value["deduplicated"] = header.deduplicated.into();
            output::json(&value)
        }
        Format::Table => {
            let what = if header.deduplicated {
                "already stored"
            } else {
                "stored"
            };
            output::line(&format!(
                "{what}: {} (sequence {}, digest {})",
                header.id, header.sequence, header.digest
            ))
        }
    }
}

fn read_payload(flags: &cli::Commit) -> Result<Bytes> {
    let text = match (&flags.file, flags.payload.as_deref()) {
        (Some(path), _) => {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?
        }
        (None, Some("-")) => {
            let mut text = Vec::new();
            std::io::stdin()
                .lock()
                .read_to_end(&mut text)
                .context("cannot read standard input")?;
            text
        }
        (None, Some(text)) => text.as_bytes().to_vec(),
        (None, None) => b"null".to_vec(),
    };
    if flags.raw {
        Ok(text.into())
    } else {
        payload::from_json_text(&text)
    }
}

/// A claim gets a salt, so that two claimants never look the same.
fn salt(flags: &cli::Commit, preconditions: &[Precondition]) -> Result<Option<Vec<u8>>> {
    if let Some(digits) = &flags.salt {
        return Ok(Some(payload::from_hex(digits).context("--salt")?));
    }
    if flags.unique || is_claim(preconditions) {
        let salt = toka_ledger::seam::Seams::system().random_u128();
        return Ok(Some(salt.to_be_bytes().to_vec()));
    }
    Ok(None)
}

async fn preconditions(target: &Target, flags: &cli::Commit) -> Result<Vec<Precondition>> {
    let mut preconditions = Vec::new();
    for (parent, kind) in &flags.no_child {
        let parent = parent_name(target, parent).await?;
        preconditions.push(Precondition::NoChild {
            parent,
            kind: Kind::new(kind)?,
        });
    }
    for (kind, sequence) in &flags.kind_sequence {
        preconditions.push(Precondition::KindSequence {
            kind: Kind::new(kind)?,
            sequence: *sequence,
        });
    }
    for (prefix, sequence) in &flags.prefix_sequence {
        preconditions.push(Precondition::KindPrefixSequence {
            prefix: prefix.clone(),
            sequence: *sequence,
        });
    }
    for (group, token) in &flags.acknowledge {
        preconditions.push(Precondition::Acknowledge {
            group: GroupName::new(group)?,
            incarnation: token.incarnation,
            sequence: token.sequence,
            delivery: token.delivery,
        });
    }
    if let Some(unix_ms) = flags.time_passed {
        preconditions.push(Precondition::TimePassed { unix_ms });
    }
    for way in &flags.cursor {
        preconditions.push(Precondition::CursorMove {
            name: CursorName::new(&way.name)?,
            from: way.from,
            to: way.to,
        });
    }
    Ok(preconditions)
}

/// A parent by id or digest as it is; by sequence it is looked up.
async fn parent_name(target: &Target, text: &str) -> Result<ParentName> {
    Ok(match parse_selector(text)? {
        Selector::Id(id) => ParentName::Id(id),
        Selector::Digest(digest) => ParentName::Digest(digest),
        selector @ Selector::Sequence(_) => {
            let parent = target.get(selector, Include::default(), Consistency::Linearizable);
            match parent.await? {
                Some(record) => ParentName::Id(record.header.id),
                None => bail!(Failure::NotFound(format!("event {text}"))),
            }
        }
    })
}
