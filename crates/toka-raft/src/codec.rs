//! The bytes of Raft's types, on disk and on the wire.
//!
//! All integers are big-endian. The forms are ours and not serde's, so that a new version of
//! openraft cannot change what is on a disk. Every decoder is total: it never panics, allocates no
//! more than a small multiple of its input, and refuses what `encode` would not have produced.

use bytes::Bytes;
use openraft::vote::RaftLeaderId;
use thiserror::Error;

use crate::type_config::{Commands, Entry, EntryPayload, LeaderId, LogId, Vote};

mod membership;
#[cfg(test)]
mod tests;

pub use self::membership::{
    AppliedMembership, decode_applied_membership, decode_membership, decode_stored_membership,
    encode_applied_membership, encode_membership, encode_stored_membership,
};

/// Bytes of an encoded log id.
pub const LOG_ID_LEN: usize = 24;
/// Bytes of an encoded vote.
pub const VOTE_LEN: usize = 17;
/// Bytes of an encoded entry before its body.
pub const ENTRY_HEADER_LEN: usize = 2 + LOG_ID_LEN;

const ENTRY_VERSION: u8 = 1;
const KIND_BLANK: u8 = 0; // persisted
const KIND_NORMAL: u8 = 1; // persisted
const KIND_MEMBERSHIP: u8 = 2; // persisted

/// Why bytes are not what they were taken for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input ends too early.
    #[error("{what} ends too early")]
    Truncated {
        /// What was being decoded.
        what: &'static str,
    },
    /// The input goes on after its end.
    #[error("{extra} bytes after the end of {what}")]
    Trailing {
        /// What was being decoded.
        what: &'static str,
        /// Number of bytes too many.
        extra: usize,
    },
    /// A format of a later release.
    #[error("{what} has version {version}, which this release does not know")]
    UnknownVersion {
        /// What was being decoded.
        what: &'static str,
        /// The version found.
        version: u8,
    },
    /// A tag that is not in use.
    #[error("{what} has the unknown tag {tag}")]
    UnknownTag {
        /// What was being decoded.
        what: &'static str,
        /// The tag found.
        tag: u8,
    },
    /// The bytes can be read and make no sense.
    #[error("{what} is not valid: {reason}")]
    Invalid {
        /// What was being decoded.
        what: &'static str,
        /// The rule that is broken.
        reason: &'static str,
    },
}

impl DecodeError {
    /// Whether a newer build has written the bytes. Only right of bytes whose checksum is.
    pub(crate) const fn is_newer(&self) -> bool {
        match self {
            Self::UnknownVersion { .. } | Self::UnknownTag { .. } => true,
            Self::Truncated { .. } | Self::Trailing { .. } | Self::Invalid { .. } => false,
        }
    }
}

/// Reads fields from the front of a slice.
pub(crate) struct Cursor<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(DecodeError::Truncated { what: self.what })?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        Ok(self
            .bytes(N)?
            .try_into()
            .expect("bytes() returns as many as it is asked for"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn u128(&mut self) -> Result<u128, DecodeError> {
        Ok(u128::from_be_bytes(self.array()?))
    }

    pub(crate) fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(DecodeError::UnknownTag {
                what: self.what,
                tag,
            }),
        }
    }

    /// A count of items of at least `item_len` bytes each: never more than the input can hold.
    fn count(&mut self, item_len: usize) -> Result<usize, DecodeError> {
        let count = self.u32()? as usize;
        if count > self.rest.len() / item_len {
            return Err(DecodeError::Truncated { what: self.what });
        }
        Ok(count)
    }

    fn string(&mut self) -> Result<String, DecodeError> {
        let len = self.u32()? as usize;
        let bytes = self.bytes(len)?;
        let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::Invalid {
            what: self.what,
            reason: "text is not UTF-8",
        })?;
        Ok(text.to_owned())
    }

    pub(crate) fn log_id(&mut self) -> Result<LogId, DecodeError> {
        let leader_id = LeaderId::new(self.u64()?, self.u64()?);
        Ok(LogId::new(leader_id, self.u64()?))
    }

    pub(crate) fn log_id_option(&mut self) -> Result<Option<LogId>, DecodeError> {
        if self.flag()? {
            self.log_id().map(Some)
        } else {
            Ok(None)
        }
    }

    pub(crate) fn vote(&mut self) -> Result<Vote, DecodeError> {
        let leader_id = LeaderId::new(self.u64()?, self.u64()?);
        Ok(Vote {
            leader_id,
            committed: self.flag()?,
        })
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(DecodeError::Trailing {
                what: self.what,
                extra,
            }),
        }
    }
}

