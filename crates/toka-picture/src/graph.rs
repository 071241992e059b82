//! The graph of a lineage: events in layers, and lines from each to what depends on it.

mod colours;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use self::colours::{by_family, family};
use crate::error::Error;
use crate::layers::{Layout, Sizes, lay_out};
use crate::svg::{Attributes, Px, Svg};
use crate::text::{cells, cut};

/// Events on one picture, at most; more than can be looked at.
pub const EVENTS_MAX: usize = 2_000;
/// Lines that are shown of an event on hovering, at most.
pub const DETAILS_MAX: usize = 32;
/// Cells of such a line, at most.
const DETAIL_CELLS: usize = 240;
/// Cells of a line in a box, at most; each of [`CELL_WIDTH`] pixels.
const LINE_CELLS: usize = 28;
const CELL_WIDTH: f64 = 7.3;
/// Pixels from the edge of a box to its text, and around the picture.
const PADDING: f64 = 12.0;
const MARGIN: f64 = 24.0;
/// What stands above the graph, pixels.
const HEADER: f64 = 44.0;
/// Cells of the title, at most.
const TITLE_CELLS: usize = 80;
/// Of the title, which is larger, and bold.
const TITLE_CELL_WIDTH: f64 = 10.0;

/// Between the lines of a box, pixels.
const LINE_HEIGHT: f64 = 17.0;

/// Boxes of two lines and what is between them, pixels.
const SIZES: Sizes = Sizes {
    node_width: LINE_CELLS as f64 * CELL_WIDTH + 2.0 * PADDING,
    node_height: 46.0,
    bend_width: 12.0,
    column_gap: 22.0,
    row_gap: 44.0,
};

