//! What each rpc needs: the one table. A method that is not in it is refused.
//!
//! Which events a caller sees, and which it may commit, is decided beside the handlers by [`Access`](super::Access), with
//! the kinds that the request has; docs/security.md says for each rpc whether it leaves out what is not seen, or refuses.

/// What a caller must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requirement {
    /// Nothing; credentials are not looked at.
    Public,
    /// Nothing; but what it shows must be good.
    Optional,
    /// Who it is.
    Known,
    /// That it may read some kinds.
    Read,
    /// That it may read all kinds: the answer says something of all events.
    ReadAll,
    /// That it may write some kinds.
    Write,
    /// That it may write all kinds: what is changed concerns all events.
    WriteAll,
    /// That it may administer the vault.
    Admin,
    /// That it is a node of this cluster.
    Node,
}

use Requirement::{Admin, Known, Node, Optional, Public, Read, ReadAll, Write, WriteAll};

/// Every rpc, by its path without the slash in front.
pub(crate) const REQUIREMENTS: &[(&str, Requirement)] = &[
    ("grpc.health.v1.Health/Check", Public),
    ("grpc.health.v1.Health/Watch", Public),
    (
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        Public,
    ),
    (
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        Public,
    ),
    ("toka.vault.v1.AuthService/CreateToken", Admin),
    ("toka.vault.v1.AuthService/ListTokens", Admin),
    ("toka.vault.v1.AuthService/RotateToken", Admin),
    ("toka.vault.v1.AuthService/RevokeToken", Admin),
    ("toka.vault.v1.AuthService/PutRole", Admin),
    ("toka.vault.v1.AuthService/DeleteRole", Admin),
    ("toka.vault.v1.AuthService/ListRoles", Admin),
    ("toka.vault.v1.AuthService/WhoAmI", Optional),
    ("toka.vault.v1.ClusterService/GetStatus", Known),
    ("toka.vault.v1.ClusterService/TransferLeadership", Admin),
    ("toka.vault.v1.ClusterService/CreateBackup", Admin),
    ("toka.vault.v1.ClusterService/Verify", Admin),
    ("toka.vault.v1.ClusterService/AddNode", Admin),
    ("toka.vault.v1.ClusterService/RemoveNode", Admin),
    ("toka.vault.v1.ClusterService/PromoteNode", Admin),
    ("toka.vault.v1.ClusterService/ReplaceNode", Admin),
    ("toka.vault.v1.CursorService/SaveCursor", Write),
    ("toka.vault.v1.CursorService/GetCursor", Read),
    ("toka.vault.v1.CursorService/ListCursors", Read),
    ("toka.vault.v1.CursorService/DeleteCursor", Write),
    ("toka.vault.v1.GroupService/CreateGroup", Write),
    ("toka.vault.v1.GroupService/GetGroup", Read),
    ("toka.vault.v1.GroupService/ListGroups", Read),
    ("toka.vault.v1.GroupService/DeleteGroup", Write),
    ("toka.vault.v1.GroupService/UpdateGroup", Write),
    ("toka.vault.v1.GroupService/Pull", Write),
    ("toka.vault.v1.GroupService/Settle", Write),
    ("toka.vault.v1.GroupService/ListParked", Read),
    ("toka.vault.v1.GroupService/ListOutstanding", Read),
    ("toka.vault.v1.GroupService/ReplayParked", Write),
    ("toka.vault.v1.GroupService/DiscardParked", Write),
    ("toka.vault.v1.IntentService/ListIntents", Read),
    ("toka.vault.v1.IntentService/GetIntent", Read),
    ("toka.vault.v1.IntentService/LabelIntent", WriteAll),
    ("toka.vault.v1.IntentService/ClassifyVector", ReadAll),
    ("toka.vault.v1.IntentService/Search", Read),
    ("toka.vault.v1.LineageService/Walk", Read),
    ("toka.vault.v1.LineageService/Difference", Read),
    ("toka.vault.v1.LineageService/CommonAncestors", Read),
    ("toka.vault.v1.LineageService/ListHeads", Read),
    ("toka.vault.v1.VaultService/Commit", Write),
    ("toka.vault.v1.VaultService/CommitStream", Write),
    ("toka.vault.v1.VaultService/Get", Read),
    ("toka.vault.v1.VaultService/BatchGet", Read),
    ("toka.vault.v1.VaultService/List", Read),
    ("toka.vault.v1.VaultService/Subscribe", Read),
    // On the port of the nodes; clients are never served these.
    ("toka.raft.v1.RaftService/Probe", Node),
    ("toka.raft.v1.RaftService/Adopt", Node),
    ("toka.raft.v1.RaftService/Vote", Node),
    ("toka.raft.v1.RaftService/PreVote", Node),
    ("toka.raft.v1.RaftService/AppendEntries", Node),
    ("toka.raft.v1.RaftService/Heartbeat", Node),
    ("toka.raft.v1.RaftService/InstallSnapshot", Node),
    ("toka.raft.v1.RaftService/PullLedger", Node),
    ("toka.raft.v1.RaftService/TransferLeader", Node),
    ("toka.raft.v1.RaftService/ReadIndex", Node),
    ("toka.raft.v1.RaftService/GetStateDigest", Node),
    ("toka.raft.v1.RaftService/GetVitals", Node),
    ("toka.raft.v1.RaftService/GetNodeStatus", Node),
    ("toka.raft.v1.RaftService/AppendAudit", Node),
];

