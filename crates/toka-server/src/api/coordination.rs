//! Requests that change cursors and groups: carried out by the leader, forwarded from anywhere else, and tried again
//! with the next leader.

use toka_ledger::Outcome;
use toka_ledger::command::Command;
use toka_proto::convert::status;
use toka_proto::v1;
use toka_raft::{Consistency, Leader};
use tonic::{Request, Response, Status};

use super::commit::{Refused, forwarded, header, proposed};
use super::{Gate, Shared};
use crate::limits::{COORDINATION_PAGE_DEFAULT, COORDINATION_PAGE_MAX};
use crate::refusal;
use crate::routing::{Call, Pauses, Route};

/// A request that only the leader can carry out.
#[tonic::async_trait]
pub(super) trait Coordinate: Clone + Send + Sync + Sized + 'static {
    type Response: Send + 'static;

    /// It may wait for something to happen, and is given up when the node stops.
    const WAITS: bool = false;

    /// Whether it makes sense, and is of this node's history. Names that to the leader.
    fn check(&mut self, shared: &Shared) -> Result<(), Status>;

    /// Carries it out, on the leader.
    async fn make(
        &self,
        shared: &Shared,
        call: &Call,
        leader: &Leader,
    ) -> Result<Self::Response, Refused>;

    /// Asks the leader to carry it out.
    async fn forward(
        shared: &Shared,
        leader: &Leader,
        request: Request<Self>,
    ) -> Result<Response<Self::Response>, Status>;
}

pub(super) async fn coordinate<C: Coordinate>(
    shared: &Shared,
    request: Request<C>,
) -> Result<Response<C::Response>, Status> {
    let call = shared.admit(request.metadata())?;
    let gate: &Gate = match C::WAITS {
        true => &shared.gates.pulls,
        false => &shared.gates.commits,
    };
    let _inside = gate.enter()?;
    let mut request = request.into_inner();
    request.check(shared)?;
    let mut pauses = Pauses::default();
    loop {
        let route = shared.router.route(&call).await?;
        let attempt = attempt(shared, &call, &route, &request);
        let attempt = tokio::select! {
            biased;
            attempt = attempt => attempt,
            () = shared.draining.cancelled(), if C::WAITS => return Err(shared.stopping()),
        };
        match attempt {
            Ok(response) => return Ok(response),
            Err(refused) => {
                refused
                    .before_retry(shared, &call, &route, &mut pauses)
                    .await?
            }
        }
    }
}

async fn attempt<C: Coordinate>(
    shared: &Shared,
    call: &Call,
    route: &Route,
    request: &C,
) -> Result<Response<C::Response>, Refused> {
    match route {
        Route::Here(leader) => request.make(shared, call, leader).await.map(Response::new),
        Route::There(leader) => {
            let request = shared.router.timed_request(call, request.clone());
            forwarded(shared, call, leader, C::forward(shared, leader, request)).await
        }
    }
}

/// Proposes the command that `stamped` makes of the time. A command that the vault refuses is an error.
pub(super) async fn propose(
    shared: &Shared,
    call: &Call,
    what: &str,
    stamped: impl FnOnce(u64) -> Command + Send,
) -> Result<Outcome, Refused> {
    let outcome = async {
        let unix_ms = shared.replica.stamp().await?;
        shared.replica.command(stamped(unix_ms)).await
    };
    match proposed(call, what, outcome).await? {
        Outcome::Rejected { rejection, .. } => Err(Refused::Final(status::rejection(&rejection))),
        outcome => Ok(outcome),
    }
}

/// Waits until this node has everything that was acknowledged before: a leader that was elected a moment ago may not.
pub(super) async fn caught_up(shared: &Shared, call: &Call) -> Result<(), Refused> {
    let barrier = shared
        .replica
        .read_barrier(Consistency::Linearizable, call.deadline);
    match barrier.await {
        Ok(_) => Ok(()),
        Err(error) => Err(Refused::Final(refusal::read(&error, 0))),
    }
}

/// State of the leader after a command at `revision`.
pub(super) fn leader_header(shared: &Shared, revision: u64) -> Option<v1::ResponseHeader> {
    Some(header(shared, revision))
}

/// Items of a page.
pub(super) fn page_size(wanted: u32) -> usize {
    match wanted {
        0 => COORDINATION_PAGE_DEFAULT,
        wanted => (wanted as usize).min(COORDINATION_PAGE_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_bounded() {
        assert_eq!(page_size(0), COORDINATION_PAGE_DEFAULT);
        assert_eq!(page_size(7), 7);
        assert_eq!(page_size(u32::MAX), COORDINATION_PAGE_MAX);
    }
}
