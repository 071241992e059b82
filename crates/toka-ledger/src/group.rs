//! Consumer groups: several consumers share the events that a filter wants, and each event goes to one of them
//! at a time.
//!
//! A group has a *position*: of the events up to it every one that the filter wanted was delivered. Each of those
//! is acknowledged and gone, *outstanding* ([`Item`]: leased to a consumer, or waiting to be delivered again), or
//! *parked* ([`Parked`]: put aside). How a group changes is in `apply`; which events are next is found here, by
//! whoever proposes a delivery.

mod plan;
mod read;

pub use self::plan::{NotDue, Plan, Planned, plan_delivery, plan_delivery_after};
pub use self::read::Due;
pub use crate::command::COORDINATION_LEVEL as FEATURE_LEVEL;
pub use crate::core::groups::{
    ACK_TIMEOUT_MS_DEFAULT, Changes, DELIVERIES_MAX_DEFAULT, Delivery, Group, Item, ItemState,
    Parked, Settings, SettleOutcome, UNACKNOWLEDGED_MAX_DEFAULT,
};
