//! What becomes of a server that fails.

use std::error::Error as _;
use std::time::{Duration, Instant};

use serde_json::json;
use smart_embedder::encode::OpenAi;
use smart_embedder::http::Config;
use smart_embedder::{ApiKey, Encoder, Error};
use tokio::net::TcpListener;

use super::server::{Reply, Request, Server, config};

fn good(request: &Request) -> Reply {
    Reply::vectors(&vec![vec![0.6, 0.8]; request.input().len()])
}

fn open(base: &str, config: Config) -> OpenAi {
    OpenAi::new(base, "m", None, None, config).expect("settings")
}

async fn encode_with(
    config: Config,
    script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
) -> (Result<Vec<Vec<f32>>, Error>, usize) {
    let server = Server::start(script).await;
    let texts = ["a".to_owned(), "b".to_owned()];
    let result = open(&server.base(), config).encode(&texts).await;
    (result, server.requests().len())
}

async fn encode(
    script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
) -> (Result<Vec<Vec<f32>>, Error>, usize) {
    encode_with(config(), script).await
}

#[tokio::test]
async fn failure_that_passes_is_tried_again() {
    for failure in [
        || Reply::retry_after("0"),
        || Reply::status(500, "oops"),
        || Reply::status(503, "loading"),
        || Reply::status(408, "too slow"),
    ] {
        let script = move |number, request: &Request| match number {
            0 | 1 => failure(),
            _ => good(request),
        };
        let (result, requests) = encode(script).await;
        assert_eq!(result.expect("the third attempt").len(), 2);
        assert_eq!(requests, 3);
    }
}

#[tokio::test]
async fn retry_after_is_waited_for_up_to_the_cap() {
    let started = Instant::now();
    let script = |number, request: &Request| match number {
        // An hour, of which 20 ms are waited.
        0 => Reply::retry_after("3600"),
        _ => good(request),
    };
    let (result, requests) = encode(script).await;
    result.expect("the second attempt");
    assert_eq!(requests, 2);
    assert!(started.elapsed() >= config().retry_after_max);
}

