//! `toka lineage`: drawn, or for other programs.

mod graph;
mod markup;
mod picture;

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use serde_json::Value;
use toka_ledger::EventHeader;
use toka_ledger::read::lineage::{Relation, Relative};

use crate::cli::{self, Format, LineageFormat};
use crate::output;
use crate::target::{Bounds, Target, parse_selector};

/// An event that is shown.
struct Shown {
    header: EventHeader,
    /// Steps from the event that was asked for, and which way; absent where none was.
    place: Option<(u32, Relation)>,
}

impl Shown {
    fn is_start(&self) -> bool {
        matches!(self.place, Some((0, _)))
    }
}

pub(crate) async fn run(target: &Target, flags: cli::Lineage, format: Format) -> Result<()> {
    let format = match (flags.format, format) {
        (Some(format), _) => format,
        (None, _) if flags.svg => LineageFormat::Svg,
        (None, Format::Table) => LineageFormat::Graph,
        (None, Format::Json) => LineageFormat::Json,
    };
    let title = picture::title(&flags);
    let (events, has_more) = gather(target, flags).await?;
    match format {
        LineageFormat::Json => events
            .iter()
            .try_for_each(|event| output::json(&json(event)))?,
        LineageFormat::Graph => draw(events)?,
        LineageFormat::Dot => markup::dot(&events, &mut output::line)?,
        LineageFormat::Mermaid => markup::mermaid(&events, &mut output::line)?,
        LineageFormat::Svg => output::bytes(picture::svg(&title, &events)?.as_bytes())?,
    }
    if has_more {
        eprintln!("note: a limit was reached, there may be more: see --max and --depth");
    }
    Ok(())
}

/// The events that the flags ask for, and whether there may be more.
async fn gather(target: &Target, flags: cli::Lineage) -> Result<(Vec<Shown>, bool)> {
    let bounds = Bounds {
        depth_max: flags.depth,
        events_max: flags.max,
        kind_prefixes: flags.kind,
        consistency: flags.read.consistency,
    };
    if flags.heads {
        return Ok(without_place(target.heads(&bounds).await?));
    }
    if let [without, of] = flags.diff.as_slice() {
        let (without, of) = (parse_selector(without)?, parse_selector(of)?);
        return Ok(without_place(
            target.difference(without, of, &bounds).await?,
        ));
    }
    let event = parse_selector(flags.event.as_deref().unwrap_or_default())?;
    if let Some(other) = &flags.common {
        let other = parse_selector(other)?;
        let common = target.common_ancestors(event, other, bounds.consistency);
        return Ok(without_place(common.await?));
    }
    let (mut events, mut has_more) = (Vec::new(), false);
    if !flags.descendants {
        let (ancestors, more) = target.walk(event, Relation::Ancestors, &bounds).await?;
        events.extend(placed(ancestors, Relation::Ancestors));
        has_more |= more;
    }
    if flags.descendants || flags.both {
        let (descendants, more) = target.walk(event, Relation::Descendants, &bounds).await?;
        let descendants = placed(descendants, Relation::Descendants);
        // With both, the event itself is there already.
        events.extend(descendants.filter(|shown| !flags.both || !shown.is_start()));
        has_more |= more;
    }
    Ok((events, has_more))
}

fn without_place((headers, has_more): (Vec<EventHeader>, bool)) -> (Vec<Shown>, bool) {
    let shown = headers.into_iter().map(|header| Shown {
        header,
        place: None,
    });
    (shown.collect(), has_more)
}

fn placed(relatives: Vec<Relative>, relation: Relation) -> impl Iterator<Item = Shown> {
    relatives.into_iter().map(move |relative| Shown {
        header: Arc::unwrap_or_clone(relative.header),
        place: Some((relative.depth, relation)),
    })
}

fn json(event: &Shown) -> Value {
    let mut value = output::event_json(&event.header, None);
    if let Some((depth, relation)) = event.place {
        value["depth"] = depth.into();
        let relation = match (depth, relation) {
            (0, _) => "self",
            (_, Relation::Ancestors) => "ancestor",
            (_, Relation::Descendants) => "descendant",
        };
        value["relation"] = relation.into();
    }
    value
}

fn draw(mut events: Vec<Shown>) -> Result<()> {
    events.sort_unstable_by_key(|event| std::cmp::Reverse(event.header.sequence));
    let shown: BTreeSet<u64> = events.iter().map(|event| event.header.sequence).collect();
    let drawn = events.iter().map(|event| {
        let header = &event.header;
        let mut parents: Vec<u64> = header
            .parents
            .iter()
            .map(|parent| parent.id.sequence())
            .filter(|parent| shown.contains(parent))
            .collect();
        parents.sort_unstable_by_key(|parent| std::cmp::Reverse(*parent));
        graph::Drawn {
            sequence: header.sequence,
            hidden: header.parents.len() - parents.len(),
            parents,
            mark: if event.is_start() { '@' } else { '*' },
            label: label(header),
        }
    });
    graph::draw(&drawn.collect::<Vec<_>>(), &mut output::line)
}

fn label(header: &EventHeader) -> String {
    let mut label = format!(
        "{}  {}  {}  {}",
        header.sequence,
        header.kind,
        toka_backup::rfc3339(header.unix_ms),
        header.id
    );
    if let Some(source) = &header.attributes.source {
        label.push_str("  ");
        label.push_str(source);
    }
    output::visible(&label).into_owned()
}
