//! Draws placed intents.

use std::cell::RefCell;
use std::convert::Infallible;
use std::iter::{Once, once};
use std::ops::Range;
use std::rc::Rc;

use plotters::chart::ChartBuilder;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind};
use plotters::element::{Drawable, PointCollection};
use plotters::style::{BLACK, ShapeStyle};
use plotters_backend::{BackendCoord, DrawingErrorKind};

use super::canvas::Canvas;
use super::{Bubble, Map, Placed};
use crate::error::Error;
use crate::svg::{Px, Svg};
use crate::text::{cells, cut};

/// Size of the picture, pixels.
const WIDTH: u32 = 1_000;
const HEIGHT: u32 = 800;
/// What stands above the map, pixels.
const HEADER: u32 = 76;
/// Left free around the places of the circles, pixels: the largest one stays inside, with a name below it.
const MARGIN: u32 = 64;
/// Radius of the circle with the most events, pixels.
const RADIUS_MAX: f64 = 46.0;
/// Below this nobody can point at a circle, pixels.
const RADIUS_MIN: f64 = 3.0;
/// Units of a pixel at least: a few intents that are nearly equal are not blown up until their rounding shows.
const UNITS_MIN: f64 = 1e-5;
/// Lines of the grid in each direction, at most.
const GRID_LINES: usize = 9;
/// Cells of a name on the map, at most.
const NAME_CELLS: usize = 26;
/// Cells of a name that is cut to fit on its circle, at least; less says nothing.
const INSIDE_CELLS_MIN: usize = 6;
/// Size of a name, pixels: width of a cell, and height.
const CELL_WIDTH: f64 = 6.6;
const NAME_HEIGHT: f64 = 15.0;
/// Cells of the lines above the map, at most.
const TITLE_CELLS: usize = 80;
const NOTE_CELLS: usize = 150;
/// Lines under the title, at most.
const NOTES_MAX: usize = 2;

