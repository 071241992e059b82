//! What a call says beside its message.

use toka_proto::convert::metadata;
use tokio::time::Instant;
use tonic::metadata::{KeyRef, MetadataMap};

use super::deadline::deadline;
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
    carried: MetadataMap,
}

impl Call {
    pub(crate) fn new(request: &MetadataMap, limits: &Limits) -> Self {
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
        Self {
            deadline: deadline(request, limits.request_timeout, limits.request_timeout_max),
            requires_leader: metadata::requires_leader(request),
            is_forwarded: metadata::is_forwarded(request),
            carried,
        }
    }

    /// Metadata of the same call when node `node_id` forwards it.
    pub(crate) fn forwarded_by(&self, node_id: u64) -> MetadataMap {
        let mut metadata = self.carried.clone();
        metadata::put_forwarded_by(&mut metadata, node_id);
        metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_forwarded_call_carries_its_caller_and_its_trace_and_nothing_else() {
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
        let forwarded = Call::new(&request, &limits).forwarded_by(2);
        assert_eq!(forwarded.len(), 3);
        assert_eq!(
            forwarded.get("authorization").map(|v| v.as_bytes()),
            Some(&b"Bearer t"[..])
        );
        assert!(metadata::is_forwarded(&forwarded));
    }
}
