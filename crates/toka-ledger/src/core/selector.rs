//! How an event is named.

use std::fmt;

use super::{Digest, EventId};

/// How an event is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// By its id, of which all 128 bits must match.
    Id(EventId),
    /// By its place in the order.
    Sequence(u64),
    /// By its identity.
    Digest(Digest),
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => fmt::Display::fmt(id, f),
            Self::Sequence(sequence) => write!(f, "at sequence {sequence}"),
            Self::Digest(digest) => fmt::Display::fmt(digest, f),
        }
    }
}
