//! A vault in this process.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::poll_fn;
use toka_ledger::bus::Delivered;
use toka_ledger::command::{Precondition, Settlement, Verdict};
use toka_ledger::engine::Direction;
use toka_ledger::feed::{Message, Subscription};
use toka_ledger::group::{Group, Parked, Settings as GroupSettings, SettleOutcome};
use toka_ledger::read::Query;
use toka_ledger::seam::off_reactor;
use toka_ledger::{
    ConsumerName, CursorName, EventDraft, EventHeader, Filter, GroupName, Reader, Selector, Start,
    Stored, VaultBus,
};
use tokio::time::{Instant, timeout_at};

use super::{Answer, Delivery, Feed, Item, PAGE_EVENTS_MAX, Page, Range, Store, StoreError};
use crate::event::Event;

/// How often a group is asked again where nothing is committed: leases run out without a commit.
const PULL_AGAIN: Duration = Duration::from_millis(100);

impl Store for VaultBus {
    fn commit(
        &self,
        events: Vec<EventDraft>,
        preconditions: Vec<Precondition>,
    ) -> Answer<'_, Vec<EventHeader>> {
        Box::pin(async move { Ok(self.commit_batch_if(events, preconditions).await?) })
    }

    fn get(&self, selector: Selector) -> Answer<'_, Option<Event>> {
        let reader = self.reader().clone();
        Box::pin(blocking(move || {
            let header = reader.header(&selector)?;
            header.map(|header| read(&reader, header)).transpose()
        }))
    }

    fn list(&self, range: Range) -> Answer<'_, Page> {
        let reader = self.reader().clone();
        Box::pin(blocking(move || list(&reader, range)))
    }

    fn head(&self) -> Answer<'_, u64> {
        Box::pin(async move { Ok(self.position().sequence) })
    }

    fn follow(&self, after: u64, filter: Filter) -> Answer<'_, Box<dyn Feed>> {
        Box::pin(async move {
            let feed: Box<dyn Feed> = Box::new(Follower {
                reader: self.reader().clone(),
                feed: self.reader().subscribe(Start::After(after), filter),
                told: after,
                held: None,
            });
            Ok(feed)
        })
    }

    fn cursor<'a>(&'a self, name: &'a CursorName) -> Answer<'a, Option<u64>> {
        Box::pin(async move { Ok(VaultBus::cursor(self, name)?) })
    }

    fn save_cursor<'a>(&'a self, name: &'a CursorName, from: u64, to: u64) -> Answer<'a, ()> {
        Box::pin(async move {
            VaultBus::save_cursor(self, name, Some(from), to).await?;
            Ok(())
        })
    }

    fn group<'a>(&'a self, name: &'a GroupName) -> Answer<'a, Option<Group>> {
        Box::pin(async move {
            let groups = self.groups()?.into_iter();
            let mut named = groups.filter(|group| group.name == *name && !group.is_ending);
            Ok(named.next())
        })
    }

    fn create_group<'a>(
        &'a self,
        name: &'a GroupName,
        settings: &'a GroupSettings,
        after: u64,
    ) -> Answer<'a, Group> {
        Box::pin(async move {
            let settings = settings.clone();
            Ok(VaultBus::create_group(self, name, settings, after).await?)
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
            let until = Instant::now() + wait;
            let mut positions = self.reader().watch();
            loop {
                positions.mark_unchanged();
                let max = usize::try_from(max).unwrap_or(usize::MAX);
                let delivered = VaultBus::pull(self, group, consumer, max).await?;
                if !delivered.is_empty() {
                    return deliveries(self.reader().clone(), delivered).await;
                }
                let now = Instant::now();
                if now >= until {
                    return Ok(Vec::new());
                }
                let again = until.min(now + PULL_AGAIN);
                if let Ok(Err(_)) = timeout_at(again, positions.changed()).await {
                    return Err(toka_ledger::Error::Closed.into());
                }
            }
        })
    }

    fn settle<'a>(&'a self, delivery: &'a Delivery, verdict: Verdict) -> Answer<'a, SettleOutcome> {
        Box::pin(async move {
            let settlement = Settlement {
                sequence: delivery.event.sequence(),
                delivery: delivery.delivery,
                verdict,
            };
            let (group, incarnation) = (&delivery.group, delivery.incarnation);
            let outcomes = VaultBus::settle(self, group, incarnation, vec![settlement]).await?;
            Ok(*outcomes.first().expect("one outcome for each settlement"))
        })
    }

    fn parked<'a>(&'a self, group: &'a GroupName, max: usize) -> Answer<'a, Vec<Parked>> {
        Box::pin(async move { Ok(VaultBus::parked(self, group, 0, max)?) })
    }
}

