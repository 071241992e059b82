//! `toka mcp` over HTTP: started as a user does, and asked by hand, as no decent client would.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::time::timeout;

use crate::command::Toka;

/// Longest that a server takes to say where it listens, and a request to be answered.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// A version with sessions.
const VERSION: &str = "2025-11-25";

/// A server over HTTP; killed when dropped.
pub struct Served {
    _child: Child,
    /// Where it listens, `host:port`.
    pub address: String,
}

/// What a request was answered with.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP's status.
    pub status: u16,
    /// Everything in front of the body, in lower case.
    pub head: String,
    /// The body, as it is.
    pub body: String,
}

/// A session of somebody.
pub struct Session<'a> {
    served: &'a Served,
    headers: Vec<(&'a str, String)>,
}

impl Served {
    /// Starts `toka mcp --http` on a port that is free.
    pub async fn start(toka: &Toka, arguments: &[&str]) -> Result<Self> {
        let arguments = [&["mcp", "--http", "127.0.0.1:0"][..], arguments].concat();
        let mut child = toka.spawn(&arguments)?;
        let stdout = child.stdout.take().context("standard output is a pipe")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(ANSWER_MAX, lines.next_line()).await;
        let line = line.context("toka mcp does not start")??;
        let line = line.context("toka mcp has ended")?;
        let address = line
            .strip_prefix("listening on http://")
            .and_then(|rest| rest.strip_suffix("/mcp"))
            .with_context(|| format!("{line:?}"))?;
        Ok(Self {
            address: address.to_owned(),
            _child: child,
        })
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Sends one message, with headers beside those that every client sends; a `Host` among them is sent instead of the
    /// right one.
    pub async fn post(&self, headers: &[(&str, String)], message: &Value) -> Result<Answer> {
        let body = message.to_string();
        // Of this version answers are not cut into chunks, and end with their connection.
        let mut request = format!(
            "POST /mcp HTTP/1.0\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n",
            body.len()
        );
        let host = ("Host", self.address.clone());
        let has_host = headers.iter().any(|(name, _)| *name == host.0);
        let given = headers.iter().chain((!has_host).then_some(&host));
        request.extend(given.map(|(name, value)| format!("{name}: {value}\r\n")));
        request.push_str("\r\n");
        request.push_str(&body);
        let mut stream = TcpStream::connect(&self.address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        let reading = timeout(ANSWER_MAX, stream.read_to_string(&mut answer)).await;
        reading.with_context(|| format!("the answer does not end: {answer}"))??;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP")?;
        let status = head.split(' ').nth(1).context("no status")?;
        Ok(Answer {
            status: status.parse()?,
            head: head.to_lowercase(),
            body: body.to_owned(),
        })
    }

    /// The first message of a client, with such headers.
    pub async fn initialize(&self, headers: &[(&str, String)]) -> Result<Answer> {
        let message = json!({
            "jsonrpc": "2.0",
            "id": 0,
            "method": "initialize",
            "params": {
                "protocolVersion": VERSION,
                "capabilities": {},
                "clientInfo": { "name": "toka-tests", "version": "1" },
            },
        });
        self.post(headers, &message).await
    }

    /// Begins a session with a token, or without one.
    pub async fn session(&self, token: Option<&str>) -> Result<Session<'_>> {
        let mut headers = Vec::new();
        if let Some(token) = token {
            headers.push(("Authorization", format!("Bearer {token}")));
        }
        let answer = self.initialize(&headers).await?;
        ensure!(answer.status == 200, "{answer:?}");
        let mut lines = answer.head.lines();
        let id = lines.find_map(|line| line.strip_prefix("mcp-session-id: "));
        let id = id.with_context(|| format!("{answer:?}"))?;
        headers.push(("Mcp-Session-Id", id.to_owned()));
        headers.push(("Mcp-Protocol-Version", VERSION.to_owned()));
        let session = Session {
            served: self,
            headers,
        };
        let begun = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let answer = session.post(&begun).await?;
        ensure!(answer.status == 202, "{answer:?}");
        Ok(session)
    }
}

impl Session<'_> {
    /// The same session, used by somebody else.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        let mut headers = self.headers.clone();
        headers.retain(|(name, _)| *name != "Authorization");
        headers.push(("Authorization", format!("Bearer {token}")));
        Self {
            served: self.served,
            headers,
        }
    }

    /// Sends one message.
    pub async fn post(&self, message: &Value) -> Result<Answer> {
        self.served.post(&self.headers, message).await
    }

    /// Calls a tool; its answer, or the error that it ended with.
    pub async fn call(&self, tool: &str, arguments: &Value) -> Result<Value> {
        let message = json!({
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": { "name": tool, "arguments": arguments },
        });
        let answer = self.post(&message).await?;
        ensure!(answer.status == 200, "{answer:?}");
        let data = answer
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("data:"));
        let mut replies = data.filter_map(|text| serde_json::from_str::<Value>(text).ok());
        let reply = replies.find(|reply| reply["id"] == 1);
        let reply = reply.with_context(|| format!("{answer:?}"))?;
        Ok(reply["result"]["structuredContent"].clone())
    }
}
