//! What cannot be drawn, and why.

use std::convert::Infallible;

use plotters::drawing::DrawingAreaErrorKind;

/// What cannot be drawn, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A picture that nobody could look at.
    #[error("{actual} {what} are too many for a picture: at most {max} are drawn")]
    TooMany {
        /// Of what there is too much.
        what: &'static str,
        /// Most that are drawn.
        max: usize,
        /// How many there are.
        actual: usize,
    },
    /// An intent's centre has no place among the others.
    #[error(
        "the centre of intent {intent} has {actual} components, and that of the others {expected}"
    )]
    Dimension {
        /// Which intent.
        intent: u64,
        /// Components of the first centre.
        expected: usize,
        /// Components of this one.
        actual: usize,
    },
    /// An intent's centre is nowhere.
    #[error("component {index} of the centre of intent {intent} is no number")]
    NotFinite {
        /// Which intent.
        intent: u64,
        /// Which component, from 0.
        index: usize,
    },
    /// An event that comes before what it depends on: such a graph has no layers.
    #[error("event {event} depends on {parent}, which is not before it")]
    Backwards {
        /// Which event.
        event: u64,
        /// Its parent.
        parent: u64,
    },
    /// The plotting library could not draw it.
    #[error("the map cannot be plotted")]
    Plot {
        /// What it says.
        #[source]
        source: DrawingAreaErrorKind<Infallible>,
    },
}
