//! Limits of one principal.

use std::time::Duration;

use anyhow::{Result, ensure};
use toka_client::TokenLimits;
use toka_proto::convert::status::parse;
use toka_proto::v1;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::request;
use toka_tests::secured::Secured;
use toka_tests::wait;
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
