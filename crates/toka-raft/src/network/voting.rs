//! Answering candidates.

use openraft::Raft;
use openraft::errors::{Infallible, RaftError};
use openraft::raft::{VoteRequest, VoteResponse};

use crate::state_machine::StateMachine;
use crate::type_config::TypeConfig;

/// This node's answer to a candidate.
pub(super) async fn vote(
    raft: &Raft<TypeConfig, StateMachine>,
    request: VoteRequest<TypeConfig>,
) -> Result<VoteResponse<TypeConfig>, RaftError<TypeConfig, Infallible>> {
    #[cfg(simulation)]
    let asked = request.vote;
    let response = raft.vote(request).await;
    #[cfg(simulation)]
    let response = response.map(|response| voted_twice(asked, response));
    response
}

/// The answer of a follower that forgets whom it has voted for in this term.
#[cfg(simulation)]
fn voted_twice(
    asked: crate::type_config::Vote,
    mut response: VoteResponse<TypeConfig>,
) -> VoteResponse<TypeConfig> {
    let is_same_term = response.vote.leader_id.term == asked.leader_id.term;
    if toka_ledger::simulation::Bug::VoteTwice.is_on() && is_same_term {
        response.vote = asked;
        response.vote_granted = true;
    }
    response
}