/// Rpcs whose messages come or go one by one: who has used up its bytes waits for them. Other calls are refused when
/// they come, and not held up.
const STREAMS: &[&str] = &[
    "/toka.vault.v1.ClusterService/CreateBackup",
    "/toka.vault.v1.ClusterService/Verify",
    "/toka.vault.v1.LineageService/Difference",
    "/toka.vault.v1.LineageService/Walk",
    "/toka.vault.v1.VaultService/CommitStream",
    "/toka.vault.v1.VaultService/Subscribe",
];

/// Whether messages of the method at `path` come or go one by one.
pub(crate) fn is_stream(path: &str) -> bool {
    STREAMS.contains(&path)
}

/// Another rpc that waits for something to happen.
const PULL: &str = "/toka.vault.v1.GroupService/Pull";

/// Whether a call of the method at `path` may go on for long: what it rests on is looked at again meanwhile.
pub(super) fn goes_on(path: &str) -> bool {
    is_stream(path) || path == PULL
}

/// What the method at `path` needs; `None`: it is not in the table.
pub(crate) fn requirement(path: &str) -> Option<Requirement> {
    let method = path.strip_prefix('/')?;
    let known = REQUIREMENTS.iter().find(|(name, _)| *name == method);
    known.map(|(_, requirement)| *requirement)
}

/// Whether the method at `path` changes nothing, whoever calls it.
pub(crate) fn only_reads(path: &str) -> bool {
    matches!(requirement(path), Some(Optional | Known | Read | ReadAll))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use prost::Message as _;
    use prost_types::FileDescriptorSet;
    use prost_types::method_options::IdempotencyLevel;

    use super::*;

    /// Every rpc that this build describes, or serves, and whether it is a stream.
    fn rpcs() -> BTreeMap<String, bool> {
        let sets = [
            toka_proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let files = sets
            .iter()
            .flat_map(|set| FileDescriptorSet::decode(*set).expect("descriptors").file);
        let mut rpcs = BTreeMap::new();
        for file in files {
            for service in &file.service {
                for method in &service.method {
                    let is_stream = method.client_streaming() || method.server_streaming();
                    let name = format!("{}.{}/{}", file.package(), service.name(), method.name());
                    rpcs.insert(name, is_stream);
                }
            }
        }
        rpcs
    }

    #[test]
    fn every_rpc_is_in_the_table_and_everything_in_it_is_an_rpc() {
        let listed: BTreeSet<String> = REQUIREMENTS
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
        let rpcs: BTreeSet<String> = rpcs().into_keys().collect();
        let missing: Vec<_> = rpcs.difference(&listed).collect();
        assert!(missing.is_empty(), "not in the table: {missing:?}");
        let unknown: Vec<_> = listed.difference(&rpcs).collect();
        assert!(unknown.is_empty(), "no rpcs: {unknown:?}");
        assert_eq!(listed.len(), REQUIREMENTS.len(), "an rpc is listed twice");
    }

    #[test]
    fn streams_of_the_vault_are_known_as_such() {
        for (name, is_stream) in rpcs() {
            if name.starts_with("toka.vault.") {
                assert_eq!(super::is_stream(&format!("/{name}")), is_stream, "{name}");
            }
        }
    }

    #[test]
    fn what_only_reads_is_described_as_without_side_effects() {
        let set = FileDescriptorSet::decode(toka_proto::FILE_DESCRIPTOR_SET).expect("descriptors");
        let mut reading = 0;
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let name = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let options = method.options.clone().unwrap_or_default();
                    if only_reads(&name) {
                        assert_eq!(
                            options.idempotency_level(),
                            IdempotencyLevel::NoSideEffects,
                            "{name}"
                        );
                        reading += 1;
                    }
                }
            }
        }
        assert!(reading > 10, "{reading}");
        for name in ["Commit", "CommitStream", "Other"] {
            assert!(!only_reads(&format!("/toka.vault.v1.VaultService/{name}")));
        }
    }

    #[test]
    fn call_that_waits_for_events_goes_on() {
        assert_eq!(requirement(PULL), Some(Write));
        assert!(goes_on(PULL));
        assert!(goes_on("/toka.vault.v1.VaultService/Subscribe"));
        assert!(!goes_on("/toka.vault.v1.VaultService/Get"));
    }

    #[test]
    fn method_that_is_not_in_the_table_has_no_requirement_that_could_be_met() {
        assert_eq!(requirement("/toka.vault.v1.VaultService/Other"), None);
        assert_eq!(requirement("toka.vault.v1.VaultService/Get"), None);
        assert_eq!(requirement("//toka.vault.v1.VaultService/Get"), None);
        assert_eq!(requirement("/toka.vault.v1.VaultService/get"), None);
        assert_eq!(requirement("/toka.vault.v1.VaultService/Get"), Some(Read));
    }
}
