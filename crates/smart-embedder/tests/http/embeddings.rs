//! What is sent, and what becomes of a good reply.

use serde_json::json;
use smart_embedder::encode::OpenAi;
use smart_embedder::http::Config;
use smart_embedder::{ApiKey, EmbedderSpec, Encoder, SmartEmbedder};

use super::server::{Reply, Request, Server, config};

/// A vector that tells its text: its length, and 1.
fn echo(_: usize, request: &Request) -> Reply {
    let vector = |text: &&str| vec![f32::from(u16::try_from(text.len()).expect("short")), 1.0];
    Reply::vectors(&request.input().iter().map(vector).collect::<Vec<_>>())
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[tokio::test]
async fn request_follows_the_protocol() {
    let server = Server::start(echo).await;
    let key = ApiKey::new("sk-secret").expect("a key");
    let spec: EmbedderSpec = format!("openai:{}#small@2", server.base())
        .parse()
        .expect("a spec");
    let encoder = spec
        .open(Some(key), config())
        .await
        .expect("nothing is sent yet");
    encoder
        .encode(&texts(&["a", "bb"]))
        .await
        .expect("a good reply");
    let requests = server.requests();
    let [request] = &requests[..] else {
        panic!("one request: {requests:?}");
    };
    assert_eq!(request.uri, "/v1/embeddings");
    assert_eq!(request.headers["authorization"], "Bearer sk-secret");
    assert_eq!(request.headers["content-type"], "application/json");
    let expected = json!({"model": "small", "input": ["a", "bb"], "dimensions": 2});
    assert_eq!(request.body, expected);
    assert_eq!(encoder.model_id(), "openai/small@2");
}

#[tokio::test]
async fn without_key_and_dimension_neither_is_sent() {
    let server = Server::start(echo).await;
    let encoder = OpenAi::new(&server.base(), "m", None, None, config()).expect("settings");
    encoder.encode(&texts(&["a"])).await.expect("a good reply");
    let request = &server.requests()[0];
    assert!(!request.headers.contains_key("authorization"));
    assert_eq!(request.body, json!({"model": "m", "input": ["a"]}));
}

#[tokio::test]
async fn vectors_are_put_in_order_and_scaled() {
    let server = Server::start(|_, _| {
        Reply::json(json!({"data": [
            {"index": 1, "embedding": [0.0, 5.0]},
            {"index": 0, "embedding": [3.0, 4.0]},
        ]}))
    })
    .await;
    let encoder = OpenAi::new(&server.base(), "m", None, None, config()).expect("settings");
    assert_eq!(encoder.dimension(), None);
    let vectors = encoder
        .encode(&texts(&["a", "b"]))
        .await
        .expect("a good reply");
    assert_eq!(vectors, [[0.6, 0.8], [0.0, 1.0]]);
    assert_eq!(encoder.dimension(), Some(2));
}

#[tokio::test]
async fn blank_and_long_texts_are_sent_as_something_servers_take() {
    let server = Server::start(echo).await;
    let encoder = OpenAi::new(&server.base(), "m", None, None, config()).expect("settings");
    let long = "é".repeat(20_000);
    let texts = texts(&["", " \n", &long]);
    encoder.encode(&texts).await.expect("a good reply");
    let request = &server.requests()[0];
    let input = request.input();
    assert_eq!(input[..2], ["(empty)", "(empty)"]);
    assert_eq!(input[2], &long[..16 << 10]);
}

#[tokio::test]
async fn no_text_is_no_request() {
    let server = Server::start(echo).await;
    let encoder = OpenAi::new(&server.base(), "m", None, None, config()).expect("settings");
    assert_eq!(
        encoder.encode(&[]).await.expect("nothing"),
        Vec::<Vec<f32>>::new()
    );
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn many_texts_go_in_batches_and_come_back_in_order() {
    let server = Server::start(echo).await;
    let config = Config {
        batch_texts_max: 4,
        ..config()
    };
    let encoder = OpenAi::new(&server.base(), "m", None, None, config).expect("settings");
    let embedder = SmartEmbedder::builder().encoder(encoder).build();
    let many: Vec<String> = (1..=10).map(|length| "x".repeat(length)).collect();
    let vectors = embedder.embed_texts(&many).await.expect("good replies");
    for (text, vector) in many.iter().zip(vectors) {
        let length = vector[0] / vector[1];
        assert!((length - text.len() as f32).abs() < 1e-3, "{text} {length}");
    }
    let mut sizes: Vec<usize> = server.requests().iter().map(|r| r.input().len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [2, 4, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_are_in_flight_together() {
    // Neither request is answered before the other is there.
    let both = std::sync::Barrier::new(2);
    let server = Server::start(move |number, request| {
        tokio::task::block_in_place(|| both.wait());
        echo(number, request)
    })
    .await;
    let config = Config {
        batch_texts_max: 1,
        requests_in_flight: 2,
        ..config()
    };
    let encoder = OpenAi::new(&server.base(), "m", None, None, config).expect("settings");
    let embedder = SmartEmbedder::builder().encoder(encoder).build();
    embedder
        .embed_texts(&texts(&["a", "bb"]))
        .await
        .expect("good replies");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn text_that_was_embedded_is_not_sent_again() {
    let server = Server::start(echo).await;
    let encoder = OpenAi::new(&server.base(), "m", None, None, config()).expect("settings");
    let embedder = SmartEmbedder::builder().encoder(encoder).build();
    let first = embedder
        .embed_texts(&texts(&["a", "bb", "a"]))
        .await
        .expect("a good reply");
    assert_eq!(first[0], first[2]);
    let again = embedder
        .embed_texts(&texts(&["bb", "a"]))
        .await
        .expect("from the cache");
    assert_eq!(again, [first[1].clone(), first[0].clone()]);
    let sent: Vec<Vec<String>> = server
        .requests()
        .iter()
        .map(|request| request.input().iter().map(|t| (*t).to_owned()).collect())
        .collect();
    assert_eq!(sent, [["a", "bb"]]);
    assert_eq!(embedder.cached(), 2);
}
