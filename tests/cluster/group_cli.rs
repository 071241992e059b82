//! `toka cursor` and `toka group`, on a cluster and on an embedded vault.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use toka_tests::cluster::{self, Cluster};
use toka_tests::command::{Ran, Toka};
use toka_tests::consumers::has_groups;

/// Runs `words`, apart by blanks, with JSON as output.
async fn json(toka: &Toka, first: &[&str], words: &str) -> Result<Vec<Value>> {
    let words: Vec<&str> = words.split(' ').collect();
    toka.json(&[first, &words[..], &["-o", "json"]].concat())
        .await
}

/// The same, whatever comes of it.
async fn run(toka: &Toka, first: &[&str], words: &str) -> Result<Ran> {
    let words: Vec<&str> = words.split(' ').collect();
    toka.run(&[first, &words[..]].concat()).await
}

/// What a user does with cursors and groups; `first` says where the vault is. It has no event.
async fn use_it(toka: &Toka, first: &[&str]) -> Result<()> {
    for number in 1..=3 {
        let payload = number.to_string();
        let commit: [&str; 3] = ["commit", "task", &payload];
        toka.ok(&[first, &commit[..]].concat()).await?;
    }
    let saved = json(toka, first, "cursor save reader 2").await?;
    let expected = [json!({ "cursor": "reader", "sequence": 2 })];
    ensure!(saved == expected, "{saved:?}");
    for read in ["cursor list", "cursor get reader"] {
        let shown = json(toka, first, read).await?;
        ensure!(shown == saved, "{read}: {shown:?}");
    }
    let refused = run(toka, first, "cursor save reader 3 --from 1").await?;
    ensure!(refused.code == Some(5), "{refused:?}");
    ensure!(refused.stderr.contains("is at 2, not 1"), "{refused:?}");
    json(toka, first, "cursor delete reader --from 2").await?;
    let gone = run(toka, first, "cursor get reader").await?;
    ensure!(gone.code == Some(4), "{gone:?}");

    let create = "group create work --kind task --deliveries-max 1 --ack-timeout 1h";
    let made = json(toka, first, create).await?;
    ensure!(made[0]["position"] == 0, "{made:?}");
    let again = json(toka, first, create).await?;
    ensure!(again == made, "{again:?}");
    let pulled = json(toka, first, "group pull work -n 2").await?;
    let payloads: Vec<_> = pulled.iter().map(|each| &each["payload"]).collect();
    ensure!(payloads == [&json!(1), &json!(2)], "{pulled:?}");
    let token = |at: usize| pulled[at]["token"].as_str().context("a token");
    let outstanding = json(toka, first, "group outstanding work").await?;
    ensure!(outstanding.len() == 2, "{outstanding:?}");
    ensure!(outstanding[0]["consumer"] == "toka", "{outstanding:?}");
    let extend = format!("group extend work {}", token(0)?);
    let extended = json(toka, first, &extend).await?;
    ensure!(
        extended == [json!({ "extended": 1, "stale": 0 })],
        "{extended:?}"
    );
    let updated = json(toka, first, "group update work --unacknowledged-max 7").await?;
    ensure!(updated[0]["unacknowledged_max"] == 7, "{updated:?}");
    ensure!(updated[0]["position"] == 2, "{updated:?}");
    let ack = format!("group ack work {}", token(0)?);
    let acked = json(toka, first, &ack).await?;
    ensure!(
        acked == [json!({ "acknowledged": 1, "stale": 0 })],
        "{acked:?}"
    );
    let again = run(toka, first, &ack).await?;
    ensure!(again.code == Some(5), "{again:?}");
    let reject = format!("group reject work {} --reason broken", token(1)?);
    json(toka, first, &reject).await?;
    let parked = json(toka, first, "group parked work").await?;
    ensure!(parked.len() == 1, "{parked:?}");
    ensure!(parked[0]["reason"] == "broken", "{parked:?}");
    ensure!(parked[0]["deliveries"] == 1, "{parked:?}");
    // It has one delivery, which does not count.
    let third = json(toka, first, "group pull work").await?;
    let third = third[0]["token"].as_str().context("a token")?;
    json(toka, first, &format!("group release work {third}")).await?;
    let replayed = json(toka, first, "group replay work").await?;
    ensure!(replayed == [json!({ "replayed": 1 })], "{replayed:?}");
    let consumed = json(toka, first, "group consume work --until-empty").await?;
    let payloads: Vec<_> = consumed.iter().map(|each| &each["payload"]).collect();
    ensure!(payloads == [&json!(2), &json!(3)], "{consumed:?}");
    let shown = json(toka, first, "group show work").await?;
    ensure!(shown[0]["unacknowledged"] == 0, "{shown:?}");
    ensure!(shown[0]["parked"] == 0, "{shown:?}");
    let listed = json(toka, first, "group list").await?;
    ensure!(listed == shown, "{listed:?}");
    json(toka, first, "group delete work").await?;
    let gone = run(toka, first, "group show work").await?;
    ensure!(gone.code == Some(4), "{gone:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_keeps_cursors_and_shares_events_through_a_follower() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        has_groups(&cluster.client().await?).await?;
        let follower = cluster.followers().await?[0];
        let endpoint = [cluster.node(follower).endpoint()];
        let toka = Toka::with_endpoints(cluster.directory(), &endpoint);
        use_it(&toka, &[]).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_keeps_cursors_and_shares_events_in_an_embedded_vault() -> Result<()> {
    let home = TempDir::with_prefix("toka-test-groups-")?;
    let toka = Toka::new(home.path());
    let vault = home.path().join("vault").display().to_string();
    use_it(&toka, &["--data", &vault]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_of_another_group_is_called_that() -> Result<()> {
    let home = TempDir::with_prefix("toka-test-tokens-")?;
    let toka = Toka::new(home.path());
    let vault = home.path().join("vault").display().to_string();
    let first = ["--data", vault.as_str()];
    toka.ok(&[&first[..], &["commit", "task", "1"]].concat())
        .await?;
    for create in ["group create one", "group create other"] {
        json(&toka, &first, create).await?;
    }
    let pulled = json(&toka, &first, "group pull other").await?;
    let token = pulled[0]["token"].as_str().context("a token")?;
    let refused = run(&toka, &first, &format!("group ack one {token}")).await?;
    ensure!(refused.code == Some(4), "{refused:?}");
    ensure!(refused.stderr.contains("of another group"), "{refused:?}");
    Ok(())
}

/// Acknowledges a delivery for a group that there is not.
async fn acknowledges_for_nobody(toka: &Toka, first: &[&str]) -> Result<()> {
    toka.ok(&[first, &["commit", "task", "1"]].concat()).await?;
    json(toka, first, "group create work").await?;
    let pulled = json(toka, first, "group pull work").await?;
    let token = pulled[0]["token"].as_str().context("a token")?;
    let commit = format!("commit done --acknowledge nobody={token}");
    let refused = run(toka, first, &commit).await?;
    ensure!(refused.code == Some(4), "{refused:?}");
    ensure!(
        refused.stderr.contains("there is no group nobody"),
        "{refused:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledgement_in_a_cluster_says_that_there_is_no_such_group() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        has_groups(&cluster.client().await?).await?;
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        acknowledges_for_nobody(&toka, &[]).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledgement_in_an_embedded_vault_says_that_there_is_no_such_group() -> Result<()> {
    let home = TempDir::with_prefix("toka-test-nobody-")?;
    let vault = home.path().join("vault").display().to_string();
    acknowledges_for_nobody(&Toka::new(home.path()), &["--data", &vault]).await
}

/// What is wrong with places and settings is said with what there is.
async fn names_what_there_is(toka: &Toka, first: &[&str]) -> Result<()> {
    toka.ok(&[first, &["commit", "task", "1"]].concat()).await?;
    json(toka, first, "group create work --deliveries-max 3").await?;
    for (words, said) in [
        ("group create work", "deliveries_max is 3, not 5"),
        (
            "group create work --deliveries-max 3 --kind task",
            "filter.kind_prefixes are others",
        ),
        ("group create late --from 7", "goes from 1 to 1"),
        ("cursor save reader 7", "goes from 1 to 1"),
        ("commit done --cursor reader=0:7", "goes from 1 to 1"),
        (
            "get 1 --consistency at-least:1000000",
            "revisions go from 1 to",
        ),
    ] {
        let refused = run(toka, first, words).await?;
        ensure!(refused.code == Some(5), "{words}: {refused:?}");
        ensure!(refused.stderr.contains(said), "{words}: {refused:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_of_a_cluster_name_what_there_is() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        has_groups(&cluster.client().await?).await?;
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        names_what_there_is(&toka, &[]).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_of_an_embedded_vault_name_what_there_is() -> Result<()> {
    let home = TempDir::with_prefix("toka-test-refusals-")?;
    let vault = home.path().join("vault").display().to_string();
    names_what_there_is(&Toka::new(home.path()), &["--data", &vault]).await
}
