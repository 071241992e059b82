//! Pictures of a vault: the [map] of its intents, and the [graph] of a lineage, as SVG and as pages of HTML.
//!
//! Whoever shows them hands over plain values, and gets a document: `toka` writes it into a file, and a node could
//! serve it.
//!
//! Invariants: texts are taken for hostile, and whatever is in them the document is well-formed and has no element,
//! attribute or script of theirs; it asks for nothing over the network; equal input gives equal bytes; what is drawn is
//! bounded, and what is beyond a bound is refused by its name or cut where that can be seen. It must not know where
//! the values come from: no vault, no client, no files.

#![deny(missing_docs)]

mod error;
pub mod graph;
mod layers;
pub mod map;
mod projection;
mod svg;
mod text;

pub use crate::error::Error;
