//! The layer that no call gets past.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::{self, BoxFuture};
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower::Service;

use super::metered::metered;
use super::table::is_stream;
use super::{Access, Guard};
use crate::transport::PeerIdentity;

/// A service whose calls are let in by a guard; without one everything is.
#[derive(Clone, Debug)]
pub(crate) struct Authorized<S> {
    service: S,
    guard: Option<Arc<Guard>>,
}

impl<S> Authorized<S> {
    /// `service` behind `guard`.
    pub(crate) fn over(service: S, guard: Option<Arc<Guard>>) -> Self {
        Self { service, guard }
    }
}

impl<S> Service<Request<Body>> for Authorized<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Some(guard) = &self.guard else {
            Access::of_everybody().put(request.extensions_mut());
            return self.service.call(request).boxed();
        };
        let peer = request.extensions().get::<PeerIdentity>();
        let access = match guard.admit(request.uri().path(), request.headers(), peer) {
            Ok(access) => access,
            Err(refused) => return future::ready(Ok(refused.into_http())).boxed(),
        };
        let account = access.account().filter(|account| account.counts_bytes());
        let account = account.cloned();
        access.put(request.extensions_mut());
        let Some(account) = account else {
            return self.service.call(request).boxed();
        };
        let waits = is_stream(request.uri().path());
        let received = Arc::clone(&account);
        let request = request.map(|body| metered(body, received, waits));
        let answered = self.service.call(request);
        let answered = answered.map(move |answered| {
            answered.map(|response| response.map(|body| metered(body, account, waits)))
        });
        answered.boxed()
    }
}
