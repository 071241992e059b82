//! Tells a supervisor when an agent is ready: its state is folded up to where its cursor is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use toka_agents::store::{Answer, Delivery, Feed, Item, Page, Range, Store};
use toka_agents::{Event, Probe, Step};
use toka_ledger::command::{Precondition, Verdict};
use toka_ledger::group::{Group, Parked, Settings as GroupSettings, SettleOutcome};
use toka_ledger::{ConsumerName, CursorName, EventDraft, EventHeader, Filter, GroupName, Selector};

use crate::supervise::Signals;

/// How far an agent has come since it was started.
#[derive(Debug, Default)]
pub(super) struct CatchUp(Mutex<Progress>);

#[derive(Debug, Default)]
struct Progress {
    /// Of the run that starts; `None` once that has said that it is ready.
    signals: Option<Arc<Signals>>,
    /// Where the agent's cursor is.
    cursor: u64,
    /// The last event up to there that was read.
    read: u64,
    /// Whether all of them were.
    is_read: bool,
    /// The last event that is in the state.
    applied: u64,
}

impl CatchUp {
    /// A run begins.
    pub(super) fn begin(&self, signals: Arc<Signals>) {
        *self.lock() = Progress {
            signals: Some(signals),
            ..Progress::default()
        };
    }

    fn on(&self, change: impl FnOnce(&mut Progress)) {
        let mut progress = self.lock();
        if progress.signals.is_none() {
            return;
        }
        change(&mut progress);
        if progress.is_read
            && progress.applied >= progress.read
            && let Some(signals) = progress.signals.take()
        {
            signals.started();
        }
    }

    /// The agent's cursor is there.
    fn cursor_is(&self, at: u64) {
        self.on(|progress| progress.cursor = at);
    }

    /// The agent's feed has delivered.
    fn delivered(&self, item: &Item) {
        self.on(|progress| match item {
            Item::Event(event) if event.sequence() <= progress.cursor => {
                progress.read = event.sequence();
            }
            Item::Event(_) => progress.is_read = true,
            Item::Reached(sequence) => progress.is_read |= *sequence >= progress.cursor,
        });
    }

    // Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A probe that tells what was folded, too.
#[derive(Debug)]
pub(super) struct Probed {
    pub(super) probe: Arc<dyn Probe>,
    pub(super) catch_up: Arc<CatchUp>,
}

impl Probe for Probed {
    fn reached(&self, step: Step, sequence: u64) {
        if step == Step::Applied {
            self.catch_up.on(|progress| progress.applied = sequence);
        }
        self.probe.reached(step, sequence);
    }
}

/// A store that tells what was read, too.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) store: Arc<dyn Store>,
    pub(super) catch_up: Arc<CatchUp>,
}

struct WatchedFeed {
    feed: Box<dyn Feed>,
    catch_up: Arc<CatchUp>,
}

impl Feed for WatchedFeed {
    fn next(&mut self) -> Answer<'_, Item> {
        Box::pin(async move {
            let item = self.feed.next().await?;
            self.catch_up.delivered(&item);
            Ok(item)
        })
    }
}

impl Store for Watched {
    fn commit(
        &self,
        events: Vec<EventDraft>,
        preconditions: Vec<Precondition>,
    ) -> Answer<'_, Vec<EventHeader>> {
        self.store.commit(events, preconditions)
    }

    fn get(&self, selector: Selector) -> Answer<'_, Option<Event>> {
        self.store.get(selector)
    }

    fn list(&self, range: Range) -> Answer<'_, Page> {
        self.store.list(range)
    }

    fn head(&self) -> Answer<'_, u64> {
        self.store.head()
    }

    fn follow(&self, after: u64, filter: Filter) -> Answer<'_, Box<dyn Feed>> {
        Box::pin(async move {
            let feed: Box<dyn Feed> = Box::new(WatchedFeed {
                feed: self.store.follow(after, filter).await?,
                catch_up: Arc::clone(&self.catch_up),
            });
            Ok(feed)
        })
    }

    fn cursor<'a>(&'a self, name: &'a CursorName) -> Answer<'a, Option<u64>> {
        Box::pin(async move {
            let at = self.store.cursor(name).await?;
            self.catch_up.cursor_is(at.unwrap_or(0));
            Ok(at)
        })
    }

    fn save_cursor<'a>(&'a self, name: &'a CursorName, from: u64, to: u64) -> Answer<'a, ()> {
        Box::pin(async move {
            self.store.save_cursor(name, from, to).await?;
            self.catch_up.cursor_is(to);
            Ok(())
        })
    }

    fn group<'a>(&'a self, name: &'a GroupName) -> Answer<'a, Option<Group>> {
        self.store.group(name)
    }

    fn create_group<'a>(
        &'a self,
        name: &'a GroupName,
        settings: &'a GroupSettings,
        after: u64,
    ) -> Answer<'a, Group> {
        self.store.create_group(name, settings, after)
    }

    fn pull<'a>(
        &'a self,
        group: &'a GroupName,
        consumer: &'a ConsumerName,
        max: u32,
        wait: Duration,
    ) -> Answer<'a, Vec<Delivery>> {
        // With a group the state is folded up to each event that comes: it is ready when it asks for the first one.
        self.catch_up.on(|progress| progress.is_read = true);
        self.store.pull(group, consumer, max, wait)
    }

    fn settle<'a>(&'a self, delivery: &'a Delivery, verdict: Verdict) -> Answer<'a, SettleOutcome> {
        self.store.settle(delivery, verdict)
    }

    fn parked<'a>(&'a self, group: &'a GroupName, max: usize) -> Answer<'a, Vec<Parked>> {
        self.store.parked(group, max)
    }
}

