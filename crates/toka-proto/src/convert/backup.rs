//! Copies of a vault.

use std::collections::BTreeSet;

use bytes::Bytes;
use toka_ledger::{Digest, Invalid};

use super::ident;
use super::read::Header;
use crate::v1;
use crate::v1::create_backup_response::Part as Message;

/// Bytes of a file's name.
const NAME_BYTES_MAX: usize = 255;

/// A part of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// What the copy is of.
    Header(CopyHeader),
    /// The next file.
    File(CopyFile),
    /// The next bytes of that file.
    Chunk(CopyChunk),
    /// The copy is complete.
    End,
}

/// What a copy is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyHeader {
    /// State of the node that answers; revision and sequence are the copy's.
    pub header: Header,
    /// Which behaviour of `apply` the vault follows.
    pub feature_level: u32,
    /// The vault's time, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// Root of the history's Merkle tree.
    pub history_root: Digest,
    /// State digest.
    pub state_digest: Digest,
    /// Files that follow.
    pub files: u32,
    /// Their size.
    pub size_bytes: u64,
}

/// A file of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyFile {
    /// Its name, without a directory.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// BLAKE3 of its content.
    pub blake3: [u8; 32],
    /// No chunks follow: the caller has the content.
    pub known: bool,
}

/// Consecutive bytes of a file, whose checksum matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyChunk {
    /// Where in the file they begin.
    pub offset: u64,
    /// The bytes.
    pub data: Bytes,
}

/// Digests of files that a caller has.
///
/// # Errors
/// [`Invalid::TooMany`] above `max`, [`Invalid::Length`].
pub fn known_files(digests: &[Bytes], max: usize) -> Result<BTreeSet<[u8; 32]>, Invalid> {
    const FIELD: &str = "known_files";
    if digests.len() > max {
        return Err(Invalid::TooMany {
            field: FIELD,
            max,
            actual: digests.len(),
        });
    }
    let digests = digests.iter();
    digests
        .map(|bytes| ident::digest(FIELD, bytes).map(|digest| *digest.as_bytes()))
        .collect()
}

impl From<Part> for v1::CreateBackupResponse {
    fn from(part: Part) -> Self {
        let part = match part {
            Part::Header(header) => Message::Header(v1::BackupHeader {
                header: Some(header.header.into()),
                feature_level: header.feature_level,
                unix_ms: header.unix_ms,
                history_root: ident::digest_bytes(&header.history_root),
                state_digest: ident::digest_bytes(&header.state_digest),
                files: header.files,
                size_bytes: header.size_bytes,
            }),
            Part::File(file) => Message::File(v1::BackupFile {
                name: file.name,
                size_bytes: file.size_bytes,
                blake3: Bytes::copy_from_slice(&file.blake3),
                known: file.known,
            }),
            Part::Chunk(chunk) => Message::Chunk(v1::BackupChunk {
                offset_bytes: chunk.offset,
                crc32c: crc32c::crc32c(&chunk.data),
                data: chunk.data,
            }),
            Part::End => Message::End(v1::BackupEnd {}),
        };
        Self { part: Some(part) }
    }
}

impl TryFrom<v1::CreateBackupResponse> for Part {
    type Error = Invalid;

    fn try_from(message: v1::CreateBackupResponse) -> Result<Self, Invalid> {
        let part = message.part.ok_or(Invalid::Empty { field: "part" })?;
        Ok(match part {
            Message::Header(header) => Self::Header(CopyHeader {
                header: header.header.try_into()?,
                feature_level: header.feature_level,
                unix_ms: header.unix_ms,
                history_root: ident::digest("history_root", &header.history_root)?,
                state_digest: ident::digest("state_digest", &header.state_digest)?,
                files: header.files,
                size_bytes: header.size_bytes,
            }),
            Message::File(file) => Self::File(CopyFile {
                blake3: *ident::digest("blake3", &file.blake3)?.as_bytes(),
                name: file_name(file.name)?,
                size_bytes: file.size_bytes,
                known: file.known,
            }),
            Message::Chunk(chunk) => {
                if crc32c::crc32c(&chunk.data) != chunk.crc32c {
                    return Err(Invalid::Syntax {
                        field: "chunk.data",
                        expected: "what its checksum is of",
                    });
                }
                Self::Chunk(CopyChunk {
                    offset: chunk.offset_bytes,
                    data: chunk.data,
                })
            }
            Message::End(v1::BackupEnd {}) => Self::End,
        })
    }
}

/// A name that leads nowhere else.
fn file_name(name: String) -> Result<String, Invalid> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty()
        || name.len() > NAME_BYTES_MAX
        || name.starts_with('.')
        || !name.chars().all(is_plain)
    {
        return Err(Invalid::Syntax {
            field: "file.name",
            expected: "1 to 255 letters, digits, dots, dashes and underscores, without a dot in front",
        });
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Vec<Part> {
        vec![
            Part::Header(CopyHeader {
                header: Header {
                    cluster_id: 1,
                    history_id: 2,
                    node_id: 3,
                    term: 4,
                    revision: 5,
                    sequence: 6,
                },
                feature_level: 1,
                unix_ms: 7,
                history_root: Digest([8; 32]),
                state_digest: Digest([9; 32]),
                files: 10,
                size_bytes: 11,
            }),
            Part::File(CopyFile {
                name: "000012.sst".to_owned(),
                size_bytes: 3,
                blake3: [1; 32],
                known: true,
            }),
            Part::Chunk(CopyChunk {
                offset: 0,
                data: Bytes::from_static(b"abc"),
            }),
            Part::End,
        ]
    }

    #[test]
    fn parts_round_trip() {
        for part in parts() {
            let message = v1::CreateBackupResponse::from(part.clone());
            assert_eq!(Part::try_from(message), Ok(part));
        }
    }

    #[test]
    fn altered_chunk_is_refused() {
        let mut message = v1::CreateBackupResponse::from(parts().remove(2));
        if let Some(Message::Chunk(chunk)) = &mut message.part {
            chunk.data = Bytes::from_static(b"abd");
        }
        assert!(Part::try_from(message).is_err());
    }

    #[test]
    fn name_that_leads_elsewhere_is_refused() {
        for name in ["", "..", ".x", "a/b", "/etc/passwd", "a\\b", "a\0"] {
            assert!(file_name(name.to_owned()).is_err(), "{name:?}");
        }
        assert!(file_name("OPTIONS-000007".to_owned()).is_ok());
    }

    #[test]
    fn known_files_are_digests_and_not_too_many() {
        let digest = Bytes::from_static(&[1; 32]);
        let twice = [digest.clone(), digest];
        assert_eq!(known_files(&twice, 2).map(|known| known.len()), Ok(1));
        assert!(matches!(
            known_files(&twice, 1),
            Err(Invalid::TooMany { .. })
        ));
        let short = [Bytes::from_static(&[1; 31])];
        assert!(matches!(
            known_files(&short, 1),
            Err(Invalid::Length { .. })
        ));
    }
}
