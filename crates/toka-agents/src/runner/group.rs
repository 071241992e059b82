//! An agent that shares its events with other instances.

use std::time::Duration;

use toka_ledger::command::Verdict;
use toka_ledger::group::{Group, Settings as GroupSettings};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::cursor::{first, snapshot_of};
use super::deal::{Dealt, Task};
use super::place::GroupPlace;
use super::{Ended, Runner};
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
/// A delivery is extended so many times in the time that it has.
const EXTENSIONS: u32 = 3;

pub(super) async fn run<A: Agent>(
    runner: &Runner<A>,
    source: &GroupSource,
    until: Option<u64>,
    stop: &CancellationToken,
) -> Result<Ended, Error> {
    let group = group(runner, source).await?;
    let lease = Duration::from_millis(group.settings.ack_timeout_ms.into());
    let mut member = Member::open(runner, lease).await?;
    runner.perform_left(stop).await?;
    let (calls, store) = (&runner.calls, &runner.calls.store);
    let wait = until.map_or(WAIT, |_| WAIT_UNTIL);
    while !stop.is_cancelled() {
        let pull = || store.pull(&source.group, &source.consumer, 1, wait);
        let deliveries = calls.retried(pull).await?;
        if deliveries.is_empty()
            && let Some(until) = until
        {
            let head = calls.retried(|| store.head()).await?;
            if head >= until {
                return Ok(Ended::Reached(head));
            }
        }
        for delivery in &deliveries {
            member.take(delivery, stop).await?;
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

struct Member<'r, A: Agent> {
    runner: &'r Runner<A>,
    /// How long a delivery is this instance's without an extension.
    lease: Duration,
    /// Of all events that the group gets, whoever deals with them.
    fold: Fold<A>,
    /// Events in the state that are in no snapshot.
    since_snapshot: u64,
}

impl<'r, A: Agent> Member<'r, A> {
    async fn open(runner: &'r Runner<A>, lease: Duration) -> Result<Self, Error> {
        let fold: Fold<A> = match folds::<A>() {
            false => Fold::default(),
            true => {
                let (store, agent) = (&*runner.calls.store, runner.name());
                let open = || Fold::open(store, agent, u64::MAX);
                runner.calls.retried(open).await?
            }
        };
        Ok(Self {
            runner,
            lease,
            fold,
            since_snapshot: 0,
        })
    }

    /// Brings the state up to a delivered event, and deals with that.
    async fn take(&mut self, delivery: &Delivery, stop: &CancellationToken) -> Result<(), Error> {
        let (runner, event) = (self.runner, &delivery.event);
        let sequence = event.sequence();
        runner.reached(Step::Received, sequence);
        self.advance(sequence).await?;
        runner.reached(Step::Applied, sequence);
        let every = runner.calls.settings.snapshot_every;
        // One that comes again is older than the state, and a snapshot is of the state after its parent.
        let is_due = every > 0 && self.since_snapshot >= every && self.fold.position() == sequence;
        let snapshot = match is_due {
            true => snapshot_of(runner, &self.fold, event),
            false => None,
        };
        let mut place = GroupPlace {
            calls: &runner.calls,
            delivery,
        };
        let task = Task {
            state: self.fold.state(),
            event,
            snapshot,
        };
        let dealt = {
            let deal = Box::pin(runner.deal(task, &mut place, stop));
            self.extending(delivery, deal).await?
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

    /// Folds what the group gets, up to a sequence.
    async fn advance(&mut self, until: u64) -> Result<(), Error> {
        if !folds::<A>() {
            return Ok(());
        }
        let runner = self.runner;
        let mut tries = runner.calls.tries();
        loop {
            let store = &*runner.calls.store;
            match self.fold.advance(store, &runner.filter, until).await {
                Ok(folded) => {
                    self.since_snapshot += folded;
                    (0..folded).for_each(|_| runner.calls.metrics.add_applied());
                    return Ok(());
                }
                Err(error) => runner.calls.again(&mut tries, error).await?,
            }
        }
    }

    /// Asks for more time now and then while an event is dealt with.
    async fn extending<F>(&self, delivery: &Delivery, mut deal: F) -> Result<Dealt, Error>
    where
        F: Future<Output = Result<Dealt, Error>> + Unpin,
    {
        let pause = self.lease / EXTENSIONS;
        let mut due = interval_at(Instant::now() + pause, pause);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                dealt = &mut deal => return dealt,
                _ = due.tick() => {}
            }
            let store = &self.runner.calls.store;
            if let Err(error) = store.settle(delivery, Verdict::Extend).await {
                let agent = self.runner.name();
                tracing::warn!(agent, %error, "delivery was not extended");
            }
        }
    }
}

/// Whether there is anything in the state: one that holds nothing need not be folded.
const fn folds<A: Agent>() -> bool {
    size_of::<A::State>() > 0
}
