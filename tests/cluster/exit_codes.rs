//! Exit codes, and what is said to a user whom something has failed.

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use toka_tests::cluster::{self, Cluster};
use toka_tests::command::{Ran, Toka};

/// An address of loopback at which nobody listens.
pub(crate) const NOBODY: &str = "127.255.255.250:1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_tell_failures_apart() -> Result<()> {
    let home = TempDir::with_prefix("toka-test-codes-")?;
    let vault = home.path().join("vault");
    let data = vault.to_str().context("a path in UTF-8")?;
    let toka = Toka::new(home.path());
    let code = |ran: &Ran, expected| {
        ensure!(ran.code == Some(expected), "{ran:?}");
        ensure!(ran.stdout.is_empty(), "on standard output: {ran:?}");
        ensure!(!ran.stderr.is_empty(), "nothing is said: {ran:?}");
        Ok(())
    };

    let ran = toka
        .run(&["get", "1", "--endpoint", NOBODY, "--timeout", "2s"])
        .await?;
    code(&ran, 3)?;
    ensure!(
        ran.stderr.contains("toka dev") && ran.stderr.contains(NOBODY),
        "{ran:?}"
    );

    code(&toka.run(&["commit"]).await?, 2)?;
    // A typing error in the path must not make a vault.
    let ran = toka.run(&["--data", data, "log"]).await?;
    code(&ran, 2)?;
    ensure!(ran.stderr.contains("there is no vault"), "{ran:?}");
    ensure!(!vault.exists(), "a read has made a vault");
    toka.ok(&["--data", data, "commit", "first", "1"]).await?;
    let neither = ["--data", data, "get", "neither id nor digest"];
    code(&toka.run(&neither).await?, 2)?;
    let absent = "07".repeat(32);
    for selector in ["2", absent.as_str()] {
        code(&toka.run(&["--data", data, "get", selector]).await?, 4)?;
    }
    code(
        &toka
            .run(&["--data", data, "commit", "child", "--parent", &absent])
            .await?,
        5,
    )?;
    code(&toka.run(&["--data", data, "commit", "", "1"]).await?, 5)?;
    let stale = [
        "--data",
        data,
        "commit",
        "first",
        "2",
        "--kind-sequence",
        "first=9",
    ];
    code(&toka.run(&stale).await?, 5)?;
    for command in [["log", "--after", "2"], ["watch", "--from", "2"]] {
        let ran = toka
            .run(&[&["--data", data][..], &command].concat())
            .await?;
        code(&ran, 5)?;
        ensure!(ran.stderr.contains("goes from 1 to 1"), "{ran:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_are_the_same_against_a_cluster() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        toka.ok(&["commit", "first", "1"]).await?;
        let absent = "07".repeat(32);
        for (arguments, expected) in [
            (vec!["get", "2"], 4),
            (vec!["get", &absent], 4),
            (vec!["commit", "child", "--parent", &absent], 5),
            (vec!["get", "1", "--consistency", "at-least:1000000"], 5),
            (vec!["commit", "", "1"], 5),
            (vec!["commit", "first", "2", "--kind-sequence", "first"], 2),
            (vec!["commit", "first", "2", "--cursor", "reader=1"], 2),
            (vec!["commit", "first", "2", "--acknowledge", "work=zz"], 2),
            (
                vec!["commit", "first", "2", "--kind-sequence", "first=9"],
                5,
            ),
            (vec!["commit", "mine", "--no-child", "1=mine"], 0),
            (
                vec!["commit", "mine", "--parent", "1", "--no-child", "1=mine"],
                0,
            ),
            (
                vec!["commit", "mine", "--parent", "1", "--no-child", "1=mine"],
                5,
            ),
        ] {
            let ran = toka.run(&arguments).await?;
            ensure!(
                ran.code == Some(expected),
                "{arguments:?} instead of {expected}: {ran:?}"
            );
        }
        cluster.kill(1)?;
        let ran = toka.run(&["get", "1", "--timeout", "2s"]).await?;
        ensure!(ran.code == Some(3), "{ran:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_directories_are_not_mixed_up() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = Toka::new(cluster.directory());
        let node = cluster.node(1).data.display().to_string();
        let ran = toka.run(&["--data", &node, "log"]).await?;
        ensure!(
            ran.code == Some(2) && ran.stderr.contains("toka serve"),
            "{ran:?}"
        );
        let ran = toka.run(&["--data", &node, "verify"]).await?;
        ensure!(
            ran.code == Some(2) && ran.stderr.contains("--endpoint"),
            "{ran:?}"
        );
        let ran = toka
            .run(&["--data", &cluster.directory().display().to_string(), "log"])
            .await?;
        ensure!(
            ran.code == Some(2) && ran.stderr.contains("holds no vault"),
            "{ran:?}"
        );
        Ok(())
    })
    .await
}
