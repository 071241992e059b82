//! Taking the place of the member that had this node's addresses before, and whose data is lost.

use std::time::Duration;

use toka_proto::convert::status::{Detail, parse};
use toka_proto::v1;
use toka_proto::v1::cluster_service_client::ClusterServiceClient;
use toka_raft::transport::Traffic;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::Outside;
use super::bearer::Bearer;

/// How long a member may take to say who the others are, and to remove one of them.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a node that has this one's addresses, and should not be there, may take to answer.
const LIFE_TIMEOUT: Duration = Duration::from_secs(1);

/// What is to be done about the members that have this node's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There is none.
    Nothing,
    /// To take this one's place.
    Replace(u64),
    /// To remove this one first, which was to take another one's place and is lost as well.
    Remove(u64),
    /// To wait until a change that is under way has ended.
    Wait,
}

/// Whether a request to be added was refused because of a member that is there, or is there no more.
pub(super) fn is_about_a_member(refusal: &Status) -> bool {
    match parse(refusal).detail {
        Some(Detail::MembershipRefused { subject }) => subject.starts_with("node "),
        Some(Detail::NodeNotFound { .. }) => true,
        _ => false,
    }
}

/// The member whose place this node has to take, as the one at `endpoint` sees it; `None`: nobody has its addresses.
///
/// # Errors
/// Why it cannot be said; a node that lives has the addresses.
pub(super) async fn find(
    endpoint: &str,
    request: &v1::AddNodeRequest,
    outside: &Outside,
    bearer: &Bearer,
) -> Result<Option<u64>, Status> {
    // This node serves nobody yet, so that whoever answers is another one.
    if lives(&request.client_endpoint, outside, bearer).await {
        return Err(Status::already_exists(format!(
            "a node answers at {}, which this one advertises too: its data is not lost",
            request.client_endpoint
        )));
    }
    let channel = outside.transport.channel(endpoint, Traffic::Control);
    let channel = channel.map_err(|error| Status::invalid_argument(error.to_string()))?;
    let mut client = ClusterServiceClient::new(channel);
    let late = |_| Status::unavailable("no answer in time");
    let asked = timeout(CALL_TIMEOUT, client.get_status(bearer.status(false))).await;
    let status = asked.map_err(late)??.into_inner();
    let membership = status.membership.unwrap_or_default();
    match step(&membership.members, request) {
        Step::Nothing => Ok(None),
        Step::Replace(node_id) => {
            tracing::warn!(
                node_id,
                "a member has this node's addresses, and has lost its data: it is replaced"
            );
            Ok(Some(node_id))
        }
        Step::Remove(node_id) => {
            let mut removal = bearer.call(v1::RemoveNodeRequest {
                node_id,
                force: false,
            });
            removal.set_timeout(CALL_TIMEOUT);
            let removed = timeout(CALL_TIMEOUT, client.remove_node(removal)).await;
            removed.map_err(late)??;
            tracing::warn!(
                node_id,
                "a learner with this node's addresses, which has lost its data, is removed"
            );
            Err(Status::unavailable(
                "a learner that was lost had to be removed first",
            ))
        }
        Step::Wait => Err(Status::unavailable(
            "a change of members with this node's addresses is under way",
        )),
    }
}

async fn lives(endpoint: &str, outside: &Outside, bearer: &Bearer) -> bool {
    let Ok(channel) = outside.transport.channel(endpoint, Traffic::Control) else {
        return false;
    };
    let mut client = ClusterServiceClient::new(channel);
    match timeout(LIFE_TIMEOUT, client.get_status(bearer.status(true))).await {
        Ok(Ok(_)) => true,
        // What refuses to say how it is lives.
        Ok(Err(refused)) => matches!(
            refused.code(),
            Code::Unauthenticated | Code::PermissionDenied | Code::ResourceExhausted
        ),
        Err(_) => false,
    }
}

fn step(members: &[v1::Member], request: &v1::AddNodeRequest) -> Step {
    let has_its_addresses = |member: &&v1::Member| {
        member.raft_endpoint == request.raft_endpoint
            || member.client_endpoint == request.client_endpoint
    };
    let lost: Vec<&v1::Member> = members.iter().filter(has_its_addresses).collect();
    match lost.as_slice() {
        [] => Step::Nothing,
        [one] => Step::Replace(one.node_id),
        several => {
            let newest = several.iter().rev().find(|member| !member.voter);
            newest.map_or(Step::Wait, |member| Step::Remove(member.node_id))
        }
    }
}

#[cfg(test)]
mod tests {
    use toka_proto::convert::status;

    use super::*;

    fn member(node_id: u64, host: &str, voter: bool) -> v1::Member {
        v1::Member {
            node_id,
            voter,
            client_endpoint: format!("{host}:7311"),
            raft_endpoint: format!("{host}:7312"),
            ..v1::Member::default()
        }
    }

    #[test]
    fn member_with_the_same_addresses_is_replaced_once() {
        let request = v1::AddNodeRequest {
            client_endpoint: "c:7311".to_owned(),
            raft_endpoint: "c:7312".to_owned(),
            ..v1::AddNodeRequest::default()
        };
        let of = |members: &[v1::Member]| step(members, &request);
        let [one, lost] = [member(1, "a", true), member(3, "c", true)];
        assert_eq!(of(std::slice::from_ref(&one)), Step::Nothing);
        assert_eq!(of(&[one.clone(), lost.clone()]), Step::Replace(3));
        // It was lost again before it had caught up.
        let again = member(4, "c", false);
        assert_eq!(of(&[one.clone(), lost.clone(), again]), Step::Remove(4));
        let swapped = member(4, "c", true);
        assert_eq!(of(&[one, lost, swapped]), Step::Wait);
    }

    #[test]
    fn refusal_for_want_of_room_is_not_about_a_member() {
        let taken = status::membership_refused("node 3", "taken".to_owned());
        assert!(is_about_a_member(&taken));
        assert!(is_about_a_member(&status::node_not_found(3)));
        let level = status::membership_refused("feature_level", "too low".to_owned());
        assert!(!is_about_a_member(&level));
        assert!(!is_about_a_member(&status::limit_reached("voters", "7")));
    }
}
