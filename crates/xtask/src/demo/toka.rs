//! Calls of the `toka` binary.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::process::{Process, Processes};

/// The longest that a command which only asks may take.
const QUERY_LIMIT: Duration = Duration::from_secs(60);
/// Above the time of one load of `bench`, with room for a slow machine.
const BENCH_LIMIT: Duration = Duration::from_secs(120);
/// Events per call of `toka log`.
const LOG_PAGE: u64 = 10_000;

/// `toka cluster status`; a node that cannot be reached has only an id.
#[derive(Debug, Deserialize)]
pub(crate) struct ClusterStatus {
    #[serde(default)]
    pub(crate) leader_id: Option<u64>,
    pub(crate) nodes: Vec<NodeStatus>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct NodeStatus {
    pub(crate) node_id: u64,
    #[serde(default)]
    pub(crate) role: Option<String>,
    /// The sequence of its last event.
    #[serde(default)]
    pub(crate) sequence: Option<u64>,
    #[serde(default)]
    pub(crate) history_root: Option<String>,
    #[serde(default)]
    pub(crate) state_digest: Option<String>,
    #[serde(default)]
    pub(crate) healthy: bool,
}

/// An event as `toka log` and `toka watch` print it; the payload is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) sequence: u64,
    pub(crate) digest: String,
    pub(crate) kind: String,
}

/// An intent as `toka intents` prints it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Intent {
    pub(crate) events: u64,
    pub(crate) examples: Vec<Utterance>,
}

/// An event of the corpus, of which only the text is kept.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Utterance {
    pub(crate) payload: Spoken,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Spoken {
    pub(crate) text: String,
}

/// The summary of `toka bench commit`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Bench {
    pub(crate) commits_per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) acknowledged: u64,
}

/// The binary, and the owner of what it starts.
pub(crate) struct Toka {
    bin: PathBuf,
    processes: Processes,
}

impl Toka {
    pub(crate) fn new(bin: PathBuf, processes: Processes) -> Self {
        Self { bin, processes }
    }

    /// `toka ARGUMENTS`, blind to the caller's own `TOKA_*` settings.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.bin);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TOKA_") {
                command.env_remove(name);
            }
        }
        command.args(arguments);
        command
    }

    /// Starts a long-running command, its standard error appended to the file `log`.
    pub(crate) fn spawn(&self, arguments: &[&str], log: &Path, stdout: Stdio) -> Result<Process> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("opening {}", log.display()))?;
        self.processes
            .spawn(self.command(arguments).stdout(stdout).stderr(log))
    }

    /// The cluster as the first of `endpoints` that answers sees it.
    pub(crate) fn status(&self, endpoints: &str) -> Result<ClusterStatus> {
        let arguments = [
            "--endpoint",
            endpoints,
            "cluster",
            "status",
            "--output",
            "json",
        ];
        self.ask(&arguments, QUERY_LIMIT)
    }

    /// All events of one node's own store up to `last_sequence`, in the order in which it lists them.
    pub(crate) fn log(&self, endpoint: &str, last_sequence: u64) -> Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        let limit = LOG_PAGE.to_string();
        loop {
            let after = entries.last().map_or(0, |entry| entry.sequence);
            if after >= last_sequence {
                return Ok(entries);
            }
            let page = self.processes.run_captured(
                &mut self.command(&log_arguments(endpoint, &after.to_string(), &limit)),
                QUERY_LIMIT,
            )?;
            let before = entries.len();
            for line in page.lines().filter(|line| !line.trim().is_empty()) {
                entries.push(parse(line)?);
            }
            // The check names what is missing.
            if entries.len() == before {
                return Ok(entries);
            }
        }
    }

    /// The intents with at least five events, the largest first.
    pub(crate) fn intents(&self, endpoints: &str) -> Result<Vec<Intent>> {
        let arguments = [
            "--endpoint",
            endpoints,
            "intents",
            "--skip-tentative",
            "--examples",
            "3",
            "--output",
            "json",
        ];
        let lines = self
            .processes
            .run_captured(&mut self.command(&arguments), QUERY_LIMIT)?;
        lines.lines().map(parse).collect()
    }

    /// Runs `toka bench commit` with further `flags`.
    pub(crate) fn bench(&self, endpoints: &str, flags: &[&str]) -> Result<Bench> {
        let mut arguments = vec![
            "--endpoint",
            endpoints,
            "--output",
            "json",
            "bench",
            "commit",
        ];
        arguments.extend(flags);
        self.ask(&arguments, BENCH_LIMIT)
    }

    /// Runs a command whose standard output is one JSON value.
    fn ask<T: DeserializeOwned>(&self, arguments: &[&str], limit: Duration) -> Result<T> {
        parse(
            self.processes
                .run_captured(&mut self.command(arguments), limit)?
                .trim(),
        )
    }
}

fn log_arguments<'a>(endpoint: &'a str, after: &'a str, limit: &'a str) -> [&'a str; 11] {
    [
        "--endpoint",
        endpoint,
        "log",
        "--output",
        "json",
        "--after",
        after,
        "--limit",
        limit,
        "--consistency",
        "local",
    ]
}

/// Parses a line of `toka`'s output; the error shows it.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).with_context(|| format!("unexpected output of toka: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_drops_the_callers_settings() {
        let toka = Toka::new("toka".into(), Processes::default());
        let command = toka.command(&["log", "--limit", "1"]);
        assert_eq!(crate::process::describe(&command), "toka log --limit 1");
        assert!(command.get_envs().all(|(_, value)| value.is_none()));
    }

    #[test]
    fn status_of_an_unreachable_node_parses() {
        let status: ClusterStatus = parse(
            r#"{"cluster_id":"c","leader_id":null,"nodes":[{"node_id":2,"role":null,"healthy":false}]}"#,
        )
        .expect("the status parses");
        assert_eq!(status.leader_id, None);
        assert_eq!(status.nodes[0].sequence, None);
    }

    #[test]
    fn unexpected_output_is_shown() {
        let error = parse::<Entry>("not json").expect_err("it is not JSON");
        assert!(error.to_string().contains("not json"), "{error}");
    }
}
