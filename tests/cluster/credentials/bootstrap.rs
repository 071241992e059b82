//! The first token, from a file.

use anyhow::{Context as _, Result, ensure};
use toka_client::{Consistency, TokenId};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::wait;

use super::{audited, is_chain, new_token};

/// Writes a token into a file in the cluster's directory; its path and its id.
async fn generate(cluster: &Cluster, name: &str) -> Result<(String, TokenId)> {
    let path = cluster.directory().join(name).display().to_string();
    let words = ["auth", "token", "generate", "--file", &path, "-o", "json"];
    let written = cluster.toka().json(&words).await?;
    let id = written[0]["id"].as_str().context("an id")?;
    ensure!(
        written[0]["token"].is_null(),
        "the secret is in the file alone"
    );
    Ok((path, id.parse()?))
}

/// Starts all nodes with the file.
async fn start(cluster: &mut Cluster, path: &str) -> Result<()> {
    for id in cluster.ids() {
        let mut arguments = cluster.serve_arguments(id);
        arguments.extend(["--bootstrap-admin-token-file", path].map(str::to_owned));
        cluster.launch_as(id, &arguments)?;
    }
    cluster.wait_all_ready().await
}

/// Waits until there is a token.
async fn is_made(cluster: &Cluster, wanted: TokenId) -> Result<()> {
    let client = cluster.client().await?;
    wait::until("the token", PATIENCE, async || {
        let tokens = client.tokens(Consistency::Linearizable).await?;
        ensure!(tokens.iter().any(|token| token.id == wanted), "{tokens:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_makes_the_token_of_the_file_once() -> Result<()> {
    cluster::run_prepared(3, &[], async |cluster: &mut Cluster| {
        let (path, first) = generate(cluster, "first").await?;
        start(cluster, &path).await?;
        is_made(cluster, first).await?;
        // Another file changes nothing as long as that one counts.
        for id in cluster.running() {
            cluster.terminate(id).await?;
        }
        let (other, second) = generate(cluster, "second").await?;
        start(cluster, &other).await?;
        let client = cluster.client().await?;
        let robot = client.create_token(&new_token("robot", "admin")?).await?;
        let tokens = client.tokens(Consistency::Linearizable).await?;
        ensure!(tokens.len() == 2, "{tokens:?}");
        // A node that has not looked yet would make the other one as soon as there is no admin.
        for id in cluster.running() {
            cluster.terminate(id).await?;
        }
        start(cluster, &path).await?;
        // Nor does it when it is revoked while another one can administer the vault.
        let client = cluster.client().await?;
        client.revoke_token(first).await?;
        client.revoke_token(robot.token.id).await?;
        for id in cluster.running() {
            cluster.terminate(id).await?;
        }
        // With the first file the vault says that its token was revoked; with the second one it is made.
        start(cluster, &path).await?;
        let leader = cluster.leader().await?;
        cluster
            .logs(leader, "the bootstrap token was revoked")
            .await?;
        for id in cluster.running() {
            cluster.terminate(id).await?;
        }
        start(cluster, &other).await?;
        is_made(cluster, second).await?;
        let client = cluster.client().await?;
        is_chain(&audited(&client).await?)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_with_a_file_that_holds_no_token_does_not_start() -> Result<()> {
    cluster::run_prepared(1, &[], async |cluster: &mut Cluster| {
        let path = cluster.directory().join("token");
        std::fs::write(&path, "hunter2")?;
        let mut arguments = cluster.serve_arguments(1);
        let path = path.display().to_string();
        arguments.extend(["--bootstrap-admin-token-file".to_owned(), path]);
        let said = cluster.refuses_to_start_as(1, &arguments).await?;
        ensure!(said.contains("bootstrap_admin_token_file"), "{said}");
        ensure!(!said.contains("hunter2"), "{said}");
        Ok(())
    })
    .await
}