#[cfg(test)]
mod tests {
    use toka_agents::NoProbe;
    use toka_ledger::VaultBus;
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    use super::*;

    struct Started {
        store: Watched,
        probe: Probed,
        is_started: watch::Receiver<bool>,
    }

    /// An agent starts on a vault with three events; its cursor is at `cursor`.
    async fn started(cursor: u64) -> Started {
        let vault = VaultBus::builder().open_in_memory().expect("opens");
        for number in 0..3_u8 {
            let event = vault.event("n").payload(&number).commit().await;
            event.expect("committed");
        }
        let name = CursorName::new("agent.a").expect("valid");
        if cursor > 0 {
            let saved = vault.save_cursor(&name, None, cursor).await;
            saved.expect("saved");
        }
        let catch_up = Arc::new(CatchUp::default());
        let (told, is_started) = watch::channel(false);
        let signals = Signals::new(CancellationToken::new(), told);
        catch_up.begin(Arc::new(signals));
        let store = Watched {
            store: Arc::new(vault),
            catch_up: Arc::clone(&catch_up),
        };
        let at = store.cursor(&name).await.expect("read");
        assert_eq!(at.unwrap_or(0), cursor);
        let probe = Probed {
            probe: Arc::new(NoProbe),
            catch_up,
        };
        Started {
            store,
            probe,
            is_started,
        }
    }

    async fn event(feed: &mut Box<dyn Feed>) -> u64 {
        loop {
            if let Item::Event(event) = feed.next().await.expect("followed") {
                return event.sequence();
            }
        }
    }

    #[tokio::test]
    async fn agent_is_ready_once_its_state_is_folded_up_to_its_cursor() {
        let agent = started(2).await;
        let feed = agent.store.follow(0, Filter::default()).await;
        let mut feed = feed.expect("followed");
        for _ in 0..3 {
            let sequence = event(&mut feed).await;
            assert!(!*agent.is_started.borrow(), "event {sequence} is read only");
        }
        agent.probe.reached(Step::Applied, 1);
        assert!(!*agent.is_started.borrow());
        agent.probe.reached(Step::Applied, 2);
        assert!(*agent.is_started.borrow());
    }

    #[tokio::test]
    async fn agent_that_was_never_run_is_ready_with_the_first_event() {
        let agent = started(0).await;
        let feed = agent.store.follow(0, Filter::default()).await;
        assert_eq!(event(&mut feed.expect("followed")).await, 1);
        assert!(*agent.is_started.borrow());
    }

    #[tokio::test]
    async fn agent_that_wants_nothing_of_what_there_is_is_ready_too() {
        let agent = started(3).await;
        let filter = Filter {
            kind_prefixes: vec!["other".to_owned()],
            ..Filter::default()
        };
        let feed = agent.store.follow(0, filter).await;
        let mut feed = feed.expect("followed");
        while !*agent.is_started.borrow() {
            let item = feed.next().await.expect("followed");
            assert!(matches!(item, Item::Reached(_)), "{item:?}");
        }
    }

    #[tokio::test]
    async fn agent_with_a_group_is_ready_when_it_asks_for_events() {
        let agent = started(0).await;
        let group = GroupName::new("g").expect("valid");
        let consumer = ConsumerName::new("c").expect("valid");
        // There is no such group: it is asked for all the same.
        let pulled = agent.store.pull(&group, &consumer, 1, Duration::ZERO).await;
        assert!(pulled.is_err());
        assert!(*agent.is_started.borrow());
    }
}
