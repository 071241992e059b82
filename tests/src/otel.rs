//! `toka otel serve`, started as a user does, and an agent in Python that is traced by the OpenTelemetry SDK.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::command::Toka;

/// The agent.
const SCRIPT: &str = "clients/otel_agent.py";
/// Longest that a receiver takes to say where it listens, and the agent to have stored a run, elections included.
const ANSWER_MAX: Duration = Duration::from_secs(120);

/// A receiver; killed when dropped.
pub struct Receiver {
    _child: Child,
    /// Where it listens, `http://host:port`.
    pub url: String,
}

impl Receiver {
    /// Starts `toka otel serve` on a port that is free.
    pub async fn start(toka: &Toka, arguments: &[&str]) -> Result<Self> {
        let arguments = [&["otel", "serve", "--listen", "127.0.0.1:0"][..], arguments].concat();
        let mut child = toka.spawn(&arguments)?;
        let stdout = child.stdout.take().context("standard output is a pipe")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(ANSWER_MAX, lines.next_line()).await;
        let line = line.context("toka otel does not start")??;
        let line = line.context("toka otel has ended")?;
        let url = line.strip_prefix("listening on ");
        Ok(Self {
            url: url.with_context(|| format!("{line:?}"))?.to_owned(),
            _child: child,
        })
    }
}

/// One run of the agent, as the script tells it.
#[derive(Clone, Debug, Deserialize)]
pub struct Run {
    /// Its trace, 32 hexadecimal digits.
    pub trace_id: String,
    /// Ids of its spans, 16 hexadecimal digits each, by their names.
    pub spans: BTreeMap<String, String>,
    /// What the SDK says of each export.
    pub results: Vec<String>,
    /// Whether all of them succeeded.
    pub is_stored: bool,
}

/// The script; killed when dropped.
pub struct Agent {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Agent {
    /// Starts it: it exports over `protocol` (`grpc` or `http`).
    pub fn start(
        python: &Path,
        protocol: &str,
        receiver: &Receiver,
        arguments: &[&str],
    ) -> Result<Self> {
        let mut command = Command::new(python);
        command
            .arg(crate::manifest_dir().join(SCRIPT))
            .args([protocol, &receiver.url])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        // The SDK goes by these, whatever the script says.
        let foreign = std::env::vars_os().filter(|(name, _)| {
            let name = name.to_string_lossy();
            name.starts_with("OTEL_")
                || name.ends_with("_CA_BUNDLE")
                || name.to_lowercase().ends_with("_proxy")
        });
        for (name, _) in foreign {
            command.env_remove(name);
        }
        let mut child = command.spawn().context("cannot start the agent")?;
        let stdout = child.stdout.take().context("standard output is a pipe")?;
        Ok(Self {
            child,
            lines: BufReader::new(stdout).lines(),
        })
    }

    /// What became of its next run; `None`: that was all, and it has ended well.
    pub async fn next(&mut self) -> Result<Option<Run>> {
        let line = timeout(ANSWER_MAX, self.lines.next_line()).await;
        if let Some(line) = line.context("the agent is silent")?? {
            return Ok(Some(serde_json::from_str(&line)?));
        }
        let status = timeout(ANSWER_MAX, self.child.wait()).await;
        let status = status.context("the agent does not end")??;
        ensure!(status.success(), "the agent ended with {status}");
        Ok(None)
    }

    /// All its runs, each stored.
    pub async fn all(mut self) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        while let Some(run) = self.next().await? {
            ensure!(run.is_stored, "{run:?}");
            runs.push(run);
        }
        Ok(runs)
    }
}
