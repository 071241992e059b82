//! Flags of [`Global`](super::Global) that mean nothing to a command: not shown in its help, and refused.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

/// Which cluster, with which TLS, and how long it may take.
const CLIENT: &[&str] = &[
    "endpoint",
    "context",
    "timeout",
    "ca",
    "cert",
    "key",
    "server_name",
    "token_file",
    "insecure_token",
];
/// How results are written.
const OUTPUT: &[&str] = &["output"];

/// Flags that mean nothing to the command of that name, and to those below it.
fn meaningless(command: &str) -> &'static [&'static [&'static str]] {
    match command {
        "serve" => &[CLIENT, OUTPUT],
        "dev" => &[CLIENT, OUTPUT, &["otlp_endpoint"]],
        "completions" | "man" => &[CLIENT, OUTPUT, &["data", "otlp_endpoint"]],
        // It keeps the TLS of what it names.
        "context" => &[&["endpoint", "context", "timeout", "data", "otlp_endpoint"]],
        // Of `toka cluster` only `recover` and `vacate` work on data.
        "cluster" => &[],
        "backup" => &[&["data"]],
        "mcp" => &[OUTPUT, &["data", "otlp_endpoint"]],
        "replay" | "what-if" => &[OUTPUT],
        "restore" => &[CLIENT],
        _ => &[],
    }
}

/// Hides them, for help, completions and manual pages.
pub(super) fn hide(command: Command) -> Command {
    let names: Vec<_> = command
        .get_subcommands()
        .map(|below| below.get_name().to_owned())
        .collect();
    names.into_iter().fold(command, |command, name| {
        let flags: Vec<_> = command
            .get_arguments()
            .filter(|flag| {
                let flag = flag.get_id().as_str();
                meaningless(&name).iter().any(|some| some.contains(&flag))
            })
            .map(|flag| flag.clone().hide(true))
            .collect();
        // A command that has a global flag already is not given another one, nor are those below it.
        command.mut_subcommand(name, |below| below.args(flags))
    })
}

/// Refuses them where they were given on the command line; the environment is for all commands.
pub(super) fn check(command: &mut Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let Some((name, below)) = matches.subcommand() else {
        return Ok(());
    };
    let meaningless: &[&[&str]] = match (name, below.subcommand_name()) {
        // Of a node that does not run.
        ("cluster", Some("recover")) => &[CLIENT],
        // Of one, and of the cluster that is asked whether it is a member.
        ("cluster", Some("vacate")) => &[&["context"]],
        ("cluster", _) => &[&["data"]],
        // Which would trace itself, and have nothing to show.
        ("otel", Some("serve")) => &[OUTPUT, &["data", "otlp_endpoint"]],
        _ => meaningless(name),
    };
    let given = |flag: &&&str| below.value_source(flag) == Some(ValueSource::CommandLine);
    match meaningless.iter().copied().flatten().find(given) {
        Some(flag) => Err(command.error(
            ErrorKind::ArgumentConflict,
            format!(
                "--{} means nothing to `toka {name}`",
                flag.replace('_', "-")
            ),
        )),
        None => Ok(()),
    }
}
