//! Handing commands over to the apply thread.

use tokio::sync::oneshot;

use super::VaultBus;
use super::applier::Request;
use crate::apply::Outcome;
use crate::command::{Command, FEATURE_LEVEL_MIN, SetFeatureLevel};
use crate::error::Error;
use crate::read::Settings;

impl VaultBus {
    /// Hands a command over; waits while the queue is full. If it needs a higher feature level the vault is
    /// raised first: its only member is this build.
    pub(super) async fn request(&self, request: Request) -> Result<(), Error> {
        let needed = request.command.level_needed();
        let is_above = |settings: Settings| needed > settings.feature_level;
        if needed > FEATURE_LEVEL_MIN && self.reader().settings()?.is_some_and(is_above) {
            let (reply, _) = oneshot::channel();
            let command = Command::SetFeatureLevel(SetFeatureLevel {
                unix_ms: self.inner.seams.clock.unix_ms(),
                level: needed,
            });
            self.send(Request { command, reply }).await?;
        }
        self.send(request).await
    }

    /// Hands a command over and waits until it is applied and on stable storage.
    pub(super) async fn execute(&self, command: Command) -> Result<Outcome, Error> {
        let (reply, answer) = oneshot::channel();
        self.request(Request { command, reply }).await?;
        match answer.await.map_err(|_| Error::Closed)?? {
            Outcome::Rejected { rejection, .. } => Err(rejection.into()),
            outcome => Ok(outcome),
        }
    }

    async fn send(&self, request: Request) -> Result<(), Error> {
        let requests = self.inner.lock_requests().clone().ok_or(Error::Closed)?;
        requests.send(request).await.map_err(|_| Error::Closed)
    }
}
