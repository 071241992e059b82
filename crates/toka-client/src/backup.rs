//! Copies of the vault, for backups.

use bytes::Bytes;
use toka_proto::convert::backup::Part;
use toka_proto::v1;
use toka_proto::v1::cluster_service_client::ClusterServiceClient;
use tonic::{Status, Streaming};

use crate::client::Client;
use crate::config::MESSAGE_BYTES_MAX;
use crate::error::Error;
use crate::read::Consistency;
use crate::retry::{Verdict, judge};
use crate::routes::Route;

/// Which copy of a vault.
#[derive(Clone, Debug, Default)]
pub struct CreateBackup {
    /// What the node must have applied before it is taken.
    pub consistency: Consistency,
    /// BLAKE3 of files that the caller has: they are named and not sent. At most 131,072.
    pub known_files: Vec<[u8; 32]>,
    /// Bytes that the node reads to look for damage, for the digests, and that it sends, each at most in a
    /// second; 0: no limit.
    pub rate_limit_bytes_per_s: u64,
}

/// A copy of the vault on its way from one node. Another node's files are others, so that it does not go
/// on there: begin again, with what has come as known files.
#[derive(Debug)]
pub struct Backup {
    endpoint: String,
    stream: Streaming<v1::CreateBackupResponse>,
    /// Nothing follows.
    has_ended: bool,
}

impl Client {
    /// Asks any node for a copy of the vault. Returns when one has begun to make it.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Unavailable`], [`Error::LimitReached`] if the node makes as many
    /// as it may already, or has no room on its disk for a copy.
    pub async fn create_backup(&self, backup: &CreateBackup) -> Result<Backup, Error> {
        let known_files = backup.known_files.iter();
        let message = v1::CreateBackupRequest {
            vault: String::new(),
            read: Some(self.options(backup.consistency)),
            known_files: known_files
                .map(|digest| Bytes::copy_from_slice(digest))
                .collect(),
            rate_limit_bytes_per_s: backup.rate_limit_bytes_per_s,
        };
        let answer = self
            .shared
            .call(Route::Any, self.deadline(), |channel, _| {
                // No deadline is sent: the stream is meant to last.
                let request = self.shared.lasting_request(message.clone());
                async move {
                    ClusterServiceClient::new(channel)
                        .max_encoding_message_size(MESSAGE_BYTES_MAX)
                        .create_backup(request)
                        .await
                }
            })
            .await?;
        Ok(Backup {
            endpoint: answer.endpoint,
            stream: answer.message,
            has_ended: false,
        })
    }
}

impl Backup {
    /// The node that sends it, `host:port`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The next part; `None` after the last one.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Unavailable`] and others, if the node broke off: what has come is no copy then.
    pub async fn next(&mut self) -> Result<Option<Part>, Error> {
        if self.has_ended {
            return Ok(None);
        }
        let message = self.stream.message().await;
        let message = message.map_err(|failed| broken_off(&self.endpoint, &failed))?;
        let Some(message) = message else {
            return Err(Error::Unavailable {
                endpoint: self.endpoint.clone(),
                message: "it ended the copy before all of it had come".to_owned(),
            });
        };
        let part = Part::try_from(message).map_err(|error| Error::reply(&self.endpoint, error))?;
        self.has_ended = part == Part::End;
        Ok(Some(part))
    }
}

/// Why a stream of the node at `endpoint` ended before its time.
pub(crate) fn broken_off(endpoint: &str, failed: &Status) -> Error {
    let (verdict, failure) = judge(failed);
    match verdict {
        Verdict::Unreachable => Error::Unreachable {
            endpoints: vec![endpoint.to_owned()],
            reason: format!("the connection broke: {}", failed.message()),
        },
        _ => Error::from_failure(endpoint, failure),
    }
}
