//! The layer that no call gets past.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::{self, BoxFuture, Either};
use tonic::body::Body;
use tonic::codegen::http::header::AUTHORIZATION;
use tonic::codegen::http::{Request, Response};
use tower::Service;

use super::held::held;
use super::lasting::{End, lasting};
use super::metered::metered;
use super::standing::{Lapse, Standing};
use super::table::{goes_on, is_stream};
use super::{Access, Guard};
use crate::transport::{PeerAddress, PeerIdentity};

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
    /// Nothing is put around the call of whom nothing is counted and whose right does not end.
    type Future = Either<S::Future, BoxFuture<'static, Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // From here on nothing that shows the request shows the credential, nor does the connection over which it is
        // forwarded remember it.
        if let Some(credential) = request.headers_mut().get_mut(AUTHORIZATION) {
            credential.set_sensitive(true);
        }
        let Some(guard) = &self.guard else {
            Access::of_everybody().put(request.extensions_mut());
            return Either::Left(self.service.call(request));
        };
        let path = request.uri().path();
        let (waits, goes_on) = (is_stream(path), goes_on(path));
        let peer = request.extensions().get::<PeerIdentity>();
        let from = request.extensions().get::<PeerAddress>();
        let from = from.map(|PeerAddress(address)| *address);
        let admitted = guard.admit_from(from, path, request.headers(), peer);
        let admitted = admitted.and_then(|access| Ok((access.open()?, access)));
        let (open, access) = match admitted {
            Ok(admitted) => admitted,
            Err(refused) => return Either::Right(future::ready(Ok(refused.into_http())).boxed()),
        };
        let account = access.account().filter(|account| account.counts_bytes());
        let account = account.cloned();
        let standing = match goes_on {
            true => Standing::of(guard, &access),
            false => None,
        };
        access.put(request.extensions_mut());
        if account.is_none() && standing.is_none() && open.is_none() {
            return Either::Left(self.service.call(request));
        }
        if let Some(account) = account.clone() {
            request = request.map(|body| metered(body, account, waits));
        }
        if let Some(standing) = &standing {
            request = request.map(|body| lasting(body, standing.lapse(), End::Request));
        }
        let mut answered = self.service.call(request).boxed();
        if let Some(account) = account {
            let metered = move |body| metered(body, account, waits);
            let respond = |response: Response<Body>| response.map(metered);
            answered = answered.map(|answered| answered.map(respond)).boxed();
        }
        if let Some(open) = open {
            let hold = move |body| held(body, open);
            let respond = |response: Response<Body>| response.map(hold);
            answered = answered.map(|answered| answered.map(respond)).boxed();
        }
        Either::Right(match standing {
            Some(standing) => while_it_stands(answered, standing.lapse()).boxed(),
            None => answered,
        })
    }
}

/// The answer, and what comes behind its head, until `lapse` comes.
async fn while_it_stands<E>(
    answered: BoxFuture<'static, Result<Response<Body>, E>>,
    lapse: Lapse,
) -> Result<Response<Body>, E> {
    match future::select(answered, lapse).await {
        Either::Left((answered, lapse)) => {
            answered.map(|response| response.map(|body| lasting(body, lapse, End::Response)))
        }
        Either::Right((status, _)) => Ok(status.into_http()),
    }
}
