//! An agent that shares its events with other instances.

use std::time::Duration;

use toka_ledger::command::Verdict;
use toka_ledger::group::{Group, Settings as GroupSettings};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::cursor::{first, snapshot_of};
use super::deal::{Dealt, Task};
use super::guard::folding_read;
use super::place::GroupPlace;
use super::{Ended, Runner, parked};
use crate::agent::Agent;
use crate::error::Error;
use crate::fold::Fold;
use crate::settings::GroupSource;
use crate::step::Step;
use crate::store::Delivery;

/// How long one wait for an event is; so long it takes at most until an agent that waits has stopped.
const WAIT: Duration = Duration::from_secs(2);
/// The same where the agent ends when there is nothing to be had.
const WAIT_UNTIL: Duration = Duration::from_millis(100);
/// Deliveries are extended so many times in the time that they have.
const EXTENSIONS: u32 = 3;

pub(super) async fn run<A: Agent>(
    runner: &Runner<A>,
    source: &GroupSource,
    until: Option<u64>,
    stop: &CancellationToken,
) -> Result<Ended, Error> {
    let group = group(runner, source).await?;
    let mut member = Member::new(runner, &group);
    runner.perform_left(stop).await?;
    parked::record_left(&runner.calls, &source.group).await?;
    let (calls, store) = (&runner.calls, &runner.calls.store);
    let wait = until.map_or(WAIT, |_| WAIT_UNTIL);
    while !stop.is_cancelled() {
        let pull = || store.pull(&source.group, &source.consumer, source.ahead, wait);
        let deliveries = calls.retried(pull).await?;
        if deliveries.is_empty()
            && let Some(until) = until
        {
            let head = calls.retried(|| store.head()).await?;
            if head >= until {
                return Ok(Ended::Reached(head));
            }
        }
        let mut held = Held {
            deliveries: &deliveries,
            extended: Instant::now(),
        };
        while !held.deliveries.is_empty() {
            if stop.is_cancelled() {
                member.release(held.deliveries).await?;
                break;
            }
            member.take(&mut held, stop).await?;
            held.deliveries = &held.deliveries[1..];
        }
    }
    Ok(Ended::Stopped)
}

/// The group, which is made if there is none.
async fn group<A: Agent>(runner: &Runner<A>, source: &GroupSource) -> Result<Group, Error> {
    let (calls, store) = (&runner.calls, &runner.calls.store);
    let group = match calls.retried(|| store.group(&source.group)).await? {
        Some(group) => group,
        None => {
            let settings = GroupSettings {
                filter: runner.filter.clone(),
                ack_timeout_ms: source.ack_timeout_ms,
                unacknowledged_max: source.unacknowledged_max,
                deliveries_max: source.deliveries_max,
            };
            let after = first(runner).await?;
            let create = || store.create_group(&source.group, &settings, after);
            calls.retried(create).await?
        }
    };
    match group.settings.filter == runner.filter {
        true => Ok(group),
        false => Err(Error::OtherGroup { group: group.name }),
    }
}

/// Deliveries that this instance has.
struct Held<'d> {
    /// The one that is dealt with, and those that wait for it.
    deliveries: &'d [Delivery],
    /// When they were given their time.
    extended: Instant,
}

struct Member<'r, A: Agent> {
    runner: &'r Runner<A>,
    /// How long a delivery is this instance's without an extension.
    lease: Duration,
    /// Deliveries after which the group parks an event by itself.
    deliveries_max: u32,
    /// Of all events that the group gets, whoever deals with them; absent until the first one comes.
    fold: Option<Fold<A>>,
    /// Events in the state that are in no snapshot.
    since_snapshot: u64,
}

impl<'r, A: Agent> Member<'r, A> {
    fn new(runner: &'r Runner<A>, group: &Group) -> Self {
        Self {
            runner,
            lease: Duration::from_millis(group.settings.ack_timeout_ms.into()),
            deliveries_max: group.settings.deliveries_max,
            fold: None,
            since_snapshot: 0,
        }
    }

