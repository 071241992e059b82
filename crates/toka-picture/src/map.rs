//! The map of a vault's intents: a circle for each, near those that mean something like it.
//!
//! The places are those of the intents' centres along their first two principal components, in one scale. The area of
//! a circle is its intent's number of events, down to a size that can be pointed at.

mod canvas;
mod page;
mod plot;

use std::cmp::Reverse;

use self::plot::draw;
use crate::error::Error;
use crate::projection::project;
use crate::text::cut;

/// Intents on one map, at most; more than can be told apart.
pub const INTENTS_MAX: usize = 1_000;
/// Examples of each that are shown, at most.
pub const EXAMPLES_MAX: usize = 8;
/// Cells of a line that is shown on hovering, at most.
const LINE_CELLS: usize = 240;
/// Facts of each that are shown, at most.
const FACTS_MAX: usize = 8;

/// An intent.
#[derive(Clone, Debug, Default)]
pub struct Bubble {
    /// Its id. No two have the same.
    pub intent: u64,
    /// What people call it.
    pub label: Option<String>,
    /// Events in it.
    pub events: u64,
    /// It is drawn as one that may go again.
    pub is_tentative: bool,
    /// What else is known of it, a line each.
    pub facts: Vec<String>,
    /// What its most typical event is about, for want of a label.
    pub typical: Option<String>,
    /// Events of it as text, the most typical one first.
    pub examples: Vec<String>,
    /// Direction of its centre, shape `[dimension]`, finite, of any norm.
    pub centre: Vec<f32>,
}

impl Bubble {
    /// What it is called on the map: its label, else what is typical, else its id.
    fn name(&self) -> String {
        let names = [&self.label, &self.typical].into_iter().flatten();
        let name = names.map(|name| name.trim()).find(|name| !name.is_empty());
        name.map_or_else(|| format!("intent {}", self.intent), str::to_owned)
    }

    /// What it is called where there is more room.
    fn heading(&self) -> String {
        let heading = match &self.label {
            Some(label) => format!("intent {}: {label}", self.intent),
            None => format!("intent {}", self.intent),
        };
        cut(&heading, LINE_CELLS)
    }

    /// What is said of it under that.
    fn facts(&self) -> impl Iterator<Item = String> + '_ {
        let events = match self.events {
            1 => "1 event".to_owned(),
            events => format!("{events} events"),
        };
        let tentative = self.is_tentative.then(|| "tentative".to_owned());
        let facts = self.facts.iter().take(FACTS_MAX);
        let facts = facts.map(|fact| cut(fact, LINE_CELLS));
        [events].into_iter().chain(tentative).chain(facts)
    }

    fn examples(&self) -> impl Iterator<Item = String> + '_ {
        let examples = self.examples.iter().take(EXAMPLES_MAX);
        examples.map(|example| cut(example, LINE_CELLS))
    }
}

/// Intents, and what is said above them.
#[derive(Clone, Debug, Default)]
pub struct Map {
    /// What the picture is called.
    pub title: String,
    /// The intents, in any order.
    pub bubbles: Vec<Bubble>,
    /// A line for each thing that is to be known of the picture, such as what was left off.
    pub notes: Vec<String>,
}

/// An intent in its place.
struct Placed<'a> {
    bubble: &'a Bubble,
    /// Along the two principal components.
    at: [f64; 2],
}

/// Draws the map as a document of SVG. Who hovers over a circle is shown its intent by the browser.
///
/// # Errors
/// [`Error::TooMany`] for more than [`INTENTS_MAX`] intents; [`Error::Dimension`] and [`Error::NotFinite`] for centres
/// that have no place; [`Error::Plot`].
pub fn svg(map: &Map) -> Result<String, Error> {
    draw(map, &place(map)?)
}

/// The same in a page of HTML, with what is known of the intent that is hovered over, or reached by the keyboard, beside
/// it. The page has no script, and says to the browser that it wants none.
///
/// # Errors
/// As [`svg`].
pub fn page(map: &Map) -> Result<String, Error> {
    let placed = place(map)?;
    let picture = draw(map, &placed)?;
    Ok(page::write(map, &placed, &picture))
}

/// The intents in their places: the largest first, so that small ones are drawn over them, and of equally large ones the
/// oldest.
fn place(map: &Map) -> Result<Vec<Placed<'_>>, Error> {
    if map.bubbles.len() > INTENTS_MAX {
        return Err(Error::TooMany {
            what: "intents",
            max: INTENTS_MAX,
            actual: map.bubbles.len(),
        });
    }
    let mut bubbles: Vec<&Bubble> = map.bubbles.iter().collect();
    bubbles.sort_by_key(|bubble| (Reverse(bubble.events), bubble.intent));
    let expected = bubbles.first().map_or(0, |bubble| bubble.centre.len());
    for bubble in &bubbles {
        let (intent, centre) = (bubble.intent, &bubble.centre);
        if centre.len() != expected {
            return Err(Error::Dimension {
                intent,
                expected,
                actual: centre.len(),
            });
        }
        if let Some(index) = centre.iter().position(|x| !x.is_finite()) {
            return Err(Error::NotFinite { intent, index });
        }
    }
    let rows: Vec<&[f32]> = bubbles
        .iter()
        .map(|bubble| bubble.centre.as_slice())
        .collect();
    let places = project(&rows);
    let placed = bubbles.into_iter().zip(places);
    Ok(placed.map(|(bubble, at)| Placed { bubble, at }).collect())
}

#[cfg(test)]
mod tests;
