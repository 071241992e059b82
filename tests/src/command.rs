//! `toka` as a user runs it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::process::{binary, foreign_variables};

/// Longest that a command may take.
const COMMAND_MAX: Duration = Duration::from_secs(90);

/// A user with a home directory and perhaps an endpoint in mind.
#[derive(Clone, Debug)]
pub struct Toka {
    home: PathBuf,
    build: Option<PathBuf>,
    endpoints: Option<String>,
    variables: Vec<(String, String)>,
}

/// What a command did.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Exit code.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Toka {
    /// A user who has set nothing up.
    pub fn new(home: &Path) -> Self {
        Self {
            home: home.to_owned(),
            build: None,
            endpoints: None,
            variables: Vec::new(),
        }
    }

    /// The same user with one more environment variable.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same user with another build of `toka`.
    #[must_use]
    pub fn with_build(mut self, build: &Path) -> Self {
        self.build = Some(build.to_owned());
        self
    }

    /// A user with `TOKA_ENDPOINTS` in the environment.
    pub fn with_endpoints(home: &Path, endpoints: &[String]) -> Self {
        Self {
            home: home.to_owned(),
            build: None,
            endpoints: Some(endpoints.join(",")),
            variables: Vec::new(),
        }
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> Result<Ran> {
        self.run_on(arguments, "").await
    }

    /// Starts a command that a test reads from while it runs; it is killed when dropped.
    pub fn spawn(&self, arguments: &[&str]) -> Result<Child> {
        let mut command = self.command(arguments)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(Stdio::inherit());
        command.spawn().context("cannot start toka")
    }

    /// Starts a command that a test talks to over its standard input and output; it is killed when dropped.
    pub fn converse(&self, arguments: &[&str]) -> Result<Child> {
        let mut command = self.command(arguments)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(Stdio::inherit());
        command.spawn().context("cannot start toka")
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let build = self.build.clone().map_or_else(binary, Ok)?;
        let mut command = Command::new(build);
        for name in foreign_variables() {
            command.env_remove(name);
        }
        command
            .env_remove("XDG_CONFIG_HOME")
            .env("HOME", &self.home);
        if let Some(endpoints) = &self.endpoints {
            command.env("TOKA_ENDPOINTS", endpoints);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.args(arguments).kill_on_drop(true);
        Ok(command)
    }

    /// Runs a command with `input` on its standard input.
    pub async fn run_on(&self, arguments: &[&str], input: &str) -> Result<Ran> {
        let mut command = self.command(arguments)?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start toka")?;
        let mut stdin = child.stdin.take().context("standard input is a pipe")?;
        let ran = async {
            let feed = async {
                // A command that does not read its input closes it.
                let _ = stdin.write_all(input.as_bytes()).await;
                drop(stdin);
            };
            tokio::join!(feed, child.wait_with_output()).1
        };
        let output = tokio::time::timeout(COMMAND_MAX, ran)
            .await
            .with_context(|| format!("toka {arguments:?} does not end"))??;
        Ok(Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        })
    }

    /// Runs a command that must succeed.
    pub async fn ok(&self, arguments: &[&str]) -> Result<Ran> {
        let ran = self.run(arguments).await?;
        ensure!(ran.code == Some(0), "toka {arguments:?}: {ran:?}");
        Ok(ran)
    }

    /// Runs a command that must succeed, and reads its output as JSON, one value a line.
    pub async fn json(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        self.ok(arguments).await?.json()
    }
}

impl Ran {
    /// Standard output as JSON, one value a line.
    pub fn json(&self) -> Result<Vec<Value>> {
        let lines = self.stdout.lines();
        lines.map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}