/// Of the document. A viewer without dark mode takes what comes first.
const STYLE: &str = "\
.toka{font-family:ui-monospace,monospace;font-size:12px}
.ground{fill:#fff}.title{font:600 16px system-ui,sans-serif;fill:#1f2328}
.event text{fill:#1f2328}.event .less{fill:#59636e}
.event rect{fill:#f6f8fa;stroke-width:1.5}.start rect{stroke-width:3.5}
.event:hover rect,.event:focus rect{fill:#ddf4ff}.event:focus{outline:none}
.edge,.beyond{fill:none;stroke:#818b98;stroke-width:1.4}.beyond{stroke-dasharray:3 3}.tip{fill:#818b98}
@media(prefers-color-scheme:dark){.ground{fill:#0d1117}.title,.event text{fill:#e6edf3}.event .less{fill:#9198a1}\
.event rect{fill:#161b22}.event:hover rect,.event:focus rect{fill:#1f2f46}}
";

/// An event.
#[derive(Clone, Debug, Default)]
pub struct Event {
    /// Its sequence. No two have the same, and that of a parent is below its children's.
    pub sequence: u64,
    /// What it is about.
    pub kind: String,
    /// Who has said it; nothing is shown of an empty one.
    pub source: Option<String>,
    /// An id that is short enough for a box.
    pub short_id: String,
    /// What is shown on hovering, a line each.
    pub details: Vec<String>,
    /// Sequences of the events that it depends on, whether or not they are shown.
    pub parents: Vec<u64>,
    /// It is the one that was asked for.
    pub is_start: bool,
}

/// Draws the graph as a document of SVG, the oldest events on top: lines lead down from an event to what depends on it,
/// where both are there, and a dashed one from above says that parents are not.
///
/// # Errors
/// [`Error::TooMany`] for more than [`EVENTS_MAX`] events, and for lines that go through too many layers;
/// [`Error::Backwards`] for an event that is not behind its parents.
pub fn svg(title: &str, events: &[Event]) -> Result<String, Error> {
    if events.len() > EVENTS_MAX {
        return Err(Error::TooMany {
            what: "events",
            max: EVENTS_MAX,
            actual: events.len(),
        });
    }
    let mut events: Vec<&Event> = events.iter().collect();
    events.sort_by_key(|event| event.sequence);
    let edges = edges(&events)?;
    let look = Look::of(&events);
    let layout = lay_out(events.len(), &edges, &look.sizes)?;
    let title = cut(title, TITLE_CELLS);
    // Not so narrow that the title has no room: an id alone has 36 cells.
    #[allow(clippy::cast_precision_loss, reason = "at most TITLE_CELLS")]
    let titled = cells(&title) as f64 * TITLE_CELL_WIDTH;
    let width = layout.width.max(titled) + 2.0 * MARGIN;
    let height = layout.height + HEADER + 2.0 * MARGIN;
    let mut svg = Svg::new(width, height, &title, STYLE);
    svg.text(
        "text",
        &[("class", &"title"), ("x", &Px(MARGIN)), ("y", &32)],
        &title,
    );
    svg.open("g", &[("transform", &origin())]);
    lines(&mut svg, &layout, &look.sizes);
    for (event, place) in events.iter().zip(&layout.nodes) {
        let hidden = hidden(event, &events);
        draw(&mut svg, event, hidden, *place, &look);
    }
    svg.close("g");
    Ok(svg.finish())
}

/// How boxes look.
struct Look<'a> {
    /// All are of one size: a line more if any event has a source.
    sizes: Sizes,
    /// By the family of a kind.
    colours: BTreeMap<&'a str, &'static str>,
}

impl<'a> Look<'a> {
    fn of(events: &[&'a Event]) -> Self {
        let mut sizes = SIZES;
        if events.iter().any(|event| source(event).is_some()) {
            sizes.node_height += LINE_HEIGHT;
        }
        Self {
            sizes,
            colours: by_family(events),
        }
    }
}

/// What a box says of who has said it.
fn source(event: &Event) -> Option<&str> {
    let source = event.source.as_deref().map(str::trim);
    source.filter(|source| !source.is_empty())
}

fn origin() -> String {
    format!("translate({} {})", Px(MARGIN), Px(HEADER + MARGIN))
}

/// Pairs of a parent and a child that are both there, by their places in `events`.
fn edges(events: &[&Event]) -> Result<Vec<(usize, usize)>, Error> {
    let places = events.iter().map(|event| event.sequence).zip(0..);
    let places: BTreeMap<u64, usize> = places.collect();
    let mut edges = Vec::new();
    for (child, event) in events.iter().enumerate() {
        for parent in &event.parents {
            if *parent >= event.sequence {
                return Err(Error::Backwards {
                    event: event.sequence,
                    parent: *parent,
                });
            }
            edges.extend(places.get(parent).map(|parent| (*parent, child)));
        }
    }
    Ok(edges)
}

/// Parents of an event that are not there; `events` by ascending sequence.
fn hidden(event: &Event, events: &[&Event]) -> usize {
    let is_missing = |parent: &&u64| {
        let found = events.binary_search_by_key(*parent, |event| event.sequence);
        found.is_err()
    };
    event.parents.iter().filter(is_missing).count()
}

/// Draws the edges, below the boxes.
fn lines(svg: &mut Svg, layout: &Layout, sizes: &Sizes) {
    for through in &layout.edges {
        svg.empty("path", &[("class", &"edge"), ("d", &path(through, sizes))]);
        if let Some((x, y)) = through.last() {
            let top = y - sizes.node_height / 2.0;
            let tip = format!("M{} {}l-4 -7h8z", Px(*x), Px(top));
            svg.empty("path", &[("class", &"tip"), ("d", &tip)]);
        }
    }
}

/// The line of an edge: bent between the layers, and straight where it goes through one, so that it is behind no box.
fn path(through: &[(f64, f64)], sizes: &Sizes) -> String {
    let half = sizes.node_height / 2.0;
    let mut path = String::new();
    for (at, (x, y)) in through.iter().enumerate() {
        let (x, top, bottom) = (Px(*x), Px(y - half), Px(y + half));
        if at == 0 {
            let _ = write!(path, "M{x} {bottom}");
            continue;
        }
        let middle = Px(y - half - sizes.row_gap / 2.0);
        let before = Px(through[at - 1].0);
        let _ = write!(path, "C{before} {middle} {x} {middle} {x} {top}");
        if at + 1 < through.len() {
            let _ = write!(path, "L{x} {bottom}");
        }
    }
    path
}

fn draw(svg: &mut Svg, event: &Event, hidden: usize, (x, y): (f64, f64), look: &Look<'_>) {
    let class = if event.is_start {
        "event start"
    } else {
        "event"
    };
    let id = format!("e{}", event.sequence);
    svg.open("g", &[("class", &class), ("id", &id), ("tabindex", &"0")]);
    svg.text("title", &[], &hover(event));
    let sizes = &look.sizes;
    let (left, top) = (x - sizes.node_width / 2.0, y - sizes.node_height / 2.0);
    if hidden > 0 {
        // Beside where the other lines end.
        let d = format!("M{} {}v-16", Px(left + 2.0 * PADDING), Px(top));
        svg.empty("path", &[("class", &"beyond"), ("d", &d)]);
    }
    let stroke = look.colours.get(family(&event.kind));
    let stroke = stroke.copied().unwrap_or_default();
    svg.empty(
        "rect",
        &[
            ("x", &Px(left)),
            ("y", &Px(top)),
            ("width", &Px(sizes.node_width)),
            ("height", &Px(sizes.node_height)),
            ("rx", &6),
            ("stroke", &stroke),
        ],
    );
    let (text_x, mut base) = (Px(left + PADDING), top + 19.0);
    let name = cut(&format!("{} {}", event.sequence, event.kind), LINE_CELLS);
    svg.text("text", &[("x", &text_x), ("y", &Px(base))], &name);
    if let Some(source) = source(event) {
        base += LINE_HEIGHT;
        let attributes: &Attributes<'_> = &[("x", &text_x), ("y", &Px(base))];
        svg.text("text", attributes, &cut(source, LINE_CELLS));
    }
    let beyond = match hidden {
        0 => String::new(),
        1 => "  +1 parent".to_owned(),
        count => format!("  +{count} parents"),
    };
    let less = cut(&format!("{}{beyond}", event.short_id), LINE_CELLS);
    let attributes: &Attributes<'_> = &[
        ("class", &"less"),
        ("x", &text_x),
        ("y", &Px(base + LINE_HEIGHT)),
    ];
    svg.text("text", attributes, &less);
    svg.close("g");
}

/// What is shown of an event on hovering, line by line.
fn hover(event: &Event) -> String {
    let details = event.details.iter().take(DETAILS_MAX);
    let lines: Vec<String> = details.map(|line| cut(line, DETAIL_CELLS)).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests;
