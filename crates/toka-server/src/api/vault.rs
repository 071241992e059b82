//! `toka.vault.v1.VaultService`: each call's way to the file that has it.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use toka_proto::v1;
use toka_proto::v1::vault_service_server::{VaultService, VaultServiceServer};
use tonic::{Request, Response, Status, Streaming};

use super::passthrough::VaultServer;
use super::{Shared, commit, commit_stream, list, read};
use crate::limits::MESSAGE_BYTES_MAX;

/// The service.
#[derive(Clone)]
pub(crate) struct Vault {
    shared: Arc<Shared>,
}

/// Answers that come one by one.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Vault {
    pub(crate) fn server(shared: Arc<Shared>) -> VaultServer {
        let rest = Self {
            shared: Arc::clone(&shared),
        };
        let rest = VaultServiceServer::new(rest)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        VaultServer::new(shared, rest)
    }
}

#[tonic::async_trait]
impl VaultService for Vault {
    async fn commit(
        &self,
        request: Request<v1::CommitRequest>,
    ) -> Result<Response<v1::CommitResponse>, Status> {
        commit::commit(&self.shared, request).await
    }

    type CommitStreamStream = Answers<v1::CommitStreamResponse>;

    async fn commit_stream(
        &self,
        request: Request<Streaming<v1::CommitStreamRequest>>,
    ) -> Result<Response<Self::CommitStreamStream>, Status> {
        commit_stream::open(&self.shared, request).await
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        read::get(&self.shared, request).await
    }

    async fn batch_get(
        &self,
        request: Request<v1::BatchGetRequest>,
    ) -> Result<Response<v1::BatchGetResponse>, Status> {
        read::batch_get(&self.shared, request).await
    }

    async fn list(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListResponse>, Status> {
        list::list(&self.shared, request).await
    }

    type SubscribeStream = Answers<v1::SubscribeResponse>;

    /// Never called: [`VaultServer`] takes these calls.
    async fn subscribe(
        &self,
        _: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        Err(Status::unimplemented("Subscribe is served as bytes"))
    }
}
