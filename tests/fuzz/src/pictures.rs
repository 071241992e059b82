//! Pictures of a vault: whatever texts, parents and centres it has, the document is well-formed, has the elements that are
//! drawn and no others, runs nothing, asks for nothing from elsewhere, and is the same for the same vault.

use arbitrary::{Result, Unstructured};
use roxmltree::{Document, Node};
use toka_picture::graph::{self, Event};
use toka_picture::map::{self, Bubble, Map};

use crate::{Seed, of_kind};

const EVENTS_MAX: u64 = 24;
const BUBBLES_MAX: u64 = 12;
/// Bytes of a text that are made, at most.
const TEXT_BYTES_MAX: usize = 300;
/// The name of SVG itself, which is no address that anybody asks.
const NAMESPACE: &str = "http://www.w3.org/2000/svg";
/// Elements of the pictures.
const DRAWN: [&str; 9] = [
    "svg", "style", "rect", "text", "g", "title", "path", "circle", "line",
];
/// Elements of a page around a picture.
const WRITTEN: [&str; 13] = [
    "!doctype", "html", "head", "meta", "body", "main", "aside", "p", "section", "h2", "ul", "li",
    "title",
];
/// Texts that have been dangerous to somebody.
const HOSTILE: [&str; 8] = [
    "</title></svg><script>alert(1)</script>",
    "\" onload=\"alert(1)",
    "' xlink:href='javascript:alert(1)",
    "]]><!--",
    "&lt;&#0;&unknown;",
    "\u{0}\u{1b}[2J\u{ffff}\u{202e}",
    "</style><img src=x onerror=alert(1)>",
    "\u{1f469}\u{200d}\u{1f469} e\u{301}",
];

/// See above. The first byte says which picture.
pub fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    let mut input = Unstructured::new(bytes);
    // An input that is no vault says nothing.
    let _ = match kind % 3 {
        0 => lineage(&mut input),
        1 => intents(&mut input),
        _ => page(&mut input),
    };
}

fn lineage(input: &mut Unstructured<'_>) -> Result<()> {
    let title = text(input)?;
    let mut events = Vec::new();
    for sequence in 0..input.int_in_range(0..=EVENTS_MAX)? {
        let mut parents = Vec::new();
        for _ in 0..input.int_in_range(0_u8..=3)? {
            // Seldom one that is not before it, which is refused.
            parents.push(input.int_in_range(0..=sequence)?);
        }
        if !input.ratio(1_u8, 32_u8)? {
            parents.retain(|parent| *parent < sequence);
        }
        events.push(Event {
            sequence,
            kind: text(input)?,
            source: Some(text(input)?),
            short_id: text(input)?,
            details: texts(input)?,
            parents,
            is_start: input.arbitrary()?,
        });
    }
    match graph::svg(&title, &events) {
        Ok(picture) => {
            well_formed(&picture);
            assert_eq!(graph::svg(&title, &events).ok(), Some(picture));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    Ok(())
}

fn intents(input: &mut Unstructured<'_>) -> Result<()> {
    let map = vault(input)?;
    match map::svg(&map) {
        Ok(picture) => {
            well_formed(&picture);
            assert_eq!(map::svg(&map).ok(), Some(picture));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    Ok(())
}

fn page(input: &mut Unstructured<'_>) -> Result<()> {
    let map = vault(input)?;
    let Ok(page) = map::page(&map) else {
        return Ok(());
    };
    // All that is told is escaped, so that what begins an element is the page's own.
    for tag in page.split('<').skip(1) {
        let tag = tag.trim_start_matches('/');
        let end = tag.find(|c: char| !(c.is_ascii_alphanumeric() || c == '!'));
        let name = &tag[..end.unwrap_or(tag.len())];
        assert!(DRAWN.contains(&name) || WRITTEN.contains(&name), "{name:?}");
    }
    assert_eq!(map::page(&map).ok(), Some(page));
    Ok(())
}

fn vault(input: &mut Unstructured<'_>) -> Result<Map> {
    let dimension = input.int_in_range(0_u8..=5)?;
    let mut bubbles = Vec::new();
    for intent in 0..input.int_in_range(0..=BUBBLES_MAX)? {
        let mut centre = Vec::new();
        for _ in 0..dimension {
            centre.push(match input.int_in_range(0_u8..=15)? {
                // May be no number, and is refused then.
                0 => f32::from_bits(input.arbitrary()?),
                _ => f32::from(input.arbitrary::<i8>()?),
            });
        }
        bubbles.push(Bubble {
            intent,
            label: optional(input)?,
            events: input.arbitrary()?,
            is_tentative: input.arbitrary()?,
            facts: texts(input)?,
            typical: optional(input)?,
            examples: texts(input)?,
            centre,
        });
    }
    Ok(Map {
        title: text(input)?,
        bubbles,
        notes: texts(input)?,
    })
}

fn text(input: &mut Unstructured<'_>) -> Result<String> {
    match input.int_in_range(0_u8..=3)? {
        0 => Ok((*input.choose(&HOSTILE)?).to_owned()),
        1 => Ok("w ".repeat(input.int_in_range(0..=TEXT_BYTES_MAX / 2)?)),
        _ => input.arbitrary(),
    }
}

fn texts(input: &mut Unstructured<'_>) -> Result<Vec<String>> {
    (0..input.int_in_range(0_u8..=3)?)
        .map(|_| text(input))
        .collect()
}

fn optional(input: &mut Unstructured<'_>) -> Result<Option<String>> {
    match input.arbitrary()? {
        true => text(input).map(Some),
        false => Ok(None),
    }
}

fn well_formed(picture: &str) {
    let document = Document::parse(picture);
    let document = document.unwrap_or_else(|error| panic!("{error} in {picture}"));
    for node in document.descendants().filter(Node::is_element) {
        let name = node.tag_name();
        assert_eq!(name.namespace(), Some(NAMESPACE), "{picture}");
        assert!(DRAWN.contains(&name.name()), "{:?}", name.name());
        for attribute in node.attributes() {
            let attribute = attribute.name();
            assert!(!attribute.starts_with("on"), "{attribute:?}");
            assert!(!["href", "src"].contains(&attribute), "{attribute:?}");
        }
    }
    // Where it stands as a name. As a text it may stand anywhere.
    let begins = picture.find("<style>").expect("each picture has one");
    let ends = picture.find("</style>").expect("it was parsed");
    let style = &picture[begins..ends];
    assert!(!style.contains("url(") && !style.contains("@import"));
}

/// A vault that means ill, for each picture.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    let inputs = ["lineage", "map", "page"];
    let seed = |(kind, name): (u8, &str)| {
        // Read from the front as numbers, and from the back as lengths.
        let bytes: Vec<u8> = (0..=255).map(|byte: u8| byte.wrapping_mul(37)).collect();
        (name.to_owned(), of_kind(kind, bytes))
    };
    (0..).zip(inputs).map(seed).collect()
}
