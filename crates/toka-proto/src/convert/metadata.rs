//! What travels beside the messages, as gRPC metadata.

use toka_ledger::Invalid;
use tonic::metadata::{AsciiMetadataValue, MetadataMap, MetadataValue};

/// Node id of the leader, decimal. On replies and errors.
pub const LEADER_ID: &str = "toka-leader-id";
/// Advertised `host:port` of the leader for clients. On replies and errors.
pub const LEADER_ENDPOINT: &str = "toka-leader-endpoint";
/// Advertised `host:port` of all members for clients, separated by commas. On replies and errors.
pub const MEMBER_ENDPOINTS: &str = "toka-member-endpoints";
/// Id of the cluster, 32 hexadecimal digits. On replies and errors: the node's. On a request: the one that it is
/// for; a node of another cluster refuses it before it does anything.
pub const CLUSTER_ID: &str = "toka-cluster-id";
/// `true` on a request: refuse the call rather than forward it.
pub const REQUIRES_LEADER: &str = "toka-requires-leader";
/// Node id of the follower that forwarded the request, decimal. It is not forwarded again.
pub const FORWARDED_BY: &str = "toka-forwarded-by";
/// Name of the caller, by its certificate, for whom a node forwards the request. Counts only from a node that has shown
/// by its own certificate that it is one.
pub const ON_BEHALF_OF: &str = "toka-on-behalf-of-bin";
/// How many commits a message of a commit stream may have, decimal. On the reply to the call; absent: one.
pub const COMMITS_PER_MESSAGE: &str = "toka-commits-per-message";

/// Who leads, and where clients reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Node id.
    pub node_id: u64,
    /// Advertised `host:port` for clients.
    pub endpoint: String,
}

/// Names the leader; nothing where there is none.
pub fn put_leader(metadata: &mut MetadataMap, leader: Option<&Leader>) {
    let Some(leader) = leader else { return };
    metadata.insert(LEADER_ID, MetadataValue::from(leader.node_id));
    // An endpoint that cannot stand in a header reaches nobody; the id alone is still of use.
    if let Ok(endpoint) = MetadataValue::try_from(leader.endpoint.as_str()) {
        metadata.insert(LEADER_ENDPOINT, endpoint);
    }
}

/// The leader, if it is named with an endpoint.
#[must_use]
pub fn leader(metadata: &MetadataMap) -> Option<Leader> {
    let (node_id, endpoint) = leader_named(metadata)?;
    let endpoint = endpoint.to_owned();
    Some(Leader { node_id, endpoint })
}

/// Node id and endpoint of the leader, if it is named with one: for those who compare them with what they know.
#[must_use]
pub fn leader_named(metadata: &MetadataMap) -> Option<(u64, &str)> {
    let text = |name| metadata.get(name)?.to_str().ok();
    let endpoint = text(LEADER_ENDPOINT).filter(|endpoint| !endpoint.is_empty())?;
    Some((text(LEADER_ID)?.parse().ok()?, endpoint))
}

/// Where clients reach the members of the cluster, separated by commas, if the reply says so.
#[must_use]
pub fn member_endpoints(metadata: &MetadataMap) -> Option<&str> {
    metadata.get(MEMBER_ENDPOINTS)?.to_str().ok()
}

/// Says how many commits a message of a commit stream may have.
pub fn put_commits_per_message(metadata: &mut MetadataMap, count: usize) {
    metadata.insert(COMMITS_PER_MESSAGE, MetadataValue::from(count));
}

/// How many commits a message of a commit stream may have: at least one.
#[must_use]
pub fn commits_per_message(metadata: &MetadataMap) -> usize {
    let text = metadata.get(COMMITS_PER_MESSAGE);
    let count = text.and_then(|text| text.to_str().ok()?.parse::<usize>().ok());
    count.unwrap_or(1).max(1)
}

/// Marks a request as forwarded by a node.
pub fn put_forwarded_by(metadata: &mut MetadataMap, node_id: u64) {
    metadata.insert(FORWARDED_BY, MetadataValue::from(node_id));
}

/// Whether a node forwarded the request.
#[must_use]
pub fn is_forwarded(metadata: &MetadataMap) -> bool {
    metadata.contains_key(FORWARDED_BY)
}

/// Demands that only the leader answers.
pub fn put_requires_leader(metadata: &mut MetadataMap) {
    metadata.insert(REQUIRES_LEADER, MetadataValue::from_static("true"));
}

/// Whether only the leader may answer.
#[must_use]
pub fn requires_leader(metadata: &MetadataMap) -> bool {
    metadata
        .get(REQUIRES_LEADER)
        .is_some_and(|value| value == "true")
}

/// How the id of a cluster stands in metadata.
#[must_use]
pub fn cluster_id_text(cluster_id: u128) -> String {
    format!("{cluster_id:032x}")
}

/// The same, ready to be put into metadata under [`CLUSTER_ID`].
#[must_use]
pub fn cluster_id_value(cluster_id: u128) -> AsciiMetadataValue {
    let text = cluster_id_text(cluster_id);
    MetadataValue::try_from(text.as_str()).expect("hexadecimal digits can stand in a header")
}

/// Says which cluster a request is for.
pub fn put_cluster_id(metadata: &mut MetadataMap, cluster_id: u128) {
    metadata.insert(CLUSTER_ID, cluster_id_value(cluster_id));
}

/// The cluster that a request is for, or that a node belongs to, if it is named.
///
/// # Errors
/// [`Invalid::Syntax`] if what stands there is none: whoever wrote it meant some cluster.
pub fn cluster_id(metadata: &MetadataMap) -> Result<Option<u128>, Invalid> {
    let Some(value) = metadata.get(CLUSTER_ID) else {
        return Ok(None);
    };
    let digits = value.to_str().ok();
    let digits = digits.filter(|digits| {
        digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    });
    let id = digits.and_then(|digits| u128::from_str_radix(digits, 16).ok());
    id.map(Some).ok_or(Invalid::Syntax {
        field: CLUSTER_ID,
        expected: "32 hexadecimal digits",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_id_is_read_back_or_refused() {
        let mut metadata = MetadataMap::new();
        assert_eq!(cluster_id(&metadata), Ok(None));
        for id in [0, 7, u128::MAX] {
            put_cluster_id(&mut metadata, id);
            assert_eq!(cluster_id(&metadata), Ok(Some(id)));
        }
        for text in ["", "7", "+0000000000000000000000000000007"] {
            metadata.insert(CLUSTER_ID, text.parse().expect("ascii"));
            assert!(cluster_id(&metadata).is_err(), "{text}");
        }
    }
}
