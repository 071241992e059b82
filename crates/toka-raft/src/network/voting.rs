//! Answering candidates.

use openraft::Raft;
#[cfg(simulation)]
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{Infallible, RaftError};
#[cfg(simulation)]
use openraft::raft::AppendEntriesRequest;
use openraft::raft::{VoteRequest, VoteResponse};
#[cfg(simulation)]
use toka_ledger::simulation::Bug;

use crate::state_machine::StateMachine;
use crate::type_config::TypeConfig;

/// This node's answer to a candidate.
pub(super) async fn vote(
    raft: &Raft<TypeConfig, StateMachine>,
    request: VoteRequest<TypeConfig>,
) -> Result<VoteResponse<TypeConfig>, RaftError<TypeConfig, Infallible>> {
    #[cfg(simulation)]
    let asked = request.clone();
    let response = raft.vote(request).await;
    #[cfg(simulation)]
    let response = response.map(|response| voted_twice(raft, &asked, response));
    response
}

/// The answer of a follower that forgets whom it has voted for in this term. It still votes for nobody who lacks
/// entries.
#[cfg(simulation)]
fn voted_twice(
    raft: &Raft<TypeConfig, StateMachine>,
    asked: &VoteRequest<TypeConfig>,
    mut response: VoteResponse<TypeConfig>,
) -> VoteResponse<TypeConfig> {
    let voted_for = response.vote.leader_id;
    let is_follower = voted_for.node_id != raft.server_metrics().borrow_watched().id;
    let is_same_term = voted_for.term == asked.vote.leader_id.term;
    if Bug::VoteTwice.is_on()
        && is_follower
        && is_same_term
        && asked.last_log_id >= response.last_log_id
    {
        response.vote = asked.vote;
        response.vote_granted = true;
    }
    response
}

/// What such a follower takes from each leader of the term: openraft refuses the one with the smaller id, since it
/// remembers the vote.
#[cfg(simulation)]
pub(super) fn followed_twice(
    raft: &Raft<TypeConfig, StateMachine>,
    mut append: AppendEntriesRequest<TypeConfig>,
) -> AppendEntriesRequest<TypeConfig> {
    let (id, mut vote) = {
        let metrics = raft.server_metrics();
        let metrics = metrics.borrow_watched();
        (metrics.id, metrics.vote)
    };
    let is_same_term = vote.leader_id.term == append.vote.leader_id.term;
    let is_follower = vote.leader_id.node_id != id;
    if Bug::VoteTwice.is_on()
        && is_follower
        && is_same_term
        && append.vote.leader_id < vote.leader_id
    {
        vote.committed = true;
        append.vote = vote;
    }
    append
}