#[tokio::test]
async fn rate_limit_that_lasts_is_a_typed_error() {
    let (result, requests) = encode(|_, _| Reply::retry_after("7")).await;
    let error = result.expect_err("rate limit");
    assert!(error.is_retryable());
    let Error::RateLimited {
        attempts: 3,
        retry_after: Some(wait),
        message,
        ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(
        (wait, message.as_str()),
        (Duration::from_secs(7), "slow down")
    );
    assert_eq!(requests, 3);
}

#[tokio::test]
async fn server_error_that_lasts_is_a_typed_error() {
    let (result, requests) = encode(|_, _| Reply::status(502, "bad gateway")).await;
    let error = result.expect_err("502");
    assert!(error.is_retryable());
    assert!(
        matches!(
            error,
            Error::Status {
                status: 502,
                attempts: 3,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(requests, 3);
}

#[tokio::test]
async fn client_error_and_redirect_are_final() {
    for status in [307, 400, 401, 404, 413, 422] {
        let reply = move |_, _: &Request| {
            let location = Some(("location", "/elsewhere"));
            Reply::Answer(status, location, "no".to_owned())
        };
        let (result, requests) = encode(reply).await;
        let error = result.expect_err("final");
        assert!(!error.is_retryable());
        let Error::Status {
            status: actual,
            attempts: 1,
            message,
            ..
        } = error
        else {
            panic!("{error:?}");
        };
        assert_eq!((actual, message.as_str(), requests), (status, "no", 1));
    }
}

#[tokio::test]
async fn silent_server_is_a_timeout() {
    let config = Config {
        request_timeout: Duration::from_millis(50),
        attempts_max: 2,
        ..config()
    };
    let (result, requests) = encode_with(config, |_, _| Reply::Silence).await;
    let error = result.expect_err("no answer");
    assert!(error.is_retryable());
    assert!(
        matches!(error, Error::Timeout { attempts: 2, .. }),
        "{error:?}"
    );
    assert_eq!(requests, 2);
}

#[tokio::test]
async fn all_attempts_together_end_in_time() {
    let config = Config {
        timeout: Duration::from_millis(120),
        request_timeout: Duration::from_millis(50),
        attempts_max: 1_000,
        ..config()
    };
    let (result, _) = encode_with(config, |_, _| Reply::Silence).await;
    let error = result.expect_err("no answer");
    let Error::Timeout { attempts, .. } = error else {
        panic!("{error:?}");
    };
    assert!((1..=3).contains(&attempts), "{attempts}");
}

#[tokio::test]
async fn closed_connection_is_unreachable_with_its_cause() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = format!("http://{}", listener.local_addr().expect("bound"));
    let accept = async {
        let mut accepted = 0;
        loop {
            // Accepted and dropped at once.
            listener.accept().await.expect("a client");
            accepted += 1;
            if accepted == 3 {
                std::future::pending::<()>().await;
            }
        }
    };
    let encoder = open(&base, config());
    let texts = ["a".to_owned()];
    let result = tokio::select! {
        result = encoder.encode(&texts) => result,
        () = accept => unreachable!("it does not end"),
    };
    let error = result.expect_err("closed");
    assert!(
        matches!(error, Error::Unreachable { attempts: 3, .. }),
        "{error:?}"
    );
    assert!(error.source().is_some() && error.is_retryable());
}

#[tokio::test]
async fn wrong_number_of_vectors_is_refused() {
    for count in [0, 1, 3] {
        let (result, requests) =
            encode(move |_, _| Reply::vectors(&vec![vec![1.0, 0.0]; count])).await;
        let error = result.expect_err("two texts");
        let Error::Count {
            expected: 2,
            actual,
            ..
        } = error
        else {
            panic!("{error:?}");
        };
        assert_eq!((actual, requests), (count, 1));
    }
}

#[tokio::test]
async fn dimension_is_fixed_by_the_first_reply() {
    let server = Server::start(|number, _| match number {
        0 => Reply::vectors(&[vec![1.0, 0.0]]),
        _ => Reply::vectors(&[vec![1.0, 0.0, 0.0]]),
    })
    .await;
    let encoder = open(&server.base(), config());
    let texts = ["a".to_owned()];
    encoder.encode(&texts).await.expect("the first");
    let error = encoder.encode(&texts).await.expect_err("another dimension");
    let expected = "model openai/m gave a vector of 3 dimensions, not 2";
    assert_eq!(error.to_string(), expected);
    assert_eq!(encoder.dimension(), Some(2));
}

#[tokio::test]
async fn dimension_that_was_asked_for_is_insisted_on() {
    let server = Server::start(|_, _| Reply::vectors(&[vec![1.0, 0.0]])).await;
    let encoder = OpenAi::new(&server.base(), "m", Some(3), None, config()).expect("settings");
    let error = encoder.encode(&["a".to_owned()]).await.expect_err("two");
    assert!(
        matches!(
            error,
            Error::Dimension {
                expected: 3,
                actual: 2,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn vectors_of_one_reply_must_be_of_one_length() {
    let (result, _) = encode(|_, _| Reply::vectors(&[vec![1.0, 0.0], vec![1.0]])).await;
    let error = result.expect_err("two lengths");
    assert!(
        matches!(
            error,
            Error::Dimension {
                expected: 2,
                actual: 1,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn vector_without_direction_is_refused() {
    for bad in [
        json!([1.0, null]),
        json!([1e39, 0.0]),
        json!([0.0, 0.0]),
        json!([]),
    ] {
        let reply = json!({"data": [
            {"index": 0, "embedding": [1.0, 0.0]},
            {"index": 1, "embedding": bad},
        ]});
        let (result, _) = encode(move |_, _| Reply::json(reply.clone())).await;
        let error = result.expect_err("no direction");
        assert!(
            matches!(error, Error::NotFinite { index: 1, .. }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn reply_that_makes_no_sense_is_refused() {
    for body in [
        "",
        "[]",
        "{\"data\": 1}",
        "<html>",
        "{\"data\": [{\"index\": 0}]}",
    ] {
        let (result, requests) = encode(move |_, _| Reply::status(200, body)).await;
        let error = result.expect_err("no vectors");
        assert!(matches!(error, Error::Reply { .. }), "{error:?}");
        assert_eq!(requests, 1);
    }
    let twice = json!({"data": [
        {"index": 0, "embedding": [1.0]},
        {"index": 0, "embedding": [1.0]},
    ]});
    let (result, _) = encode(move |_, _| Reply::json(twice.clone())).await;
    let error = result.expect_err("the same index");
    assert!(error.to_string().contains("indices"), "{error}");
}

#[tokio::test]
async fn reply_over_the_limit_is_refused() {
    let config = Config {
        reply_bytes_max: 1_000,
        ..config()
    };
    let (result, requests) =
        encode_with(config, |_, _| Reply::status(200, &" ".repeat(5_000))).await;
    let error = result.expect_err("too large");
    assert!(
        matches!(error, Error::TooLarge { limit: 1_000, .. }),
        "{error:?}"
    );
    assert_eq!(requests, 1);
}

#[tokio::test]
async fn key_is_in_no_error() {
    let server = Server::start(|_, request| {
        let sent = request.headers["authorization"].to_str().expect("ASCII");
        Reply::status(401, &format!("wrong key: {sent}"))
    })
    .await;
    let key = ApiKey::new("sk-secret").expect("a key");
    let encoder = OpenAi::new(&server.base(), "m", None, Some(key), config()).expect("settings");
    let error = encoder.encode(&["a".to_owned()]).await.expect_err("401");
    let shown = format!("{error} {error:?} {encoder:?}");
    assert!(shown.contains("wrong key: Bearer [API key]"), "{shown}");
    assert!(!shown.contains("sk-secret"), "{shown}");
}
