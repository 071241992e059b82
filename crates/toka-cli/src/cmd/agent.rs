//! `toka replay` and `toka what-if`: an agent is code of its author's, so its own program does them.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{MAIN_SEPARATOR, Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use toka_client::Tls;

use crate::cli::{Global, Program, Replay, WhatIf};
use crate::failure::Failure;
use crate::target::{Endpoints, TokenSource, endpoints};

/// What the names of programs of agents begin with.
const PREFIX: &str = "toka-agent-";

pub(crate) fn replay(global: &Global, flags: Replay) -> Result<()> {
    let mut arguments = begin("replay", std::slice::from_ref(&flags.agent));
    for (name, number) in [("--from", flags.from), ("--until", flags.until)] {
        if let Some(number) = number {
            arguments.push(format!("{name}={number}"));
        }
    }
    arguments.extend(given([("--diff", flags.diff), ("--step", flags.step)]));
    become_program(global, flags.program, &flags.agent, arguments)
}

pub(crate) fn what_if(global: &Global, flags: WhatIf) -> Result<()> {
    let mut arguments = begin("what-if", &flags.agent);
    arguments.push(format!("--at={}", flags.at));
    let events = flags.event.iter();
    arguments.extend(events.map(|event| format!("--event={event}")));
    if let Some(bytes_max) = flags.bytes_max {
        arguments.push(format!("--bytes-max={}", bytes_max.0));
    }
    let switches = [
        ("--later-events", flags.later_events),
        ("--commit", flags.commit),
    ];
    arguments.extend(given(switches));
    let first = flags.agent.first().expect("the command line wants one");
    become_program(global, flags.program, first, arguments)
}

/// Values are tied to their flags, so that none is taken for a flag.
fn begin(command: &str, agents: &[String]) -> Vec<String> {
    let agents = agents.iter().map(|agent| format!("--agent={agent}"));
    std::iter::once(command.to_owned()).chain(agents).collect()
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
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = program(named.program, agent, &path)?;
    let mut command = Command::new(&program);
    command.args(arguments);
    match &global.data {
        Some(data) => command.arg("--data").arg(data),
        None => reach(&mut command, endpoints(global)?, global),
    };
    command.arg("--timeout");
    command.arg(format!("{}ms", global.timeout.as_millis()));
    let error = command.exec();
    if error.kind() == ErrorKind::NotFound {
        let program = program.display();
        return Err(Failure::Usage(format!("there is no program {program}")).into());
    }
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

/// Tells the program how the cluster is reached; a token in `TOKA_TOKEN` it has anyway.
fn reach<'a>(command: &'a mut Command, to: Endpoints, global: &Global) -> &'a mut Command {
    command.arg("--endpoint").arg(to.written.join(","));
    let Tls {
        ca,
        certificate,
        key,
        server_name,
    } = to.tls.unwrap_or_default();
    for (flag, file) in [("--ca", ca), ("--cert", certificate), ("--key", key)] {
        if let Some(file) = file {
            command.arg(flag).arg(file);
        }
    }
    if let Some(name) = server_name {
        command.arg("--server-name").arg(name);
    }
    if let TokenSource::File(path) = to.token {
        command.arg("--token-file").arg(path);
    }
    if global.insecure_token {
        command.arg("--insecure-token");
    }
    command
}

/// Which file to run: the one that is named, or that of the agent's name on `path`. Never one that only lies in the current
/// directory: who names that writes `./`.
fn program(named: Option<PathBuf>, agent: &str, path: &OsStr) -> Result<PathBuf> {
    let name = match named {
        Some(program) if program.as_os_str().as_encoded_bytes().contains(&b'/') => {
            return Ok(program);
        }
        Some(program) => program,
        // It would be a path of its own, beside the PATH.
        None if agent.contains(MAIN_SEPARATOR) => {
            return Err(Failure::Usage(format!(
                "agent {agent:?} has a slash in its name: give its program with --program"
            ))
            .into());
        }
        None => PathBuf::from(format!("{PREFIX}{agent}")),
    };
    on_path(&name, path).ok_or_else(|| {
        let name = name.display();
        Failure::Usage(format!(
            "there is no program {name} on the PATH: give the path of the one that has agent {agent:?} with --program, or \
             put it on the PATH under the name {PREFIX}{agent}"
        ))
        .into()
    })
}

/// The first program of that name in the directories of `path`. Relative ones, and empty ones, are left out: they would be
/// the current directory's.
fn on_path(name: &Path, path: &OsStr) -> Option<PathBuf> {
    let directories = std::env::split_paths(path).filter(|directory| directory.is_absolute());
    let mut files = directories.map(|directory| directory.join(name));
    files.find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    let metadata = std::fs::metadata(file);
    metadata.is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_program(name: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("there is room");
        let file = directory.path().join(name);
        std::fs::write(&file, "#!/bin/sh\n").expect("written");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&file, executable).expect("set");
        (directory, file)
    }

    fn usage(found: Result<PathBuf>) -> String {
        let error = found.expect_err("there is none");
        let failure = error.downcast_ref::<Failure>();
        assert!(matches!(failure, Some(Failure::Usage(_))), "{error}");
        error.to_string()
    }

    #[test]
    fn program_of_an_agent_is_found_on_the_path() {
        let (empty, _) = with_program("other");
        let (directory, file) = with_program("toka-agent-triage");
        let path = std::env::join_paths([empty.path(), directory.path()]).expect("joined");
        assert_eq!(program(None, "triage", &path).expect("found"), file);
        usage(program(None, "worker", &path));
    }

    #[test]
    fn relative_directories_of_the_path_are_left_out() {
        let (directory, file) = with_program("toka-agent-triage");
        let name = Path::new("toka-agent-triage");
        assert_eq!(on_path(name, directory.path().as_os_str()), Some(file));
        for path in ["", ".", ":", "target:."] {
            assert_eq!(on_path(name, OsStr::new(path)), None, "{path:?}");
        }
    }

    #[test]
    fn file_that_cannot_be_run_is_left_out() {
        let (directory, file) = with_program("toka-agent-triage");
        let plain = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&file, plain).expect("set");
        usage(program(None, "triage", directory.path().as_os_str()));
    }

    #[test]
    fn name_of_an_agent_is_no_path() {
        let refused = program(None, "../triage", OsStr::new("/bin"));
        assert!(usage(refused).contains("--program"));
    }

    #[test]
    fn path_that_is_given_is_taken_and_a_bare_name_is_looked_for() {
        let given = program(Some(PathBuf::from("./agents")), "a/b", OsStr::new(""));
        assert_eq!(given.expect("taken"), Path::new("./agents"));
        let (directory, file) = with_program("agents");
        let named = || Some(PathBuf::from("agents"));
        let found = program(named(), "a", directory.path().as_os_str());
        assert_eq!(found.expect("found"), file);
        usage(program(named(), "a", OsStr::new("")));
    }
}
