//! A replay, for people.

use std::fmt::Write as _;

use toka_agents::Event;
use toka_ledger::EventHeader;

use super::{Compared, Divergence, Emitted, Replayed};

/// Characters of a payload in one line.
const PAYLOAD_CHARACTERS: usize = 200;

/// A payload in one line: as JSON if it is MessagePack, else its size.
#[must_use]
pub fn payload(bytes: &[u8]) -> String {
    let text = match rmp_serde::from_slice::<serde_json::Value>(bytes) {
        Ok(value) => value.to_string(),
        Err(_) => return format!("<{} bytes>", bytes.len()),
    };
    if text.chars().count() <= PAYLOAD_CHARACTERS {
        return text;
    }
    let mut short: String = text.chars().take(PAYLOAD_CHARACTERS).collect();
    short.push('…');
    short
}

/// An event in one line.
#[must_use]
pub fn event(event: &Event) -> String {
    let shown = match &event.payload {
        Some(bytes) => payload(bytes),
        None => "<erased>".to_owned(),
    };
    format!("{} {shown}", header(&event.header))
}

fn header(header: &EventHeader) -> String {
    let by = header.attributes.source.as_ref();
    let by = by.map_or_else(String::new, |by| format!(" by {by}"));
    format!("#{} {}{by}", header.sequence, header.kind)
}

fn emitted(event: &Emitted) -> String {
    format!("{} {}", event.kind, payload(&event.payload))
}

/// One step in a line.
#[must_use]
pub fn step(compared: &Compared) -> String {
    let mark = match compared.divergence() {
        None => "same   ",
        Some(_) => "DIFFERS",
    };
    let answers = match &compared.replayed {
        Replayed::Emitted(emitted) => {
            let kinds: Vec<_> = emitted.iter().map(|event| event.kind.as_str()).collect();
            match kinds.is_empty() {
                true => "nothing".to_owned(),
                false => kinds.join(", "),
            }
        }
        Replayed::Failed(reason) => format!("failure: {reason}"),
    };
    format!("{mark} {} -> {answers}", event(&compared.event))
}

/// Where an answer differs, with what led to it; empty if it does not differ. `causes` are those of the event.
#[must_use]
pub fn divergence(compared: &Compared, causes: &[Event]) -> String {
    let Some(divergence) = compared.divergence() else {
        return String::new();
    };
    let mut text = format!("In answer to {}\n", event(&compared.event));
    let (then, now) = match divergence {
        Divergence::Event {
            place,
            recorded,
            replayed,
        } => {
            line(&mut text, &format!("at place {place} of its reaction"));
            let nothing = || "nothing".to_owned();
            (
                recorded.map_or_else(nothing, event),
                replayed.map_or_else(nothing, emitted),
            )
        }
        Divergence::FailsNow(reason) => {
            let recorded = compared.recorded.iter().map(event).collect::<Vec<_>>();
            let then = match recorded.is_empty() {
                true => "nothing".to_owned(),
                false => recorded.join("; "),
            };
            (then, format!("failure: {reason}"))
        }
        Divergence::FailedThen(parked) => (event(parked), answer(compared)),
    };
    line(&mut text, &format!("- recorded: {then}"));
    line(&mut text, &format!("+ now:      {now}"));
    if !causes.is_empty() {
        line(&mut text, "which came of");
    }
    for cause in causes {
        line(&mut text, &format!("  {}", event(cause)));
    }
    text
}

fn answer(compared: &Compared) -> String {
    match &compared.replayed {
        Replayed::Emitted(events) if events.is_empty() => "nothing".to_owned(),
        Replayed::Emitted(events) => events.iter().map(emitted).collect::<Vec<_>>().join("; "),
        Replayed::Failed(reason) => format!("failure: {reason}"),
    }
}

fn line(text: &mut String, added: &str) {
    writeln!(text, "  {added}").expect("writing to a string does not fail");
}
