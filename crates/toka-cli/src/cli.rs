//! The command line.

mod agent;
mod auth;
mod backup;
mod bench;
mod cluster;
mod coordination;
mod debug;
mod dev;
mod embed;
mod events;
mod global;
mod intents;
mod lineage;
mod mcp;
mod otel;
mod place;
mod read;
mod scope;
mod serve;
mod verify;

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub(crate) use self::agent::{Program, Replay, WhatIf};
pub(crate) use self::auth::{Auth, CreateToken, RoleCommand, TokenCommand, from_now};
pub(crate) use self::backup::{
    Backup, CreateBackup, ListBackups, PruneBackups, Restore, VerifyBackup,
};
pub(crate) use self::bench::{
    Bench, BenchCommit, BenchEmbedded, BenchFailover, BenchGet, BenchGroups, BenchImport,
    BenchList, BenchRestart, BenchSubscribe, EmbeddedMode, EventShape, Incident, LoadShape, Mode,
    Nodes, OwnNodes, Stock,
};
pub(crate) use self::cluster::{Cluster, Reconcile, Top};
pub(crate) use self::coordination::{
    Consume, CreateGroup, Cursor, Group, GroupStart, Parked, Pull, UpdateGroup,
};
pub(crate) use self::debug::{Bundle, Debug};
pub(crate) use self::dev::Dev;
pub(crate) use self::embed::{Embed, Query, Reembed};
pub(crate) use self::events::{Commit, Export, Import};
pub(crate) use self::global::{Format, Global};
pub(crate) use self::intents::{
    BenchIntents, Intents, IntentsCommand, PlotFile, PlotFormat, Search,
};
pub(crate) use self::lineage::{Lineage, LineageFormat};
pub(crate) use self::mcp::Mcp;
pub(crate) use self::otel::{Find, Otel, Receive};
pub(crate) use self::place::{From, Until};
pub(crate) use self::read::{Get, Log, Paging, Watch};
pub(crate) use self::serve::Serve;
pub(crate) use self::verify::Verify;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  any other failure
  2  the command line or the configuration is wrong; the data directory is another one's, or in use
  3  no node answered, or the cluster has no leader; no endpoint embedded
  4  there is no such event, intent, cursor, group or backup
  5  the input is not valid, or the vault refused the commit
  6  verification found damage
  7  the node was removed from its cluster, or its vault recovered elsewhere
  8  of a node: data is damaged that it cannot get back; replace it
  9  of a node: the ledger is damaged; start the node again
 10  the data is of a higher feature level or a newer format than this build knows
 11  the caller has not shown who it is, or may not do that
130  an import was interrupted (SIGINT); repeat it to go on

The vault is found by --data, --endpoint, TOKA_ENDPOINTS, --context, the current context
(`toka context use`), and last 127.0.0.1:7311.";

/// A replicated, causal, content-addressed event store for AI agents.
#[derive(Debug, Parser)]
#[command(name = "toka", version, after_help = EXIT_CODES, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The command line, with what each command has use for.
pub(crate) fn command() -> clap::Command {
    scope::hide(Cli::command())
}

/// The command line of this process; ends the process if it is wrong, or asks for help.
pub(crate) fn parse() -> Cli {
    parse_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
}

