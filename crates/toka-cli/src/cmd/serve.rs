//! `toka serve`: a node of a cluster.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use toka_server::config::{Config, ConfigFile};
use toka_server::node::{Node, Outside};
use tracing_subscriber::EnvFilter;

use crate::cli::Serve;

pub(crate) async fn run(flags: Serve, data: Option<PathBuf>) -> Result<()> {
    start_log("info", flags.log_json);
    let dump = flags.dump_config;
    let file = flags
        .config
        .as_deref()
        .map(ConfigFile::read)
        .transpose()?
        .unwrap_or_default();
    let environment = ConfigFile::from_env(|name| std::env::var(name).ok())?;
    let invalid = "the settings are not complete or not valid (see `toka serve --help`)";
    if dump {
        let layer = flags.layer(data).or(environment).or(file);
        let text = layer.dump().context(invalid)?;
        return crate::output::bytes(text.as_bytes());
    }
    let config = Config::merge(flags.layer(data), environment, file).context(invalid)?;
    raise_open_files();
    let mut terminated = Box::pin(terminated());
    let node = tokio::select! {
        biased;
        // A node that joins waits for its cluster.
        () = &mut terminated => return Ok(()),
        node = Node::start(config, Outside::system()) => node?,
    };
    node.run_until(terminated).await?;
    Ok(())
}

/// Lets the process have as many open files as it may: connections are files, and so are the tables of the
/// storage. The soft limit is often 1,024, for the sake of programs that use `select`.
fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, current, maximum, "the limit of open files cannot be raised");
    }
}

/// Log lines on standard error, those that `RUST_LOG` chooses, else those of `default` and above.
pub(crate) fn start_log(default: &str, json: bool) {
    // Of a peer that is down openraft warns with every heartbeat, append and vote; the node itself says once
    // that it is unreachable. Its heartbeats have but one error: that an answer came when Raft had been stopped.
    let openraft = "openraft=error,openraft::core::heartbeat=off";
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("{default},{openraft}")));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    if json {
        lines.json().init()
    } else {
        lines.init()
    }
}

/// Ends with SIGTERM or Ctrl-C, also one that came between this call and the first poll.
pub(crate) fn terminated() -> impl Future<Output = ()> + Send + 'static {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    async move {
        // Fails only where the process may not install handlers; then only SIGKILL ends it.
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
