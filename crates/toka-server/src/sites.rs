//! Browsers: the names at which they are answered, and the pages that may make them call.
//!
//! A page of somebody else must not make the browser of who looks at it call this node. By its own name it cannot: a
//! browser says which page asks. So it would let a name of its own lead here (DNS rebinding), and be of the same origin.
//! Where callers have to show who they are, such a page has nothing to show; where nobody has to, the node answers
//! browsers at no name that a stranger could have taken over. Other clients say none of this, and are asked nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{self, Either, Ready};
use toka_proto::convert::status;
use tonic::body::Body;
use tonic::codegen::http::header::{CONTENT_TYPE, HOST, ORIGIN};
use tonic::codegen::http::uri::Authority;
use tonic::codegen::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use tower::Service;

use crate::config::{AllowedHost, Config};

/// Says who has made a browser ask; a page cannot set it.
pub(crate) const FETCH_SITE: &str = "sec-fetch-site";
/// How the content types of gRPC-web begin.
const GRPC_WEB: &[u8] = b"application/grpc-web";
/// The setting that lets more in.
const SETTING: &str = "allowed_hosts";

/// Why a browser is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Foreign {
    /// The node is called by a name that somebody else could have given it.
    #[error(
        "without authorization browsers, and gRPC-web, are answered at localhost, at IP addresses, at the address that the \
         node advertises, and at names in allowed_hosts (--allowed-host)"
    )]
    Name,
    /// The page is of another place than the node.
    #[error(
        "the page that asks is from elsewhere, and not in allowed_hosts (--allowed-host) of this node"
    )]
    Page,
}

/// The names of a node, and the pages that may call it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Sites {
    names: Arc<[AllowedHost]>,
    /// Callers have to show who they are.
    is_enforced: bool,
}

impl Sites {
    /// Of a node that advertises `client_endpoint` to clients.
    pub(crate) fn of(config: &Config, client_endpoint: &str) -> Self {
        let advertised = client_endpoint.parse::<AllowedHost>().ok();
        let names = config.allowed_hosts.iter().cloned().chain(advertised);
        Self {
            names: names.collect(),
            is_enforced: config.auth.enabled,
        }
    }

    /// Whether a browser is answered.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Foreign> {
        let host = host(uri, headers);
        let host = host.as_ref();
        if !self.is_enforced && !host.is_some_and(|host| self.is_own(host.host())) {
            return Err(Foreign::Name);
        }
        // A page in plain text at the same name is another place than the node behind TLS, and only the browser knows.
        let is_own = |site: &HeaderValue| site == "same-origin" || site == "none";
        let own = host.filter(|_| headers.get(FETCH_SITE).is_none_or(is_own));
        let mut pages = headers.get_all(ORIGIN).iter();
        match pages.all(|page| self.may_call(page, own)) {
            true => Ok(()),
            false => Err(Foreign::Page),
        }
    }

    /// Whether nobody else can let this name lead here.
    fn is_own(&self, host: &str) -> bool {
        let address = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        host.eq_ignore_ascii_case("localhost")
            || address.unwrap_or(host).parse::<IpAddr>().is_ok()
            || self.names.iter().any(|name| name.is_host(host))
    }

    /// Whether a page may call the node, which the browser calls at `host`; absent: its pages are not the node's own.
    fn may_call(&self, origin: &HeaderValue, host: Option<&Authority>) -> bool {
        let Some((page, default_port)) = place(origin) else {
            return false;
        };
        let port = |of: &Authority| of.port_u16().unwrap_or(default_port);
        let is_same = |host: &Authority| {
            host.host().eq_ignore_ascii_case(page.host()) && port(host) == port(&page)
        };
        let is_named = |name: &AllowedHost| name.is_host(page.host()) && name.is_at(port(&page));
        host.is_some_and(is_same) || self.names.iter().any(is_named)
    }

    /// `service`, which browsers reach as far as they are answered.
    pub(crate) fn before<S>(&self, service: S) -> ForBrowsers<S> {
        ForBrowsers {
            service,
            sites: self.clone(),
        }
    }
}

/// What the node is called by: HTTP/1 has it in a header, HTTP/2 in the target.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    match (headers.get(HOST), uri.authority()) {
        (None, Some(authority)) => Some(authority.clone()),
        (Some(host), _) => host.to_str().ok().and_then(|host| host.parse().ok()),
        (None, None) => None,
    }
}

/// Where a page is, and its port if it names none; absent: nowhere that could be said, as `null`.
fn place(origin: &HeaderValue) -> Option<(Authority, u16)> {
    let (scheme, place) = origin.to_str().ok()?.split_once("://")?;
    let port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    Some((place.parse().ok()?, port))
}

/// Whether a browser asks, or what speaks like one. Clients of gRPC itself say nothing of this.
fn is_browser(headers: &HeaderMap) -> bool {
    let is_web = |kind: &HeaderValue| kind.as_bytes().starts_with(GRPC_WEB);
    headers.contains_key(ORIGIN)
        || headers.contains_key(FETCH_SITE)
        || headers.get(CONTENT_TYPE).is_some_and(is_web)
}

/// What a browser is told instead of an answer: HTTP's 403, with the status for what speaks gRPC-web.
fn refused(why: Foreign) -> Response<Body> {
    let status = status::permission_denied(SETTING, why.to_string());
    let mut response = status.into_http::<Body>();
    *response.status_mut() = StatusCode::FORBIDDEN;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    *response.body_mut() = Body::new(axum::body::Body::from(format!("{why}\n")));
    response
}

/// A service that browsers reach as far as they are answered, and everybody else as before.
#[derive(Clone, Debug)]
pub(crate) struct ForBrowsers<S> {
    service: S,
    sites: Sites,
}

impl<S> Service<Request<Body>> for ForBrowsers<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let headers = request.headers();
        if is_browser(headers)
            && let Err(why) = self.sites.check(request.uri(), headers)
        {
            return Either::Right(future::ready(Ok(refused(why))));
        }
        Either::Left(self.service.call(request))
    }
}

#[cfg(test)]
mod tests;
