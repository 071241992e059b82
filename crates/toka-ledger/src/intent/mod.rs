//! Intents: groups of events that mean the same, found online and the same on every replica.
//!
//! Two levels. Each event with an embedding joins a *micro-cluster*, small and tight, when it is
//! applied, and never leaves it. An *intent* is a group of micro-clusters; at fixed points of the
//! history a *macro-clustering* groups them anew, by how similar their events are to each other
//! relative to how coherent the groups are. What an event's intent is now follows from its
//! micro-cluster.
//!
//! Invariants: the event path and the macro-clustering are integer arithmetic, so that vector width,
//! blocking and threads cannot change a result; nothing here reads a clock or draws a random number;
//! ids are never reused. `docs/intents.md` has the algorithm and where it comes from.

pub mod block;
mod clusterer;
mod digest;
pub mod kernel;
mod lookahead;
pub mod macro_clustering;
mod micro;
mod names;
mod pending;
mod persist;
pub mod quantize;
pub mod query;
mod regroup;
mod shortlist;
mod sketch;
mod space;
pub mod table;
mod view;

pub(crate) use self::clusterer::{Assignment, Changes, Clusterer};
pub(crate) use self::persist::restore;
pub(crate) use self::view::Probe;
pub use self::view::{Classification, Summary, TENTATIVE_EVENTS, Usage};
pub use crate::core::{IntentId, MicroClusterId, Parameters};
pub use crate::store::clusters::Record;
