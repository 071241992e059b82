//! What agents need of a vault: of a cluster, of one in this process, of a fork.
//!
//! Everything that agents do goes through [`Store`], and nothing goes around it. So an agent that runs against a cluster
//! runs against [`VaultBus`](toka_ledger::VaultBus) too, and against whatever else is made to look like a vault: a fork, or
//! a recorded history that takes no commits.

mod bus;
mod client;
mod error;

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use toka_ledger::command::{Precondition, Verdict};
use toka_ledger::group::{Group, Parked, Settings as GroupSettings, SettleOutcome};
use toka_ledger::{ConsumerName, CursorName, EventDraft, EventHeader, Filter, GroupName, Selector};

pub use self::error::{Class, StoreError};
use crate::event::Event;

/// Events of one page that [`Store::list`] is asked for at most.
pub const PAGE_EVENTS_MAX: usize = 1_000;

/// Answers of a store.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// A vault, as agents use it. All reads see everything that was acknowledged, to anyone, before they began, but for
/// [`Store::follow`], which comes to it.
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// Stores events together or not at all, if the preconditions hold. Repeated with the same events it stores nothing
    /// more, and returns the stored headers, marked `deduplicated`; preconditions are not looked at then, and cursors do
    /// not move.
    fn commit(
        &self,
        events: Vec<EventDraft>,
        preconditions: Vec<Precondition>,
    ) -> Answer<'_, Vec<EventHeader>>;

    /// One event; `None` if there is none of that name.
    fn get(&self, selector: Selector) -> Answer<'_, Option<Event>>;

    /// A page of the order.
    fn list(&self, range: Range) -> Answer<'_, Page>;

    /// The sequence of the last event; 0 if there is none.
    fn head(&self) -> Answer<'_, u64> {
        Box::pin(async move {
            let newest = Range {
                newest_first: true,
                limit: 1,
                ..Range::default()
            };
            let page = self.list(newest).await?;
            Ok(page.events.first().map_or(0, Event::sequence))
        })
    }

    /// Every event that the filter wants after a sequence, in order, each once, and then those that come.
    fn follow(&self, after: u64, filter: Filter) -> Answer<'_, Box<dyn Feed>>;

    /// Where a cursor is; `None` if there is none of that name.
    fn cursor<'a>(&'a self, name: &'a CursorName) -> Answer<'a, Option<u64>>;

    /// Puts a cursor at `to` if it is at `from`, where 0 stands for one that there is not, or is at `to` already.
    fn save_cursor<'a>(&'a self, name: &'a CursorName, from: u64, to: u64) -> Answer<'a, ()>;

    /// A consumer group; `None` if there is none of that name.
    fn group<'a>(&'a self, name: &'a GroupName) -> Answer<'a, Option<Group>>;

    /// Makes a consumer group, of the events after the sequence `after`. If there is one of that name with the same
    /// settings, that one is returned.
    fn create_group<'a>(
        &'a self,
        name: &'a GroupName,
        settings: &'a GroupSettings,
        after: u64,
    ) -> Answer<'a, Group>;

    /// Leases up to `max` events of a group to a consumer; empty if there were none in `wait`.
    fn pull<'a>(
        &'a self,
        group: &'a GroupName,
        consumer: &'a ConsumerName,
        max: u32,
        wait: Duration,
    ) -> Answer<'a, Vec<Delivery>>;

    /// Says what became of a delivery.
    fn settle<'a>(&'a self, delivery: &'a Delivery, verdict: Verdict) -> Answer<'a, SettleOutcome>;

    /// The first events that a group has put aside, in order, at most `max`; none if there is no such group.
    fn parked<'a>(&'a self, group: &'a GroupName, max: usize) -> Answer<'a, Vec<Parked>>;
}

/// Events as they come.
pub trait Feed: Send {
    /// What comes next. Can be dropped and called again without losing anything.
    ///
    /// # Errors
    /// After an error of [`Class::Transient`] a further call tries again.
    fn next(&mut self) -> Answer<'_, Item>;
}

/// What a feed delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The next event that is wanted.
    Event(Box<Event>),
    /// Every wanted event up to this sequence has come. Comes now and then, also while nothing is wanted of what happens.
    Reached(u64),
}

/// A part of the order; the default is all of it, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Events after this sequence.
    pub after: u64,
    /// Events up to this sequence, inclusive; `None`: to the end.
    pub until: Option<u64>,
    /// Which events.
    pub filter: Filter,
    /// Newest first.
    pub newest_first: bool,
    /// Events on the page at most, 1 to [`PAGE_EVENTS_MAX`].
    pub limit: usize,
}

impl Default for Range {
    fn default() -> Self {
        Self {
            after: 0,
            until: None,
            filter: Filter::default(),
            newest_first: false,
            limit: PAGE_EVENTS_MAX,
        }
    }
}

impl Range {
    /// The range after a page of it that has a next one.
    #[must_use]
    pub fn resume(mut self, next: u64) -> Self {
        if self.newest_first {
            self.until = Some(next);
        } else {
            self.after = next;
        }
        self
    }
}

/// Events of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// At least one if there is one.
    pub events: Vec<Event>,
    /// Leads on, by [`Range::resume`]; `None`: this was the last page.
    pub next: Option<u64>,
}

/// An event in the hands of a consumer of a group, until it settles it or its time is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The event.
    pub event: Event,
    /// The group.
    pub group: GroupName,
    /// Which group of that name, as the store names it.
    pub incarnation: u64,
    /// Which of its deliveries to this group, from 1.
    pub delivery: u32,
}

impl Delivery {
    /// That this delivery is current, for a commit that acknowledges it: of the consumers of one event exactly one
    /// commits.
    #[must_use]
    pub fn precondition(&self) -> Precondition {
        Precondition::Acknowledge {
            group: self.group.clone(),
            incarnation: self.incarnation,
            sequence: self.event.sequence(),
            delivery: self.delivery,
        }
    }
}
