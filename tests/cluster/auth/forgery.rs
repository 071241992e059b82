//! Callers who say that they are somebody else, or that they call something else.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use toka_client::{EventDraft, Filter, GroupName, GroupSettings, GroupStart, List};
use toka_proto::convert::metadata;
use toka_proto::v1;
use toka_proto::v1::precondition::Condition;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::secured::{Secured, client, code};
use toka_tests::{request, wait};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::metadata::BinaryMetadataValue;
use tonic::{Code, Request};

fn shown<M>(message: M, token: &str) -> Result<Request<M>> {
    let mut request = request::within(PATIENCE, message);
    let value = format!("Bearer {token}").parse()?;
    request.metadata_mut().insert("authorization", value);
    Ok(request)
}

/// Says that a node forwards it, for somebody with a certificate.
fn forwarded<M>(mut request: Request<M>, name: &str) -> Request<M> {
    metadata::put_forwarded_by(request.metadata_mut(), 1);
    let name = BinaryMetadataValue::from_bytes(name.as_bytes());
    let map = request.metadata_mut();
    map.insert_bin(metadata::ON_BEHALF_OF, name);
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_says_it_is_a_node_gains_nothing() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&["--certificate-role", "boss.example=admin"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let reader = secured.token(cluster, "reader", &["read"]).await?;
        let mut vault = cluster.node(1).vault();
        let commit = || request::commit(vec![request::event("task.new", &serde_json::json!({}))]);
        let nobody = request::within(PATIENCE, commit());
        let refused = vault.commit(forwarded(nobody, "boss.example")).await;
        let refused = request::refusal(refused)?;
        ensure!(refused.code() == Code::Unauthenticated, "{refused:?}");
        let known = shown(commit(), &reader.text)?;
        let refused = vault.commit(forwarded(known, "boss.example")).await;
        let refused = request::refusal(refused)?;
        ensure!(refused.code() == Code::PermissionDenied, "{refused:?}");
        // Two credentials of which one is good.
        let mut two = shown(commit(), &secured.root)?;
        let value = format!("Bearer {}", reader.text).parse()?;
        two.metadata_mut().append("authorization", value);
        let refused = request::refusal(vault.commit(two).await)?;
        ensure!(refused.code() == Code::Unauthenticated, "{refused:?}");
        Ok(())
    })
    .await
}

