//! Runs many units, mostly agents, in one process: restarts those that fail, tells how they are, stops them together.

mod health;
mod policy;
mod unit;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use self::health::{Health, State};
use self::policy::Restarts;
pub use self::policy::{Policy, Restart};
pub use self::unit::{Failure, Run, Signals, Unit};

/// Units of one supervisor at most.
pub const UNITS_MAX: usize = 1_024;

/// Why a unit was not started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There are as many as there may be.
    #[error("{max} units run already, which is the limit (`units_max`)")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// There is one of that name, even if it has ended; see [`Supervisor::forget`].
    #[error("there is a unit called {name:?} already")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The supervisor is stopping, or has stopped.
    #[error("the supervisor is stopping")]
    Stopping,
}

/// How a stop went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Units that had not ended by the deadline, and were broken off.
    pub broken_off: Vec<String>,
}

/// Units that run. When it is dropped they are broken off; [`Supervisor::stop`] lets them finish what they are at.
pub struct Supervisor {
    units: Mutex<BTreeMap<String, Entry>>,
    units_max: usize,
    stop: CancellationToken,
}

struct Entry {
    unit: Arc<dyn Unit>,
    health: watch::Receiver<Health>,
    /// `None` once it is waited for.
    task: Option<AbortOnDropHandle<()>>,
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("units", &self.lock().len())
            .finish_non_exhaustive()
    }
}

impl Supervisor {
    /// A supervisor of at most `units_max` units, and of no more than [`UNITS_MAX`].
    #[must_use]
    pub fn new(units_max: usize) -> Self {
        Self {
            units: Mutex::new(BTreeMap::new()),
            units_max: units_max.min(UNITS_MAX),
            stop: CancellationToken::new(),
        }
    }

    /// Starts a unit under a name of its own. Within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(&self, name: &str, unit: Arc<dyn Unit>, policy: Policy) -> Result<(), StartError> {
        let mut units = self.lock();
        if self.stop.is_cancelled() {
            return Err(StartError::Stopping);
        }
        if units.contains_key(name) {
            let name = name.to_owned();
            return Err(StartError::NameTaken { name });
        }
        if units.len() >= self.units_max {
            let max = self.units_max;
            return Err(StartError::TooMany { max });
        }
        let (told, health) = watch::channel(Health::new(name));
        let (running, stop) = (Arc::clone(&unit), self.stop.clone());
        let task: JoinHandle<()> = tokio::spawn(supervise(running, policy, told, stop));
        let task = Some(AbortOnDropHandle::new(task));
        units.insert(name.to_owned(), Entry { unit, health, task });
        Ok(())
    }

    /// How each unit is, by name. `head` is the vault's last event, from which lags are counted.
    #[must_use]
    pub fn health(&self, head: Option<u64>) -> Vec<Health> {
        let units = self.lock();
        let told = units.values().map(|entry| {
            let position = entry.unit.position();
            let mut health = entry.health.borrow().clone();
            if entry.health.has_changed().is_err() && !health.state.is_over() {
                // It was broken off, and could not say so any more.
                health.state = State::Stopped;
            }
            Health {
                position,
                lag: head.map(|head| head.saturating_sub(position)),
                ..health
            }
        });
        told.collect()
    }

    /// Follows how a unit is, but for its position; `None` if there is none of that name.
    #[must_use]
    pub fn watch(&self, name: &str) -> Option<watch::Receiver<Health>> {
        self.lock().get(name).map(|entry| entry.health.clone())
    }

    /// Forgets a unit that has ended for good, so that there may be another one of its name. False if there is none of that
    /// name, or it may still run.
    pub fn forget(&self, name: &str) -> bool {
        let mut units = self.lock();
        let is_over = units.get(name).is_some_and(|entry| {
            let is_gone = entry.health.has_changed().is_err();
            is_gone || entry.health.borrow().state.is_over()
        });
        is_over && units.remove(name).is_some()
    }

    /// Waits until every unit that was started has ended, by itself or because of [`Supervisor::stop`].
    pub async fn wait(&self) {
        let all: Vec<_> = {
            let units = self.lock();
            units.values().map(|entry| entry.health.clone()).collect()
        };
        for mut health in all {
            // The sender goes with the unit's task.
            while !health.borrow_and_update().state.is_over() {
                if health.changed().await.is_err() {
                    break;
                }
            }
        }
    }

    /// Tells all units to stop, and waits for `within` at most; who has not ended by then is broken off. No unit is started
    /// afterwards.
    pub async fn stop(&self, within: Duration) -> Stopped {
        let deadline = Instant::now() + within;
        self.stop.cancel();
        let tasks: Vec<_> = {
            let mut units = self.lock();
            let tasks = units
                .iter_mut()
                .filter_map(|(name, entry)| Some((name.clone(), entry.task.take()?)));
            tasks.collect()
        };
        let mut stopped = Stopped::default();
        for (name, mut task) in tasks {
            if timeout_at(deadline, &mut task).await.is_ok() {
                continue;
            }
            tracing::warn!(unit = name, "unit does not stop in time, and is broken off");
            task.abort();
            // A panic of the task's own was printed; that it was broken off is what was wanted.
            let _ = task.await;
            stopped.broken_off.push(name);
        }
        stopped
    }

    // Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.units.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a unit until it has ended for good.
async fn supervise(
    unit: Arc<dyn Unit>,
    policy: Policy,
    health: watch::Sender<Health>,
    stop: CancellationToken,
) {
    let mut restarts = Restarts::new(policy);
    loop {
        health.send_modify(|health| health.state = State::Starting);
        let ended = run_once(&unit, &health, &stop).await;
        let is_stopped = stop.is_cancelled();
        let failure = ended.err();
        if let Some(failure) = &failure {
            let name = health.borrow().name.clone();
            tracing::warn!(unit = name, error = %failure, "unit failed");
        }
        let wait = match is_stopped {
            true => None,
            false => restarts.after(failure.as_ref(), Instant::now()),
        };
        health.send_modify(|health| {
            health.state = match (&failure, wait) {
                (_, Some(_)) => State::BackingOff,
                (Some(_), None) => State::Failed,
                (None, None) => State::Stopped,
            };
            health.restarts += u64::from(wait.is_some());
            if let Some(failure) = failure {
                health.last_error = Some(failure.to_string());
            }
        });
        let Some(wait) = wait else { return };
        if stop
            .run_until_cancelled(tokio::time::sleep(wait))
            .await
            .is_none()
        {
            health.send_modify(|health| health.state = State::Stopped);
            return;
        }
    }
}

/// Runs a unit once, on a task of its own, so that a panic ends that alone.
async fn run_once(
    unit: &Arc<dyn Unit>,
    health: &watch::Sender<Health>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let (unit, stop) = (Arc::clone(unit), stop.clone());
    let (started, mut has_started) = watch::channel(false);
    let signals = Signals::new(stop, started);
    let run = async move { unit.run(signals).await };
    let mut task = AbortOnDropHandle::new(tokio::spawn(run));
    // False if the unit ends without having said so.
    let is_ready = async { has_started.wait_for(|started| *started).await.is_ok() };
    tokio::select! {
        biased;
        ended = &mut task => return ended.unwrap_or_else(|error| Err(Failure::panicked(error))),
        true = is_ready => {}
    }
    health.send_modify(|health| health.state = State::Running);
    task.await
        .unwrap_or_else(|error| Err(Failure::panicked(error)))
}

#[cfg(test)]
mod tests;
