//! Which events are wanted.

use super::{EventHeader, IntentId, Selector};

/// Which events are wanted; the default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The kind starts with any of these; empty: every kind.
    pub kind_prefixes: Vec<String>,
    /// And with none of these: kinds that whoever asks must not see. No client sends them, and no group keeps them.
    pub hidden_kind_prefixes: Vec<String>,
    /// All of these (name, value) pairs are among the event's attributes. A list walks the index
    /// of the first one: the rarest should be it.
    pub attributes: Vec<(String, String)>,
    /// The event is of any of these intents, as they are grouped when the event is looked at; of a
    /// retired one its successor is meant. Empty: of every intent, or none.
    pub intents: Vec<IntentId>,
    /// The event descends from this one, over any number of parents; the event itself does not. At most
    /// as many may as [`DESCENDANTS_BYTES_MAX`](crate::read::DESCENDANTS_BYTES_MAX) hold. `None`: it does not matter.
    pub descendants_of: Option<Selector>,
}

impl Filter {
    /// Whether an event is wanted, intents and descendants not considered.
    #[must_use]
    pub fn matches_header(&self, header: &EventHeader) -> bool {
        let kind = header.kind.as_str();
        let starts_with_any =
            |prefixes: &[String]| prefixes.iter().any(|prefix| kind.starts_with(prefix));
        (self.kind_prefixes.is_empty() || starts_with_any(&self.kind_prefixes))
            && !starts_with_any(&self.hidden_kind_prefixes)
            && self
                .attributes
                .iter()
                .all(|(name, value)| header.attributes.get(name) == Some(value))
    }
}
