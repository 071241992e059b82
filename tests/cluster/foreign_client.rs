//! A client in another language, with stubs from the server's reflection.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use toka_tests::cluster::{self, Cluster};
use toka_tests::python;

const SCRIPT: &str = "clients/foreign_client.py";
const ENVIRONMENT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/python");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_client_commits_to_a_follower() -> Result<()> {
    let python = tokio::task::spawn_blocking(|| python::interpreter(Path::new(ENVIRONMENT)));
    let python = python.await??;
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let leader = cluster.leader().await?;
        let follower = cluster.followers().await?[0];
        let output = tokio::process::Command::new(&python)
            .arg(toka_tests::manifest_dir().join(SCRIPT))
            .arg(cluster.node(follower).endpoint())
            .output()
            .await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {said}", output.status);
        let result: Value = serde_json::from_slice(&output.stdout)?;

        let services = result["services"].as_array().context("services")?;
        for service in [
            "grpc.health.v1.Health",
            "toka.vault.v1.VaultService",
            "toka.vault.v1.ClusterService",
        ] {
            ensure!(
                services.contains(&json!(service)),
                "{service} is not among {services:?}"
            );
        }
        for (field, expected) in [
            ("sequence", json!(1)),
            ("deduplicated_first", json!(false)),
            ("deduplicated_again", json!(true)),
            ("same_digest", json!(true)),
            ("payload", json!("81a568656c6c6fa5776f726c64")),
            ("leader_id", json!(leader.to_string())),
            ("leader_endpoint", json!(cluster.node(leader).endpoint())),
            ("refused", json!("INVALID_ARGUMENT")),
        ] {
            ensure!(
                result[field] == expected,
                "{field} is {}, not {expected}",
                result[field]
            );
        }
        // The answer is the leader's, as `CommitResponse.header` says.
        ensure!(result["node_id"] == json!(leader), "{result}");
        Ok(())
    })
    .await
}
