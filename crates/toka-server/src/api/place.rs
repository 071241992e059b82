//! Places in the history that calls name: sequences, times, cursors, and the events whose descendants are wanted.

use toka_ledger::command::Commit;
use toka_ledger::{CursorName, Error, Filter, Position, Reader, Rejection, Selector};
use toka_proto::convert::status;
use toka_raft::Consistency;
use tokio::time::Instant;
use tonic::Status;

use super::Shared;
use crate::refusal;
use crate::routing::Call;

impl Shared {
    /// Waits until the node, which is at `position`, has the event at `sequence`; refuses one that the cluster
    /// does not have.
    pub(super) async fn confirm(
        &self,
        call: &Call,
        sequence: u64,
        position: Position,
    ) -> Result<Position, Status> {
        if position.sequence >= sequence {
            return Ok(position);
        }
        let position = self.catch_up(call).await?;
        if position.sequence >= sequence {
            return Ok(position);
        }
        Err(status::position_out_of_range(sequence, position.sequence))
    }

    /// Refuses a commit that would move a cursor beyond the end that the vault has with it. On the leader.
    pub(super) async fn check_moves(
        &self,
        commit: &Commit,
        deadline: Instant,
    ) -> Result<(), Status> {
        if !self.is_ahead(commit) {
            return Ok(());
        }
        // The event may have come a moment ago, or before this node led.
        let confirmed = self
            .replica
            .read_barrier(Consistency::Linearizable, deadline);
        let position = confirmed.await.map_err(|error| refusal::read(&error, 0))?;
        match commit.cursor_ahead(position.sequence) {
            Some(goal) => Err(status::position_out_of_range(goal, position.sequence)),
            None => Ok(()),
        }
    }

    /// Whether a commit would move a cursor beyond the end, as far as this node has come.
    pub(super) fn is_ahead(&self, commit: &Commit) -> bool {
        let last = || self.reader.position().sequence;
        !commit.preconditions.is_empty() && commit.cursor_ahead(last()).is_some()
    }

    /// Waits until the node has everything: it may be behind, and only the leader can tell how far the vault
    /// goes.
    async fn catch_up(&self, call: &Call) -> Result<Position, Status> {
        let confirmed = self
            .replica
            .read_barrier(Consistency::Linearizable, call.deadline)
            .await;
        confirmed.map_err(|error| refusal::read(&error, 0))
    }

    /// Finds the event whose descendants the filter wants, and puts its sequence in its place. Returns the
    /// position as of which it was found, where the node had to wait for that.
    pub(super) async fn find_root(
        &self,
        call: &Call,
        filter: &mut Filter,
    ) -> Result<Option<Position>, Status> {
        let Some(of) = filter.descendants_of else {
            return Ok(None);
        };
        let access = call.access.clone();
        let find = move |reader: &Reader| match reader.filter_root(&of) {
            // One that the caller does not see is not there.
            Ok(root) => {
                let is_seen = access.sees_event(reader, &Selector::Sequence(root))?;
                Ok(is_seen.then_some(root))
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        };
        let mut position = None;
        let mut root = self.read(call.deadline, find.clone()).await?;
        if root.is_none() {
            position = Some(self.catch_up(call).await?);
            root = self.read(call.deadline, find).await?;
        }
        let root = root.ok_or_else(|| status::event_not_found(&of.to_string()))?;
        filter.descendants_of = Some(Selector::Sequence(root));
        Ok(position)
    }

    /// Where a cursor is.
    pub(super) async fn find_cursor(&self, call: &Call, name: &CursorName) -> Result<u64, Status> {
        let find = |name: CursorName| move |reader: &Reader| reader.cursor(&name);
        if let Some(sequence) = self.read(call.deadline, find(name.clone())).await? {
            return Ok(sequence);
        }
        self.catch_up(call).await?;
        let found = self.read(call.deadline, find(name.clone())).await?;
        let unknown = || Rejection::UnknownCursor { name: name.clone() };
        found.ok_or_else(|| status::rejection(&unknown()))
    }
}
