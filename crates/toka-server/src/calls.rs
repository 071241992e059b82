//! Counts calls of clients by method and code, and times them.
//!
//! A call has ended when its status is known: with the head of the answer, or behind its last byte. Methods that no service
//! has are counted together, so that nobody can make up names without end.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use toka_raft::meters::{Counter, Distribution, Histogram, LATENCY_BOUNDS};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};

/// What stands for all methods that there are not.
const OTHER: &str = "other";
/// Peers' services, which are described together with those of clients, and are not offered to them.
const OF_PEERS: &str = "toka.raft.";
/// In the order of their numbers.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The calls of a node since it was started.
#[derive(Debug)]
pub(crate) struct Calls {
    /// By the name with its service, such as `toka.vault.v1.VaultService/Commit`.
    by_name: BTreeMap<String, Arc<Method>>,
    other: Arc<Method>,
}

/// The calls of one method.
#[derive(Debug)]
pub(crate) struct Method {
    name: String,
    by_code: [Counter; CODES.len()],
    took: Histogram,
    in_flight: AtomicU64,
}

impl Method {
    fn new(name: String) -> Arc<Self> {
        Arc::new(Self {
            name,
            by_code: Default::default(),
            took: Histogram::new(LATENCY_BOUNDS),
            in_flight: AtomicU64::new(0),
        })
    }

    /// With its service.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How many have ended with each code.
    pub(crate) fn by_code(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CODES.into_iter().zip(self.by_code.iter().map(Counter::get))
    }

    /// How long those have taken that have ended.
    pub(crate) fn times(&self) -> Distribution {
        self.took.distribution()
    }

    /// How many are under way.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

impl Calls {
    /// None yet, of all methods that clients may call.
    pub(crate) fn new() -> Self {
        let described = [
            toka_proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let names = described.into_iter().flat_map(names);
        Self {
            by_name: names
                .map(|name| (name.clone(), Method::new(name)))
                .collect(),
            other: Method::new(OTHER.to_owned()),
        }
    }

    /// All of them.
    pub(crate) fn methods(&self) -> impl Iterator<Item = &Method> {
        self.by_name
            .values()
            .chain([&self.other])
            .map(|method| &**method)
    }

    /// One more, of the method at `path`, until what is returned is dropped.
    fn begin(&self, path: &str) -> Call {
        let name = path.strip_prefix('/').unwrap_or(path);
        let method = Arc::clone(self.by_name.get(name).unwrap_or(&self.other));
        method.in_flight.fetch_add(1, Ordering::Relaxed);
        Call {
            method,
            began: Instant::now(),
            code: Code::Cancelled,
        }
    }
}

/// The methods that an encoded set of descriptors describes; none if it is not one.
fn names(described: &[u8]) -> Vec<String> {
    let files = FileDescriptorSet::decode(described)
        .unwrap_or_default()
        .file;
    let mut names = Vec::new();
    for file in files
        .iter()
        .filter(|file| !file.package().starts_with(OF_PEERS))
    {
        for service in &file.service {
            for method in &service.method {
                let (package, service) = (file.package(), service.name());
                names.push(format!("{package}.{service}/{}", method.name()));
            }
        }
    }
    names
}

/// A call under way. Dropped before its status was known, its caller has gone away.
#[derive(Debug)]
struct Call {
    method: Arc<Method>,
    began: Instant,
    code: Code,
}

impl Call {
    fn end(mut self, code: Code) {
        self.code = code;
    }

