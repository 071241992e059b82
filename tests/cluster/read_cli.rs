//! What `toka log` and `toka watch` show where they are asked for more, and what they write in pipes.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::command::Toka;
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// What a user sees of an event with an embedding; `first` says where the vault is.
async fn shows_embeddings(toka: &Toka, first: &[&str]) -> Result<()> {
    let commit = ["commit", "note", "1", "--embedding", "[1.0,0.0]"];
    toka.ok(&[first, &commit].concat()).await?;
    let got = toka
        .json(&[first, &["get", "1", "--embedding", "-o", "json"]].concat())
        .await?;
    let expected = &got[0]["embedding"];
    ensure!(
        expected.as_array().is_some_and(|all| all.len() == 2),
        "{got:?}"
    );
    let log = ["log", "--embedding"];
    let watch = [
        "watch",
        "--from",
        "beginning",
        "--until",
        "1",
        "--embedding",
    ];
    for command in [&log[..], &watch[..]] {
        let shown = toka.json(&[first, command].concat()).await?;
        ensure!(shown.len() == 1, "{command:?}: {shown:?}");
        ensure!(shown[0]["embedding"] == *expected, "{command:?}: {shown:?}");
        let without = &command[..command.len() - 1];
        let shown = toka.json(&[first, without].concat()).await?;
        ensure!(shown[0]["embedding"].is_null(), "{without:?}: {shown:?}");
    }
    let table = toka.ok(&[first, &log, &["-o", "table"]].concat()).await?;
    ensure!(table.stdout.contains("EMBEDDING"), "{table:?}");
    ensure!(table.stdout.contains("[1.0,0.0]"), "{table:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embeddings_of_a_cluster_are_shown_where_they_are_wanted() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        shows_embeddings(&toka, &[]).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embeddings_of_an_embedded_vault_are_shown_where_they_are_wanted() -> Result<()> {
    let home = TempDir::with_prefix("toka-test-embeddings-")?;
    let vault = home.path().join("vault").display().to_string();
    shows_embeddings(&Toka::new(home.path()), &["--data", &vault]).await
}

/// Commits events 1 to 5.
async fn commit_five(toka: &Toka, first: &[&str]) -> Result<()> {
    for number in 1..=5 {
        let payload = number.to_string();
        toka.ok(&[first, &["commit", "note", &payload]].concat())
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_a_log_lead_from_one_to_the_next() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        commit_five(&toka, &[]).await?;
        let (mut token, mut sequences) = (None::<String>, Vec::new());
        loop {
            let mut log = vec!["log", "--reverse", "--page-size", "2"];
            if let Some(token) = &token {
                log.extend(["--page-token", token.as_str()]);
            }
            let mut lines = toka.json(&log).await?;
            let next = lines.pop().context("it has a last line")?;
            ensure!(lines.len() <= 2, "{lines:?}");
            sequences.extend(lines.iter().filter_map(|line| line["sequence"].as_u64()));
            let next = next.get("next_page_token").context("no token")?;
            token = next.as_str().map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        ensure!(sequences == [5, 4, 3, 2, 1], "{sequences:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_token_of_another_list_is_refused() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        commit_five(&toka, &[]).await?;
        let page = toka.json(&["log", "--page-size", "2"]).await?;
        let token = page.last().context("it has a last line")?;
        let token = token["next_page_token"].as_str().context("a token")?;
        let other = ["log", "--kind", "note", "--page-token", token];
        let refused = toka.run(&other).await?;
        ensure!(refused.code == Some(5), "{refused:?}");
        ensure!(refused.stderr.contains("page_token"), "{refused:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_vault_has_no_pages() -> Result<()> {
    let home = TempDir::with_prefix("toka-test-pages-")?;
    let vault = home.path().join("vault").display().to_string();
    let toka = Toka::new(home.path());
    let first = ["--data", vault.as_str()];
    toka.ok(&[&first[..], &["commit", "note"]].concat()).await?;
    let log = ["log", "--page-size", "2"];
    let refused = toka.run(&[&first[..], &log].concat()).await?;
    ensure!(refused.code == Some(2), "{refused:?}");
    ensure!(refused.stderr.contains("--after"), "{refused:?}");
    Ok(())
}

/// What a watcher, for whom nothing matches, says until it has said all of `wanted`; the last of each.
async fn told(toka: &Toka, first: &[&str], wanted: &[&str]) -> Result<Vec<Value>> {
    let watch = [
        "watch",
        "--from",
        "beginning",
        "--kind",
        "other",
        "--status",
    ];
    let mut watching = toka.spawn(&[first, &watch].concat())?;
    let stdout = watching.stdout.take().context("it is a pipe")?;
    let mut lines = BufReader::new(stdout).lines();
    let mut told = vec![Value::Null; wanted.len()];
    while told.contains(&Value::Null) {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let line = line.context("it says nothing more")??;
        let line: Value = serde_json::from_str(&line.context("it has ended")?)?;
        for (name, said) in wanted.iter().zip(&mut told) {
            if let Some(status) = line.get(name) {
                *said = status.clone();
            }
        }
    }
    watching.kill().await?;
    Ok(told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watcher_of_a_cluster_says_how_far_it_has_come() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        commit_five(&toka, &[]).await?;
        let told = told(&toka, &[], &["caught_up", "checkpoint"]).await?;
        ensure!(told[0] == json!({ "sequence": 5, "lag": 0 }), "{told:?}");
        ensure!(told[1]["unix_ms"].as_u64() > Some(0), "{told:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watcher_of_an_embedded_vault_says_that_it_has_caught_up() -> Result<()> {
    let home = TempDir::with_prefix("toka-test-status-")?;
    let vault = home.path().join("vault").display().to_string();
    let toka = Toka::new(home.path());
    let first = ["--data", vault.as_str()];
    commit_five(&toka, &first).await?;
    let told = told(&toka, &first, &["caught_up"]).await?;
    ensure!(told[0] == json!({ "sequence": 5, "lag": 0 }), "{told:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursors_are_json_in_a_pipe() -> Result<()> {
    let home = TempDir::with_prefix("toka-test-pipes-")?;
    let vault = home.path().join("vault").display().to_string();
    let toka = Toka::new(home.path());
    let first = ["--data", vault.as_str()];
    toka.ok(&[&first[..], &["commit", "note"]].concat()).await?;
    let expected = [json!({ "cursor": "reader", "sequence": 1 })];
    for command in [&["cursor", "save", "reader", "1"][..], &["cursor", "list"]] {
        let written = toka.json(&[&first[..], command].concat()).await?;
        ensure!(written == expected, "{command:?}: {written:?}");
    }
    Ok(())
}
