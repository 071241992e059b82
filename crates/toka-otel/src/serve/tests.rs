use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use toka_client::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::Code;

use super::*;
use crate::content::Content;

/// A receiver before a vault that is not there, which an empty request does not need.
struct Receiving {
    url: String,
    _task: JoinSet<()>,
}

impl Receiving {
    async fn start(requires_token: bool) -> Self {
        let endpoint = Endpoint::bind(settings(), requires_token).await;
        let endpoint = endpoint.expect("bound");
        let url = endpoint.urls().remove(0);
        let vault = vec!["127.0.0.1:1".to_owned()];
        let callers = Callers::new(Client::builder(), vault).await;
        let callers = callers.expect("nothing is sent");
        let receiver = Receiver::new(Content::Text, None);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let stop = CancellationToken::new();
            let served = endpoint.serve(receiver, callers, stop).await;
            served.expect("it serves until it is dropped");
        });
        Self { url, _task: task }
    }

    /// The status of a request over HTTP.
    async fn post(&self, path: &str, headers: &[(&str, &str)]) -> String {
        self.send(path, headers, "").await
    }

    async fn send(&self, path: &str, headers: &[(&str, &str)], body: &str) -> String {
        let address = self.url.trim_start_matches("http://");
        // Of this version an answer ends with its connection.
        let mut request = format!("POST {path} HTTP/1.0\r\nHost: {address}\r\n");
        let headers = headers.iter();
        request.extend(headers.map(|(name, value)| format!("{name}: {value}\r\n")));
        request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let sent = stream.write_all(request.as_bytes()).await;
        sent.expect("sent");
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer).await;
        read.expect("answered");
        let answer = String::from_utf8_lossy(&answer);
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }
}

const JSON: (&str, &str) = ("Content-Type", "application/json");
const PROTOBUF: (&str, &str) = ("Content-Type", "application/x-protobuf");

#[tokio::test]
async fn both_protocols_are_spoken_at_one_address() {
    let receiving = Receiving::start(false).await;
    assert_eq!(receiving.post("/v1/traces", &[PROTOBUF]).await, "200");
    assert_eq!(receiving.send("/v1/traces", &[JSON], "{}").await, "200");
    let client = TraceServiceClient::connect(receiving.url.clone()).await;
    let mut client = client.expect("connected");
    let exported = client.export(ExportTraceServiceRequest::default()).await;
    let answer = exported.expect("taken").into_inner();
    assert_eq!(answer.partial_success, None);
}

#[tokio::test]
async fn what_is_not_taken_is_never_answered_as_if_it_were() {
    let receiving = Receiving::start(false).await;
    for (path, headers, status) in [
        ("/v1/metrics", &[PROTOBUF][..], "404"),
        ("/", &[PROTOBUF][..], "404"),
        ("/v1/traces", &[("Content-Type", "text/plain")][..], "415"),
        ("/v1/traces", &[JSON][..], "400"),
        ("/v1/traces", &[][..], "415"),
        (
            "/v1/traces",
            &[PROTOBUF, ("Origin", "http://evil.example")][..],
            "403",
        ),
    ] {
        let answered = receiving.post(path, headers).await;
        assert_eq!(answered, status, "{path} {headers:?}");
    }
}

#[tokio::test]
async fn whoever_shows_no_token_is_refused_where_the_vault_asks_for_one() {
    let receiving = Receiving::start(true).await;
    assert_eq!(receiving.post("/v1/traces", &[PROTOBUF]).await, "401");
    let token = ("Authorization", "Bearer secret");
    let shown = receiving.post("/v1/traces", &[PROTOBUF, token]).await;
    assert_eq!(shown, "200");
    let client = TraceServiceClient::connect(receiving.url.clone()).await;
    let mut client = client.expect("connected");
    let exported = client.export(ExportTraceServiceRequest::default()).await;
    let refused = exported.expect_err("refused");
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn who_sends_slowly_keeps_nobody_from_sending() {
    let receiving = Receiving::start(false).await;
    let address = receiving.url.trim_start_matches("http://");
    let begun = "POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n\
                 Content-Length: 100\r\n\r\nx";
    let mut slow = Vec::new();
    // More than may be answered and wait.
    for _ in 0..80 {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let sent = stream.write_all(begun.as_bytes()).await;
        sent.expect("sent");
        slow.push(stream);
    }
    assert_eq!(receiving.post("/v1/traces", &[PROTOBUF]).await, "200");
}

fn settings() -> Settings {
    Settings {
        listen: vec!["127.0.0.1:0".parse().expect("an address")],
        tls: None,
        insecure: false,
    }
}
