//! A cluster.

use std::time::Duration;

use toka_client::{
    Client, Consistency, GroupStart, Include, List, Message, Pull, Read, Start, Subscribe,
    Subscription, Token,
};
use toka_ledger::command::{Precondition, Verdict};
use toka_ledger::group::{Group, Parked, Settings as GroupSettings, SettleOutcome};
use toka_ledger::{
    ConsumerName, CursorName, EventDraft, EventHeader, Filter, GroupName, Rejection, Selector,
};

use super::{Answer, Delivery, Feed, Item, Page, Range, Store};
use crate::event::Event;

const PAYLOAD: Include = Include {
    payload: true,
    embedding: false,
};
const READ: Read = Read {
    consistency: Consistency::Linearizable,
    include: PAYLOAD,
};

impl Store for Client {
    fn commit(
        &self,
        events: Vec<EventDraft>,
        preconditions: Vec<Precondition>,
    ) -> Answer<'_, Vec<EventHeader>> {
        Box::pin(async move {
            let committed = self.commit_batch(events, preconditions).await?;
            Ok(committed.headers)
        })
    }

    fn get(&self, selector: Selector) -> Answer<'_, Option<Event>> {
        Box::pin(async move {
            match Client::get(self, &selector, &READ).await {
                Ok(event) => Ok(Some(event.into())),
                Err(
                    toka_client::Error::NotFound { .. } | toka_client::Error::OutOfRange { .. },
                ) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn list(&self, range: Range) -> Answer<'_, Page> {
        Box::pin(async move {
            let list = List {
                after: range.after,
                until: range.until,
                filter: range.filter,
                descending: range.newest_first,
                page_size: u32::try_from(range.limit).unwrap_or(u32::MAX),
                read: READ,
                ..List::default()
            };
            let mut token = None;
            loop {
                let page = Client::list(self, &list, token.as_deref()).await?;
                // A page may be empty though there are more.
                if let (Some(next), true) = (&page.next, page.events.is_empty()) {
                    token = Some(next.clone());
                    continue;
                }
                let last = page.events.last().map_or(0, |last| last.header.sequence);
                let next = page.next.is_some().then_some(match list.descending {
                    true => last.saturating_sub(1),
                    false => last,
                });
                return Ok(Page {
                    events: page.events.into_iter().map(Event::from).collect(),
                    // The first event of all has none before it.
                    next: next.filter(|next| *next > list.after || !list.descending),
                });
            }
        })
    }

    fn follow(&self, after: u64, filter: Filter) -> Answer<'_, Box<dyn Feed>> {
        Box::pin(async move {
            let subscribe = Subscribe {
                filter,
                include: PAYLOAD,
                ..Subscribe::from(Start::After(after))
            };
            let subscription = self.subscribe(subscribe).await?;
            let feed: Box<dyn Feed> = Box::new(subscription);
            Ok(feed)
        })
    }

    fn cursor<'a>(&'a self, name: &'a CursorName) -> Answer<'a, Option<u64>> {
        Box::pin(async move { Ok(Client::cursor(self, name, Consistency::Linearizable).await?) })
    }

    fn save_cursor<'a>(&'a self, name: &'a CursorName, from: u64, to: u64) -> Answer<'a, ()> {
        Box::pin(async move {
            Client::save_cursor(self, name, Some(from), to).await?;
            Ok(())
        })
    }

    fn group<'a>(&'a self, name: &'a GroupName) -> Answer<'a, Option<Group>> {
        Box::pin(async move {
            match Client::group(self, name, Consistency::Linearizable).await {
                Ok(group) => Ok(Some(group)),
                Err(toka_client::Error::Rejected(Rejection::UnknownGroup { .. })) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn create_group<'a>(
        &'a self,
        name: &'a GroupName,
        settings: &'a GroupSettings,
        after: u64,
    ) -> Answer<'a, Group> {
        Box::pin(async move {
            let start = GroupStart::After(after);
            Ok(Client::create_group(self, name, settings, start).await?)
        })
    }

    fn pull<'a>(
        &'a self,
        group: &'a GroupName,
        consumer: &'a ConsumerName,
        max: u32,
        wait: Duration,
    ) -> Answer<'a, Vec<Delivery>> {
        Box::pin(async move {
            let pull = Pull {
                max_events: max,
                wait,
                include: PAYLOAD,
                ..Pull::new(group.clone(), consumer.clone())
            };
            let deliveries = Client::pull(self, &pull).await?.into_iter();
            let delivered = deliveries.map(|delivery| Delivery {
                group: group.clone(),
                incarnation: delivery.token().incarnation,
                delivery: delivery.delivery,
                event: delivery.event.into(),
            });
            Ok(delivered.collect())
        })
    }

    fn settle<'a>(&'a self, delivery: &'a Delivery, verdict: Verdict) -> Answer<'a, SettleOutcome> {
        Box::pin(async move {
            let token = Token {
                incarnation: delivery.incarnation,
                sequence: delivery.event.sequence(),
                delivery: delivery.delivery,
            };
            let outcomes = Client::settle(self, &delivery.group, &[(token, verdict)]).await?;
            Ok(*outcomes.first().expect("the client compares their number"))
        })
    }

    fn parked<'a>(&'a self, group: &'a GroupName, max: usize) -> Answer<'a, Vec<Parked>> {
        Box::pin(async move {
            let read = Read {
                include: Include::default(),
                ..READ
            };
            let parked = match Client::parked(self, group, max, &read).await {
                Ok(parked) => parked.into_iter(),
                Err(toka_client::Error::Rejected(Rejection::UnknownGroup { .. })) => {
                    return Ok(Vec::new());
                }
                Err(error) => return Err(error.into()),
            };
            let parked = parked.map(|parked| Parked {
                sequence: parked.event.header.sequence,
                deliveries: parked.deliveries,
                parked_unix_ms: parked.parked_unix_ms,
                reason: parked.reason,
            });
            Ok(parked.collect())
        })
    }
}

impl Feed for Subscription {
    fn next(&mut self) -> Answer<'_, Item> {
        Box::pin(async move {
            loop {
                match Subscription::next(self).await? {
                    Message::Event(event) => return Ok(Item::Event(Box::new((*event).into()))),
                    Message::Checkpoint { sequence, .. } | Message::CaughtUp { sequence, .. } => {
                        return Ok(Item::Reached(sequence));
                    }
                    // That it is behind, or that an intent goes on under another number, changes nothing here.
                    _ => {}
                }
            }
        })
    }
}
