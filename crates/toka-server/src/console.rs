//! What the console calls: the services of a node, over HTTP, as far as they only read.
//!
//! The page speaks gRPC-web to the same services as every client, behind the same guard, limits and counts: what it may see
//! is decided nowhere else, and which browsers are answered by [`Sites`], as at the port for clients.

use std::convert::Infallible;

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use tonic::body::Body;
use tonic::codegen::http;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt as _};

use crate::auth::only_reads;
use crate::sites::{FETCH_SITE, Sites};

/// Where calls come in, below the page.
pub(crate) const CALLS: &str = "/console/api/{*method}";
/// In front of a method's own path.
const PREFIX: &str = "/console/api";

/// The services, as the console calls them. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Console {
    services: BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Infallible>,
    sites: Sites,
}

impl Console {
    /// Over services that are behind a guard, if there is authorization, for the browsers that are answered.
    pub(crate) fn new<S>(services: S, sites: Sites) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        Self {
            services: BoxCloneSyncService::new(services),
            sites,
        }
    }

    /// Answers a browser.
    pub(crate) async fn call(self, mut request: Request) -> Response {
        let method = match self.admit(request.uri(), request.headers()) {
            Ok(method) => method,
            Err(why) => return (StatusCode::FORBIDDEN, why).into_response(),
        };
        *request.uri_mut() = method;
        let Ok(answer) = self.services.oneshot(request.map(Body::new)).await;
        answer.map(axum::body::Body::new)
    }

    /// The path of the method that is called, or why nobody may call it here.
    fn admit(&self, uri: &Uri, headers: &HeaderMap) -> Result<Uri, String> {
        let is_own = |site: &http::HeaderValue| site == "same-origin" || site == "none";
        if !headers.get(FETCH_SITE).is_none_or(is_own) {
            return Err("another page asks\n".to_owned());
        }
        let checked = self.sites.check(uri, headers);
        checked.map_err(|why| format!("{why}\n"))?;
        let path = uri.path().strip_prefix(PREFIX).unwrap_or_default();
        if !only_reads(path) {
            return Err("the console only reads\n".to_owned());
        }
        path.parse().map_err(|_| "this is no path\n".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use tower::service_fn;

    use super::*;
    use crate::config::Config;

    const LIST: &str = "/console/api/toka.vault.v1.VaultService/List";

    /// One whose answers are the paths that it was asked for.
    fn console(is_enforced: bool) -> Console {
        let services = service_fn(|request: http::Request<Body>| {
            let path = request.uri().path().to_owned();
            let answer = http::Response::new(Body::new(axum::body::Body::from(path)));
            std::future::ready(Ok(answer))
        });
        let mut config = Config::new(1, "/unused".into());
        config.auth.enabled = is_enforced;
        Console::new(services, Sites::of(&config, "node-1.vault:7311"))
    }

    async fn status(console: Console, path: &str, headers: &[(&str, &str)]) -> StatusCode {
        let request = http::Request::post(path);
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        let request = request.body(axum::body::Body::empty()).expect("a request");
        console.call(request).await.status()
    }

    #[tokio::test]
    async fn method_is_called_by_its_own_path() {
        let request = http::Request::post(LIST).header("host", "localhost:7313");
        let request = request.body(axum::body::Body::empty()).expect("a request");
        let answer = console(false).call(request).await;
        let path = axum::body::to_bytes(answer.into_body(), 1_000).await;
        assert_eq!(
            path.expect("a body"),
            "/toka.vault.v1.VaultService/List".as_bytes()
        );
    }

    #[tokio::test]
    async fn nothing_is_called_that_writes_or_is_no_method() {
        for path in [
            "/console/api/toka.vault.v1.VaultService/Commit",
            "/console/api/toka.vault.v1.ClusterService/CreateBackup",
            "/console/api/toka.vault.v1.IntentService/LabelIntent",
            "/console/api/toka.raft.v1.RaftService/Vote",
            "/console/api/console/api/toka.vault.v1.VaultService/List",
            "/console/api//toka.vault.v1.VaultService/List",
            "/toka.vault.v1.VaultService/List",
        ] {
            let answered = status(console(true), path, &[("host", "localhost")]).await;
            assert_eq!(answered, StatusCode::FORBIDDEN, "{path}");
        }
    }

    #[tokio::test]
    async fn without_authorization_no_name_of_dns_is_answered() {
        for host in [
            "localhost",
            "LOCALHOST:7313",
            "127.0.0.1:7313",
            "[::1]:7313",
            "10.0.0.1",
        ] {
            let answered = status(console(false), LIST, &[("host", host)]).await;
            assert_eq!(answered, StatusCode::OK, "{host}");
        }
        for host in [
            "evil.example:7313",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
        ] {
            let answered = status(console(false), LIST, &[("host", host)]).await;
            assert_eq!(answered, StatusCode::FORBIDDEN, "{host}");
            let answered = status(console(true), LIST, &[("host", host)]).await;
            assert_eq!(answered, StatusCode::OK, "{host}: a token is shown");
        }
        let nameless = status(console(false), LIST, &[]).await;
        assert_eq!(nameless, StatusCode::FORBIDDEN);
    }

    #[tokio::test]
    async fn page_of_another_site_is_refused() {
        for (site, expected) in [
            ("same-origin", StatusCode::OK),
            ("none", StatusCode::OK),
            ("same-site", StatusCode::FORBIDDEN),
            ("cross-site", StatusCode::FORBIDDEN),
        ] {
            let headers = [("host", "localhost"), ("sec-fetch-site", site)];
            assert_eq!(status(console(true), LIST, &headers).await, expected);
        }
        let headers = [("host", "localhost"), ("origin", "http://evil.example")];
        let refused = status(console(true), LIST, &headers).await;
        assert_eq!(refused, StatusCode::FORBIDDEN);
    }
}
