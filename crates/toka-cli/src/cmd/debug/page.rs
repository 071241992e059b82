//! A node's page of metrics, over HTTP or HTTPS.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use toka_client::Tls;
use toka_tls::{Connector, Dialer, File, Trust};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower::Service as _;

/// Of a page.
const PAGE_BYTES_MAX: u64 = 4 << 20;
/// Begins the places where HTTP is served over TLS.
pub(super) const SECURED: &str = "https://";

/// The page at `place`: `host:port`, or `https://host:port`, where the certificate is looked at as `tls` says.
pub(super) async fn metrics(place: &str, tls: &Tls, within: Duration) -> Result<String, String> {
    match tokio::time::timeout(within, get(place, tls, within)).await {
        Ok(Ok(answer)) => body(&answer).map(str::to_owned),
        Ok(Err(reason)) => Err(reason),
        Err(_) => Err(format!("no answer within {within:?}")),
    }
}

/// Host and port of a place.
pub(super) fn address(place: &str) -> &str {
    let address = place.strip_prefix(SECURED);
    let address = address.or_else(|| place.strip_prefix("http://"));
    let address = address.unwrap_or(place);
    address.trim_end_matches("/metrics").trim_end_matches('/')
}

/// One GET, of HTTP 1.0: the answer ends with the connection.
async fn get(place: &str, tls: &Tls, within: Duration) -> Result<String, String> {
    let address = address(place);
    let is_secured = place.starts_with(SECURED);
    let scheme = if is_secured { SECURED } else { "http://" };
    let uri = format!("{scheme}{address}").parse::<Uri>();
    let uri = uri.map_err(|error| format!("{address}: {error}"))?;
    let dialer = if is_secured {
        Some(dialer(tls.clone()).await?)
    } else {
        None
    };
    let connected = Connector::new(dialer, within, None).call(uri).await;
    let mut connection = connected
        .map_err(|error| with_causes(&*error))?
        .into_inner();
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n");
    let mut answer = Vec::new();
    let asked = async {
        connection.write_all(request.as_bytes()).await?;
        connection.flush().await?;
        let mut page = connection.take(PAGE_BYTES_MAX);
        page.read_to_end(&mut answer).await
    };
    asked.await.map_err(|error| with_causes(&error))?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Nothing is shown: nodes ask nobody for a certificate there.
async fn dialer(tls: Tls) -> Result<Dialer, String> {
    let opened = tokio::task::spawn_blocking(move || {
        let trust = Trust {
            ca: tls.ca.map(|path| File::new("--ca", path)),
            pair: None,
            is_node: false,
        };
        let trusted = Arc::new(trust.open()?);
        Dialer::new(trusted, "--server-name", tls.server_name.as_deref())
    });
    let opened = opened.await.map_err(|error| error.to_string())?;
    opened.map_err(|error| with_causes(&error))
}

/// An error and what has caused it, in one line.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn body(answer: &str) -> Result<&str, String> {
    let first = answer.lines().next().unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    match body {
        Some(body) if first.split(' ').nth(1) == Some("200") => Ok(body),
        _ => Err(format!("it answered {first:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_taken_from_good_answers_alone() {
        assert_eq!(body("HTTP/1.0 200 OK\r\na: b\r\n\r\nx 1\n"), Ok("x 1\n"));
        assert!(body("HTTP/1.0 503 Service Unavailable\r\n\r\nx").is_err());
        assert!(body("").is_err());
    }

    #[test]
    fn places_have_an_address_whatever_is_around_it() {
        for place in [
            "a:1",
            "http://a:1",
            "https://a:1/",
            "https://a:1/metrics",
            "a:1/metrics",
        ] {
            assert_eq!(address(place), "a:1", "{place}");
        }
    }
}
