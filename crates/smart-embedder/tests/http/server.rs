//! A local server that speaks OpenAI's protocol, or says whatever a test wants.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use serde_json::{Value, json};
use smart_embedder::http::Config;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What a client has sent.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Request {
    /// The texts to embed.
    pub(crate) fn input(&self) -> Vec<&str> {
        let texts = self.body["input"].as_array().expect("a list");
        texts
            .iter()
            .map(|text| text.as_str().expect("a text"))
            .collect()
    }
}

pub(crate) enum Reply {
    /// Status, header and body.
    Answer(u16, Option<(&'static str, &'static str)>, String),
    /// No answer, ever.
    Silence,
}

impl Reply {
    pub(crate) fn json(body: Value) -> Self {
        Self::Answer(200, None, body.to_string())
    }

    pub(crate) fn status(status: u16, message: &str) -> Self {
        Self::Answer(status, None, message.to_owned())
    }

    pub(crate) fn retry_after(value: &'static str) -> Self {
        Self::Answer(429, Some(("retry-after", value)), "slow down".to_owned())
    }

    /// The protocol's reply, with these vectors in the texts' order.
    pub(crate) fn vectors(vectors: &[Vec<f32>]) -> Self {
        let item = |(index, vector): (usize, &Vec<f32>)| json!({"object": "embedding", "index": index, "embedding": vector});
        let data: Vec<Value> = vectors.iter().enumerate().map(item).collect();
        Self::json(json!({"object": "list", "data": data, "usage": {"total_tokens": 1}}))
    }
}

type Script = dyn Fn(usize, &Request) -> Reply + Send + Sync;

struct Shared {
    script: Box<Script>,
    requests: Mutex<Vec<Request>>,
}

/// Stops when it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Server {
    /// Answers request `n`, from 0, with `script(n, request)`.
    pub(crate) async fn start(
        script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            requests: Mutex::default(),
        });
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("it runs until it is dropped");
        });
        Self {
            address,
            shared,
            task,
        }
    }

    pub(crate) fn base(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().expect("no panic").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let body = serde_json::from_slice(&body).expect("clients send JSON");
    let request = Request { uri, headers, body };
    let number = {
        let mut requests = shared.requests.lock().expect("no panic");
        requests.push(request.clone());
        requests.len() - 1
    };
    match (shared.script)(number, &request) {
        Reply::Silence => std::future::pending().await,
        Reply::Answer(status, header, body) => {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            if let Some((name, value)) = header {
                let value = value.parse().expect("a header");
                response.headers_mut().insert(name, value);
            }
            response
        }
    }
}

/// Short waits; the timeout is long, except where a test waits for it.
pub(crate) fn config() -> Config {
    Config {
        request_timeout: Duration::from_secs(30),
        attempts_max: 3,
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(2),
        retry_after_max: Duration::from_millis(20),
        ..Config::default()
    }
}
