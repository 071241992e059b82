//! What a macro-clustering did.

use crate::core::{IntentId, MicroClusterId};

/// The result of a macro-clustering, kept for ever: with it the grouping can be followed, and made
/// again without calculating it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Sequence of the event after which it took effect.
    pub sequence: u64,
    /// Embedded events that it looked at.
    pub embedded: u64,
    /// The id that the next new intent gets.
    pub next_intent: IntentId,
    /// Micro-clusters that went to another intent: which, from where, to where. By id.
    pub moved: Vec<(MicroClusterId, IntentId, IntentId)>,
    /// Intents that ended, each with the intent that holds most of its events. By id.
    pub retired: Vec<(IntentId, IntentId)>,
    /// Micro-clusters that were folded into others, in the order in which it was done.
    pub folded: Vec<(MicroClusterId, MicroClusterId)>,
}
