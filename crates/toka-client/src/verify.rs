//! Checking everything that a node has of the vault.

use toka_proto::convert::verify::Part;
use toka_proto::v1;
use toka_proto::v1::cluster_service_client::ClusterServiceClient;
use tonic::Streaming;

use crate::backup::broken_off;
use crate::client::Client;
use crate::error::Error;
use crate::routes::Route;

/// How a node checks its vault.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verify {
    /// Bytes that it reads in a second, at most; 0: no limit.
    pub rate_limit_bytes_per_s: u64,
    /// Threads that read; 0: half as many as it has processors.
    pub threads: u32,
}

/// A check that one node makes of what it has. It is given up when this is dropped.
#[derive(Debug)]
pub struct Verification {
    endpoint: String,
    stream: Streaming<v1::VerifyResponse>,
    has_ended: bool,
}

impl Client {
    /// Asks any node to check all of its vault: to choose one, give the client that endpoint only. Returns when one
    /// has begun.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Unavailable`], [`Error::LimitReached`] if the node does that already.
    pub async fn verify(&self, verify: Verify) -> Result<Verification, Error> {
        let message = v1::VerifyRequest {
            vault: String::new(),
            rate_limit_bytes_per_s: verify.rate_limit_bytes_per_s,
            threads: verify.threads,
        };
        let answer = self
            .shared
            .call(Route::Any, self.deadline(), |channel, _| {
                // No deadline is sent: the stream is meant to last.
                let request = self.shared.lasting_request(message.clone());
                async move { ClusterServiceClient::new(channel).verify(request).await }
            })
            .await?;
        Ok(Verification {
            endpoint: answer.endpoint,
            stream: answer.message,
            has_ended: false,
        })
    }
}

impl Verification {
    /// The node that makes it, `host:port`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// How far it is, from time to time, and last what was found; `None` after that.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Unavailable`], [`Error::LimitReached`] (its disk is nearly full) and others,
    /// if the node broke off: nothing is known then.
    pub async fn next(&mut self) -> Result<Option<Part>, Error> {
        if self.has_ended {
            return Ok(None);
        }
        let message = self.stream.message().await;
        let message = message.map_err(|failed| broken_off(&self.endpoint, &failed))?;
        let Some(message) = message else {
            return Err(Error::Unavailable {
                endpoint: self.endpoint.clone(),
                message: "it ended the check before it was through".to_owned(),
            });
        };
        let part = Part::try_from(message).map_err(|error| Error::reply(&self.endpoint, error))?;
        self.has_ended = matches!(part, Part::Report(_));
        Ok(Some(part))
    }
}
