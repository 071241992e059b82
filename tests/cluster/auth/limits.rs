//! Limits of one principal.

use std::time::Duration;

use anyhow::{Result, ensure};
use toka_client::{GroupName, GroupSettings, GroupStart, TokenLimits};
use toka_proto::convert::status::parse;
use toka_proto::v1;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::request;
use toka_tests::scrape::Scrape;
use toka_tests::secured::Secured;
use toka_tests::wait;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request};

fn shown<M>(message: M, token: &str) -> Result<Request<M>> {
    let mut request = request::within(Duration::from_secs(20), message);
    let value = format!("Bearer {token}").parse()?;
    request.metadata_mut().insert("authorization", value);
    Ok(request)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_above_the_rate_are_refused_with_a_hint_and_come_back() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let limits = TokenLimits {
            requests_per_second: 5,
            ..TokenLimits::default()
        };
        let slow = secured
            .limited_token(cluster, "slow", &["read"], limits, None)
            .await?;
        let fast = secured.token(cluster, "fast", &["read"]).await?;
        let mut vault = cluster.node(1).vault();
        let mut list = async |token: &str| -> Result<Option<Duration>> {
            match vault.list(shown(v1::ListRequest::default(), token)?).await {
                Ok(_) => Ok(None),
                Err(status) => {
                    ensure!(status.code() == Code::ResourceExhausted, "{status:?}");
                    let hint = parse(&status).retry_after;
                    Ok(Some(hint.unwrap_or_default()))
                }
            }
        };
        let hint = wait::until("a refusal", PATIENCE, async || {
            let refused = list(&slow.text).await?;
            refused.ok_or_else(|| anyhow::anyhow!("there is room still"))
        })
        .await?;
        ensure!(!hint.is_zero(), "there is no hint");
        ensure!(list(&fast.text).await?.is_none(), "another one is held up");
        wait::until("room", PATIENCE, async || {
            ensure!(list(&slow.text).await?.is_none(), "there is no room yet");
            Ok(())
        })
        .await
    })
    .await
}

/// Who shows a good token there is not kept out by those who do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn address_whose_credentials_are_not_good_is_told_to_come_back() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&["--failed-authentications-per-second", "1"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let good = secured.token(cluster, "good", &["read"]).await?;
        let mut vault = cluster.node(1).vault();
        let mut list = async |token: &str| -> Result<Code> {
            let answer = vault.list(shown(v1::ListRequest::default(), token)?).await;
            Ok(answer.map_or_else(|status| status.code(), |_| Code::Ok))
        };
        ensure!(list("toka_malformed").await? == Code::Unauthenticated);
        wait::until("a refusal", PATIENCE, async || {
            let code = list("toka_malformed").await?;
            ensure!(code == Code::ResourceExhausted, "{code:?}");
            Ok(())
        })
        .await?;
        let code = list(&good.text).await?;
        ensure!(code == Code::Ok, "{code:?}");
        // What is refused is not counted, so that there is room again however often it comes.
        wait::until("room", PATIENCE, async || {
            let code = list("toka_malformed").await?;
            ensure!(code == Code::Unauthenticated, "{code:?}");
            Ok(())
        })
        .await?;
        let scraped = Scrape::of(cluster.node(1)).await?;
        let refused = scraped
            .value("toka_throttled_calls_total{limit=\"failed_authentications_per_second\"}");
        ensure!(refused? >= 1.0);
        Ok(())
    })
    .await
}

