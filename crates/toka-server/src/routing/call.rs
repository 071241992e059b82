//! What a call says beside its message.

use toka_proto::convert::metadata::ON_BEHALF_OF;
use toka_proto::convert::{metadata, status};
use tokio::time::Instant;
use tonic::Status;
use tonic::metadata::{BinaryMetadataValue, KeyRef, MetadataMap};

use super::deadline::deadline;
use crate::auth::Access;
use crate::config::Limits;

/// Metadata that goes with a call when it is forwarded: who the caller is, and its trace.
const CARRIED: &[&str] = &["authorization", "traceparent", "tracestate"];

/// What a call says beside its message.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// When the answer must be under way.
    pub(crate) deadline: Instant,
    /// The caller wants the leader's answer or none.
    pub(crate) requires_leader: bool,
    /// A follower has forwarded the call; it must not be forwarded again.
    pub(crate) is_forwarded: bool,
    /// Who the caller is, and what it may do.
    pub(crate) access: Access,
    /// This node's cluster, once it belongs to one.
    cluster_id: Option<u128>,
    carried: MetadataMap,
}

impl Call {
    /// Of a call that has come to a node of the cluster `cluster_id`.
    ///
    /// # Errors
    /// If the call is for another cluster: addresses are given to other nodes, and what is meant for one cluster
    /// must do nothing in another.
    pub(crate) fn new(
        request: &MetadataMap,
        limits: &Limits,
        cluster_id: Option<u128>,
        access: Access,
    ) -> Result<Self, Status> {
        let named = metadata::cluster_id(request).map_err(|error| status::invalid(&error))?;
        if let (Some(expected), Some(actual)) = (named, cluster_id)
            && expected != actual
        {
            return Err(status::other_cluster(expected, actual));
        }
        let mut carried = MetadataMap::new();
        for key in request.keys() {
            // Binary metadata is nothing that the vault knows of.
            if let KeyRef::Ascii(key) = key
                && CARRIED.contains(&key.as_str())
                && let Some(value) = request.get(key)
            {
                carried.insert(key.clone(), value.clone());
            }
        }
        Ok(Self {
            deadline: deadline(request, limits.request_timeout, limits.request_timeout_max),
            requires_leader: metadata::requires_leader(request),
            is_forwarded: metadata::is_forwarded(request),
            access,
            cluster_id,
            carried,
        })
    }

    /// Metadata of the same call when node `node_id` forwards it. The leader's address may be another cluster's by
    /// now, so the cluster is named also where the caller has not.
    pub(crate) fn forwarded_by(&self, node_id: u64) -> MetadataMap {
        let mut metadata = self.carried.clone();
        if self.access.is_node() {
            // What a node asks for itself, to join for example, rests on its certificate, and this node's serves as well.
            metadata::put_requires_leader(&mut metadata);
        } else {
            metadata::put_forwarded_by(&mut metadata, node_id);
        }
        if let Some(name) = self.access.on_behalf_of() {
            // The connection with the certificate ends here. The next node judges by the name alone, and only if this
            // one has shown that it is a node.
            let name = BinaryMetadataValue::from_bytes(name.as_bytes());
            metadata.insert_bin(ON_BEHALF_OF, name);
        }
        if let Some(cluster_id) = self.cluster_id {
            metadata::put_cluster_id(&mut metadata, cluster_id);
        }
        metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_forwarded_call_carries_its_caller_its_trace_and_its_cluster_and_nothing_else() {
        let mut request = MetadataMap::new();
        for (key, value) in [
            ("authorization", "Bearer t"),
            ("traceparent", "00-1-2-01"),
            ("user-agent", "grpc"),
            ("toka-requires-leader", "false"),
        ] {
            request.insert(key, value.parse().expect("ascii"));
        }
        let limits = Config::new(1, "unused".into()).limits;
        let call = Call::new(&request, &limits, Some(7), Access::of_everybody())
            .expect("for this cluster");
        let forwarded = call.forwarded_by(2);
        assert_eq!(forwarded.len(), 4);
        assert_eq!(metadata::cluster_id(&forwarded), Ok(Some(7)));
        assert_eq!(
            forwarded.get("authorization").map(|v| v.as_bytes()),
            Some(&b"Bearer t"[..])
        );
        assert!(metadata::is_forwarded(&forwarded));
    }

    #[test]
    fn a_call_for_another_cluster_is_refused_with_both_ids() {
        let limits = Config::new(1, "unused".into()).limits;
        let mut request = MetadataMap::new();
        assert!(
            Call::new(&request, &limits, Some(7), Access::of_everybody()).is_ok(),
            "none is named"
        );
        metadata::put_cluster_id(&mut request, 7);
        assert!(Call::new(&request, &limits, Some(7), Access::of_everybody()).is_ok());
        assert!(
            Call::new(&request, &limits, None, Access::of_everybody()).is_ok(),
            "not formed yet"
        );
        let refused =
            Call::new(&request, &limits, Some(8), Access::of_everybody()).expect_err("another one");
        let other = status::Detail::OtherCluster {
            expected: 7,
            actual: 8,
        };
        assert_eq!(status::parse(&refused).detail, Some(other));
    }
}
