//! The command line of a program of agents.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use toka_client::{Bearer, Builder, Client, Tls};

use crate::supervise::Restart;

/// Runs agents, and looks at what they have done.
#[derive(Debug, Parser)]
pub(super) struct Flags {
    #[command(flatten)]
    pub(super) vault: Vault,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Which vault.
#[derive(Debug, Args)]
pub(super) struct Vault {
    /// Client endpoints of the cluster, `host:port` or `https://host:port`, separated by commas.
    #[arg(
        long,
        short = 'e',
        global = true,
        env = "TOKA_ENDPOINTS",
        value_delimiter = ',',
        default_value = "127.0.0.1:7311",
        value_name = "HOST:PORT"
    )]
    pub(super) endpoint: Vec<String>,
    /// CA that the nodes' certificates must be signed by, PEM: TLS is spoken then.
    #[arg(long, global = true, env = "TOKA_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Certificate that nodes are shown, PEM.
    #[arg(long, global = true, env = "TOKA_CERT", value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, global = true, env = "TOKA_KEY", value_name = "FILE")]
    key: Option<PathBuf>,
    /// Name that the nodes' certificates must have [default: the host of each endpoint].
    #[arg(long, global = true, env = "TOKA_SERVER_NAME", value_name = "NAME")]
    server_name: Option<String>,
    /// File with the token, or the JWT, that says who calls [default: what TOKA_TOKEN holds].
    #[arg(long, global = true, env = "TOKA_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Send the token without TLS to other machines too, where everybody on the way can read it.
    #[arg(long, global = true, env = "TOKA_INSECURE_TOKEN")]
    insecure_token: bool,
    /// Directory of an embedded vault, which is then used without a server.
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// How long a call may take, retries and elections included.
    #[arg(long, global = true, env = "TOKA_TIMEOUT", default_value = "30s", value_name = "TIME",
          value_parser = humantime::parse_duration)]
    pub(super) timeout: Duration,
}

