//! Graphs for other programs: Graphviz's DOT, and Mermaid.
//!
//! Edges lead from an event to what depends on it, where both are shown.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::Result;
use toka_ledger::EventHeader;

use super::Shown;
use crate::output::visible;

/// Takes one line.
type Line<'a> = dyn FnMut(&str) -> Result<()> + 'a;

pub(super) fn dot(events: &[Shown], line: &mut Line<'_>) -> Result<()> {
    line("digraph lineage {")?;
    line("  node [shape=box];")?;
    for event in events {
        let label = label(&event.header)
            .map(|part| escape_dot(&part))
            .collect::<Vec<_>>();
        let label = label.join("\\n");
        let style = if event.is_start() { ", style=bold" } else { "" };
        let sequence = event.header.sequence;
        line(&format!("  e{sequence} [label=\"{label}\"{style}];"))?;
    }
    for (parent, child) in edges(events) {
        line(&format!("  e{parent} -> e{child};"))?;
    }
    line("}")
}

pub(super) fn mermaid(events: &[Shown], line: &mut Line<'_>) -> Result<()> {
    line("flowchart TD")?;
    for event in events {
        let label = label(&event.header)
            .map(|part| escape_mermaid(&part))
            .collect::<Vec<_>>();
        let label = label.join("<br/>");
        line(&format!("  e{}[\"{label}\"]", event.header.sequence))?;
    }
    for (parent, child) in edges(events) {
        line(&format!("  e{parent} --> e{child}"))?;
    }
    for event in events.iter().filter(|event| event.is_start()) {
        line(&format!(
            "  style e{} stroke-width:3px",
            event.header.sequence
        ))?;
    }
    Ok(())
}

/// Pairs of a parent and a child, both shown.
fn edges(events: &[Shown]) -> impl Iterator<Item = (u64, u64)> {
    let shown: BTreeSet<u64> = events.iter().map(|event| event.header.sequence).collect();
    let all = events.iter().flat_map(|event| {
        let parents = event.header.parents.iter();
        parents.map(move |parent| (parent.id.sequence(), event.header.sequence))
    });
    all.filter(move |(parent, _)| shown.contains(parent))
}

/// What is said of an event, line by line.
fn label(header: &EventHeader) -> impl Iterator<Item = String> {
    let attributes = &header.attributes;
    let name = format!("{} {}", header.sequence, header.kind);
    let source = attributes
        .source
        .iter()
        .map(|source| format!("source={source}"));
    let pairs = attributes.pairs.iter();
    let pairs = pairs.map(|(name, value)| format!("{name}={value}"));
    let lines = [name].into_iter().chain(source).chain(pairs);
    lines.map(|line| visible(&line).into_owned())
}

/// Text in the quotes of a label, in which a backslash begins an escape.
fn escape_dot(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                escaped.push('\\');
                escaped.push(character);
            }
            '\n' => escaped.push_str("\\n"),
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Text in the quotes of a node, in which all but letters, digits and a few signs is written by its number: Mermaid
/// would take quotes, brackets, backticks, markup and its own numbers for something else.
fn escape_mermaid(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => escaped.push_str("<br/>"),
            plain if plain.is_alphanumeric() || " ._-:/=".contains(plain) => escaped.push(plain),
            control if control.is_control() => escaped.push(' '),
            other => {
                let _ = write!(escaped, "#{};", u32::from(other));
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use toka_ledger::read::lineage::Relation;
    use toka_ledger::{Attributes, Digest, EventId, Kind, Parent, Salt};

    use super::*;

    fn shown(sequence: u64, kind: &str, parents: &[u64], depth: u32) -> Shown {
        let parent = |sequence: &u64| Parent {
            digest: Digest::ZERO,
            id: EventId::new(1, *sequence, &Digest::ZERO),
        };
        let mut attributes = Attributes::default();
        if sequence == 1 {
            attributes.source = Some("a \"b\"".to_owned());
            attributes
                .pairs
                .insert("path".to_owned(), "c:\\new[1]".to_owned());
        }
        let header = EventHeader {
            id: EventId::new(1, sequence, &Digest::ZERO),
            sequence,
            unix_ms: 1,
            kind: Kind::new(kind).expect("valid"),
            digest: Digest::ZERO,
            payload_digest: Digest::ZERO,
            payload_bytes: 0,
            payload_sequence: sequence,
            salt: Salt::default(),
            parents: parents.iter().map(parent).collect(),
            embedding: None,
            attributes,
            micro_cluster: None,
            intent: None,
            deduplicated: false,
        };
        Shown {
            header,
            place: Some((depth, Relation::Ancestors)),
        }
    }

    fn written(write: fn(&[Shown], &mut Line<'_>) -> Result<()>) -> Vec<String> {
        let events = [shown(3, "end", &[1, 2], 0), shown(1, "be[gin]", &[], 1)];
        let mut lines = Vec::new();
        let done = write(&events, &mut |line| {
            lines.push(line.to_owned());
            Ok(())
        });
        done.expect("written");
        lines
    }

    #[test]
    fn dot_has_escaped_labels_and_edges_between_what_is_shown() {
        assert_eq!(
            written(dot),
            [
                "digraph lineage {",
                "  node [shape=box];",
                r#"  e3 [label="3 end", style=bold];"#,
                r#"  e1 [label="1 be[gin]\nsource=a \"b\"\npath=c:\\new[1]"];"#,
                "  e1 -> e3;",
                "}"
            ]
        );
    }

    #[test]
    fn mermaid_has_escaped_labels_and_edges_between_what_is_shown() {
        assert_eq!(
            written(mermaid),
            [
                "flowchart TD",
                r#"  e3["3 end"]"#,
                r#"  e1["1 be#91;gin#93;<br/>source=a #34;b#34;<br/>path=c:#92;new#91;1#93;"]"#,
                "  e1 --> e3",
                "  style e3 stroke-width:3px"
            ]
        );
    }

    #[test]
    fn line_breaks_are_written_as_each_program_has_them() {
        assert_eq!(escape_dot("a\nb\tc"), r"a\nb c");
        assert_eq!(escape_mermaid("a\nb\tc#d"), "a<br/>b c#35;d");
    }
}
