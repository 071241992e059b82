//! Subscriptions: catch up from storage, then go on live, with no gap, repeat or reordering.
//!
//! Recent headers are in a [`Ring`](crate::read::Ring) that all subscribers share; a subscriber that the ring has
//! left behind reads pages from storage, so a slow one costs nobody anything. Position decides, not
//! the way the events came: a subscription only ever asks for what follows the last sequence that
//! it has looked at.

mod subscription;

pub use self::subscription::{Message, Start, Subscription};
