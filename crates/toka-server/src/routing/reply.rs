//! Replies: naming the leader in them, and passing on those of the leader.

use toka_proto::convert::metadata::{
    self, CLUSTER_ID, LEADER_ENDPOINT, LEADER_ID, MEMBER_ENDPOINTS,
};
use toka_proto::convert::status::{self, Detail, parse};
use toka_raft::Leader;
use tonic::codegen::http;
use tonic::{Code, Response, Status};

// Names as they stand in heads: made from text they would be checked and allocated for each reply.
static CLUSTER_ID_NAME: http::HeaderName = http::HeaderName::from_static(CLUSTER_ID);
static MEMBER_ENDPOINTS_NAME: http::HeaderName = http::HeaderName::from_static(MEMBER_ENDPOINTS);
static LEADER_ID_NAME: http::HeaderName = http::HeaderName::from_static(LEADER_ID);
static LEADER_ENDPOINT_NAME: http::HeaderName = http::HeaderName::from_static(LEADER_ENDPOINT);

/// The leader as it stands in the head of a reply.
#[derive(Clone, Debug)]
pub(crate) struct NamedLeader {
    id: http::HeaderValue,
    /// Absent where it cannot stand in a header: it reaches nobody.
    endpoint: Option<http::HeaderValue>,
}

impl From<&Leader> for NamedLeader {
    fn from(leader: &Leader) -> Self {
        Self {
            id: leader.node_id.into(),
            endpoint: http::HeaderValue::try_from(&leader.member.client_endpoint).ok(),
        }
    }
}

/// Names this node's cluster in the head of a reply, so that a client notices a node of another one.
pub(crate) fn name_cluster<B>(
    mut response: http::Response<B>,
    cluster: Option<http::HeaderValue>,
) -> http::Response<B> {
    if let Some(cluster) = cluster {
        let headers = response.headers_mut();
        headers.insert(CLUSTER_ID_NAME.clone(), cluster);
    }
    response
}

/// Names the members in the head of a reply, and the leader, unless the leader itself has done so.
pub(crate) fn name_members<B>(
    mut response: http::Response<B>,
    leader: Option<NamedLeader>,
    members: Option<http::HeaderValue>,
) -> http::Response<B> {
    let headers = response.headers_mut();
    if let Some(members) = members {
        headers.insert(MEMBER_ENDPOINTS_NAME.clone(), members);
    }
    let Some(leader) = leader else {
        return response;
    };
    if !headers.contains_key(&LEADER_ID_NAME) {
        headers.insert(LEADER_ID_NAME.clone(), leader.id);
        if let Some(endpoint) = leader.endpoint {
            headers.insert(LEADER_ENDPOINT_NAME.clone(), endpoint);
        }
    }
    response
}

/// The leader's reply, as it came but for the metadata of the connection to it.
pub(crate) fn relay<T>(reply: Response<T>) -> Response<T> {
    let leader = metadata::leader(reply.metadata());
    let mut relayed = Response::new(reply.into_inner());
    metadata::put_leader(relayed.metadata_mut(), leader.as_ref());
    relayed
}

/// The leader's refusal, as it came but for the metadata of the connection to it.
///
/// The caller has asked the right cluster: that the leader's address is another one's by now is as if it could not be
/// reached.
pub(crate) fn relay_status(refusal: &Status) -> Status {
    if matches!(parse(refusal).detail, Some(Detail::OtherCluster { .. })) {
        return status::no_leader(format!(
            "a node of another cluster is at the leader's address: {}",
            refusal.message()
        ));
    }
    let details = refusal.details().to_vec().into();
    let mut relayed = Status::with_details(refusal.code(), refusal.message(), details);
    let leader = metadata::leader(refusal.metadata());
    metadata::put_leader(relayed.metadata_mut(), leader.as_ref());
    relayed
}

/// Whether a forwarded call may fare better with the next leader, or with the same one a little
/// later. A commit that was applied all the same is found by its digest.
pub(crate) fn is_worth_another_leader(refusal: &Status) -> bool {
    // Only a status that was made on this side, for want of an answer, has a source.
    if std::error::Error::source(refusal).is_some() {
        return true;
    }
    match parse(refusal).detail {
        Some(
            Detail::NotLeader { .. }
            | Detail::NoLeader
            | Detail::Stopping
            | Detail::OtherCluster { .. },
        ) => true,
        Some(_) => false,
        None => refusal.code() == Code::Unavailable,
    }
}

/// A refusal that an attempt leaves behind when there is no time for another one: never NOT_LEADER,
/// which the caller has not asked for.
pub(crate) fn out_of_time(last: &Status) -> Status {
    status::no_leader(format!(
        "no leader answered the call before the deadline (last: {}); it is safe to repeat it",
        last.message()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_by_the_vault_is_not_tried_elsewhere() {
        let overloaded = status::overloaded(std::time::Duration::from_millis(5));
        assert!(!is_worth_another_leader(&overloaded));
        assert!(!is_worth_another_leader(&status::event_not_found("7")));
        assert!(!is_worth_another_leader(&status::node_behind(1, 1, 2)));
    }

    #[test]
    fn a_leader_that_is_gone_is_worth_another_one() {
        for refusal in [
            status::stopping(),
            status::not_leader(None),
            status::no_leader("election"),
            Status::unavailable("connection refused"),
            Status::from_error(Box::new(std::io::Error::other("reset"))),
        ] {
            assert!(is_worth_another_leader(&refusal), "{refusal:?}");
        }
    }

    #[test]
    fn a_relayed_refusal_keeps_its_details_and_names_the_leader() {
        let leader = metadata::Leader {
            node_id: 3,
            endpoint: "c:7311".to_owned(),
        };
        let mut refusal = status::not_leader(Some(&leader));
        refusal
            .metadata_mut()
            .insert("server", "leader".parse().expect("ascii"));
        let relayed = relay_status(&refusal);
        assert_eq!(parse(&relayed), parse(&refusal));
        assert_eq!(metadata::leader(relayed.metadata()), Some(leader));
        assert!(relayed.metadata().get("server").is_none());
    }

    #[test]
    fn a_leader_whose_address_is_another_clusters_is_not_there() {
        let refusal = status::other_cluster(7, 8);
        assert!(is_worth_another_leader(&refusal));
        let relayed = relay_status(&refusal);
        assert_eq!(parse(&relayed).detail, Some(Detail::NoLeader));
        assert!(relayed.message().contains("at the leader's address"));
    }
}
