//! Calls whose requests are encoded before they are made: once, however often they are tried.

use bytes::Bytes;
use prost::Message;
use toka_ledger::command::Commit;
use toka_proto::convert::wire::{bytes_len, new_event_len, put_head, put_message, put_new_event};
use toka_proto::passthrough::Passthrough;
use toka_proto::v1;
use toka_proto::v1::vault_service_server::SERVICE_NAME;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::StdError;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{GrpcMethod, Request, Response, Status, Streaming};

use crate::channel::Connection;
use crate::config::MESSAGE_BYTES_MAX;

/// A commit as it is sent.
#[derive(Debug)]
pub(crate) struct EncodedCommit {
    /// How many events it has.
    pub(crate) count: usize,
    /// The events as a field of the request.
    events: Bytes,
    /// Not encoded: before the first reply nobody knows which history they are to name.
    pub(crate) preconditions: Vec<v1::Precondition>,
}

impl EncodedCommit {
    /// Encodes the events as the field `tag`.
    pub(crate) fn new(commit: &Commit, tag: u32) -> Self {
        let events = commit.events.iter();
        let bytes = events.map(|event| bytes_len(tag, new_event_len(event)));
        let mut encoded = Vec::with_capacity(bytes.sum());
        for event in &commit.events {
            put_head(&mut encoded, tag, new_event_len(event));
            put_new_event(&mut encoded, event);
        }
        Self {
            count: commit.events.len(),
            events: encoded.into(),
            preconditions: commit.preconditions.iter().map(Into::into).collect(),
        }
    }

    /// Bytes of the events, and of the preconditions as the field `tag`.
    pub(crate) fn len(&self, tag: u32) -> usize {
        let preconditions = self.preconditions.iter();
        let bytes = preconditions.map(|precondition| bytes_len(tag, precondition.encoded_len()));
        self.events.len() + bytes.sum::<usize>()
    }

    /// Writes the events, and the preconditions as the field `tag`.
    pub(crate) fn write(&self, tag: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.events);
        for precondition in &self.preconditions {
            put_head(out, tag, precondition.encoded_len());
            put_message(precondition, out);
        }
    }

    /// As a [`v1::CommitRequest`], as whose field the events were encoded: without preconditions it is there already.
    pub(crate) fn request(&self) -> Bytes {
        if self.preconditions.is_empty() {
            return self.events.clone();
        }
        let mut request = Vec::with_capacity(self.len(PRECONDITIONS));
        self.write(PRECONDITIONS, &mut request);
        request.into()
    }
}

/// Field of a [`v1::CommitRequest`] with its events.
pub(crate) const EVENTS: u32 = 2;
/// See [`EVENTS`].
const PRECONDITIONS: u32 = 3;

/// Commits an encoded [`v1::CommitRequest`].
pub(crate) async fn commit(
    channel: Connection,
    mut request: Request<Bytes>,
) -> Result<Response<v1::CommitResponse>, Status> {
    let path = PathAndQuery::from_static("/toka.vault.v1.VaultService/Commit");
    let method = GrpcMethod::new(SERVICE_NAME, "Commit");
    request.extensions_mut().insert(method);
    let mut grpc = ready(channel).await?;
    let codec = Passthrough::<Bytes, v1::CommitResponse>::default();
    grpc.unary(request, path, codec).await
}

/// Opens a commit stream; its requests are encoded [`v1::CommitStreamRequest`]s.
pub(crate) async fn commit_stream(
    channel: Connection,
    mut request: Request<ReceiverStream<Bytes>>,
) -> Result<Response<Streaming<v1::CommitStreamResponse>>, Status> {
    let path = PathAndQuery::from_static("/toka.vault.v1.VaultService/CommitStream");
    let method = GrpcMethod::new(SERVICE_NAME, "CommitStream");
    request.extensions_mut().insert(method);
    let mut grpc = ready(channel).await?;
    let codec = Passthrough::<Bytes, v1::CommitStreamResponse>::default();
    grpc.streaming(request, path, codec).await
}

async fn ready(channel: Connection) -> Result<Grpc<Connection>, Status> {
    let mut grpc = Grpc::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    // As the generated client says it.
    grpc.ready().await.map_err(|error| {
        let error = StdError::from(error);
        Status::unknown(format!("Service was not ready: {error}"))
    })?;
    Ok(grpc)
}
