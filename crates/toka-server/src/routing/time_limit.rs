//! Ends calls that take too long with DEADLINE_EXCEEDED. tonic's own timeout answers CANCELLED, which says that the
//! caller wanted no answer.

use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::timeout;
use tonic::Status;
use tonic::codegen::http::{Request, Response};
use tower::Service;

use super::deadline::limit;

/// A service whose answers begin in time. Handlers keep to their deadlines themselves, but begin only when the request is
/// there.
#[derive(Clone, Debug)]
pub(crate) struct TimeLimit<S> {
    service: S,
    max: Duration,
}

impl<S> TimeLimit<S> {
    /// No call of `service` takes longer than `max`, nor than its caller waits.
    pub(crate) fn over(service: S, max: Duration) -> Self {
        Self { service, max }
    }
}

impl<S, B, R> Service<Request<B>> for TimeLimit<S>
where
    S: Service<Request<B>, Response = Response<R>> + 'static,
    S::Future: Send + 'static,
    B: 'static,
    R: Default + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<R>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let limit = limit(request.headers(), self.max);
        let answered = timeout(limit, self.service.call(request));
        let answered = answered.map(move |answered| answered.unwrap_or_else(|_| Ok(late(limit))));
        answered.boxed()
    }
}

fn late<R: Default>(limit: Duration) -> Response<R> {
    let status = Status::deadline_exceeded(format!(
        "the request had not come as a whole, or there was no answer to it, after {limit:?}"
    ));
    status.into_http()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tonic::Code;
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    async fn code(limited: Duration, request: Request<()>) -> Option<Code> {
        let never = |_: Request<()>| std::future::pending::<Result<Response<String>, Infallible>>();
        let answer = TimeLimit::over(service_fn(never), limited);
        let answer = answer.oneshot(request).await.expect("answered");
        Status::from_header_map(answer.headers()).map(|status| status.code())
    }

    #[tokio::test]
    async fn call_without_an_answer_in_time_ends_with_deadline_exceeded() {
        let limited = Duration::from_millis(10);
        let ended = code(limited, Request::new(())).await;
        assert_eq!(ended, Some(Code::DeadlineExceeded));
    }

    #[tokio::test]
    async fn caller_who_waits_less_is_told_so() {
        let mut request = Request::new(());
        let headers = request.headers_mut();
        headers.insert("grpc-timeout", "10m".parse().expect("a value"));
        let ended = code(Duration::from_secs(3_600), request).await;
        assert_eq!(ended, Some(Code::DeadlineExceeded));
    }
}
