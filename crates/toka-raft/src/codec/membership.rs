//! Memberships: who takes part, and how it came to be so.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cursor, DecodeError, check_version, put_log_id_option};
use crate::type_config::{Joined, Member, Membership, StoredMembership};

/// Without how members joined; still read, and written where no member has.
const MEMBERSHIP_VERSION_FORMED: u8 = 1;
const MEMBERSHIP_VERSION: u8 = 2;

/// Membership: version u8, then the joint configuration (count u32; each: count u32, node ids u64
/// ascending), then the nodes (count u32; each: id u64 ascending, Raft endpoint, client endpoint as
/// length u32 and UTF-8; in version 2 how it joined). Version 1 where no member has joined.
///
/// How a member joined: presence u8; if present token u128, votes u8, presence u8 and id u64 of the
/// member that it replaces.
#[must_use]
pub fn encode_membership(membership: &Membership) -> Vec<u8> {
    let put_len = |out: &mut Vec<u8>, len: usize| {
        let len = u32::try_from(len).expect("a membership is far smaller than 4 GiB");
        out.extend_from_slice(&len.to_be_bytes());
    };
    let version = if membership.nodes().all(|(_, node)| node.joined.is_none()) {
        MEMBERSHIP_VERSION_FORMED
    } else {
        MEMBERSHIP_VERSION
    };
    let mut out = vec![version];
    let configs = membership.get_joint_config();
    put_len(&mut out, configs.len());
    for voters in configs {
        put_len(&mut out, voters.len());
        voters
            .iter()
            .for_each(|id| out.extend_from_slice(&id.to_be_bytes()));
    }
    put_len(&mut out, membership.nodes().count());
    for (id, member) in membership.nodes() {
        out.extend_from_slice(&id.to_be_bytes());
        for text in [&member.raft_endpoint, &member.client_endpoint] {
            put_len(&mut out, text.len());
            out.extend_from_slice(text.as_bytes());
        }
        if version == MEMBERSHIP_VERSION {
            put_joined(&mut out, member.joined.as_ref());
        }
    }
    out
}

fn put_joined(out: &mut Vec<u8>, joined: Option<&Joined>) {
    out.push(u8::from(joined.is_some()));
    if let Some(joined) = joined {
        out.extend_from_slice(&joined.token.to_be_bytes());
        out.push(u8::from(joined.votes));
        out.push(u8::from(joined.replaces.is_some()));
        if let Some(replaced) = joined.replaces {
            out.extend_from_slice(&replaced.to_be_bytes());
        }
    }
}

fn joined(cursor: &mut Cursor<'_>) -> Result<Option<Joined>, DecodeError> {
    if !cursor.flag()? {
        return Ok(None);
    }
    Ok(Some(Joined {
        token: cursor.u128()?,
        votes: cursor.flag()?,
        replaces: if cursor.flag()? {
            Some(cursor.u64()?)
        } else {
            None
        },
    }))
}

/// Inverse of [`encode_membership`].
///
/// # Errors
/// If `bytes` is not exactly one valid membership: no empty voter set, an address for each voter.
pub fn decode_membership(bytes: &[u8]) -> Result<Membership, DecodeError> {
    const WHAT: &str = "membership";
    const ORDER: DecodeError = DecodeError::Invalid {
        what: WHAT,
        reason: "node ids are not ascending",
    };
    let mut cursor = Cursor::new(WHAT, bytes);
    let version = cursor.u8()?;
    if version != MEMBERSHIP_VERSION_FORMED {
        check_version(WHAT, version, MEMBERSHIP_VERSION)?;
    }
    let mut configs = Vec::new();
    for _ in 0..cursor.count(4)? {
        let mut voters = BTreeSet::new();
        for _ in 0..cursor.count(8)? {
            let id = cursor.u64()?;
            if voters.last().is_some_and(|last| *last >= id) {
                return Err(ORDER);
            }
            voters.insert(id);
        }
        configs.push(voters);
    }
    let mut nodes: BTreeMap<u64, Member> = BTreeMap::new();
    for _ in 0..cursor.count(16)? {
        let id = cursor.u64()?;
        if nodes.last_key_value().is_some_and(|(last, _)| *last >= id) {
            return Err(ORDER);
        }
        let raft_endpoint = cursor.string()?;
        let client_endpoint = cursor.string()?;
        let joined = match version {
            MEMBERSHIP_VERSION_FORMED => None,
            _ => joined(&mut cursor)?,
        };
        let member = Member {
            raft_endpoint,
            client_endpoint,
            joined,
        };
        nodes.insert(id, member);
    }
    cursor.finish()?;
    if version != MEMBERSHIP_VERSION_FORMED && nodes.values().all(|node| node.joined.is_none()) {
        return Err(DecodeError::Invalid {
            what: WHAT,
            reason: "no member has joined, which another version says",
        });
    }
    Membership::new(configs, nodes).map_err(|_| DecodeError::Invalid {
        what: WHAT,
        reason: "a voter set is empty or a voter has no address",
    })
}

