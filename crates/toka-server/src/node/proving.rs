//! Takes note of connections over which a peer has called.

use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use toka_raft::transport::Proven;
use tonic::Status;
use tonic::codegen::http::{Request, Response};
use tower::Service;

/// The peers' service, whose connections say whether they have been used by a peer. A call is a peer's when the service
/// does not refuse it: that checks who calls. What takes long is said to be one by the service itself.
#[derive(Clone, Debug)]
pub(super) struct Proving<S>(S);

impl<S> Proving<S> {
    pub(super) fn over(service: S) -> Self {
        Self(service)
    }
}

impl<S, B, R> Service<Request<B>> for Proving<S>
where
    S: Service<Request<B>, Response = Response<R>> + 'static,
    S::Future: Send + 'static,
    B: 'static,
    R: 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<R>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let proven = request.extensions().get::<Proven>().cloned();
        let answered = self.0.call(request);
        let answered = answered.map(move |answered| {
            // A refusal is all in the head; other answers end with a status.
            if let (Some(proven), Ok(response)) = (&proven, &answered)
                && Status::from_header_map(response.headers()).is_none()
            {
                proven.set();
            }
            answered
        });
        answered.boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{ServiceExt as _, service_fn};

    use super::*;

    /// Whether a connection counts as a peer's after a call that `status` refuses, if there is one.
    async fn is_proven(status: Option<Status>) -> bool {
        let answer = move |_: Request<()>| {
            let response: Response<()> = match &status {
                Some(status) => status.clone().into_http(),
                None => Response::new(()),
            };
            std::future::ready(Ok::<_, Infallible>(response))
        };
        let proven = Proven::default();
        let mut request = Request::new(());
        request.extensions_mut().insert(proven.clone());
        let answered = Proving::over(service_fn(answer)).oneshot(request).await;
        answered.expect("answered");
        proven.is_set()
    }

    #[tokio::test]
    async fn connection_is_a_peers_once_a_call_is_not_refused() {
        assert!(is_proven(None).await);
        assert!(!is_proven(Some(Status::failed_precondition("who are you"))).await);
    }
}
