//! An agent of a program, whatever its type.

use std::io::{BufRead as _, Write as _};
use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::Value;
use toka_agents::{Agent, Begin, Runner, Settings, Source, Store};
use tokio_util::sync::CancellationToken;

use super::ProgramError;
use super::flags;
use crate::replay::{Compared, Part, Replay, Summary, causes, show, state_at};
use crate::supervise::Unit;
use crate::unit::{AgentUnit, Dry, Handlers};
use crate::what_if::Actor;

/// An agent of a program.
pub(super) trait Registered: Send + Sync {
    fn name(&self) -> &str;

    /// For a supervisor.
    fn unit(
        &self,
        store: Arc<dyn Store>,
        handlers: Handlers,
    ) -> Result<Arc<dyn Unit>, ProgramError>;

    /// For a fork, in `store`. Where the fork does not know its cursor it begins behind the event at `begin`.
    fn actor(&self, store: Arc<dyn Store>, begin: u64) -> Result<Box<dyn Actor>, ProgramError>;

    fn replay(
        &self,
        store: Arc<dyn Store>,
        flags: flags::Replay,
    ) -> BoxFuture<'_, Result<Summary, ProgramError>>;

    /// The state right behind the event at `at`.
    fn state(&self, store: Arc<dyn Store>, at: u64) -> BoxFuture<'_, Result<Value, ProgramError>>;
}

/// An agent that is made when it is needed.
pub(super) struct Made<F> {
    settings: Settings,
    make: F,
}

impl<F> Made<F> {
    pub(super) const fn new(settings: Settings, make: F) -> Self {
        Self { settings, make }
    }

    /// Where a replay ends: where the agent has come to, if nothing else is wanted.
    async fn until(
        &self,
        store: &dyn Store,
        wanted: Option<u64>,
    ) -> Result<Option<u64>, ProgramError> {
        if wanted.is_some() {
            return Ok(wanted);
        }
        Ok(match &self.settings.source {
            Source::Cursor(name) => store.cursor(name).await?,
            Source::Group(source) => {
                let group = store.group(&source.group).await?;
                group.map(|group| group.position)
            }
        })
    }

    fn failed(&self, source: toka_agents::Error) -> ProgramError {
        ProgramError::Agent {
            agent: self.settings.name().to_owned(),
            source: Box::new(source),
        }
    }
}

impl<A: Agent, F: Fn() -> A + Send + Sync + 'static> Registered for Made<F> {
    fn name(&self) -> &str {
        self.settings.name()
    }

    fn unit(
        &self,
        store: Arc<dyn Store>,
        handlers: Handlers,
    ) -> Result<Arc<dyn Unit>, ProgramError> {
        let unit = AgentUnit::new((self.make)(), store, self.settings.clone(), handlers);
        Ok(Arc::new(unit.map_err(|error| self.failed(error))?))
    }

    fn actor(&self, store: Arc<dyn Store>, begin: u64) -> Result<Box<dyn Actor>, ProgramError> {
        let mut settings = self.settings.clone();
        settings.begin = Begin::After(begin);
        // They would be of a history that is the fork's alone, and might be committed to the vault.
        settings.snapshot_every = 0;
        let runner = Runner::new(Dry((self.make)()), store, settings);
        Ok(Box::new(Running {
            runner: runner.map_err(|error| self.failed(error))?,
        }))
    }

    fn replay(
        &self,
        store: Arc<dyn Store>,
        flags: flags::Replay,
    ) -> BoxFuture<'_, Result<Summary, ProgramError>> {
        Box::pin(async move {
            let part = Part {
                from: flags.from,
                until: self.until(&*store, flags.until).await?,
            };
            let read = Arc::clone(&store);
            let mut replay = Replay::open((self.make)(), self.name(), store, part).await?;
            let mut tell = |compared: &Compared| {
                let differs = compared.divergence().is_some();
                if flags.step || (differs && !flags.diff) {
                    println!("{}", show::step(compared));
                }
                if flags.step {
                    wait_for_enter();
                }
            };
            let summary = replay.run(!flags.diff, &mut tell).await?;
            if let Some(first) = &summary.first {
                let causes = causes(&*read, &first.event.header).await?;
                println!("{}", show::divergence(first, &causes));
            }
            Ok(summary)
        })
    }

    fn state(&self, store: Arc<dyn Store>, at: u64) -> BoxFuture<'_, Result<Value, ProgramError>> {
        Box::pin(async move {
            let agent = (self.make)();
            let fold = state_at(&agent, self.name(), &*store, at).await?;
            Ok(serde_json::to_value(fold.state())?)
        })
    }
}

/// An agent in a fork.
struct Running<A: Agent> {
    runner: Runner<Dry<A>>,
}

impl<A: Agent> Actor for Running<A> {
    fn name(&self) -> &str {
        self.runner.name()
    }

    fn run_until(&self, sequence: u64) -> BoxFuture<'_, Result<(), toka_agents::Error>> {
        Box::pin(async move {
            let stop = CancellationToken::new();
            self.runner.run_until(sequence, &stop).await?;
            Ok(())
        })
    }
}

/// Holds up a replay that is gone through step by step. At the end of the input it goes on.
fn wait_for_enter() {
    eprint!("[Enter] ");
    // Without a terminal there is nobody to wait for.
    let _ = std::io::stderr().flush();
    let _ = std::io::stdin().lock().read_line(&mut String::new());
}
