//! Flags of `toka replay` and `toka what-if`, which a program of agents does.

use std::path::PathBuf;

use clap::Args;
use toka_server::config::ByteSize;

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The agent.
    #[arg(long, value_name = "NAME")]
    pub(crate) agent: String,
    #[command(flatten)]
    pub(crate) program: Program,
    /// The first event, by sequence.
    #[arg(long, value_name = "SEQUENCE")]
    pub(crate) from: Option<u64>,
    /// The last event, by sequence [default: the last one that the agent has passed].
    #[arg(long, value_name = "SEQUENCE")]
    pub(crate) until: Option<u64>,
    /// Show the first event that is answered otherwise, with its causes, and end there with exit code 1.
    #[arg(long)]
    pub(crate) diff: bool,
    /// Show each event, and wait for Enter before the next.
    #[arg(long)]
    pub(crate) step: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WhatIf {
    /// The agent that runs in the fork; may be repeated, for agents of the same program.
    #[arg(long, required = true, value_name = "NAME")]
    pub(crate) agent: Vec<String>,
    #[command(flatten)]
    pub(crate) program: Program,
    /// Fork right behind the event at this sequence.
    #[arg(long, value_name = "SEQUENCE")]
    pub(crate) at: u64,
    /// Give the fork this event, with a payload in JSON; may be repeated.
    #[arg(long, value_name = "KIND=JSON")]
    pub(crate) event: Vec<String>,
    /// Give the fork the later events of the history, but for those of the agents that run in it.
    #[arg(long)]
    pub(crate) later_events: bool,
    /// Bytes that the fork may write, all in memory, such as 1GiB [default: 256MiB]. The commit beyond it ends the command.
    #[arg(long, value_name = "SIZE")]
    pub(crate) bytes_max: Option<ByteSize>,
    /// Commit what is new in the fork to the vault, in one atomic commit.
    #[arg(long)]
    pub(crate) commit: bool,
}

/// Which program has the agent.
#[derive(Debug, Args)]
pub(crate) struct Program {
    /// The program that has the agent (`toka_runtime::Program`); a name without a slash is looked for on the PATH
    /// [default: toka-agent-NAME].
    #[arg(long, value_name = "PATH")]
    pub(crate) program: Option<PathBuf>,
}
