//! `toka dev`: a cluster in one command.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use toka_tests::cluster::PATIENCE;
use toka_tests::command::Toka;
use toka_tests::process::{self, Process};
use toka_tests::{slot, wait};

struct Dev {
    process: Process,
    /// What it has printed.
    said: String,
}

impl Dev {
    /// Starts it, and waits until it says that it runs.
    async fn start(arguments: &[&str], temporary: &Path, log: &Path) -> Result<Self> {
        let arguments: Vec<String> = arguments.iter().map(|&part| part.to_owned()).collect();
        let mut process = Process::start_with(
            &process::binary()?,
            &arguments,
            &[("TMPDIR", temporary)],
            log,
        )?;
        let before = std::fs::read_to_string(log)?.len();
        let said = wait::until("`toka dev` is ready", PATIENCE, async || {
            let ended = process.ended()?;
            ensure!(ended.is_none(), "it has ended with {ended:?}");
            let said = std::fs::read_to_string(log)?.split_off(before);
            ensure!(said.contains("Ctrl-C stops it."), "it does not say so");
            Ok(said)
        });
        let said = said.await.with_context(|| process::tail(log))?;
        Ok(Self { process, said })
    }

    /// The endpoints for clients that it has printed.
    fn endpoints(&self) -> Vec<String> {
        let after = self.said.split("clients ").skip(1);
        after
            .filter_map(|rest| Some(rest.split([',', '\n']).next()?.to_owned()))
            .collect()
    }

    /// The arguments of the first command that it says to try.
    fn first_command(&self) -> Result<Vec<String>> {
        let line = self
            .said
            .lines()
            .find(|line| line.trim_start().starts_with("toka "));
        let line = line.context("there is no command to try")?;
        let words = line.split_whitespace().skip(1);
        Ok(words
            .map(|word| word.trim_matches('\'').to_owned())
            .collect())
    }

    /// Ctrl-C.
    async fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::INT)?;
        let status = self.process.wait(PATIENCE).await?;
        ensure!(
            status.success(),
            "it ended with {status}: {}",
            process::tail(&self.process.log)
        );
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_cluster_runs_until_ctrl_c_and_leaves_nothing() -> Result<()> {
    let _slot = slot::take().await;
    let directory = TempDir::with_prefix("toka-test-dev-")?;
    let (temporary, log) = (directory.path().join("tmp"), directory.path().join("log"));
    std::fs::create_dir(&temporary)?;
    let dev = Dev::start(&["dev"], &temporary, &log).await?;
    let endpoints = dev.endpoints();
    ensure!(endpoints.len() == 3, "three endpoints: {}", dev.said);
    // As printed, by a user who has set nothing up.
    let toka = Toka::new(directory.path());
    let first = dev.first_command()?;
    let first: Vec<&str> = first.iter().map(String::as_str).collect();
    let ran = toka.ok(&first).await?;
    ensure!(ran.stdout.starts_with("stored"), "{ran:?}");
    for endpoint in endpoints {
        let event = toka
            .json(&["-e", &endpoint, "get", "1", "-o", "json"])
            .await?;
        ensure!(event[0]["kind"] == json!("auth.login"), "{event:?}");
    }
    dev.stop().await?;
    let left: Vec<_> = std::fs::read_dir(&temporary)?.collect::<Result<_, _>>()?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_cluster_keeps_its_data_where_it_is_told_to() -> Result<()> {
    let _slot = slot::take().await;
    let directory = TempDir::with_prefix("toka-test-dev-")?;
    let (data, log) = (directory.path().join("data"), directory.path().join("log"));
    let arguments = ["dev", "--data", data.to_str().context("a path in UTF-8")?];
    let mut endpoints = Vec::new();
    for round in 1..=2 {
        let dev = Dev::start(&arguments, directory.path(), &log).await?;
        if round == 2 {
            ensure!(
                dev.endpoints() == endpoints,
                "other endpoints: {}",
                dev.said
            );
        }
        endpoints = dev.endpoints();
        let toka = Toka::with_endpoints(directory.path(), &endpoints);
        toka.ok(&["commit", "round", &round.to_string()]).await?;
        let log = toka.json(&["log", "-o", "json"]).await?;
        ensure!(log.len() == round, "round {round}: {log:?}");
        dev.stop().await?;
    }
    Ok(())
}
