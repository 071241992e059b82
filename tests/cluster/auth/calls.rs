//! Every rpc, asked by callers who may not.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use toka_auth::{Secret, Token};
use toka_client::TokenLimits;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::scrape::Scrape;
use toka_tests::secured::{Secured, WHO_AM_I, client, code};
use toka_tests::wait;
use tonic::Code;

/// What somebody who reads everything, and does no more, may ask for.
const READS: &[&str] = &[
    "AuthService/WhoAmI",
    "ClusterService/GetStatus",
    "CursorService/GetCursor",
    "CursorService/ListCursors",
    "GroupService/GetGroup",
    "GroupService/ListGroups",
    "GroupService/ListOutstanding",
    "GroupService/ListParked",
    "IntentService/ClassifyVector",
    "IntentService/GetIntent",
    "IntentService/ListIntents",
    "IntentService/Search",
    "LineageService/CommonAncestors",
    "LineageService/Difference",
    "LineageService/ListHeads",
    "LineageService/Walk",
    "VaultService/BatchGet",
    "VaultService/Get",
    "VaultService/List",
    "VaultService/Subscribe",
];

/// Every rpc of the vault and of its nodes, as the build describes them.
fn rpcs() -> Result<Vec<String>> {
    let set = FileDescriptorSet::decode(toka_proto::FILE_DESCRIPTOR_SET)?;
    let mut rpcs = Vec::new();
    for file in set.file {
        for service in &file.service {
            for method in &service.method {
                let (package, service) = (file.package(), service.name());
                rpcs.push(format!("{package}.{service}/{}", method.name()));
            }
        }
    }
    ensure!(rpcs.len() > 50, "only {rpcs:?}");
    Ok(rpcs)
}

fn may_read(rpc: &str) -> bool {
    let method = rpc.strip_prefix("toka.vault.v1.");
    method.is_some_and(|method| READS.contains(&method))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rpc_refuses_callers_without_good_credentials() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let revoked = secured.token(cluster, "gone", &["admin"]).await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let soon = u64::try_from(now)? + 5_000;
        let expired = secured
            .limited_token(
                cluster,
                "old",
                &["admin"],
                TokenLimits::default(),
                Some(soon),
            )
            .await?;
        let root = secured.root(cluster).await?;
        root.revoke_token(revoked.token.id).await?;
        let good: Token = secured.root.parse()?;
        let guessed = Token {
            secret: Secret::from_random([7; 32]),
            ..good.clone()
        };
        let foreign = Token {
            id: toka_auth::TokenId(!good.id.0),
            ..guessed.clone()
        };
        let (guessed, foreign) = (guessed.reveal().to_string(), foreign.reveal().to_string());
        let status = "toka.vault.v1.ClusterService/GetStatus";
        wait::until("the token's end", PATIENCE, async || {
            let code = code(cluster, 1, status, Some(&expired.text)).await?;
            ensure!(code == Code::Unauthenticated, "{code:?}");
            Ok(())
        })
        .await?;
        let shown = [
            None,
            Some("toka_malformed"),
            Some("malformed"),
            Some("e30.e30.e30"),
            Some(guessed.as_str()),
            Some(foreign.as_str()),
            Some(expired.text.as_str()),
            Some(revoked.text.as_str()),
        ];
        for rpc in rpcs()? {
            for (number, token) in shown.into_iter().enumerate() {
                let code = code(cluster, 1, &rpc, token).await?;
                let is_let_in = rpc == WHO_AM_I && token.is_none();
                let is_refused = code == Code::Unauthenticated;
                ensure!(
                    is_refused != is_let_in,
                    "{rpc}, credential {number}: {code:?}"
                );
            }
        }
        // Who is who is asked of everybody alike, and told to those who are known.
        let identity = root.who_am_i().await?;
        ensure!(
            identity.is_enforced && identity.principal == "root",
            "{identity:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rpc_that_is_no_read_refuses_a_reader() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let reader = secured.token(cluster, "reader", &["read"]).await?;
        for rpc in rpcs()? {
            let code = code(cluster, 1, &rpc, Some(&reader.text)).await?;
            let is_denied = code == Code::PermissionDenied;
            ensure!(is_denied != may_read(&rpc), "{rpc}: {code:?}");
            ensure!(code != Code::Unauthenticated, "{rpc}: {code:?}");
        }
        // Not even who may do everything is a node.
        let vote = "toka.raft.v1.RaftService/Vote";
        let code = code(cluster, 1, vote, Some(&secured.root)).await?;
        ensure!(code == Code::PermissionDenied, "{code:?}");
        // With all of these a token was shown.
        let scraped = Scrape::of(cluster.node(1)).await?;
        let denied = scraped.value("toka_denied_calls_total{credential=\"token\"}")?;
        let is_denied = |rpc: &&String| !may_read(rpc);
        let expected = u32::try_from(rpcs()?.iter().filter(is_denied).count())?;
        ensure!(denied >= f64::from(expected), "{denied} of {expected}");
        let codes = ["code=\"PERMISSION_DENIED\""];
        let ended = scraped.sum("toka_grpc_calls_total", &codes)?;
        ensure!(ended > 0.0, "no call is counted as denied");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_reflection_need_no_credentials() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        for token in [None, Some("malformed")] {
            let code = code(cluster, 1, "grpc.health.v1.Health/Check", token).await?;
            ensure!(code == Code::Ok, "{code:?}");
        }
        // A method that nobody has listed is refused, also to who may do everything.
        let unknown = "toka.vault.v1.VaultService/Unknown";
        let code = code(cluster, 1, unknown, Some(&secured.root)).await?;
        ensure!(code == Code::PermissionDenied, "{code:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_joins_with_the_token_of_the_configuration() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let id = cluster.join(&[]).await?;
        cluster.wait_ready(id).await?;
        // Its clients are asked by it as by the others, and what it forwards is judged by the leader.
        let writer = secured.token(cluster, "writer", &["write:task."]).await?;
        let client = client(cluster, &[id], &writer.text).await?;
        client
            .commit(toka_client::EventDraft::new("task.new"))
            .await?;
        Ok(())
    })
    .await
}