fn parse_from(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Cli, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(arguments)?;
    scope::check(&mut command, &matches)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node of a cluster.
    Serve(Box<Serve>),
    /// Run a local cluster of three nodes, to try things out.
    Dev(Dev),
    /// Store one event.
    Commit(Box<Commit>),
    /// Show one event.
    Get(Get),
    /// List events in order.
    Log(Log),
    /// Follow events as they are committed.
    Watch(Watch),
    /// Show what an event depends on, what depends on it, and what two histories have in common or have not.
    Lineage(Lineage),
    /// Store events from JSON Lines; repeating it is free.
    Import(Import),
    /// Write events as JSON Lines.
    Export(Export),
    /// Show the intents: groups of events that mean the same.
    #[command(args_conflicts_with_subcommands = true)]
    Intents(Intents),
    /// Find the events nearest to a text or a vector.
    Search(Search),
    /// Run an agent against recorded history without side effects, and compare what it answers with what was recorded.
    Replay(Replay),
    /// Run an agent in a fork of the vault, and show how that differs from the history.
    WhatIf(WhatIf),
    /// Serve a cluster to agents that speak MCP, over standard input and output or over HTTP.
    Mcp(Box<Mcp>),
    /// Receive traces of OpenTelemetry as events, and find their spans.
    #[command(subcommand)]
    Otel(Otel),
    /// Keep positions in the vault, under a name.
    #[command(subcommand)]
    Cursor(Cursor),
    /// Share events between consumers: each goes to one of them at a time.
    #[command(subcommand)]
    Group(Group),
    /// Copy a vault into a new one with the embeddings of another model.
    Reembed(Reembed),
    /// Check everything that a running node has, or that is in a data directory (`--data`).
    ///
    /// Of every event payload, digests, parents, order, indexes and intent, and both chains over all of them. Of a
    /// running node, the one that answers and no other: give one --endpoint. It stops soon after it has found
    /// something, and repairs itself when it is started again. With --data, of an embedded vault or of a node that
    /// is stopped, every file: table files as wholes, the Raft log, snapshots, `VAULT`, `CURRENT`, `SCRUB`. Of a
    /// node that was killed, the last events may be in its Raft log alone: that is sound or not, and the node applies
    /// them when it starts.
    Verify(Verify),
    /// Look at and steer a cluster.
    #[command(subcommand)]
    Cluster(Cluster),
    /// Say who may use a cluster, and for what.
    #[command(subcommand)]
    Auth(Auth),
    /// Make backups of a running cluster, and look after them.
    #[command(subcommand)]
    Backup(Backup),
    /// Make a data directory from a backup (`--data`), for a node of a new cluster or an embedded vault.
    Restore(Restore),
    /// Measure.
    #[command(subcommand)]
    Bench(Box<Bench>),
    /// Find out what is wrong.
    #[command(subcommand)]
    Debug(Debug),
    /// Name clusters and switch between them.
    #[command(subcommand)]
    Context(ContextCommand),
    /// Print shell completions.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one page per command into a directory.
    Man {
        /// Where to write the pages.
        directory: Option<PathBuf>,
    },
}

/// What a read may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consistency {
    /// What the node has.
    Local,
    /// Everything that was acknowledged before the call.
    Linearizable,
    /// At least this revision.
    AtLeast(u64),
}

fn parse_consistency(text: &str) -> Result<Consistency, String> {
    match text {
        "local" => Ok(Consistency::Local),
        "linearizable" => Ok(Consistency::Linearizable),
        _ => text
            .strip_prefix("at-least:")
            .and_then(|revision| revision.parse().ok())
            .map(Consistency::AtLeast)
            .ok_or_else(|| "must be local, linearizable or at-least:REVISION".to_owned()),
    }
}

/// How reads are answered.
#[derive(Debug, Args)]
pub(crate) struct Read {
    /// local, linearizable or at-least:REVISION.
    #[arg(long, default_value = "linearizable", value_parser = parse_consistency)]
    pub(crate) consistency: Consistency,
}

/// Which events.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    /// Only kinds that begin with this; may be repeated.
    #[arg(long, value_name = "PREFIX")]
    pub(crate) kind: Vec<String>,
    /// Only events with this attribute; may be repeated, then all must match.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub(crate) attribute: Vec<(String, String)>,
    /// Only events of this intent, as they are grouped now; may be repeated, then any may match.
    #[arg(long, value_name = "ID")]
    pub(crate) intent: Vec<u64>,
    /// Only events that descend from this one, by id, sequence or digest.
    #[arg(long, value_name = "EVENT")]
    pub(crate) descendants_of: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// Show all of them.
    List,
    /// Add or replace one, with the TLS that --ca, --cert, --key and --server-name say.
    Set {
        /// Its name.
        name: String,
        /// Client endpoints, separated by commas.
        #[arg(value_delimiter = ',', required = true)]
        endpoints: Vec<String>,
    },
    /// Make one the default.
    Use {
        /// Its name.
        name: String,
    },
    /// Forget one.
    Remove {
        /// Its name.
        name: String,
    },
}

