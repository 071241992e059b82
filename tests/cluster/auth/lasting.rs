//! Calls that go on end when what they rest on does, on every node.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use toka_client::{EventDraft, GroupName, GroupSettings, GroupStart, Role, RoleName, TokenLimits};
use toka_proto::v1;
use toka_proto::v1::subscribe_response::Message;
use toka_tests::clock::Clock;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::secured::{Secured, code, grant};
use toka_tests::{request, wait};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};

const LIST: &str = "toka.vault.v1.VaultService/List";

/// A call with a token, and without an end of its own.
fn shown<M>(message: M, token: &str) -> Result<Request<M>> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse()?;
    request.metadata_mut().insert("authorization", value);
    Ok(request)
}

/// An open subscription to everything from now on, whose first message has come.
async fn subscribed(
    cluster: &Cluster,
    id: u64,
    token: &str,
) -> Result<Streaming<v1::SubscribeResponse>> {
    let message = v1::SubscribeRequest {
        start: Some(v1::subscribe_request::Start::Now(v1::FromNow {})),
        ..Default::default()
    };
    let mut vault = cluster.node(id).vault();
    let opened = vault.subscribe(shown(message, token)?).await;
    let mut answers = opened?.into_inner();
    answers.message().await?.context("a first message")?;
    Ok(answers)
}

/// How a stream ends.
async fn end<M>(answers: &mut Streaming<M>) -> Result<Status> {
    let ended = async {
        loop {
            match answers.message().await {
                Ok(Some(_)) => {}
                Ok(None) => anyhow::bail!("it ended without a status"),
                Err(status) => return anyhow::Ok(status),
            }
        }
    };
    timeout(PATIENCE, ended).await.context("it goes on")?
}

/// The kind of the next event.
async fn next_kind(answers: &mut Streaming<v1::SubscribeResponse>) -> Result<String> {
    let next = async {
        loop {
            let answer = answers.message().await?.context("the stream has ended")?;
            if let Some(Message::Event(event)) = answer.message {
                return anyhow::Ok(event.kind);
            }
        }
    };
    timeout(PATIENCE, next).await.context("no event came")?
}

