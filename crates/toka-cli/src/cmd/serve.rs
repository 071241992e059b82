//! `toka serve`: a node of a cluster.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use toka_server::config::{Config, ConfigFile};
use toka_server::node::{Node, Outside};
use toka_trace::otlp::Exporting;

use crate::cli::Serve;
use crate::log::start_log;
use crate::traced;

/// What whoever is shown a command of a node must add to it: which settings these are, only its cluster knows.
pub(crate) const PROTECTION: &str = "addresses that other machines reach want the cluster's settings of TLS and \
                                     authorization besides, or --insecure (docs/security.md)";
/// How long spans are exported that a node has left when it has stopped.
const FLUSH_MAX: Duration = Duration::from_secs(5);

pub(crate) async fn run(
    flags: Serve,
    data: Option<PathBuf>,
    otlp_endpoint: Option<String>,
) -> Result<()> {
    start_log("info", flags.log_json);
    let dump = flags.dump_config;
    let path = flags.config.clone();
    let file = path
        .as_deref()
        .map(ConfigFile::read)
        .transpose()?
        .unwrap_or_default()
        .or(traced::environment());
    let environment = ConfigFile::from_env(|name| std::env::var(name).ok())?;
    let invalid = "the settings are not complete or not valid (see `toka serve --help`)";
    let given = flags.layer(data, otlp_endpoint);
    if dump {
        let text = given.or(environment).or(file).dump().context(invalid)?;
        return crate::output::bytes(text.as_bytes());
    }
    let config = Config::merge_followed(given, environment, file, path).context(invalid)?;
    raise_open_files();
    let exporting = traced::of_node(&config.tracing)?;
    let ended = Box::pin(node(config, exporting.as_ref())).await;
    if let Some(exporting) = exporting {
        exporting.shutdown(FLUSH_MAX).await;
    }
    ended
}

/// A node, from its start to its end.
async fn node(config: Config, exporting: Option<&Exporting>) -> Result<()> {
    let mut terminated = Box::pin(terminated());
    let outside = Outside {
        tracer: exporting.map(Exporting::tracer).unwrap_or_default(),
        ..Outside::system()
    };
    let node = tokio::select! {
        biased;
        // A node that joins waits for its cluster.
        () = &mut terminated => return Ok(()),
        node = Node::start(config, outside) => node?,
    };
    if let Some(exporting) = exporting {
        exporting.identify(node.replica().node_id().to_string());
    }
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
