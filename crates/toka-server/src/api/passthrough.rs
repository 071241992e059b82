//! Answers that were encoded before.
//!
//! The generated service would encode each answer of `Subscribe` anew for each subscriber. This one takes that
//! method's calls, and sends the bytes that it is given; all other calls go on to the generated one.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes};
use futures::future::BoxFuture;
use prost::Message;
use toka_proto::v1;
use toka_proto::v1::vault_service_server::VaultServiceServer;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::Service;
use tonic::codegen::http;
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic::{Request, Response, Status};

use super::vault::{Answers, Vault};
use super::{Shared, subscribe};
use crate::limits::MESSAGE_BYTES_MAX;

const SUBSCRIBE: &str = "/toka.vault.v1.VaultService/Subscribe";

/// The vault's service, with answers of subscriptions that were encoded before.
#[derive(Clone)]
pub(crate) struct VaultServer {
    shared: Arc<Shared>,
    rest: VaultServiceServer<Vault>,
}

impl VaultServer {
    pub(super) fn new(shared: Arc<Shared>, rest: VaultServiceServer<Vault>) -> Self {
        Self { shared, rest }
    }
}

impl NamedService for VaultServer {
    const NAME: &'static str = <VaultServiceServer<Vault> as NamedService>::NAME;
}

impl Service<http::Request<Body>> for VaultServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != SUBSCRIBE {
            return Service::call(&mut self.rest, request);
        }
        let subscribe = Subscribe(Arc::clone(&self.shared));
        Box::pin(async move {
            let mut grpc = Grpc::new(Passthrough)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
            Ok(grpc.server_streaming(subscribe, request).await)
        })
    }
}

/// The method.
struct Subscribe(Arc<Shared>);

impl ServerStreamingService<v1::SubscribeRequest> for Subscribe {
    type Response = Bytes;
    type ResponseStream = Answers<Bytes>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<v1::SubscribeRequest>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { subscribe::open(&shared, request).await })
    }
}

/// Requests are decoded; answers are bytes already.
struct Passthrough;

impl Codec for Passthrough {
    type Encode = Bytes;
    type Decode = v1::SubscribeRequest;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Passthrough {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(item.len());
        out.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Passthrough {
    type Item = v1::SubscribeRequest;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        // As the generated service says it of its own.
        v1::SubscribeRequest::decode(bytes)
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}