/// A membership and where it was set: presence u8, log id if present, membership.
#[must_use]
pub fn encode_stored_membership(stored: &StoredMembership) -> Vec<u8> {
    let mut out = Vec::new();
    put_log_id_option(&mut out, stored.log_id().as_ref());
    out.extend_from_slice(&encode_membership(stored.membership()));
    out
}

/// Inverse of [`encode_stored_membership`].
///
/// # Errors
/// If `bytes` is not exactly one stored membership.
pub fn decode_stored_membership(bytes: &[u8]) -> Result<StoredMembership, DecodeError> {
    let mut cursor = Cursor::new("stored membership", bytes);
    let log_id = cursor.log_id_option()?;
    Ok(StoredMembership::new(
        log_id,
        decode_membership(cursor.rest())?,
    ))
}

/// What a ledger keeps of the memberships that were applied to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppliedMembership {
    /// The last one.
    pub stored: StoredMembership,
    /// The highest node id that any of them had, also of nodes that were removed; 0: none. Ids above
    /// it are free.
    pub highest_node_id: u64,
}

impl AppliedMembership {
    /// After `next` was applied too.
    #[must_use]
    pub fn followed_by(&self, next: StoredMembership) -> Self {
        Self {
            highest_node_id: self.highest_node_id.max(highest_node_id(&next)),
            stored: next,
        }
    }
}

fn highest_node_id(stored: &StoredMembership) -> u64 {
    let ids = stored.membership().nodes().map(|(id, _)| *id);
    ids.max().unwrap_or(0)
}

/// Stands where a stored membership has its presence flag.
const APPLIED_MEMBERSHIP: u8 = 2; // persisted

/// Applied membership: u8 2, highest node id u64, stored membership.
#[must_use]
pub fn encode_applied_membership(applied: &AppliedMembership) -> Vec<u8> {
    let mut out = vec![APPLIED_MEMBERSHIP];
    out.extend_from_slice(&applied.highest_node_id.to_be_bytes());
    out.extend_from_slice(&encode_stored_membership(&applied.stored));
    out
}

/// Inverse of [`encode_applied_membership`]. Of a stored membership, which is what older releases kept,
/// the highest node id is that of its members: those releases removed none.
///
/// # Errors
/// If `bytes` is neither.
pub fn decode_applied_membership(bytes: &[u8]) -> Result<AppliedMembership, DecodeError> {
    let mut cursor = Cursor::new("applied membership", bytes);
    if bytes.first() != Some(&APPLIED_MEMBERSHIP) {
        return Ok(AppliedMembership::default().followed_by(decode_stored_membership(bytes)?));
    }
    cursor.u8()?;
    let highest_node_id = cursor.u64()?;
    let stored = decode_stored_membership(cursor.rest())?;
    if self::highest_node_id(&stored) > highest_node_id {
        return Err(DecodeError::Invalid {
            what: "applied membership",
            reason: "a member's id is above the highest one",
        });
    }
    Ok(AppliedMembership {
        stored,
        highest_node_id,
    })
}
