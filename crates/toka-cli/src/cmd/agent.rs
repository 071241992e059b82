//! `toka replay` and `toka what-if`: an agent is code of its author's, so its own program does them.

use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cli::{Global, Program, Replay, WhatIf};
use crate::failure::Failure;
use crate::target::endpoints;

/// What the names of programs of agents begin with.
const PREFIX: &str = "toka-agent-";

pub(crate) fn replay(global: &Global, flags: Replay) -> Result<()> {
    let mut arguments = begin("replay", &flags.agent);
    for (name, number) in [("--from", flags.from), ("--until", flags.until)] {
        if let Some(number) = number {
            arguments.push(name.to_owned());
            arguments.push(number.to_string());
        }
    }
    arguments.extend(given([("--diff", flags.diff), ("--step", flags.step)]));
    become_program(global, flags.program, &flags.agent, arguments)
}

pub(crate) fn what_if(global: &Global, flags: WhatIf) -> Result<()> {
    let mut arguments = begin("what-if", &flags.agent);
    arguments.push("--at".to_owned());
    arguments.push(flags.at.to_string());
    for event in flags.event {
        arguments.push("--event".to_owned());
        arguments.push(event);
    }
    let switches = [
        ("--later-events", flags.later_events),
        ("--commit", flags.commit),
    ];
    arguments.extend(given(switches));
    become_program(global, flags.program, &flags.agent, arguments)
}

fn begin(command: &str, agent: &str) -> Vec<String> {
    [command, "--agent", agent].map(str::to_owned).to_vec()
}

fn given(switches: [(&'static str, bool); 2]) -> impl Iterator<Item = String> {
    let given = switches.into_iter().filter(|(_, is_given)| *is_given);
    given.map(|(name, _)| name.to_owned())
}

/// Goes on as the agent's program, whose output and exit code are those of this one then. Returns only if it cannot.
fn become_program(
    global: &Global,
    named: Program,
    agent: &str,
    arguments: Vec<String>,
) -> Result<()> {
    let program = named
        .program
        .unwrap_or_else(|| PathBuf::from(format!("{PREFIX}{agent}")));
    let mut command = Command::new(&program);
    command.args(arguments);
    match &global.data {
        Some(data) => command.arg("--data").arg(data),
        None => command.arg("--endpoint").arg(endpoints(global)?.join(",")),
    };
    command.arg("--timeout");
    command.arg(format!("{}ms", global.timeout.as_millis()));
    let error = command.exec();
    if error.kind() == ErrorKind::NotFound {
        return Err(Failure::Usage(format!(
            "there is no program {}: give the one that has agent {agent:?} with --program, or put it on the PATH \
             under the name {PREFIX}{agent}",
            program.display()
        ))
        .into());
    }
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
