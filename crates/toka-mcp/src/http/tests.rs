use std::time::Duration;

use toka_client::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::*;
use crate::meaning::{Meaning, Wanted};
use crate::vaults::Vaults;

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",
    "capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// A server before a vault that asks who is calling and is not there.
struct Serving {
    address: String,
    _task: JoinSet<()>,
}

impl Serving {
    async fn start() -> Self {
        let endpoint = Endpoint::bind(settings("127.0.0.1:0"), true).await;
        let endpoint = endpoint.expect("bound");
        let url = endpoint.url();
        let address = url.trim_start_matches("http://").trim_end_matches(PATH);
        let vault = vec!["127.0.0.1:1".to_owned()];
        let vaults = Vaults::of_callers(Client::builder(), vault).await;
        let meaning = Meaning::new(Wanted::Nothing, Duration::from_secs(1));
        let server = Server::new(vaults.expect("nothing is sent"), meaning);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let served = endpoint.serve(server, CancellationToken::new()).await;
            served.expect("it serves until it is dropped");
        });
        Self {
            address: address.to_owned(),
            _task: task,
        }
    }

    /// The status, and the session that was begun.
    async fn post(&self, headers: &[(&str, &str)], body: &str) -> (String, Option<String>) {
        let address = &self.address;
        // Of this version an answer ends with its connection.
        let mut request = format!(
            "POST {PATH} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\n"
        );
        let headers = headers.iter();
        request.extend(headers.map(|(name, value)| format!("{name}: {value}\r\n")));
        request.push_str("\r\n");
        request.push_str(body);
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let sent = stream.write_all(request.as_bytes()).await;
        sent.expect("sent");
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer).await;
        read.expect("answered");
        let answer = String::from_utf8_lossy(&answer).to_lowercase();
        let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut lines = answer.lines();
        let session = lines.find_map(|line| line.strip_prefix("mcp-session-id: "));
        (status, session.map(str::to_owned))
    }

    /// The same with a token, and a body that says how long it is.
    async fn send(
        &self,
        token: &str,
        session: Option<&str>,
        body: &str,
    ) -> (String, Option<String>) {
        let token = format!("Bearer {token}");
        let length = body.len().to_string();
        let mut headers = vec![("Authorization", &*token), ("Content-Length", &*length)];
        headers.extend(session.map(|session| ("Mcp-Session-Id", session)));
        self.post(&headers, body).await
    }
}

fn settings(listen: &str) -> Settings {
    Settings {
        listen: listen.parse().expect("an address"),
        tls: None,
        hosts: Vec::new(),
        origins: Vec::new(),
        insecure: false,
    }
}

#[test]
fn only_its_own_names_and_origins_are_let_in() {
    let address = "127.8.9.10:4711".parse().expect("an address");
    let named = vec!["vault.example".to_owned()];
    let pages = vec!["https://app.example:443".to_owned()];
    let config = config(named, pages, "http", address);
    let hosts = [
        "localhost",
        "127.0.0.1",
        "::1",
        "127.8.9.10",
        "vault.example",
    ];
    assert_eq!(config.allowed_hosts, hosts);
    let origins = [
        "http://localhost:4711",
        "http://127.0.0.1:4711",
        "http://[::1]:4711",
        "http://127.8.9.10:4711",
        "https://app.example:443",
    ];
    assert_eq!(config.allowed_origins, origins);
}

#[tokio::test]
async fn url_has_the_port_that_was_given_out() {
    let endpoint = Endpoint::bind(settings("127.0.0.1:0"), false).await;
    let url = endpoint.expect("bound").url();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    assert!(url.ends_with("/mcp") && !url.contains(":0/"), "{url}");
}

#[tokio::test]
async fn session_of_one_token_is_not_there_for_another_one() {
    let serving = Serving::start().await;
    let (status, session) = serving.send("mine", None, INITIALIZE).await;
    assert_eq!(status, "200");
    let session = session.expect("one has begun");
    for token in ["theirs", "Mine", "mine2"] {
        let (status, _) = serving.send(token, Some(&session), INITIALIZED).await;
        assert_eq!(status, "404", "{token}");
    }
    let (status, _) = serving.send("mine", Some(&session), INITIALIZED).await;
    assert_eq!(status, "202");
    let length = INITIALIZED.len().to_string();
    let nobody = [("Mcp-Session-Id", &*session), ("Content-Length", &*length)];
    assert_eq!(serving.post(&nobody, INITIALIZED).await.0, "401");
}

#[tokio::test]
async fn request_that_is_too_large_is_refused_before_it_is_read() {
    let serving = Serving::start().await;
    let large = [
        ("Authorization", "Bearer mine"),
        ("Content-Length", "99999999"),
    ];
    assert_eq!(serving.post(&large, "").await.0, "413");
}