/// The deliveries with the payloads of their events.
async fn deliveries(
    reader: Reader,
    delivered: Vec<Delivered>,
) -> Result<Vec<Delivery>, StoreError> {
    let work = move || {
        let deliveries = delivered.into_iter().map(|delivered| {
            Ok(Delivery {
                event: read(&reader, Arc::new(delivered.header))?,
                group: delivered.group,
                incarnation: delivered.incarnation,
                delivery: delivered.delivery,
            })
        });
        deliveries.collect()
    };
    blocking(work).await
}

/// Work that reads storage.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, toka_ledger::Error> + Send + 'static,
) -> Result<T, StoreError> {
    let done = off_reactor(work).await;
    Ok(done.map_err(|_| StoreError::Interrupted)??)
}

/// The event with its payload.
fn read(reader: &Reader, header: Arc<EventHeader>) -> Result<Event, toka_ledger::Error> {
    let payload = match reader.payload(&header)? {
        Stored::Present(payload) => Some(payload),
        Stored::Erased => None,
    };
    Ok(Event {
        header: Arc::unwrap_or_clone(header),
        payload,
    })
}

fn list(reader: &Reader, range: Range) -> Result<Page, toka_ledger::Error> {
    let mut query = Query {
        after: range.after,
        until: range.until.unwrap_or(u64::MAX),
        filter: range.filter,
        direction: match range.newest_first {
            true => Direction::Backward,
            false => Direction::Forward,
        },
        limit: range.limit.clamp(1, PAGE_EVENTS_MAX),
    };
    loop {
        let page = reader.list(&query)?;
        // A page may be empty though there are more.
        if let (Some(next), true) = (page.next, page.headers.is_empty()) {
            match query.direction {
                Direction::Backward => query.until = next,
                Direction::Forward => query.after = next,
            }
            continue;
        }
        let events = page.headers.into_iter();
        let events = events.map(|header| read(reader, header));
        return Ok(Page {
            events: events.collect::<Result<_, _>>()?,
            next: page.next,
        });
    }
}

/// What a vault in this process delivers.
#[derive(Debug)]
struct Follower {
    reader: Reader,
    feed: Subscription,
    /// What the last item has said of the position.
    told: u64,
    /// An event that has come, and whose payload was not read yet.
    held: Option<Arc<EventHeader>>,
}

impl Follower {
    /// The next message; `None` if the feed has come further without one.
    async fn message(&mut self) -> Option<Result<Message, toka_ledger::Error>> {
        poll_fn(|cx| match self.feed.poll_message(cx) {
            Poll::Ready(message) => Poll::Ready(Some(message)),
            Poll::Pending if self.feed.position() > self.told => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}

impl Feed for Follower {
    fn next(&mut self) -> Answer<'_, Item> {
        Box::pin(async move {
            loop {
                if let Some(header) = self.held.clone() {
                    let (reader, sequence) = (self.reader.clone(), header.sequence);
                    let event = blocking(move || read(&reader, header)).await?;
                    self.held = None;
                    self.told = sequence;
                    return Ok(Item::Event(Box::new(event)));
                }
                match self.message().await.transpose()? {
                    Some(Message::Event(header)) => self.held = Some(header),
                    None | Some(Message::CaughtUp) => {
                        self.told = self.feed.position();
                        return Ok(Item::Reached(self.told));
                    }
                    Some(Message::Continued { .. } | Message::FellBehind) => {}
                }
            }
        })
    }
}