/// Of the document. A viewer without dark mode takes what comes first.
const STYLE: &str = "\
.toka{font-family:system-ui,sans-serif}
.ground{fill:#fff}.grid{stroke:#eaeef2}
.title{font-size:18px;font-weight:600;fill:#1f2328}.note{font-size:12px;fill:#59636e}
.name{font-size:12px;text-anchor:middle;pointer-events:none;fill:#1f2328;paint-order:stroke;stroke:#fff;\
stroke-width:3px;stroke-linejoin:round}
.intent circle{fill-opacity:.4;stroke-width:1.5}.tentative circle{stroke-dasharray:3 2;fill-opacity:.2}
.intent:hover circle,.intent:focus circle{fill-opacity:.8;stroke-width:3}.intent:focus{outline:none}
@media(prefers-color-scheme:dark){.ground{fill:#0d1117}.grid{stroke:#21262d}.title,.name{fill:#e6edf3}\
.note{fill:#9198a1}.name{stroke:#0d1117}}
";

/// Draws the map.
///
/// # Errors
/// [`Error::Plot`].
pub(super) fn draw(map: &Map, placed: &[Placed<'_>]) -> Result<String, Error> {
    let (width, height) = (f64::from(WIDTH), f64::from(HEIGHT));
    let mut svg = Svg::new(width, height, &map.title, STYLE);
    header(&mut svg, map);
    let canvas = Rc::new(RefCell::new(Canvas {
        svg,
        size: (WIDTH, HEIGHT),
    }));
    let circles = circles(placed);
    let centres = plot(&canvas, &circles).map_err(|source| Error::Plot { source })?;
    let mut svg = canvas.take().svg;
    names(&mut svg, &circles, &centres);
    Ok(svg.finish())
}

fn header(svg: &mut Svg, map: &Map) {
    let title = cut(&map.title, TITLE_CELLS);
    svg.text(
        "text",
        &[("class", &"title"), ("x", &20), ("y", &32)],
        &title,
    );
    for (y, note) in [52, 68].into_iter().zip(map.notes.iter().take(NOTES_MAX)) {
        let note = cut(note, NOTE_CELLS);
        svg.text("text", &[("class", &"note"), ("x", &20), ("y", &y)], &note);
    }
}

/// An intent as the library draws it.
struct Circle<'a> {
    bubble: &'a Bubble,
    at: (f64, f64),
    /// Pixels.
    radius: f64,
}

fn circles<'a>(placed: &[Placed<'a>]) -> Vec<Circle<'a>> {
    let events = placed.iter().map(|placed| placed.bubble.events);
    let most = events.max().unwrap_or(0).max(1);
    #[allow(clippy::cast_precision_loss, reason = "a picture")]
    let radius = |events: u64| RADIUS_MAX * (events as f64 / most as f64).sqrt();
    placed
        .iter()
        .map(|placed| Circle {
            bubble: placed.bubble,
            at: (placed.at[0], placed.at[1]),
            radius: radius(placed.bubble.events).max(RADIUS_MIN),
        })
        .collect()
}

impl<'a> PointCollection<'a, (f64, f64)> for &'a Circle<'_> {
    type Point = &'a (f64, f64);
    type IntoIter = Once<&'a (f64, f64)>;

    fn point_iter(self) -> Self::IntoIter {
        once(&self.at)
    }
}

impl Drawable<Canvas> for Circle<'_> {
    fn draw<I: Iterator<Item = BackendCoord>>(
        &self,
        mut places: I,
        canvas: &mut Canvas,
        _: (u32, u32),
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        let Some((x, y)) = places.next() else {
            return Ok(());
        };
        let bubble = self.bubble;
        let class = match bubble.is_tentative {
            true => "intent tentative",
            false => "intent",
        };
        let svg = &mut canvas.svg;
        let id = format!("i{}", bubble.intent);
        svg.open("g", &[("class", &class), ("id", &id), ("tabindex", &"0")]);
        svg.text("title", &[], &hover(bubble));
        // Steps of the golden angle, so that ids that follow each other look different.
        let hue = bubble.intent.wrapping_mul(137) % 360;
        let (fill, stroke) = (format!("hsl({hue},60%,55%)"), format!("hsl({hue},55%,45%)"));
        svg.empty(
            "circle",
            &[
                ("cx", &x),
                ("cy", &y),
                ("r", &Px(self.radius)),
                ("fill", &fill),
                ("stroke", &stroke),
            ],
        );
        svg.close("g");
        Ok(())
    }
}

/// What is shown of an intent on hovering, line by line.
fn hover(bubble: &Bubble) -> String {
    let mut lines = vec![bubble.heading()];
    lines.extend(bubble.facts());
    lines.extend(bubble.examples().map(|example| format!("· {example}")));
    lines.join("\n")
}

/// Draws the grid and the circles. Returns the circles' centres, pixels.
fn plot(
    canvas: &Rc<RefCell<Canvas>>,
    circles: &[Circle<'_>],
) -> Result<Vec<BackendCoord>, DrawingAreaErrorKind<Infallible>> {
    let root: DrawingArea<Canvas, Shift> = DrawingArea::from(canvas);
    let (x, y) = ranges(circles);
    let chart = ChartBuilder::on(&root)
        .margin(MARGIN)
        .margin_top(HEADER + MARGIN)
        .build_cartesian_2d(x, y)?;
    let area = chart.plotting_area();
    let style = ShapeStyle::from(BLACK);
    area.draw_mesh(
        |canvas, line| line.draw(canvas, &style),
        GRID_LINES,
        GRID_LINES,
    )?;
    for circle in circles {
        area.draw(circle)?;
    }
    let centres = circles.iter();
    Ok(centres
        .map(|circle| area.map_coordinate(&circle.at))
        .collect())
}

/// What the axes reach over: the same units of a pixel on both, so that near is near in every direction.
fn ranges(circles: &[Circle<'_>]) -> (Range<f64>, Range<f64>) {
    let (width, height) = (
        f64::from(WIDTH - 2 * MARGIN),
        f64::from(HEIGHT - HEADER - 2 * MARGIN),
    );
    let reach = |along: fn(&Circle<'_>) -> f64| {
        let values = circles.iter().map(along);
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
            (low.min(x), high.max(x))
        });
        if low <= high { (low, high) } else { (0.0, 0.0) }
    };
    let (x, y) = (reach(|circle| circle.at.0), reach(|circle| circle.at.1));
    let units = ((x.1 - x.0) / width)
        .max((y.1 - y.0) / height)
        .max(UNITS_MIN);
    let range = |(low, high): (f64, f64), pixels: f64| {
        let (middle, half) = (f64::midpoint(low, high), units * pixels / 2.0);
        middle - half..middle + half
    };
    (range(x, width), range(y, height))
}

/// Where a name stands, pixels.
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Frame {
    /// Around a point, moved into the picture where it would stand out of it.
    fn around(x: f64, y: f64, width: f64) -> Self {
        let half = width / 2.0;
        let x = x.clamp(half + 4.0, (f64::from(WIDTH) - half - 4.0).max(half + 4.0));
        Self {
            left: x - half,
            right: x + half,
            top: y - NAME_HEIGHT / 2.0,
            bottom: y + NAME_HEIGHT / 2.0,
        }
    }

    fn meets(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }
}

/// Writes the names of the intents, the largest first. One that would stand on another wherever it may is left to hovering.
fn names(svg: &mut Svg, circles: &[Circle<'_>], centres: &[BackendCoord]) {
    let mut taken: Vec<Frame> = Vec::new();
    for (circle, &centre) in circles.iter().zip(centres) {
        let mut places = places(circle, centre).into_iter();
        let is_free = |(_, frame): &(String, Frame)| !taken.iter().any(|other| frame.meets(other));
        let Some((name, frame)) = places.find(is_free) else {
            continue;
        };
        let (middle, base) = (
            Px(f64::midpoint(frame.left, frame.right)),
            Px(frame.bottom - 3.5),
        );
        svg.text(
            "text",
            &[("class", &"name"), ("x", &middle), ("y", &base)],
            &name,
        );
        taken.push(frame);
    }
}

/// What may be written of a circle, and where, the best first: on it if there is room, below it, above it, and on it so
/// far as there is room.
fn places(circle: &Circle<'_>, (x, y): BackendCoord) -> Vec<(String, Frame)> {
    let name = cut(&circle.bubble.name(), NAME_CELLS);
    let at = |name: &str, offset: f64| {
        #[allow(clippy::cast_precision_loss, reason = "at most NAME_CELLS")]
        let width = cells(name) as f64 * CELL_WIDTH;
        let frame = Frame::around(f64::from(x), f64::from(y) + offset, width);
        (name.to_owned(), frame)
    };
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few cells of RADIUS_MAX"
    )]
    let room = (2.0 * circle.radius / CELL_WIDTH) as usize;
    let outside = circle.radius + NAME_HEIGHT / 2.0;
    let mut places = vec![at(&name, outside), at(&name, -outside)];
    if cells(&name) <= room {
        places.insert(0, at(&name, 0.0));
    } else if room >= INSIDE_CELLS_MIN {
        places.push(at(&cut(&name, room), 0.0));
    }
    places
}