fn is_to_be_called_again(status: &Status) -> Result<()> {
    let says_so = status.message().contains("call again");
    ensure!(status.code() == Code::Unavailable && says_so, "{status:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_token_ends_subscriptions_on_every_node_and_no_others() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(3, &arguments, async |cluster: &mut Cluster| {
        let gone = secured.token(cluster, "gone", &["read"]).await?;
        let kept = secured.token(cluster, "kept", &["read"]).await?;
        let mut ending = Vec::new();
        for id in cluster.ids() {
            ending.push(subscribed(cluster, id, &gone.text).await?);
        }
        let mut others = subscribed(cluster, 1, &kept.text).await?;
        let root = secured.root(cluster).await?;
        root.revoke_token(gone.token.id).await?;
        for answers in &mut ending {
            is_to_be_called_again(&end(answers).await?)?;
        }
        for id in cluster.ids() {
            let code = code(cluster, id, LIST, Some(&gone.text)).await?;
            ensure!(code == Code::Unauthenticated, "node {id}: {code:?}");
        }
        root.commit(EventDraft::new("task.new")).await?;
        ensure!(next_kind(&mut others).await? == "task.new");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_token_ends_commit_streams_of_leader_and_followers() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(3, &arguments, async |cluster: &mut Cluster| {
        let writer = secured.token(cluster, "writer", &["write"]).await?;
        let mut streams = Vec::new();
        for id in cluster.ids() {
            let (requests, received) = tokio::sync::mpsc::channel(1);
            let received = shown(ReceiverStream::new(received), &writer.text)?;
            let event = request::event("task.new", &json!({ "node": id }));
            let first = v1::CommitStreamRequest {
                request_number: 1,
                events: vec![event],
                ..Default::default()
            };
            requests.send(first).await?;
            let opened = cluster.node(id).vault().commit_stream(received).await?;
            let mut answers = opened.into_inner();
            answers.message().await?.context("an answer")?;
            streams.push((requests, answers));
        }
        let root = secured.root(cluster).await?;
        root.revoke_token(writer.token.id).await?;
        for (requests, mut answers) in streams {
            let status = end(&mut answers).await?;
            ensure!(
                matches!(status.code(), Code::Unavailable | Code::Unauthenticated),
                "{status:?}"
            );
            drop(requests);
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_token_ends_a_pull_that_waits() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(3, &arguments, async |cluster: &mut Cluster| {
        let grants = ["read", "write"];
        let worker = secured.token(cluster, "worker", &grants).await?;
        let root = secured.root(cluster).await?;
        let name = GroupName::new("work")?;
        root.create_group(&name, &GroupSettings::default(), GroupStart::Now)
            .await?;
        let mut pulls = Vec::new();
        for id in cluster.ids() {
            let message = v1::PullRequest {
                group: "work".to_owned(),
                consumer: format!("consumer-{id}"),
                wait_ms: 30_000,
                ..Default::default()
            };
            let mut request = shown(message, &worker.text)?;
            request.set_timeout(Duration::from_secs(40));
            let mut groups = cluster.node(id).groups();
            pulls.push(tokio::spawn(async move { groups.pull(request).await }));
        }
        root.revoke_token(worker.token.id).await?;
        for pull in pulls {
            // One that waited to its end would have an answer without events.
            let status = request::refusal(pull.await?)?;
            ensure!(
                matches!(status.code(), Code::Unavailable | Code::Unauthenticated),
                "{status:?}"
            );
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_that_expires_ends_what_rests_on_it() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        // The vault has come to the feature level of tokens with this one.
        secured.token(cluster, "first", &["read"]).await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let soon = u64::try_from(now)? + 10_000;
        let limits = TokenLimits::default();
        let short = secured
            .limited_token(cluster, "short", &["read"], limits, Some(soon))
            .await?;
        let mut answers = subscribed(cluster, 1, &short.text).await?;
        is_to_be_called_again(&end(&mut answers).await?)?;
        let code = code(cluster, 1, LIST, Some(&short.text)).await?;
        ensure!(code == Code::Unauthenticated, "{code:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn role_that_is_narrowed_ends_what_was_opened_with_it() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let root = secured.root(cluster).await?;
        let role = |grants: &str| -> Result<Role> {
            Ok(Role {
                name: RoleName::new("watchers")?,
                grants: vec![grant(grants)],
            })
        };
        let wide = role("read:chat.,task.")?;
        wait::until("the role", PATIENCE, async || {
            Ok(root.put_role(&wide).await?)
        })
        .await?;
        let jwt = secured.jwt(&["watchers"])?;
        let mut answers = subscribed(cluster, 1, &jwt).await?;
        root.commit(EventDraft::new("chat.new")).await?;
        ensure!(next_kind(&mut answers).await? == "chat.new");
        root.put_role(&role("read:task.")?).await?;
        is_to_be_called_again(&end(&mut answers).await?)?;
        let mut answers = subscribed(cluster, 1, &jwt).await?;
        root.commit(EventDraft::new("chat.other")).await?;
        root.commit(EventDraft::new("task.new")).await?;
        ensure!(next_kind(&mut answers).await? == "task.new");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_that_its_issuer_gives_up_ends_what_rests_on_it() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let jwt = secured.jwt(&["reader"])?;
        let mut answers = subscribed(cluster, 1, &jwt).await?;
        let other = Secured::new()?;
        let x = URL_SAFE_NO_PAD.encode(other.public_key());
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "two", "x": x });
        let keys = json!({ "keys": [key] }).to_string();
        // As issuers do: at once.
        std::fs::write(secured.file("new-keys.json"), keys)?;
        std::fs::rename(secured.file("new-keys.json"), secured.file("keys.json"))?;
        is_to_be_called_again(&end(&mut answers).await?)?;
        let code = code(cluster, 1, LIST, Some(&jwt)).await?;
        ensure!(code == Code::Unauthenticated, "{code:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clock_that_is_behind_prolongs_no_token() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run_prepared(3, &arguments, async |cluster: &mut Cluster| {
        let clock = Clock::new(cluster.directory(), "clock-3")?;
        cluster.set_clock(3, &clock);
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        secured.token(cluster, "first", &["read"]).await?;
        // The leader's clock is right.
        let toka = cluster.toka().with_variable("TOKA_TOKEN", &secured.root);
        toka.ok(&["cluster", "transfer", "--to", "1"]).await?;
        clock.set("-1d")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let soon = u64::try_from(now)? + 10_000;
        let limits = TokenLimits::default();
        let short = secured
            .limited_token(cluster, "short", &["read"], limits, Some(soon))
            .await?;
        let root = secured.root(cluster).await?;
        for id in [1, 3] {
            wait::until("the token's end", PATIENCE, async || {
                // The vault's time goes on with what is committed.
                root.commit(EventDraft::new("time.passes")).await?;
                let code = code(cluster, id, LIST, Some(&short.text)).await?;
                ensure!(code == Code::Unauthenticated, "node {id}: {code:?}");
                Ok(())
            })
            .await?;
        }
        Ok(())
    })
    .await
}
