//! A program of agents: what its `main` needs.
//!
//! Agents are Rust code, so what runs them is a program of their author's. [`Program::main`] gives it the commands that
//! `toka replay` and `toka what-if` pass on to it:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use toka_agents::{Agent, Context, Event, HandlerError, Interests, Reaction, Settings};
//! use toka_runtime::Program;
//!
//! struct Triage;
//!
//! impl Agent for Triage {
//!     type State = u64;
//!
//!     fn interests(&self) -> Interests {
//!         Interests::kinds(["ticket"])
//!     }
//!
//!     fn apply(state: &mut u64, _: &Event) {
//!         *state += 1;
//!     }
//!
//!     async fn handle(&self, _: &u64, _: &Event, _: &mut Context) -> Result<Reaction, HandlerError> {
//!         Ok(Reaction::none())
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     let settings = Settings::new("triage").expect("a name");
//!     Program::new("my-agents").agent(settings, || Triage).main()
//! }
//! ```

mod actions;
mod code;
mod flags;
mod registered;
mod vault;

use std::fmt;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory as _, FromArgMatches as _};
use toka_agents::{Agent, Settings};
use tracing_subscriber::EnvFilter;

use self::flags::{Command, Flags};
use self::registered::{Made, Registered};
use crate::what_if::ScenarioError;

/// Exit code where a replay differs, or an agent has failed for good.
const DIFFERS: u8 = 1;

/// Agents, and the command line that runs them.
#[must_use = "a program does nothing until `main`"]
pub struct Program {
    name: &'static str,
    agents: Vec<Arc<dyn Registered>>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let agents: Vec<_> = self.agents.iter().map(|agent| agent.name()).collect();
        f.debug_struct("Program")
            .field("name", &self.name)
            .field("agents", &agents)
            .finish()
    }
}

impl Program {
    /// A program without agents; its name is shown in its help.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            agents: Vec::new(),
        }
    }

    /// Adds an agent, which is made anew for each run and replay. Its name is that of the settings; of two with one name
    /// the first one counts.
    pub fn agent<A: Agent>(
        mut self,
        settings: Settings,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> Self {
        if self
            .agents
            .iter()
            .all(|agent| agent.name() != settings.name())
        {
            self.agents.push(Arc::new(Made::new(settings, make)));
        }
        self
    }

    /// Does what the command line of this process says.
    pub fn main(self) -> ExitCode {
        let command = Flags::command().name(self.name);
        let matches = command.get_matches();
        let flags = match Flags::from_arg_matches(&matches) {
            Ok(flags) => flags,
            Err(error) => error.exit(),
        };
        let runtime = match tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => {
                eprintln!("error: cannot start the runtime: {error}");
                return ExitCode::FAILURE;
            }
        };
        start_log(&flags.command);
        match runtime.block_on(self.run(flags)) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(DIFFERS),
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::from(code::of(&error))
            }
        }
    }

    /// Does what the flags say; false where a replay differs, or an agent has failed.
    async fn run(&self, flags: Flags) -> Result<bool, ProgramError> {
        let vault = flags.vault;
        match flags.command {
            Command::List => {
                for agent in &self.agents {
                    println!("{}", agent.name());
                }
                Ok(true)
            }
            Command::Run(run) => {
                Box::pin(actions::run(self.chosen(&run.agent)?, &vault, run)).await
            }
            Command::Replay(replay) => {
                let agent = self.named(&replay.agent)?;
                Box::pin(actions::replay(agent, &vault, replay)).await
            }
            Command::State(state) => {
                let agent = self.named(&state.agent)?;
                Box::pin(actions::state(agent, &vault, &state)).await
            }
            Command::WhatIf(what_if) => {
                let agents = self.chosen(&what_if.agent)?;
                Box::pin(actions::what_if(agents, &vault, what_if)).await
            }
        }
    }

    fn named(&self, name: &str) -> Result<Arc<dyn Registered>, ProgramError> {
        let found = self.agents.iter().find(|agent| agent.name() == name);
        found.cloned().ok_or_else(|| ProgramError::UnknownAgent {
            name: name.to_owned(),
            known: self
                .agents
                .iter()
                .map(|agent| agent.name().to_owned())
                .collect(),
        })
    }

    /// The agents of these names; all of them if none is named.
    fn chosen(&self, names: &[String]) -> Result<Vec<Arc<dyn Registered>>, ProgramError> {
        if names.is_empty() {
            return Ok(self.agents.clone());
        }
        names.iter().map(|name| self.named(name)).collect()
    }
}

/// Log lines on standard error, those that `RUST_LOG` chooses; unless the program has set up a log of its own.
fn start_log(command: &Command) {
    let default = match command {
        Command::Run(_) => "info",
        // Their output is what is wanted.
        Command::List | Command::Replay(_) | Command::State(_) | Command::WhatIf(_) => "error",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // Fails where there is a log.
    let _ = lines.try_init();
}

/// Why a command of a program has failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// There is no such agent.
    #[error("there is no agent {name:?}; there are: {}", known.join(", "))]
    UnknownAgent {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The program was built without embedded vaults.
    #[error("--data needs a program built with toka-runtime's `storage` feature")]
    NoStorage,
    /// A flag that cannot be.
    #[error("--{flag}: {reason}")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A flag that names an event which the vault does not have.
    #[error("--{flag}: the vault has no event at sequence {sequence}: it ends at {last}")]
    Missing {
        /// The flag.
        flag: &'static str,
        /// What it names.
        sequence: u64,
        /// The last event; 0: there is none.
        last: u64,
    },
    /// The cluster.
    #[error(transparent)]
    Client(Box<toka_client::Error>),
    /// The vault in this process.
    #[error(transparent)]
    Ledger(#[from] toka_ledger::Error),
    /// The vault, as the agents use it.
    #[error("the vault: {0}")]
    Store(#[from] toka_agents::StoreError),
    /// An agent.
    #[error("agent {agent}: {source}")]
    Agent {
        /// The agent.
        agent: String,
        /// Why.
        source: Box<toka_agents::Error>,
    },
    /// It was not started.
    #[error(transparent)]
    Start(#[from] crate::supervise::StartError),
    /// A replay.
    #[error(transparent)]
    Replay(#[from] crate::replay::ReplayError),
    /// A what-if.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The state cannot be shown.
    #[error("the state cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The terminal, or a signal.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl From<toka_client::Error> for ProgramError {
    fn from(error: toka_client::Error) -> Self {
        Self::Client(Box::new(error))
    }
}
