//! What a snapshot covers, and the note of it beside the copy.

use std::path::Path;

use toka_ledger::Digest;
use toka_ledger::command::FEATURE_LEVEL;
use toka_ledger::disk::Disk;
use toka_ledger::read::Position;

use super::{SnapshotDir, SnapshotError};
use crate::codec::{
    Cursor, DecodeError, decode_stored_membership, encode_stored_membership, put_log_id_option,
};
use crate::type_config::SnapshotMeta;

const NOTE: &str = "META";
const VERSION: u8 = 1;
const WHAT: &str = "snapshot note";
const CRC_LEN: usize = 4;

/// What a snapshot covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    /// For openraft: last entry and membership.
    pub(crate) meta: SnapshotMeta,
    /// Where the ledger is.
    pub(crate) position: Position,
    /// The vault's feature level.
    pub(crate) feature_level: u32,
}

impl Contents {
    /// Version u8; feature level u32; log id (presence u8, 24 bytes); revision, sequence, unix_ms as u64; history root
    /// and state digest, 32 bytes each; stored membership; CRC-32C u32 of all before it. Big-endian.
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.feature_level.to_be_bytes());
        put_log_id_option(&mut out, self.meta.last_log_id.as_ref());
        let Position {
            revision,
            sequence,
            unix_ms,
            history_root,
            state_digest,
        } = self.position;
        for number in [revision, sequence, unix_ms] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(history_root.as_bytes());
        out.extend_from_slice(state_digest.as_bytes());
        out.extend_from_slice(&encode_stored_membership(&self.meta.last_membership));
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    /// A snapshot that this build could not go on from is not even fetched.
    pub(super) fn check_level(&self) -> Result<(), SnapshotError> {
        if self.feature_level > FEATURE_LEVEL {
            return Err(SnapshotError::Ledger(toka_ledger::Error::FeatureLevel {
                found: self.feature_level,
                supported: FEATURE_LEVEL,
            }));
        }
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (body, crc) = bytes
            .len()
            .checked_sub(CRC_LEN)
            .map(|at| bytes.split_at(at))
            .ok_or(DecodeError::Truncated { what: WHAT })?;
        if crc32c::crc32c(body).to_be_bytes() != crc {
            return Err(DecodeError::Invalid {
                what: WHAT,
                reason: "the checksum does not match",
            });
        }
        let mut cursor = Cursor::new(WHAT, body);
        let version = cursor.u8()?;
        if version != VERSION {
            return Err(DecodeError::UnknownVersion {
                what: WHAT,
                version,
            });
        }
        let feature_level = cursor.u32()?;
        let last_log_id = cursor.log_id_option()?;
        let (revision, sequence, unix_ms) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
        let mut digest = || -> Result<Digest, DecodeError> {
            Ok(Digest(
                cursor
                    .bytes(32)?
                    .try_into()
                    .expect("32 bytes were asked for"),
            ))
        };
        let (history_root, state_digest) = (digest()?, digest()?);
        let last_membership = decode_stored_membership(cursor.rest())?;
        Ok(Self {
            meta: SnapshotMeta {
                last_log_id,
                last_membership,
            },
            position: Position {
                revision,
                sequence,
                unix_ms,
                history_root,
                state_digest,
            },
            feature_level,
        })
    }

    /// Writes the note into `dir` and syncs it.
    pub(super) fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), SnapshotError> {
        let path = dir.join(NOTE);
        disk.create_with(&path, &self.encode())
            .map_err(SnapshotError::file("write", &path))
    }

    /// Reads the note in `dir`.
    pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Result<Self, SnapshotError> {
        let path = dir.join(NOTE);
        let bytes = disk
            .read(&path)
            .map_err(SnapshotError::file("read", &path))?;
        Self::decode(&bytes).map_err(|source| SnapshotError::Contents { path, source })
    }
}

/// The note that `bytes` are, written again.
#[cfg(fuzzing)]
pub(crate) fn rewritten(bytes: &[u8]) -> Option<Vec<u8>> {
    Contents::decode(bytes)
        .ok()
        .map(|contents| contents.encode())
}

/// Reads the note of a snapshot again.
pub(crate) fn verify_note(snapshot: &SnapshotDir) -> Result<(), SnapshotError> {
    Contents::read(snapshot.disk(), snapshot.dir()).map(drop)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use openraft::vote::RaftLeaderId;
    use toka_ledger::disk::MemoryDisk;

    use super::*;
    use crate::type_config::{LeaderId, LogId, Member, Membership, StoredMembership};

    fn contents() -> Contents {
        let log_id = LogId::new(LeaderId::new(3, 2), 77);
        let nodes = BTreeMap::from([(2, Member::default())]);
        let membership =
            Membership::new(vec![BTreeSet::from([2])], nodes).expect("a valid membership");
        Contents {
            meta: SnapshotMeta {
                last_log_id: Some(log_id),
                last_membership: StoredMembership::new(Some(log_id), membership),
            },
            position: Position {
                revision: 5,
                sequence: 4,
                unix_ms: 3,
                history_root: Digest([7; 32]),
                state_digest: Digest([8; 32]),
            },
            feature_level: 1,
        }
    }

    #[test]
    fn note_survives_a_round_trip() {
        let (disk, dir) = (MemoryDisk::new(), Path::new("/"));
        contents().write(&disk, dir).expect("written");
        assert_eq!(Contents::read(&disk, dir).expect("readable"), contents());
    }

    #[test]
    fn every_flipped_bit_of_a_note_is_found() {
        let bytes = contents().encode();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Contents::decode(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_cut_of_a_note_is_found() {
        let bytes = contents().encode();
        for len in 0..bytes.len() {
            assert!(Contents::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
    }
}
