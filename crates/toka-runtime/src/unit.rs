//! An agent as a unit of a supervisor.

mod catch_up;

use std::sync::Arc;

use toka_agents::{
    Agent, Context, Effect, Error, Event, HandlerError, Interests, Metrics, Reaction, Refusal,
    Runner, Settings, Store,
};
use tokio::sync::Semaphore;

use self::catch_up::{CatchUp, Probed, Watched};
use crate::supervise::{Failure, Run, Signals, Unit};

/// A bound on handlers that run at the same time, over all agents that share it. The wait for a place is not the handler's
/// time: agents that are kept waiting park nothing.
#[derive(Clone, Debug)]
pub struct Handlers(Arc<Semaphore>);

impl Handlers {
    /// At most `max` at a time, and at least one.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self(Arc::new(Semaphore::new(
            max.clamp(1, Semaphore::MAX_PERMITS),
        )))
    }
}

/// An agent that carries nothing out: its effects are recorded as failed. For forks, from which nothing is to get outside.
/// What its handlers ask of something outside ([`Context::reply`]) they are told.
#[derive(Debug)]
pub struct Dry<A>(pub A);

impl<A: Agent> Agent for Dry<A> {
    type State = A::State;

    const STATE_VERSION: u32 = A::STATE_VERSION;

    fn interests(&self) -> Interests {
        self.0.interests()
    }

    fn apply(state: &mut Self::State, event: &Event) {
        A::apply(state, event);
    }

    async fn handle(
        &self,
        state: &Self::State,
        event: &Event,
        context: &mut Context,
    ) -> Result<Reaction, HandlerError> {
        self.0.handle(state, event, context).await
    }

    async fn refused(
        &self,
        state: &Self::State,
        event: &Event,
        refusal: &Refusal,
        context: &mut Context,
    ) -> Result<Reaction, HandlerError> {
        self.0.refused(state, event, refusal, context).await
    }

    async fn perform(&self, _: &Effect) -> Result<bytes::Bytes, HandlerError> {
        Err(HandlerError::permanent(
            "effects are not carried out in a fork",
        ))
    }
}

/// An agent that a [`Supervisor`](crate::supervise::Supervisor) runs. It is starting until its state is folded up to where
/// its cursor is.
pub struct AgentUnit<A: Agent> {
    runner: Runner<A>,
    metrics: Arc<Metrics>,
    catch_up: Arc<CatchUp>,
}

impl<A: Agent> AgentUnit<A> {
    /// An agent on a vault.
    ///
    /// # Errors
    /// As [`Runner::new`].
    pub fn new(
        agent: A,
        store: Arc<dyn Store>,
        mut settings: Settings,
        handlers: Handlers,
    ) -> Result<Self, Error> {
        let catch_up = Arc::new(CatchUp::default());
        settings.probe = Arc::new(Probed {
            probe: settings.probe,
            catch_up: Arc::clone(&catch_up),
        });
        let store = Arc::new(Watched {
            store,
            catch_up: Arc::clone(&catch_up),
        });
        settings.handlers = Some(handlers.0);
        let runner = Runner::new(agent, store, settings)?;
        let metrics = runner.metrics();
        Ok(Self {
            runner,
            metrics,
            catch_up,
        })
    }

    /// What it has done.
    #[must_use]
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }
}

impl<A: Agent> Unit for AgentUnit<A> {
    fn run(&self, signals: Signals) -> Run<'_> {
        Box::pin(async move {
            let signals = Arc::new(signals);
            self.catch_up.begin(Arc::clone(&signals));
            match self.runner.run(signals.stop()).await {
                Ok(_) => Ok(()),
                Err(error) if error.is_retryable() => Err(Failure::transient(error)),
                Err(error) => Err(Failure::permanent(error)),
            }
        })
    }

    fn position(&self) -> u64 {
        self.metrics.counters().position
    }
}