/// A call that says it was forwarded is in the audit as every other one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn administrator_that_says_it_is_a_node_is_in_the_audit() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let admin = secured.token(cluster, "admin", &["admin"]).await?;
        // A learner: the first node goes on to lead.
        let learner = cluster.join(&["--learner"]).await?;
        let removal = v1::RemoveNodeRequest {
            node_id: learner,
            force: false,
        };
        let forged = forwarded(shown(removal, &admin.text)?, "nobody.example");
        cluster.node(1).cluster().remove_node(forged).await?;
        let root = client(cluster, &[1], &secured.root).await?;
        let mut removed = List::default();
        removed.filter.kind_prefixes = vec!["toka.audit.node.removed".to_owned()];
        wait::until("the audit", PATIENCE, async || {
            let page = root.list(&removed, None).await?;
            let event = page.events.first().context("nothing is noted")?;
            let source = event.header.attributes.source.as_deref();
            ensure!(source == Some("admin"), "{event:?}");
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn method_that_is_written_in_another_way_is_refused_to_everybody() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        for method in [
            "/toka.vault.v1.VaultService/List",
            "toka.vault.v1.VaultService/List/",
            "toka.vault.v1.VaultService//List",
            "toka.vault.v1.VaultService/%4cist",
            "toka.vault.v1.VaultService/list",
            "toka.vault.v1.vaultservice/List",
            "toka.vault.v1.VaultService",
            "grpc.health.v1.Health/../toka.vault.v1.VaultService/List",
            "grpc.health.v1.Health/Check/toka.vault.v1.VaultService/List",
        ] {
            let nobody = code(cluster, 1, method, None).await?;
            ensure!(nobody == Code::Unauthenticated, "{method}: {nobody:?}");
            let root = code(cluster, 1, method, Some(&secured.root)).await?;
            ensure!(root == Code::PermissionDenied, "{method}: {root:?}");
        }
        let query = "toka.vault.v1.VaultService/List?grpc.health.v1.Health/Check";
        let nobody = code(cluster, 1, query, None).await?;
        ensure!(nobody == Code::Unauthenticated, "{nobody:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browser_is_asked_as_everybody_is() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let node = cluster.node(1);
        // The port for clients, and where the console calls.
        let places = [(node.client, ""), (node.http, "/console/api")];
        let status = async |(port, prefix): (SocketAddr, &str), token: Option<&str>| -> Result<String> {
            let shown = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
            let request = format!(
                "POST {prefix}/toka.vault.v1.VaultService/List HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\
                 Content-Type: application/grpc-web+proto\r\nX-Grpc-Web: 1\r\nContent-Length: 5\r\n{}\r\n\
                 \0\0\0\0\0",
                shown.unwrap_or_default()
            );
            let mut connection = tokio::net::TcpStream::connect(port).await?;
            connection.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            connection.read_to_end(&mut answer).await?;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            let (_, rest) = answer.split_once("grpc-status:").context("a status")?;
            let digits = rest.trim_start().chars().take_while(char::is_ascii_digit);
            Ok(digits.collect())
        };
        let unauthenticated = i32::from(Code::Unauthenticated).to_string();
        for place in places {
            for token in [None, Some("toka_malformed"), Some("e30.e30.e30")] {
                let status = status(place, token).await?;
                ensure!(status == unauthenticated, "{place:?}: {token:?}: {status}");
            }
            let good = status(place, Some(&secured.root)).await?;
            ensure!(good == "0", "{place:?}: {good}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commit_acknowledges_no_delivery_of_a_group_that_its_caller_may_not_work_on() -> Result<()>
{
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(3, &arguments, async |cluster: &mut Cluster| {
        let grants = ["write:task.", "read:task."];
        let narrow = secured.token(cluster, "narrow", &grants).await?;
        let root = secured.root(cluster).await?;
        let settings = GroupSettings {
            filter: Filter {
                kind_prefixes: vec!["chat.".to_owned()],
                ..Filter::default()
            },
            ack_timeout_ms: 600_000,
            ..GroupSettings::default()
        };
        let name = GroupName::new("chats")?;
        root.create_group(&name, &settings, GroupStart::Beginning)
            .await?;
        root.commit(EventDraft::new("chat.new")).await?;
        let pull = v1::PullRequest {
            group: "chats".to_owned(),
            consumer: "root".to_owned(),
            ..Default::default()
        };
        let pulled = cluster
            .node(1)
            .groups()
            .pull(shown(pull, &secured.root)?)
            .await?
            .into_inner();
        let delivery = pulled.deliveries.first().context("a delivery")?;
        let acknowledge = v1::AcknowledgeDelivery {
            group: "chats".to_owned(),
            token: delivery.token.clone(),
        };
        let commit = |kind: &str, node: u64| {
            let event = request::event(kind, &serde_json::json!({ "node": node }));
            let condition = Condition::Acknowledge(acknowledge.clone());
            v1::CommitRequest {
                preconditions: vec![v1::Precondition {
                    condition: Some(condition),
                }],
                ..request::commit(vec![event])
            }
        };
        for id in cluster.ids() {
            let refused = shown(commit("task.done", id), &narrow.text)?;
            let refused = cluster.node(id).vault().commit(refused).await;
            let refused = request::refusal(refused)?;
            let is_denied = refused.code() == Code::PermissionDenied;
            ensure!(is_denied, "node {id}: {refused:?}");
        }
        // It is outstanding still.
        let done = shown(commit("task.done", 0), &secured.root)?;
        cluster.node(1).vault().commit(done).await?;
        Ok(())
    })
    .await
}
