//! `toka auth`.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::command::Toka;
use toka_tests::wait;

/// Runs `words`, apart by blanks, with JSON as output.
async fn json(toka: &Toka, words: &str) -> Result<Vec<Value>> {
    let words: Vec<&str> = words.split(' ').collect();
    toka.json(&[&words[..], &["-o", "json"]].concat()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_and_roles_are_looked_after_by_the_command_line() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = cluster.toka();
        let put = "auth role put robots --grant write:task.,note. --grant read";
        let put = wait::until("the role", PATIENCE, async || json(&toka, put).await).await?;
        ensure!(
            put[0]["role"] == "robots" && put[0]["built_in"] == false,
            "{put:?}"
        );
        let roles = json(&toka, "auth role list").await?;
        let names: Vec<_> = roles.iter().map(|role| &role["role"]).collect();
        ensure!(
            names == ["admin", "reader", "writer", "robots"],
            "{names:?}"
        );

        let create = "auth token create robot --role robots --grant read:log. --expires-in 1h \
                      --requests-per-second 5";
        let made = json(&toka, create).await?.remove(0);
        let text = made["token"].as_str().context("its text")?;
        let id = made["id"].as_str().context("its id")?.to_owned();
        ensure!(text.starts_with(&format!("toka_{id}_")), "{id}");
        ensure!(made["limits"]["requests_per_second"] == 5, "{made}");
        let grants = json!([{ "action": "read", "kind_prefixes": ["log."] }]);
        ensure!(made["grants"] == grants, "{made}");

        let file = cluster.directory().join("rotated").display().to_string();
        let rotate = format!("auth token rotate {id} --grace 1m --file {file}");
        let rotated = json(&toka, &rotate).await?.remove(0);
        ensure!(rotated["token"].is_null(), "{rotated}");
        let new = rotated["id"].as_str().context("its id")?;
        let written = std::fs::read_to_string(&file)?;
        ensure!(written.starts_with(&format!("toka_{new}_")));

        json(&toka, &format!("auth token revoke {new}")).await?;
        let listed = json(&toka, "auth token list").await?;
        ensure!(listed.len() == 2, "{listed:?}");
        ensure!(
            listed.iter().all(|token| token["token"].is_null()),
            "{listed:?}"
        );
        let find = |id: &str| {
            listed
                .iter()
                .find(|token| token["id"] == id)
                .context("listed")
        };
        ensure!(find(&id)?["replaced_by"] == new, "{listed:?}");
        ensure!(!find(new)?["revoked_unix_ms"].is_null(), "{listed:?}");

        let shown = toka.ok(&["auth", "token", "list"]).await?.stdout;
        ensure!(
            shown.contains("revoked") && shown.contains("rotated"),
            "{shown}"
        );
        let who = json(&toka, "auth whoami").await?.remove(0);
        ensure!(who["enforced"] == false, "{who}");
        let unknown = ["auth", "token", "revoke", "0000000000000007"];
        ensure!(toka.run(&unknown).await?.code == Some(4));
        let wrong = ["auth", "token", "revoke", "7"];
        ensure!(toka.run(&wrong).await?.code == Some(5));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_vault_has_no_tokens() -> Result<()> {
    let home = tempfile::TempDir::new()?;
    let toka = Toka::new(home.path());
    let data = home.path().join("vault").display().to_string();
    let ran = toka
        .run(&["--data", &data, "auth", "token", "list"])
        .await?;
    ensure!(ran.code == Some(2), "{ran:?}");
    ensure!(ran.stderr.contains("embedded"), "{ran:?}");
    Ok(())
}

#[tokio::test]
async fn secret_is_not_written_over_another_one() -> Result<()> {
    let home = tempfile::TempDir::new()?;
    let toka = Toka::new(home.path());
    let file = home.path().join("first.token");
    let path = file.display().to_string();
    let generate = ["auth", "token", "generate", "--file", &path];
    toka.ok(&generate).await?;
    let first = std::fs::read_to_string(&file)?;
    let again = toka.run(&generate).await?;
    ensure!(again.code == Some(2), "{again:?}");
    ensure!(again.stderr.contains("name a new file"), "{again:?}");
    ensure!(std::fs::read_to_string(&file)? == first);
    Ok(())
}
