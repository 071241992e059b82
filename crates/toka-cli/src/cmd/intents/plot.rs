//! `toka intents --plot`: a map of the intents, in a file.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use toka_picture::map::{self, Bubble, INTENTS_MAX, Map};

use crate::cli::{self, Format, PlotFile, PlotFormat};
use crate::failure::Failure;
use crate::output::{self, PayloadView, visible};
use crate::target::{Hit, Intent, Target};

/// Intents on a map unless told otherwise.
const INTENTS_DEFAULT: usize = 200;
/// Examples of each unless told otherwise.
const EXAMPLES_DEFAULT: u32 = 3;
/// Characters of an example.
const EXAMPLE_CHARACTERS: usize = 200;

pub(super) async fn run(
    target: &Target,
    flags: &cli::Intents,
    file: &PlotFile,
    format: Format,
) -> Result<()> {
    let limit = flags.limit.unwrap_or(INTENTS_DEFAULT);
    if limit > INTENTS_MAX {
        bail!(Failure::Usage(format!(
            "--limit {limit} is more than a map has room for: at most {INTENTS_MAX}"
        )));
    }
    let examples = flags.examples.unwrap_or(EXAMPLES_DEFAULT);
    let skip_tentative = flags.skip_tentative;
    // Only to know what is left off. Before the others, so that an intent that comes meanwhile is not taken for that.
    let all = target.intents(0, skip_tentative, usize::MAX).await?;
    let listed = target
        .intents_with_centres(examples, skip_tentative, limit)
        .await?;
    let left_off = LeftOff::of(&all, &listed);
    let bubbles: Vec<Bubble> = listed.iter().filter_map(bubble).collect();
    if bubbles.is_empty() && !listed.is_empty() {
        bail!(Failure::Refused(
            "the node tells where no intent is: its build is older than that, or you may not see events of every kind"
                .to_owned()
        ));
    }
    let (shown, hidden) = (bubbles.len(), listed.len() - bubbles.len());
    let nothing = (all.is_empty() && listed.is_empty()).then(|| nothing(skip_tentative));
    let map = Map {
        title: flags.at.map_or_else(
            || "Intents".to_owned(),
            |sequence| format!("Intents as of event {sequence}"),
        ),
        notes: match nothing {
            Some(why) => Vec::from(why.map(str::to_owned)),
            None => notes(&bubbles, &left_off, hidden),
        },
        bubbles,
    };
    let document = match file.format {
        PlotFormat::Svg => map::svg(&map)?,
        PlotFormat::Html => map::page(&map)?,
    };
    write(&file.path, &document)?;
    if let Some([why, how]) = nothing {
        eprintln!("note: {why} {how}");
    }
    match format {
        Format::Json => output::json(&json!({
            "file": file.path.display().to_string(),
            "intents": shown,
            "left_off": left_off.intents + hidden,
        })),
        Format::Table => output::line(&format!(
            "{shown} intents are on the map in {}{}",
            file.path.display(),
            match left_off.intents + hidden {
                0 => String::new(),
                count => format!(", {count} are left off"),
            }
        )),
    }
}

/// Why there is nothing to draw, and how there comes to be something.
const fn nothing(skip_tentative: bool) -> [&'static str; 2] {
    let why = match skip_tentative {
        true => "No intent has five events, and --skip-tentative leaves smaller ones out.",
        false => "No intents: no event has an embedding, by which events are grouped.",
    };
    [
        why,
        "`toka commit` and `toka import` make embeddings with --embedder (or TOKA_EMBEDDER), such as hashed; `toka reembed` for events \
         that are stored.",
    ]
}

/// What the limit leaves off.
struct LeftOff {
    intents: usize,
    events: u64,
}

impl LeftOff {
    fn of(all: &[Intent], listed: &[Intent]) -> Self {
        Self {
            intents: all.len().saturating_sub(listed.len()),
            events: events(all).saturating_sub(events(listed)),
        }
    }
}

fn events(intents: &[Intent]) -> u64 {
    intents.iter().map(|intent| intent.summary.events).sum()
}

/// What is said above the map; `hidden` intents have no place.
fn notes(bubbles: &[Bubble], left_off: &LeftOff, hidden: usize) -> Vec<String> {
    let events: u64 = bubbles.iter().map(|bubble| bubble.events).sum();
    let mut notes = vec![format!(
        "{} intents of {events} events. Large: many events. Near each other: of like meaning (two principal components of \
         the centres).",
        bubbles.len()
    )];
    let mut missing = Vec::new();
    if left_off.intents > 0 {
        missing.push(format!(
            "the {} smallest, of {} events",
            left_off.intents, left_off.events
        ));
    }
    if hidden > 0 {
        missing.push(format!("{hidden} whose events cancel each other out"));
    }
    if !missing.is_empty() {
        notes.push(format!("Left off: {}.", missing.join("; ")));
    }
    notes
}

/// The intent as it is drawn; `None`: it has no place.
fn bubble(intent: &Intent) -> Option<Bubble> {
    let summary = &intent.summary;
    let examples = intent.examples.iter().filter_map(payload);
    Some(Bubble {
        intent: summary.intent.0,
        label: summary.label.as_deref().map(shown),
        events: summary.events,
        is_tentative: summary.is_tentative,
        facts: vec![
            format!("coherence {:.2}", summary.coherence),
            format!("from event {} to {}", summary.first, summary.last),
        ],
        typical: intent.examples.first().and_then(words),
        examples: examples
            .map(|payload| shown(&payload.short(EXAMPLE_CHARACTERS)))
            .collect(),
        centre: intent.centre.as_ref()?.to_f32(),
    })
}

fn shown(text: &str) -> String {
    visible(text).into_owned()
}

fn payload(hit: &Hit) -> Option<&PayloadView> {
    hit.record.payload.as_ref()
}

/// The words of an event: of a payload with several texts the longest one.
fn words(hit: &Hit) -> Option<String> {
    let payload = payload(hit)?;
    let words = match payload.json().1 {
        Value::String(text) => Some(text),
        Value::Object(members) => {
            let texts = members.values().filter_map(Value::as_str);
            texts.max_by_key(|text| text.len()).map(str::to_owned)
        }
        _ => None,
    };
    let words = words.unwrap_or_else(|| payload.short(EXAMPLE_CHARACTERS));
    Some(shown(&words))
}

/// Writes the file as a whole or not at all, as anybody may read it whom the umask lets.
fn write(path: &Path, document: &str) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    builder.permissions(Permissions::from_mode(0o666));
    let file = builder.tempfile_in(directory.unwrap_or(Path::new(".")));
    let mut file = file.with_context(cannot)?;
    file.write_all(document.as_bytes()).with_context(cannot)?;
    file.persist(path).with_context(cannot)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_off_is_said() {
        let bubble = Bubble {
            events: 5,
            ..Bubble::default()
        };
        let none = LeftOff {
            intents: 0,
            events: 0,
        };
        assert_eq!(notes(std::slice::from_ref(&bubble), &none, 0).len(), 1);
        let some = LeftOff {
            intents: 2,
            events: 3,
        };
        let notes = notes(&[bubble], &some, 1);
        assert_eq!(
            notes[1],
            "Left off: the 2 smallest, of 3 events; 1 whose events cancel each other out."
        );
    }

    #[test]
    fn file_that_is_there_is_replaced() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("map.svg");
        std::fs::write(&path, "before").expect("written");
        write(&path, "after").expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "after");
        assert_eq!(std::fs::read_dir(&directory).expect("read").count(), 1);
    }
}