/// As of clients behind one proxy, of which one shows what the issuer has not signed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jwt_that_was_found_good_is_let_in_beside_those_that_are_not() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&["--failed-authentications-per-second", "1"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let good = secured.jwt(&["reader"])?;
        let bad = Secured::new()?.jwt(&["reader"])?;
        let mut vault = cluster.node(1).vault();
        let mut list = async |token: &str| -> Result<Code> {
            let answer = vault.list(shown(v1::ListRequest::default(), token)?).await;
            Ok(answer.map_or_else(|status| status.code(), |_| Code::Ok))
        };
        let code = list(&good).await?;
        ensure!(code == Code::Ok, "{code:?}");
        let between = wait::until("two refusals in a row", PATIENCE, async || {
            let before = list(&bad).await?;
            let between = list(&good).await?;
            let after = list(&bad).await?;
            // There was no room from the first to the last: whoever is looked at is told something else, and uses it up.
            let refused = [before, after] == [Code::ResourceExhausted; 2];
            ensure!(refused, "{before:?}, {after:?}");
            Ok(between)
        })
        .await?;
        ensure!(between == Code::Ok, "{between:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_of_one_principal_are_bounded() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&["--principal-subscriptions", "1"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let one = secured.token(cluster, "one", &["read"]).await?;
        let other = secured.token(cluster, "other", &["read"]).await?;
        let mut vault = cluster.node(1).vault();
        let subscribe = |token: &str| shown(v1::SubscribeRequest::default(), token);
        let open = vault.subscribe(subscribe(&one.text)?).await?;
        let second = vault.subscribe(subscribe(&one.text)?).await;
        let refused = request::refusal(second)?;
        ensure!(refused.code() == Code::ResourceExhausted, "{refused:?}");
        ensure!(parse(&refused).retry_after.is_some(), "{refused:?}");
        vault.subscribe(subscribe(&other.text)?).await?;
        drop(open);
        wait::until("the first one's end", PATIENCE, async || {
            vault.subscribe(subscribe(&one.text)?).await?;
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_of_one_message_are_applied_as_their_turns_come() -> Result<()> {
    const COMMITS: u64 = 30;
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let limits = TokenLimits {
            requests_per_second: 10,
            ..TokenLimits::default()
        };
        let slow = secured
            .limited_token(cluster, "slow", &["write"], limits, None)
            .await?;
        let commit = |request_number: u64| v1::StreamedCommit {
            request_number,
            events: vec![v1::NewEvent {
                kind: "k".to_owned(),
                payload: request_number.to_string().into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let message = v1::CommitStreamRequest {
            request_number: 1,
            events: commit(1).events,
            more: (2..=COMMITS).map(commit).collect(),
            takes_more: true,
            ..Default::default()
        };
        let sent = shown(tokio_stream::once(message), &slow.text)?;
        let answers = cluster.node(1).vault().commit_stream(sent).await?;
        let mut answers = answers.into_inner();
        let mut messages = Vec::new();
        while let Some(answer) = answers.message().await? {
            let more = answer.more.iter().map(|further| further.request_number);
            let numbers: Vec<_> = std::iter::once(answer.request_number).chain(more).collect();
            messages.push(numbers);
        }
        // Those for which there was room at once did not wait for the others.
        ensure!(messages.len() > 1, "{messages:?}");
        let numbers = messages.concat();
        ensure!(numbers == (1..=COMMITS).collect::<Vec<_>>(), "{numbers:?}");
        Ok(())
    })
    .await
}

/// Calls that one principal may have open in these tests.
const OPEN: usize = 4;

/// A pull of the group `work`.
fn pull(token: &str, wait_ms: u32) -> Result<Request<v1::PullRequest>> {
    let message = v1::PullRequest {
        group: "work".to_owned(),
        consumer: "robot".to_owned(),
        wait_ms,
        ..Default::default()
    };
    shown(message, token)
}

/// A node on which each principal may have [`OPEN`] calls open, and the group `work`; the tokens of two principals.
async fn with_few_open_calls(
    test: impl AsyncFnOnce(&mut Cluster, &str, &str) -> Result<()>,
) -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&["--principal-open-calls", &OPEN.to_string()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let grants = ["read", "write"];
        let one = secured.token(cluster, "one", &grants).await?;
        let other = secured.token(cluster, "other", &grants).await?;
        let root = secured.root(cluster).await?;
        let group = GroupName::new("work")?;
        root.create_group(&group, &GroupSettings::default(), GroupStart::Now)
            .await?;
        test(cluster, &one.text, &other.text).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commit_streams_of_one_principal_are_bounded() -> Result<()> {
    with_few_open_calls(async |cluster: &mut Cluster, one: &str, other: &str| {
        let mut streams = Vec::new();
        for _ in 0..OPEN {
            // What asked whether the token is known may not be over yet.
            let open = wait::until("room for a stream", PATIENCE, async || {
                let (requests, received) = mpsc::channel::<v1::CommitStreamRequest>(1);
                let received = shown(ReceiverStream::new(received), one)?;
                let answers = cluster.node(1).vault().commit_stream(received).await?;
                Ok((requests, answers))
            });
            streams.push(open.await?);
        }
        let mut groups = cluster.node(1).groups();
        let refused = request::refusal(groups.pull(pull(one, 0)?).await)?;
        ensure!(refused.code() == Code::ResourceExhausted, "{refused:?}");
        ensure!(parse(&refused).retry_after.is_some(), "{refused:?}");
        groups.pull(pull(other, 0)?).await?;
        let scraped = Scrape::of(cluster.node(1)).await?;
        let throttled = scraped.value("toka_throttled_calls_total{limit=\"open_calls\"}")?;
        ensure!(throttled >= 1.0, "{throttled} are counted");
        drop(streams);
        wait::until("room after the streams", PATIENCE, async || {
            Ok(groups.pull(pull(one, 0)?).await?)
        })
        .await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_of_one_principal_that_wait_are_bounded() -> Result<()> {
    with_few_open_calls(async |cluster: &mut Cluster, one: &str, other: &str| {
        let mut waiting = JoinSet::new();
        for _ in 0..OPEN {
            let mut groups = cluster.node(1).groups();
            let request = pull(one, 15_000)?;
            waiting.spawn(async move { groups.pull(request).await });
        }
        wait::until("pulls that wait", PATIENCE, async || {
            let scraped = Scrape::of(cluster.node(1)).await?;
            let open = scraped.value("toka_pulls_open")?;
            ensure!(open == OPEN as f64, "{open} are open");
            Ok(())
        })
        .await?;
        let mut vault = cluster.node(1).vault();
        let list = shown(v1::ListRequest::default(), one)?;
        let refused = request::refusal(vault.list(list).await)?;
        ensure!(refused.code() == Code::ResourceExhausted, "{refused:?}");
        ensure!(parse(&refused).retry_after.is_some(), "{refused:?}");
        let list = shown(v1::ListRequest::default(), other)?;
        vault.list(list).await?;
        // Whoever goes away gives up the place.
        waiting.abort_all();
        wait::until("room after the pulls", PATIENCE, async || {
            let list = shown(v1::ListRequest::default(), one)?;
            Ok(vault.list(list).await?)
        })
        .await?;
        Ok(())
    })
    .await
}
