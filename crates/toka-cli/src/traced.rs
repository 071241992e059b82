//! Where the spans of nodes and commands go.

use std::time::Duration;

use anyhow::Result;
use toka_server::config::{ConfigFile, Tracing};
use toka_trace::check_endpoint;
use toka_trace::otlp::{Exporting, Settings};

use crate::cli::{Cli, Command, Otel};
use crate::failure::Failure;

/// Where OpenTelemetry's exporters send everything, unless they are told otherwise.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How long a command that is done waits for the collector: somebody waits for the command.
const FLUSH_MAX: Duration = Duration::from_secs(2);
/// Spans of a command that may wait: an import makes many at once.
const COMMAND_QUEUE_SPANS: usize = 16_384;

/// The collector that the environment names for every program: the lowest of a node's layers.
pub(crate) fn environment() -> ConfigFile {
    ConfigFile {
        otlp_endpoint: endpoint(),
        ..ConfigFile::default()
    }
}

/// The variable is not ours: what it has for other exporters, such as a path, must not keep a node from starting.
fn endpoint() -> Option<String> {
    let text = std::env::var(ENDPOINT).ok();
    let text = text.filter(|text| !text.is_empty())?;
    match check_endpoint(&text) {
        Ok(()) => Some(text),
        Err(error) => {
            tracing::warn!(%error, variable = ENDPOINT, "no spans are sent there");
            None
        }
    }
}

/// The export of a node, if it has a collector.
///
/// # Errors
/// If there can be no collector at the endpoint.
pub(crate) fn of_node(tracing: &Tracing) -> Result<Option<Exporting>> {
    let Some(endpoint) = tracing.endpoint.clone() else {
        return Ok(None);
    };
    let settings = Settings {
        endpoint,
        timeout: tracing.timeout,
        queue_spans: tracing.queue_spans,
        ratio: tracing.sampler_ratio,
        service: "toka-vault",
        version: VERSION,
    };
    Ok(Some(Exporting::start(settings)?))
}

/// The trace of a command, if there is a collector and the command is worth one.
pub(crate) struct Traced {
    exporting: Exporting,
    name: &'static str,
    endpoint: String,
}

impl Traced {
    /// Begins it, before the command.
    ///
    /// # Errors
    /// If there can be no collector at the endpoint.
    pub(crate) fn of(cli: &Cli) -> Result<Option<Self>> {
        let Some(name) = name(&cli.command) else {
            return Ok(None);
        };
        let Some(endpoint) = cli.global.otlp_endpoint.clone().or_else(endpoint) else {
            return Ok(None);
        };
        let settings = Settings {
            endpoint: endpoint.clone(),
            timeout: FLUSH_MAX,
            queue_spans: COMMAND_QUEUE_SPANS,
            ratio: 1.0,
            service: "toka-cli",
            version: VERSION,
        };
        let exporting =
            Exporting::start(settings).map_err(|error| Failure::Usage(error.to_string()))?;
        exporting.make_global();
        Ok(Some(Self {
            exporting,
            name,
            endpoint,
        }))
    }

    /// Runs the command in it.
    ///
    /// # Errors
    /// The command's.
    pub(crate) async fn run(self, command: impl Future<Output = Result<()>>) -> Result<()> {
        let root = self.exporting.tracer().root(self.name);
        let ended = root.around(command).await;
        if ended.is_err() {
            root.failed("the command failed");
        }
        drop(root);
        if !self.exporting.shutdown(FLUSH_MAX).await {
            eprintln!("warning: {} did not take all spans", self.endpoint);
        }
        ended
    }
}

/// The name of a command's trace; `None` for one that calls nobody, or that goes on for as long as a node.
fn name(command: &Command) -> Option<&'static str> {
    Some(match command {
        Command::Serve(_)
        | Command::Dev(_)
        | Command::Mcp(_)
        | Command::Otel(Otel::Serve(_))
        | Command::Context(_)
        | Command::Completions { .. }
        | Command::Man { .. } => return None,
        Command::Commit(_) => "toka commit",
        Command::Get(_) => "toka get",
        Command::Log(_) => "toka log",
        Command::Watch(_) => "toka watch",
        Command::Lineage(_) => "toka lineage",
        Command::Import(_) => "toka import",
        Command::Export(_) => "toka export",
        Command::Intents(_) => "toka intents",
        Command::Search(_) => "toka search",
        Command::Otel(Otel::Find(_)) => "toka otel",
        Command::Cursor(_) => "toka cursor",
        Command::Group(_) => "toka group",
        Command::Reembed(_) => "toka reembed",
        Command::Verify(_) => "toka verify",
        Command::Cluster(_) => "toka cluster",
        Command::Backup(_) => "toka backup",
        Command::Restore(_) => "toka restore",
        Command::Bench(_) => "toka bench",
        Command::Debug(_) => "toka debug",
        Command::Auth(_) => "toka auth",
        // Another program's.
        Command::Replay(_) | Command::WhatIf(_) => return None,
    })
}
