//! The graph as a picture.

use anyhow::{Result, bail};
use toka_ledger::EventHeader;
use toka_ledger::read::lineage::Relation;
use toka_picture::graph::{self, Event};

use super::Shown;
use crate::cli;
use crate::failure::Failure;
use crate::output::visible;

/// What the picture is called: the question that it answers.
pub(super) fn title(flags: &cli::Lineage) -> String {
    let event = flags.event.as_deref().unwrap_or_default();
    let title = match (flags.diff.as_slice(), &flags.common) {
        ([without, of], _) => format!("What {of} has in its history and {without} has not"),
        (_, Some(other)) => format!("Common ancestors of {event} and {other}"),
        _ if flags.heads => "Events that no other one depends on".to_owned(),
        _ if flags.both => format!("What {event} depends on, and what depends on it"),
        _ if flags.descendants => format!("What depends on {event}"),
        _ => format!("What {event} depends on"),
    };
    visible(&title).into_owned()
}

/// The document.
///
/// # Errors
/// [`Failure::Refused`] for a graph that is too large for a picture.
pub(super) fn svg(title: &str, events: &[Shown]) -> Result<String> {
    let events: Vec<Event> = events.iter().map(event).collect();
    match graph::svg(title, &events) {
        Ok(document) => Ok(document),
        Err(error @ toka_picture::Error::TooMany { .. }) => bail!(Failure::Refused(format!(
            "{error}; show less of it, or write it with --format dot, mermaid or json"
        ))),
        Err(error) => Err(error.into()),
    }
}

fn event(shown: &Shown) -> Event {
    let header = &shown.header;
    let id = header.id.to_string();
    // Ids begin with their time, which is much the same for all: the end tells them apart.
    let end = id.rsplit('-').next().unwrap_or(&id);
    let parents = header.parents.iter();
    let source = header.attributes.source.as_deref();
    Event {
        sequence: header.sequence,
        kind: visible(header.kind.as_str()).into_owned(),
        source: source.map(|source| visible(source).into_owned()),
        short_id: format!("…{end}"),
        details: details(header, shown.place),
        parents: parents.map(|parent| parent.id.sequence()).collect(),
        is_start: shown.is_start(),
    }
}

/// What is shown of an event on hovering, line by line.
fn details(header: &EventHeader, place: Option<(u32, Relation)>) -> Vec<String> {
    let mut lines = vec![
        format!("{} {}", header.sequence, header.kind),
        format!("id {}", header.id),
        format!("digest {}", header.digest),
        toka_backup::rfc3339(header.unix_ms),
        format!("payload of {} bytes", header.payload_bytes),
    ];
    if let Some(intent) = header.intent {
        lines.push(format!("intent {intent}"));
    }
    let attributes = &header.attributes;
    if let Some(source) = &attributes.source {
        lines.push(format!("source={source}"));
    }
    if let Some(content_type) = &attributes.content_type {
        lines.push(format!("content_type={content_type}"));
    }
    let pairs = attributes.pairs.iter();
    lines.extend(pairs.map(|(name, value)| format!("{name}={value}")));
    match place {
        None | Some((0, _)) => {}
        Some((depth, Relation::Ancestors)) => lines.push(format!("ancestor, {depth} steps away")),
        Some((depth, Relation::Descendants)) => {
            lines.push(format!("descendant, {depth} steps away"));
        }
    }
    let lines = lines.iter().map(|line| visible(line).into_owned());
    lines.collect()
}
