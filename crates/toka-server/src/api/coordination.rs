//! Requests that change cursors, groups and credentials: carried out by the leader, forwarded from anywhere else, and tried again
//! with the next leader.

use toka_ledger::command::{COORDINATION_LEVEL, Command, FEATURE_LEVEL_MIN};
use toka_ledger::{Outcome, Rejection};
use toka_proto::convert::status::{self, Detail, parse};
use toka_proto::v1;
use toka_raft::{Consistency, Leader};
use tonic::{Code, Request, Response, Status};

use super::commit::{Refused, forwarded, header, proposed};
use super::{Gate, Shared};
use crate::auth::Access;
use crate::limits::{COORDINATION_PAGE_DEFAULT, COORDINATION_PAGE_MAX};
use crate::refusal;
use crate::routing::{Call, Pauses, Route};

/// A request that only the leader can carry out.
#[tonic::async_trait]
pub(super) trait Coordinate: Clone + Send + Sync + Sized + 'static {
    type Response: Send + 'static;

    /// The vault's feature level that it needs.
    const LEVEL: u32 = COORDINATION_LEVEL;

    /// It may wait for something to happen, and is given up when the node stops.
    const WAITS: bool = false;

    /// Whether it makes sense, and is of this node's history. Names that to the leader.
    fn check(&mut self, shared: &Shared) -> Result<(), Status>;

    /// The group that it works on: the caller must see all that this delivers.
    fn group(&self) -> Option<&str> {
        None
    }

    /// Whether the caller may ask for it, as far as the request alone tells.
    fn check_access(&self, access: &Access) -> Result<(), Status> {
        let _ = access;
        Ok(())
    }

    /// Whether it may be carried out twice. If not, it is tried again only where it was surely not carried out.
    fn is_repeatable(&self) -> bool {
        true
    }

    /// Names what it means, where that is "whatever there is": once, so that it means the same when it is tried again.
    /// Returns the answer, if that is clear by then.
    async fn resolve(
        &mut self,
        shared: &Shared,
        call: &Call,
    ) -> Result<Option<Self::Response>, Status> {
        let _ = (shared, call);
        Ok(None)
    }

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
    let call = shared.admit(&request)?;
    let gate: &Gate = match C::WAITS {
        true => &shared.gates.pulls,
        false => &shared.gates.commits,
    };
    let _inside = gate.enter()?;
    let mut request = request.into_inner();
    request.check(shared)?;
    request.check_access(&call.access)?;
    if let Some(name) = request.group() {
        shared.check_group(&call, name).await?;
    }
    shared.check_level(&call, C::LEVEL).await?;
    if let Some(response) = request.resolve(shared, &call).await? {
        return Ok(Response::new(response));
    }
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
            Err(Refused::Again(status) | Refused::Final(status))
                if !request.is_repeatable() && may_be_done(&status) =>
            {
                return Err(status::outcome_unknown(format!(
                    "it is not known whether this was done, and it is not tried again: {}",
                    status.message()
                )));
            }
            Err(refused) => {
                refused
                    .before_retry(shared, &call, &route, &mut pauses)
                    .await?
            }
        }
    }
}

/// Whether an attempt that has failed like that may have been carried out, or may still be.
fn may_be_done(status: &Status) -> bool {
    match parse(status).detail {
        Some(Detail::NoLeader) => true,
        Some(_) => false,
        None => matches!(
            status.code(),
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown
        ),
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
            let answer = forwarded(shared, call, leader, C::forward(shared, leader, request));
            let answer = answer.await;
            answer.map_err(|refused| known_to_leader(refused, C::LEVEL))
        }
    }
}

/// A leader of an older build knows none of these calls: the vault cannot be at their feature level.
fn known_to_leader(refused: Refused, needed: u32) -> Refused {
    match refused {
        Refused::Final(status) if status.code() == Code::Unimplemented => {
            let rejection = Rejection::FeatureLevel {
                needed,
                level: needed.saturating_sub(1).max(FEATURE_LEVEL_MIN),
            };
            Refused::Final(status::rejection(&rejection))
        }
        refused => refused,
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
    fn only_what_may_be_done_is_not_tried_again() {
        let lost = Status::from_error(Box::new(std::io::Error::other("reset")));
        for status in [status::no_leader("replaced"), lost, Status::unavailable("")] {
            assert!(may_be_done(&status), "{status:?}");
        }
        let full = status::overloaded(std::time::Duration::from_millis(1));
        for status in [status::not_leader(None), status::stopping(), full] {
            assert!(!may_be_done(&status), "{status:?}");
        }
    }

    #[test]
    fn a_leader_that_does_not_know_the_call_is_below_its_level() {
        let unknown = Refused::Final(Status::unimplemented(""));
        let refused = known_to_leader(unknown, COORDINATION_LEVEL);
        let Refused::Final(status) = refused else {
            panic!("there is no point in another try");
        };
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(parse(&status).detail, Some(Detail::FeatureLevel));
    }

    #[test]
    fn a_page_is_bounded() {
        assert_eq!(page_size(0), COORDINATION_PAGE_DEFAULT);
        assert_eq!(page_size(7), 7);
        assert_eq!(page_size(u32::MAX), COORDINATION_PAGE_MAX);
    }
}