impl Vault {
    /// What makes a client of the cluster. Blocks on the disk.
    ///
    /// # Errors
    /// For a token file that cannot be read, or holds no token.
    pub(super) fn client(&self) -> Result<Builder, toka_client::Error> {
        let mut builder = Client::builder().timeout(self.timeout);
        let tls = Tls {
            ca: self.ca.clone(),
            certificate: self.cert.clone(),
            key: self.key.clone(),
            server_name: self.server_name.clone(),
        };
        if tls != Tls::default() {
            builder = builder.tls(tls);
        }
        let token = std::env::var("TOKA_TOKEN").ok();
        let token = token.filter(|token| !token.is_empty());
        builder = match (&self.token_file, token) {
            (Some(path), _) => builder.bearer(Bearer::from_file(path)?),
            (None, Some(token)) => builder.bearer(Bearer::new(&token)?),
            (None, None) => builder,
        };
        if self.insecure_token {
            builder = builder.send_token_in_plaintext();
        }
        Ok(builder)
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the names of the agents.
    List,
    /// Run agents until SIGINT or SIGTERM.
    Run(Run),
    /// Run an agent against recorded history without side effects, and compare what it answers with what was recorded.
    Replay(Replay),
    /// Print the state of an agent as of an event, as JSON.
    State(State),
    /// Run agents in a fork of the vault, and show how it differs from the history.
    WhatIf(WhatIf),
}

#[derive(Debug, Args)]
pub(super) struct Run {
    /// Only this agent; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub(super) agent: Vec<String>,
    /// Whether an agent that has ended is started again.
    #[arg(long, value_enum, default_value = "on-failure")]
    pub(super) restart: RestartFlag,
    /// Restarts of one agent within five minutes at most.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(super) restarts_max: u32,
    /// Handlers that run at the same time at most.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) handlers_max: u32,
    /// How long agents have to finish what they are at when the program is to stop.
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(super) grace: Duration,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum RestartFlag {
    /// Never.
    Never,
    /// If it has failed, and may do better.
    OnFailure,
    /// Also if it has ended by itself.
    Always,
}

impl From<RestartFlag> for Restart {
    fn from(flag: RestartFlag) -> Self {
        match flag {
            RestartFlag::Never => Self::Never,
            RestartFlag::OnFailure => Self::OnFailure,
            RestartFlag::Always => Self::Always,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The agent.
    #[arg(long, value_name = "NAME")]
    pub(super) agent: String,
    /// The first event, by sequence.
    #[arg(long, default_value_t = 1, value_name = "SEQUENCE")]
    pub(super) from: u64,
    /// The last event, by sequence [default: the last one that the agent has passed].
    #[arg(long, value_name = "SEQUENCE")]
    pub(super) until: Option<u64>,
    /// Show the first event that is answered otherwise, with its causes, and end there with exit code 1. Without it all
    /// events are gone through, and those that differ are counted.
    #[arg(long)]
    pub(super) diff: bool,
    /// Show each event, and wait for Enter before the next.
    #[arg(long)]
    pub(super) step: bool,
}

#[derive(Debug, Args)]
pub(super) struct State {
    /// The agent.
    #[arg(long, value_name = "NAME")]
    pub(super) agent: String,
    /// Right behind the event at this sequence [default: the last one].
    #[arg(long, value_name = "SEQUENCE")]
    pub(super) at: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct WhatIf {
    /// Only this agent; may be repeated [default: all of them].
    #[arg(long, value_name = "NAME")]
    pub(super) agent: Vec<String>,
    /// Fork right behind the event at this sequence.
    #[arg(long, value_name = "SEQUENCE")]
    pub(super) at: u64,
    /// Give the fork this event, with a payload in JSON; may be repeated.
    #[arg(long, value_name = "KIND=JSON")]
    pub(super) event: Vec<String>,
    /// Give the fork the later events of the history, but for those of the agents that run in it.
    #[arg(long)]
    pub(super) later_events: bool,
    /// Bytes that the fork may write, all in memory, such as 1GiB [default: 256MiB]. The commit beyond it ends the command.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(super) bytes_max: Option<u64>,
    /// Commit what is new in the fork to the vault, in one atomic commit.
    #[arg(long)]
    pub(super) commit: bool,
}

/// A number of bytes, as `toka` takes them.
fn parse_size(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = match unit.trim_start() {
        "" | "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        "TiB" => Some(1_u64 << 40),
        _ => None,
    };
    let number = number.parse::<u64>().ok();
    let bytes = number.zip(unit).and_then(|(n, unit)| n.checked_mul(unit));
    bytes.ok_or_else(|| "it is not a size in bytes such as 4096, 512KiB, 64MiB or 1GiB".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Flags::command().debug_assert();
    }

    #[test]
    fn flags_of_the_vault_may_stand_behind_the_command() {
        let line = "agents what-if --at 7 --event a=1 --event b=2 --endpoint x:1,y:2 --timeout 5s";
        let flags = Flags::try_parse_from(line.split(' ')).expect("parsed");
        assert_eq!(flags.vault.endpoint, ["x:1", "y:2"]);
        assert_eq!(flags.vault.timeout, Duration::from_secs(5));
        let Command::WhatIf(what_if) = flags.command else {
            panic!("{:?}", flags.command)
        };
        assert_eq!((what_if.at, what_if.event.len()), (7, 2));
        assert_eq!(what_if.bytes_max, None);
    }

    #[test]
    fn limit_of_a_fork_is_a_size() {
        let parsed = |size: &str| {
            let line = ["agents", "what-if", "--at=7", "--bytes-max", size];
            let flags = Flags::try_parse_from(line).ok()?;
            match flags.command {
                Command::WhatIf(what_if) => what_if.bytes_max,
                _ => None,
            }
        };
        assert_eq!(parsed("1000"), Some(1_000));
        assert_eq!(parsed("3MiB"), Some(3 << 20));
        assert_eq!(parsed("2 GiB"), Some(2 << 30));
        for wrong in ["", "MiB", "1MB", "-1", "1.5GiB", "99999999TiB"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