/// The two sides of `=`; what they are called stands in the usage.
fn parse_pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "there is no `=` in it".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::global::parse_timeout;
    use super::place::parse_history;
    use super::*;

    fn parsed(line: &str) -> Result<Cli, String> {
        let words = line.split(' ').map(Into::into);
        parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_without_a_meaning_are_refused_and_not_shown() {
        for (line, flag) in [
            ("toka --endpoint a:1 serve", "--endpoint"),
            ("toka dev --timeout 1s", "--timeout"),
            ("toka man --data x", "--data"),
            ("toka serve --server-name x", "--server-name"),
            ("toka context list --data x", "--data"),
            ("toka cluster status --data x", "--data"),
            ("toka otel serve --data x", "--data"),
            ("toka otel serve --output json", "--output"),
        ] {
            let error = parsed(line).expect_err(line);
            assert!(error.contains(flag), "{line}: {error}");
            assert!(error.contains("means nothing"), "{line}: {error}");
        }
        parsed("toka context set a https://b:1 --ca ca.pem").expect("kept with it");
        parsed("toka --data x dev").expect("the nodes' directories");
        parsed("toka --data x verify").expect("the vault's directory");
        parsed("toka --endpoint a:1 cluster status").expect("where the cluster is");

        let help = |line| parsed(line).expect_err("help ends the program");
        for line in [
            "toka serve --help",
            "toka completions --help",
            "toka context use --help",
        ] {
            let help = help(line);
            assert!(!help.contains("--endpoint"), "{line}: {help}");
            assert!(!help.contains("--timeout"), "{line}: {help}");
        }
        assert!(help("toka serve --help").contains("--data"));
        assert!(help("toka get --help").contains("--endpoint"));
    }

    #[test]
    fn a_history_has_32_digits_and_goes_with_a_position() {
        let digits = "0123456789abcdef0123456789ABCDEF";
        assert_eq!(
            parse_history(digits),
            Ok(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef)
        );
        for wrong in ["", "1", &digits[1..], "+0123456789abcdef0123456789abcde"] {
            assert!(parse_history(wrong).is_err(), "{wrong}");
        }
        parsed(&format!("toka watch --from 7 --history {digits}")).expect("a position");
        parsed(&format!(
            "toka commit k --cursor worker=1:2 --history {digits}"
        ))
        .expect("positions");
        assert!(parsed(&format!("toka commit k --history {digits}")).is_err());
    }

    #[test]
    fn a_timeout_is_more_than_nothing() {
        assert_eq!(parse_timeout("1ms"), Ok(Duration::from_millis(1)));
        let refused = parse_timeout("0s").expect_err("nothing");
        assert!(refused.contains("at least 1ms"), "{refused}");
        let refused = parsed("toka get 1 --timeout 0s").expect_err("nothing");
        assert!(refused.contains("--timeout"), "{refused}");
    }

    #[test]
    fn a_page_has_a_size_of_its_own_and_no_limit() {
        parsed("toka log --page-size 10 --max-bytes 64KiB --embedding").expect("the first page");
        parsed("toka log --page-token abc").expect("the next one");
        for line in [
            "toka log --page-size 0",
            "toka log --page-size 1001",
            "toka log --page-size 10 -n 5",
            "toka log --page-token abc -n 5",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_lineage_is_of_one_thing() {
        for line in [
            "toka lineage 7",
            "toka lineage 7 --both --depth 3 --kind task. -n 10",
            "toka lineage 7 --common 8",
            "toka lineage --diff 7 8 --max 5",
            "toka lineage --heads --kind task.",
        ] {
            parsed(line).expect(line);
        }
        for line in [
            "toka lineage",
            "toka lineage 7 --heads",
            "toka lineage 7 --both --descendants",
            "toka lineage 7 --diff 7 8",
            "toka lineage --diff 7",
            "toka lineage --common 8",
            "toka lineage --heads --depth 2",
            "toka lineage 7 --common 8 --kind a",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_consistency_names_a_revision() {
        assert_eq!(parse_consistency("at-least:7"), Ok(Consistency::AtLeast(7)));
        assert!(parse_consistency("eventual").is_err());
    }
}