    /// Ends with `response`, which is passed on.
    fn over(self, response: Response<Body>) -> Response<Body> {
        if let Some(code) = code(response.headers()) {
            self.end(code);
            return response;
        }
        response.map(|body| {
            if body.is_end_stream() {
                self.end(Code::Unknown);
                return body;
            }
            Body::new(CountedBody {
                body,
                call: Some(self),
            })
        })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.method.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.method.took.record(self.began.elapsed());
        if let Some(count) = self.method.by_code.get(self.code as usize) {
            count.increment();
        }
    }
}

fn code(headers: &HeaderMap) -> Option<Code> {
    let code = headers.get("grpc-status")?;
    Some(Code::from_bytes(code.as_bytes()))
}

/// An answer that ends a call with the status behind it.
struct CountedBody {
    body: Body,
    call: Option<Call>,
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let ended = match &frame {
            None => Some(Code::Unknown),
            Some(Err(status)) => Some(status.code()),
            Some(Ok(frame)) => frame
                .trailers_ref()
                .map(|trailers| code(trailers).unwrap_or(Code::Unknown)),
        };
        if let Some(code) = ended
            && let Some(call) = self.call.take()
        {
            call.end(code);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Counts the calls of the service below it.
#[derive(Clone, Debug)]
pub(crate) struct CountLayer(pub(crate) Arc<Calls>);

impl<S> Layer<S> for CountLayer {
    type Service = Counted<S>;

    fn layer(&self, service: S) -> Counted<S> {
        Counted {
            service,
            calls: Arc::clone(&self.0),
        }
    }
}

/// A service whose calls are counted.
#[derive(Clone, Debug)]
pub(crate) struct Counted<S> {
    service: S,
    calls: Arc<Calls>,
}

impl<S> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Unpin,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Counting<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Counting<S::Future> {
        Counting {
            call: Some(self.calls.begin(request.uri().path())),
            answered: self.service.call(request),
        }
    }
}

/// A call whose answer has not begun. Not boxed: every call of a client is one.
#[derive(Debug)]
pub(crate) struct Counting<F> {
    answered: F,
    call: Option<Call>,
}

impl<F, E> Future for Counting<F>
where
    F: Future<Output = Result<Response<Body>, E>> + Unpin,
{
    type Output = Result<Response<Body>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answered).poll(cx));
        let call = self.call.take();
        Poll::Ready(answer.map(|response| match call {
            Some(call) => call.over(response),
            None => response,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{ServiceExt as _, service_fn};

    use super::*;

    const COMMIT: &str = "/toka.vault.v1.VaultService/Commit";

    /// Data, and trailers with a status behind it.
    struct Trailed(Vec<Frame<Bytes>>);

    impl Trailed {
        fn new(status: &'static str) -> Self {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", status.parse().expect("a value"));
            Self(vec![
                Frame::trailers(trailers),
                Frame::data(Bytes::from_static(b"data")),
            ])
        }
    }

    impl http_body::Body for Trailed {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.pop().map(Ok))
        }
    }

    async fn answer(calls: &Arc<Calls>, path: &str, response: Response<Body>) -> Response<Body> {
        let mut response = Some(response);
        let service = service_fn(move |_: Request<Body>| {
            let response = response.take().expect("called once");
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let request = Request::builder().uri(path).body(Body::empty());
        let counted = CountLayer(Arc::clone(calls)).layer(service);
        let answered = counted.oneshot(request.expect("a request")).await;
        answered.expect("answered")
    }

    fn ended(calls: &Calls, name: &str) -> Vec<(&'static str, u64)> {
        let method = calls.methods().find(|method| method.name() == name);
        let method = method.expect("a method");
        assert_eq!(method.in_flight(), 0);
        method.by_code().filter(|(_, count)| *count > 0).collect()
    }

    #[test]
    fn all_that_clients_may_call_is_known_and_nothing_of_peers() {
        let calls = Calls::new();
        for name in [
            "toka.vault.v1.VaultService/Subscribe",
            "toka.vault.v1.ClusterService/GetStatus",
            "grpc.health.v1.Health/Watch",
        ] {
            assert!(calls.by_name.contains_key(name), "{name}");
        }
        let mut names = calls.by_name.keys();
        assert!(!names.any(|name| name.starts_with(OF_PEERS)));
    }

    #[tokio::test]
    async fn a_call_ends_with_the_status_behind_its_answer() {
        let calls = Arc::new(Calls::new());
        let response = Response::new(Body::new(Trailed::new("8")));
        let mut body = answer(&calls, COMMIT, response).await.into_body();
        let in_flight = calls.by_name[&COMMIT[1..]].in_flight();
        assert_eq!(in_flight, 1, "the answer was not read yet");
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
        {
            frame.expect("a frame");
        }
        assert_eq!(ended(&calls, &COMMIT[1..]), [("RESOURCE_EXHAUSTED", 1)]);
    }

    #[tokio::test]
    async fn a_call_without_an_answer_ends_with_its_head_and_one_that_is_left_is_cancelled() {
        let calls = Arc::new(Calls::new());
        let refused = Status::not_found("there is none").into_http();
        drop(answer(&calls, COMMIT, refused).await);
        drop(answer(&calls, COMMIT, Response::new(Body::new(Trailed::new("0")))).await);
        let ended = ended(&calls, &COMMIT[1..]);
        assert_eq!(ended, [("CANCELLED", 1), ("NOT_FOUND", 1)]);
    }

    #[tokio::test]
    async fn names_that_are_made_up_are_counted_together() {
        let calls = Arc::new(Calls::new());
        for path in ["/a/b", "/c/d", "/"] {
            let refused = Status::unimplemented("there is none").into_http();
            drop(answer(&calls, path, refused).await);
        }
        assert_eq!(ended(&calls, OTHER), [("UNIMPLEMENTED", 3)]);
    }
}
