//! `toka.vault.v1.VaultService`: each call's way to the file that has it.
//!
//! Those files encode their answers themselves. The generated service would have each answer built as a message first,
//! and encode it anew for each subscriber.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use futures::future::BoxFuture;
use prost::Message;
use toka_proto::passthrough::{Passthrough, Written};
use toka_proto::v1;
use toka_proto::v1::vault_service_server::SERVICE_NAME;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{Grpc, NamedService, ServerStreamingService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tower::{Service, service_fn};

use super::subscribe::Sent;
use super::{Shared, commit, commit_stream, list, read, subscribe};
use crate::limits::MESSAGE_BYTES_MAX;

/// The service.
#[derive(Clone)]
pub(crate) struct Vault {
    shared: Arc<Shared>,
}

/// Answers that come one by one.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// An answer of the service.
type Answer = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

/// What may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Commit,
    CommitStream,
    Get,
    BatchGet,
    List,
    Subscribe,
}

impl Method {
    fn at(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        let name = path.strip_prefix(SERVICE_NAME)?.strip_prefix('/')?;
        Some(match name {
            "Commit" => Self::Commit,
            "CommitStream" => Self::CommitStream,
            "Get" => Self::Get,
            "BatchGet" => Self::BatchGet,
            "List" => Self::List,
            "Subscribe" => Self::Subscribe,
            _ => return None,
        })
    }
}

impl Vault {
    pub(crate) fn server(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Whether the call at this path is one of the service's.
    pub(crate) fn serves(path: &str) -> bool {
        Method::at(path).is_some()
    }
}

impl NamedService for Vault {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<http::Request<Body>> for Vault {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let shared = Arc::clone(&self.shared);
        match Method::at(request.uri().path()) {
            Some(Method::Commit) => unary(request, move |request| {
                let shared = Arc::clone(&shared);
                async move { commit::commit(&shared, request).await }
            }),
            Some(Method::Get) => unary(request, move |request| {
                let shared = Arc::clone(&shared);
                async move { read::get(&shared, request).await }
            }),
            Some(Method::BatchGet) => unary(request, move |request| {
                let shared = Arc::clone(&shared);
                async move { read::batch_get(&shared, request).await }
            }),
            Some(Method::List) => unary(request, move |request| {
                let shared = Arc::clone(&shared);
                async move { list::list(&shared, request).await }
            }),
            Some(Method::CommitStream) => Box::pin(async move {
                let mut grpc = grpc::<Bytes, v1::CommitStreamRequest>();
                Ok(grpc.streaming(CommitStream(shared), request).await)
            }),
            Some(Method::Subscribe) => Box::pin(async move {
                let mut grpc = grpc::<Sent, v1::SubscribeRequest>();
                Ok(grpc.server_streaming(Subscribe(shared), request).await)
            }),
            None => Box::pin(async { Ok(Status::unimplemented("no such method").into_http()) }),
        }
    }
}

/// Takes requests of one method, and sends its answers.
fn grpc<W: Written, R: Message + Default + 'static>() -> Grpc<Passthrough<W, R>> {
    grpc_over(Passthrough::default())
}

fn grpc_over<W: Written, R: Message + Default + 'static>(
    codec: Passthrough<W, R>,
) -> Grpc<Passthrough<W, R>> {
    Grpc::new(codec)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// Serves a call with one request and one answer.
fn unary<M, F, A>(request: http::Request<Body>, method: F) -> Answer
where
    M: Message + Default + 'static,
    F: FnMut(Request<M>) -> A + Send + 'static,
    A: Future<Output = Result<Response<Bytes>, Status>> + Send + 'static,
{
    Box::pin(async move {
        let mut grpc = grpc_over(Passthrough::<Bytes, M>::of_one());
        Ok(grpc.unary(service_fn(method), request).await)
    })
}

struct CommitStream(Arc<Shared>);

impl StreamingService<v1::CommitStreamRequest> for CommitStream {
    type Response = Bytes;
    type ResponseStream = Answers<Bytes>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<v1::CommitStreamRequest>>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { commit_stream::open(&shared, request).await })
    }
}

struct Subscribe(Arc<Shared>);

impl ServerStreamingService<v1::SubscribeRequest> for Subscribe {
    type Response = Sent;
    type ResponseStream = Answers<Sent>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<v1::SubscribeRequest>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { subscribe::open(&shared, request).await })
    }
}

#[cfg(test)]
mod tests {
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_method_that_is_described_is_served() {
        let described = FileDescriptorSet::decode(toka_proto::FILE_DESCRIPTOR_SET);
        let files = described.expect("descriptors").file.into_iter();
        let mut services = files.flat_map(|file| file.service);
        let vault = services.find(|service| service.name() == "VaultService");
        let methods = vault.expect("described").method;
        assert!(!methods.is_empty());
        for method in methods {
            let path = format!("/{SERVICE_NAME}/{}", method.name());
            let served = Method::at(&path).map(|served| format!("{served:?}"));
            assert_eq!(served.as_deref(), Some(method.name()));
        }
        assert_eq!(Method::at("/toka.vault.v1.VaultService/Drop"), None);
        assert_eq!(Method::at("/toka.vault.v1.VaultServiceX/Get"), None);
    }
}
