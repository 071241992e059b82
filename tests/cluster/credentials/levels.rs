//! Tokens and roles in vaults of several feature levels: refused before theirs.

use anyhow::{Context as _, Result, ensure};
use toka_client::{Client, Code, Consistency, Error, EventDraft, RoleName, TokenId};
use toka_ledger::command::{COORDINATION_LEVEL, CREDENTIALS_LEVEL, FEATURE_LEVEL};
use toka_tests::cluster::{self, Cluster};

use super::{Made, audited, new_token, robots};

/// The arguments of node `id`, which does not say that it knows more than the level before that of credentials.
fn held(cluster: &Cluster, id: u64) -> Vec<String> {
    let mut arguments = cluster.serve_arguments(id);
    arguments.extend([
        "--feature-level-max".to_owned(),
        COORDINATION_LEVEL.to_string(),
    ]);
    arguments
}

/// Whether a call was refused because the vault is not at the level yet.
fn names_level<T: std::fmt::Debug>(what: &str, answer: Result<T, Error>) -> Result<()> {
    let wanted = format!("feature level {CREDENTIALS_LEVEL}");
    match answer {
        Err(Error::Refused {
            code: Code::FailedPrecondition,
            message,
            ..
        }) if message.contains(&wanted) => Ok(()),
        other => anyhow::bail!("{what}: {other:?}, not {wanted:?}"),
    }
}

/// Everything that needs the level is refused through `client`.
async fn all_is_refused(client: &Client) -> Result<()> {
    let id = TokenId([7; 8]);
    let made = client.create_token(&new_token("robot", "reader")?).await;
    names_level("create", made)?;
    names_level("rotate", client.rotate_token(id, 0, None).await)?;
    names_level("revoke", client.revoke_token(id).await)?;
    names_level("put", client.put_role(&robots()?).await)?;
    let deleted = client.delete_role(&RoleName::new("robots")?).await;
    names_level("delete", deleted)?;
    let tokens = client.tokens(Consistency::Linearizable).await?;
    ensure!(tokens.is_empty(), "{tokens:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vault_that_is_held_at_the_level_before_refuses_credentials_until_it_rises() -> Result<()> {
    cluster::run_prepared(3, &[], async |cluster: &mut Cluster| {
        for id in cluster.ids() {
            let arguments = held(cluster, id);
            cluster.launch_as(id, &arguments)?;
        }
        cluster.wait_all_ready().await?;
        let client = cluster.client().await?;
        client.commit(EventDraft::new("early").payload("x")).await?;
        for id in cluster.ids() {
            let refused = all_is_refused(&cluster.client_of(id).await?).await;
            refused.with_context(|| format!("node {id}"))?;
        }
        // As long as one of them does not say that it knows the level, nothing changes.
        for id in [1, 2] {
            cluster.terminate(id).await?;
            cluster.restart(id).await?;
        }
        let levels = [FEATURE_LEVEL, FEATURE_LEVEL, COORDINATION_LEVEL];
        cluster.has_known_levels(&levels).await?;
        all_is_refused(&client).await?;
        ensure!(audited(&client).await?.is_empty());

        cluster.terminate(3).await?;
        cluster.restart(3).await?;
        let made = Made::make(&client).await?;
        made.is_on_every_node(cluster).await
    })
    .await
}
