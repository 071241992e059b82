//! The way of a call to its service.
//!
//! The router looks at all services, and puts a box around each answer and another around its body. Commits and gets are
//! many and short: the vault's calls go past it.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::future::Either;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::service::Routes;
use tower::Service;

use crate::api::Vault;

/// All services; that of the vault beside the others.
#[derive(Clone)]
pub(super) struct Front {
    vault: Vault,
    routes: Routes,
}

impl Front {
    /// `routes`, where `vault` is among them.
    pub(super) fn over(vault: Vault, routes: Routes) -> Self {
        Self { vault, routes }
    }
}

impl Service<Request<Body>> for Front {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<
        <Vault as Service<Request<Body>>>::Future,
        <Routes as Service<Request<Body>>>::Future,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.routes, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if Vault::serves(request.uri().path()) {
            Either::Left(self.vault.call(request))
        } else {
            Either::Right(self.routes.call(request))
        }
    }
}