    /// Where it is said what becomes of a delivery.
    fn place<'d>(&self, delivery: &'d Delivery) -> GroupPlace<'d>
    where
        'r: 'd,
    {
        GroupPlace {
            calls: &self.runner.calls,
            delivery,
            deliveries_max: self.deliveries_max,
        }
    }

    /// Brings the state up to the first event that is held, and deals with that.
    async fn take(&mut self, held: &mut Held<'_>, stop: &CancellationToken) -> Result<(), Error> {
        let deliveries = held.deliveries;
        let Some(delivery) = deliveries.first() else {
            return Ok(());
        };
        let (runner, lease, event) = (self.runner, self.lease, &delivery.event);
        let sequence = event.sequence();
        runner.reached(Step::Received, sequence);
        let fold = {
            let fold = Box::pin(self.state_at(sequence));
            extending(runner, lease, held, fold).await?
        };
        runner.reached(Step::Applied, sequence);
        let every = runner.calls.settings.snapshot_every;
        let is_due = every > 0 && self.since_snapshot >= every && fold.is_none();
        let fold = fold.as_ref().or(self.fold.as_ref());
        let unfolded = Fold::default();
        let fold = fold.unwrap_or(&unfolded);
        let snapshot = match is_due {
            true => snapshot_of(runner, fold, event),
            false => None,
        };
        let mut place = self.place(delivery);
        let task = Task {
            state: fold.state(),
            event,
            snapshot,
        };
        let dealt = {
            let deal = Box::pin(runner.deal(task, &mut place, stop));
            extending(runner, lease, held, deal).await?
        };
        match dealt {
            Dealt::Nothing => {
                place.settle(Verdict::Acknowledge).await?;
            }
            Dealt::Stopped => {
                place.settle(Verdict::Release).await?;
            }
            Dealt::Done | Dealt::Parked | Dealt::GivenBack | Dealt::Fenced | Dealt::PutBack => {}
        }
        if is_due && matches!(dealt, Dealt::Done | Dealt::Nothing) {
            self.since_snapshot = 0;
        }
        runner.calls.metrics.set_position(sequence);
        Ok(())
    }

    /// Folds what the group gets, up to a sequence. An event that comes again is before the state, and is dealt with in the
    /// one that there was at it, as in a replay: that one is returned.
    async fn state_at(&mut self, sequence: u64) -> Result<Option<Fold<A>>, Error> {
        if !folds::<A>() {
            return Ok(None);
        }
        let runner = self.runner;
        let store = &*runner.calls.store;
        let mut fold = match self.fold.take() {
            Some(fold) if fold.position() > sequence => {
                let before = fold.position();
                self.fold = Some(fold);
                let at = || Fold::at(store, runner.name(), &runner.filter, sequence);
                let fold = folding_read(before, runner.calls.retried(at)).await?;
                return Ok(Some(fold));
            }
            Some(fold) => fold,
            None => {
                let open = || Fold::open(store, runner.name(), sequence);
                runner.calls.retried(open).await?
            }
        };
        let mut tries = runner.calls.tries();
        loop {
            let position = fold.position();
            let advance =
                async { Ok::<_, Error>(fold.advance(store, &runner.filter, sequence).await) };
            let advanced = folding_read(position, advance).await?;
            match advanced {
                Ok(folded) => {
                    self.since_snapshot += folded;
                    runner.calls.metrics.add_applied(folded);
                    self.fold = Some(fold);
                    return Ok(None);
                }
                Err(error) => runner.calls.again(&mut tries, error).await?,
            }
        }
    }

    /// Gives back what was not begun with.
    async fn release(&self, deliveries: &[Delivery]) -> Result<(), Error> {
        for delivery in deliveries {
            self.place(delivery).settle(Verdict::Release).await?;
        }
        Ok(())
    }
}

/// Does something with the first event that is held, and asks for more time for all of them meanwhile.
async fn extending<A: Agent, T>(
    runner: &Runner<A>,
    lease: Duration,
    held: &mut Held<'_>,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        biased;
        done = call => done,
        () = extend(runner, lease, held) => unreachable!("it goes on for ever"),
    }
}

/// Asks for more time for what is held, now and then, for ever.
async fn extend<A: Agent>(runner: &Runner<A>, lease: Duration, held: &mut Held<'_>) {
    let store = &runner.calls.store;
    loop {
        sleep_until(held.extended + lease / EXTENSIONS).await;
        held.extended = Instant::now();
        for delivery in held.deliveries {
            if let Err(error) = store.settle(delivery, Verdict::Extend).await {
                let agent = runner.name();
                tracing::warn!(agent, %error, "delivery was not extended");
            }
        }
    }
}

/// Whether there is anything in the state: one that holds nothing need not be folded.
const fn folds<A: Agent>() -> bool {
    size_of::<A::State>() > 0
}
