//! Calls that change something: made once it is known of which cluster the client is.
//!
//! Every change goes through [`Shared::change`], but for those of a commit stream, which asks for the cluster itself
//! before it opens one.

use std::future::Future;

use toka_proto::v1;
use toka_proto::v1::cluster_service_client::ClusterServiceClient;
use tokio::time::{Duration, Instant, timeout_at};
use tonic::{Response, Status};

use crate::call::{Answer, Repeats, Shared};
use crate::channel::Connection;
use crate::error::Error;
use crate::reply::Reply;
use crate::routes::Route;

impl Shared {
    /// Makes a call that changes something: as [`Shared::make`], by the leader, and not before the cluster was asked
    /// for.
    ///
    /// # Errors
    /// As [`Shared::make`] and [`Shared::know_cluster`].
    pub(crate) async fn change<T, F, A>(
        &self,
        deadline: Instant,
        repeats: Repeats,
        attempt: F,
    ) -> Result<Answer<T>, Error>
    where
        F: FnMut(Connection, Duration) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
        T: Reply,
    {
        self.know_cluster(deadline).await?;
        self.make(Route::Leader, deadline, repeats, attempt).await
    }

    /// Asks for the cluster before the first change, if nothing has named it yet: two changes that went out at the same
    /// time could otherwise be made in two clusters. Without an answer of a node that knows a leader it stays open.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Unavailable`] after `deadline`: nothing was sent.
    pub(crate) async fn know_cluster(&self, deadline: Instant) -> Result<(), Error> {
        if self.pin.get().is_some() {
            return Ok(());
        }
        // Once in the life of a client: no call that comes later is to carry the room for it.
        Box::pin(self.ask_cluster(deadline)).await
    }

    async fn ask_cluster(&self, deadline: Instant) -> Result<(), Error> {
        let pin = &self.pin;
        let asking = pin.asked().get_or_try_init(|| async move {
            // Rarely run, and no small future.
            match Box::pin(self.ask_status(true, deadline)).await {
                Ok(_) if pin.get().is_none() => Err(None),
                Err(error) if error.is_retryable() => Err(Some(error)),
                // One that does not say is not asked again.
                Ok(_) | Err(_) => Ok(()),
            }
        });
        let asked = timeout_at(deadline, asking).await;
        if pin.get().is_some() {
            return Ok(());
        }
        match asked {
            Ok(Ok(()) | Err(None)) => Ok(()),
            Ok(Err(Some(error))) => Err(error),
            Err(_) => Err(Error::Unreachable {
                endpoints: self.routes.endpoints().to_vec(),
                reason: "the deadline came first".to_owned(),
            }),
        }
    }

    /// Asks any node for its state, or for that of the cluster.
    ///
    /// # Errors
    /// As every call.
    pub(crate) async fn ask_status(
        &self,
        this_node_only: bool,
        deadline: Instant,
    ) -> Result<Answer<v1::GetStatusResponse>, Error> {
        self.call(Route::Any, deadline, |channel, time| {
            let request = self.request(v1::GetStatusRequest { this_node_only }, time);
            async move { ClusterServiceClient::new(channel).get_status(request).await }
        })
        .await
    }
}