/// Log id: term u64, node id u64, index u64.
#[must_use]
pub fn encode_log_id(log_id: &LogId) -> [u8; LOG_ID_LEN] {
    let mut bytes = [0; LOG_ID_LEN];
    bytes[..8].copy_from_slice(&log_id.leader_id.term.to_be_bytes());
    bytes[8..16].copy_from_slice(&log_id.leader_id.node_id.to_be_bytes());
    bytes[16..].copy_from_slice(&log_id.index.to_be_bytes());
    bytes
}

/// Inverse of [`encode_log_id`].
///
/// # Errors
/// If `bytes` is not exactly one log id.
pub fn decode_log_id(bytes: &[u8]) -> Result<LogId, DecodeError> {
    let mut cursor = Cursor::new("log id", bytes);
    let log_id = cursor.log_id()?;
    cursor.finish()?;
    Ok(log_id)
}

pub(crate) fn put_log_id_option(out: &mut Vec<u8>, log_id: Option<&LogId>) {
    out.push(u8::from(log_id.is_some()));
    if let Some(log_id) = log_id {
        out.extend_from_slice(&encode_log_id(log_id));
    }
}

/// Vote: term u64, node id u64, committed u8 (0 or 1).
#[must_use]
pub fn encode_vote(vote: &Vote) -> [u8; VOTE_LEN] {
    let mut bytes = [0; VOTE_LEN];
    bytes[..8].copy_from_slice(&vote.leader_id.term.to_be_bytes());
    bytes[8..16].copy_from_slice(&vote.leader_id.node_id.to_be_bytes());
    bytes[16] = u8::from(vote.committed);
    bytes
}

/// Inverse of [`encode_vote`].
///
/// # Errors
/// If `bytes` is not exactly one vote.
pub fn decode_vote(bytes: &[u8]) -> Result<Vote, DecodeError> {
    let mut cursor = Cursor::new("vote", bytes);
    let vote = cursor.vote()?;
    cursor.finish()?;
    Ok(vote)
}

/// What stands before an entry's body: version u8, kind u8 (0 blank, 1 commands, 2 membership), log
/// id.
#[must_use]
pub fn encode_entry_header(entry: &Entry) -> [u8; ENTRY_HEADER_LEN] {
    let mut bytes = [0; ENTRY_HEADER_LEN];
    bytes[0] = ENTRY_VERSION;
    bytes[1] = match &entry.payload {
        EntryPayload::Blank => KIND_BLANK,
        EntryPayload::Normal(_) => KIND_NORMAL,
        EntryPayload::Membership(_) => KIND_MEMBERSHIP,
    };
    bytes[2..].copy_from_slice(&encode_log_id(&entry.log_id));
    bytes
}

/// An entry's body. The bytes of commands are shared, not copied: they were encoded when they were
/// proposed, and are not encoded again.
#[must_use]
pub fn entry_body(entry: &Entry) -> Bytes {
    match &entry.payload {
        EntryPayload::Blank => Bytes::new(),
        EntryPayload::Normal(commands) => commands.0.clone(),
        EntryPayload::Membership(membership) => Bytes::from(encode_membership(membership)),
    }
}

/// Puts an entry together from its header and its body; commands share `body`.
///
/// # Errors
/// If header or body are not what [`encode_entry_header`] and [`entry_body`] give.
pub fn decode_entry(header: &[u8], body: Bytes) -> Result<Entry, DecodeError> {
    const WHAT: &str = "log entry";
    let mut cursor = Cursor::new(WHAT, header);
    check_version(WHAT, cursor.u8()?, ENTRY_VERSION)?;
    let kind = cursor.u8()?;
    let log_id = cursor.log_id()?;
    cursor.finish()?;
    let payload = match kind {
        KIND_BLANK if body.is_empty() => EntryPayload::Blank,
        KIND_BLANK => {
            return Err(DecodeError::Trailing {
                what: WHAT,
                extra: body.len(),
            });
        }
        KIND_NORMAL => EntryPayload::Normal(Commands(body)),
        KIND_MEMBERSHIP => EntryPayload::Membership(decode_membership(&body)?),
        tag => return Err(DecodeError::UnknownTag { what: WHAT, tag }),
    };
    Ok(Entry { log_id, payload })
}

/// Bytes that an entry takes in memory and on the wire, roughly: header and body.
#[must_use]
pub fn entry_len(entry: &Entry) -> u64 {
    let body = match &entry.payload {
        EntryPayload::Blank => 0,
        EntryPayload::Normal(commands) => commands.0.len(),
        // An estimate is enough: memberships are rare and small.
        EntryPayload::Membership(membership) => 128 * membership.nodes().count(),
    };
    (ENTRY_HEADER_LEN + body) as u64
}

fn check_version(what: &'static str, version: u8, known: u8) -> Result<(), DecodeError> {
    if version == known {
        Ok(())
    } else {
        Err(DecodeError::UnknownVersion { what, version })
    }
}
