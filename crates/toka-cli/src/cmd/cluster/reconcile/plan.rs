//! The next step to the members that there are to be. A function of what the cluster says, and of nothing else.

use toka_client::ClusterStatus;
use toka_proto::v1;

use crate::failure::Failure;

/// What stands for the ordinal in the endpoint of the members.
const ORDINAL: &str = "{ordinal}";
/// Ordinals that are looked for: more than a cluster has members.
const ORDINALS_MAX: u64 = 64;

/// Members by their client endpoints, which differ in an ordinal.
#[derive(Clone, Debug)]
pub(super) struct Members {
    endpoints: Vec<String>,
}

impl Members {
    /// Those whose endpoint is `template` with an ordinal.
    ///
    /// # Errors
    /// [`Failure::Usage`]: there is no place for an ordinal in it.
    pub(super) fn new(template: &str) -> Result<Self, Failure> {
        if !template.contains(ORDINAL) {
            return Err(Failure::Usage(format!(
                "--member {template:?} has no {ORDINAL}, for which the ordinals 0, 1, 2 and so on are put"
            )));
        }
        let of = |ordinal: u64| template.replace(ORDINAL, &ordinal.to_string());
        Ok(Self {
            endpoints: (0..ORDINALS_MAX).map(of).collect(),
        })
    }

    /// The ordinal of the member at `endpoint`; `None`: it is none of these.
    pub(super) fn ordinal(&self, endpoint: &str) -> Option<u64> {
        (0..).zip(&self.endpoints).find_map(|(ordinal, own)| {
            let is_own = own == endpoint;
            is_own.then_some(ordinal)
        })
    }

    fn endpoint(&self, ordinal: u64) -> &str {
        let index = usize::try_from(ordinal).unwrap_or(usize::MAX);
        self.endpoints.get(index).map_or("", String::as_str)
    }
}

/// What there is to be.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// The nodes that it is about; others are left as they are.
    pub(super) names: Members,
    /// How many there are to be, with the ordinals from 0 on.
    pub(super) replicas: u64,
    /// Until all of them vote and answer, not only until there are no more.
    pub(super) waits: bool,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To remove a member.
    Remove {
        /// Which.
        node_id: u64,
        /// Where clients reach it.
        endpoint: String,
    },
    /// To look again.
    Wait(String),
    /// Nothing.
    Done,
}

/// The next step.
pub(super) fn step(status: &ClusterStatus, wanted: &Wanted) -> Step {
    let membership = &status.membership;
    if status.leader_id.is_none() {
        return Step::Wait("the cluster has no leader".to_owned());
    }
    if membership.voter_sets.len() > 1 {
        return Step::Wait("a change of the voters is under way".to_owned());
    }
    let known: Vec<(u64, &v1::Member)> = membership
        .members
        .iter()
        .filter_map(|member| Some((wanted.names.ordinal(&member.client_endpoint)?, member)))
        .collect();
    let surplus = known
        .iter()
        .filter(|(ordinal, _)| *ordinal >= wanted.replicas)
        .max_by_key(|(ordinal, member)| (*ordinal, member.node_id));
    if let Some((_, member)) = surplus {
        let stays = |ordinal: &u64| {
            let mut at = known.iter().filter(|(of, _)| of == ordinal);
            at.any(|(_, member)| member.voter && answers(status, member.node_id))
        };
        let staying = (0..wanted.replicas).filter(stays).count() as u64;
        if staying * 2 <= wanted.replicas {
            return Step::Wait(format!(
                "node {} is to be removed, and of the {} nodes that stay only {staying} vote and answer",
                member.node_id, wanted.replicas
            ));
        }
        return Step::Remove {
            node_id: member.node_id,
            endpoint: member.client_endpoint.clone(),
        };
    }
    if !wanted.waits {
        return Step::Done;
    }
    let missing = (0..wanted.replicas).find_map(|ordinal| {
        let at = known.iter().filter(|(of, _)| *of == ordinal);
        let at: Vec<&v1::Member> = at.map(|(_, member)| *member).collect();
        lacks(status, wanted.names.endpoint(ordinal), &at)
    });
    missing.map_or(Step::Done, Step::Wait)
}

/// What is not yet as it is to be at an endpoint; `None`: nothing.
fn lacks(status: &ClusterStatus, endpoint: &str, at: &[&v1::Member]) -> Option<String> {
    match at {
        [] => Some(format!("the node at {endpoint} has not joined")),
        [member] if !member.voter => Some(format!(
            "node {} at {endpoint} does not vote yet: it has to catch up",
            member.node_id
        )),
        [member] if !answers(status, member.node_id) => Some(format!(
            "node {} at {endpoint} does not answer, or does not serve",
            member.node_id
        )),
        [_] => None,
        [old, .., new] => Some(format!(
            "node {} at {endpoint} takes the place of node {}, whose data is lost",
            new.node_id, old.node_id
        )),
    }
}

fn answers(status: &ClusterStatus, node_id: u64) -> bool {
    let mut nodes = status.nodes.iter().map(|status| &status.node);
    nodes.any(|node| node.node_id == node_id && node.healthy)
}

#[cfg(test)]
mod tests;
