//! The manifest of a backup: what it is of, and its files. Written last, so that a backup without one
//! is no backup. The format is documented in `docs/format-backup.md`.

use std::cmp::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use toka_ledger::Digest;
use toka_ledger::command::FEATURE_LEVEL;
use toka_ledger::read::Position;

use crate::error::Error;

/// Newest format that this version reads, and the one that it writes.
pub const FORMAT: u32 = 1;

const MAGIC: &str = "toka-backup ";
const CHECKSUM: &str = "blake3 ";
const NAME_BYTES_MAX: usize = 64;

/// What a backup is of, and its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its name.
    pub name: String,
    /// When it was completed, by the clock of who made it, milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
    /// Version of the program that made it.
    pub version: String,
    /// The cluster.
    #[serde(with = "hex128")]
    pub cluster_id: u128,
    /// The history, as of then.
    #[serde(with = "hex128")]
    pub history_id: u128,
    /// The node that it was taken from.
    pub node_id: u64,
    /// Which behaviour of `apply` the vault follows.
    pub feature_level: u32,
    /// Commands applied.
    pub revision: u64,
    /// Sequence of the last event; 0: none.
    pub sequence: u64,
    /// The vault's time there, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// Root of the history's Merkle tree.
    #[serde(with = "hex256")]
    pub history_root: [u8; 32],
    /// State digest.
    #[serde(with = "hex256")]
    pub state_digest: [u8; 32],
    /// The ledger's files, by name.
    pub files: Vec<File>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its name, without a directory.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// BLAKE3 of its content, which is also the object's name.
    #[serde(with = "hex256")]
    pub blake3: [u8; 32],
}

impl Manifest {
    /// Where the vault is in the backup.
    #[must_use]
    pub fn position(&self) -> Position {
        Position {
            revision: self.revision,
            sequence: self.sequence,
            unix_ms: self.unix_ms,
            history_root: Digest(self.history_root),
            state_digest: Digest(self.state_digest),
        }
    }

    /// Size of its files together; at most `u64::MAX`, whatever a manifest says.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let sizes = self.files.iter().map(|file| file.size_bytes);
        sizes.fold(0, u64::saturating_add)
    }

    /// The order of positions; of backups at the same one that in which they were made.
    pub(crate) fn by_position(&self, other: &Self) -> Ordering {
        (self.sequence, self.created_unix_ms, &self.name).cmp(&(
            other.sequence,
            other.created_unix_ms,
            &other.name,
        ))
    }

    /// The text: a line with the format, a line of JSON, and a line with the checksum of both.
    ///
    /// # Panics
    /// Never: a manifest can always be written as JSON.
    #[must_use]
    pub fn encode(&self) -> String {
        let json = serde_json::to_string(self).expect("all keys are texts");
        let mut text = format!("{MAGIC}{FORMAT}\n{json}\n");
        let checksum = blake3::hash(text.as_bytes()).to_hex();
        text.push_str(CHECKSUM);
        text.push_str(&checksum);
        text.push('\n');
        text
    }

    /// Whether this build can apply what the vault is made of: asked before anything is written.
    ///
    /// # Errors
    /// [`toka_ledger::Error::FeatureLevel`].
    pub(crate) fn check_level(&self) -> Result<(), Error> {
        if self.feature_level > FEATURE_LEVEL {
            return Err(Error::Ledger(toka_ledger::Error::FeatureLevel {
                found: self.feature_level,
                supported: FEATURE_LEVEL,
            }));
        }
        Ok(())
    }

    /// Reads the text of the manifest called `name`.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::NewerFormat`].
    pub fn decode(name: &str, bytes: &[u8]) -> Result<Self, Error> {
        let what = || format!("backup {name:?}");
        let damaged = |reason: &str| Error::damaged(what(), reason);
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("its manifest is no text"))?;
        let format = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix(MAGIC));
        let format = format
            .and_then(|format| format.parse::<u32>().ok())
            .ok_or_else(|| damaged("its manifest is none"))?;
        if format > FORMAT {
            return Err(Error::NewerFormat {
                what: what(),
                found: format,
                supported: FORMAT,
            });
        }
        let body = text
            .rfind(CHECKSUM)
            .filter(|&at| {
                let checksum = blake3::hash(&bytes[..at]).to_hex();
                text[at..] == format!("{CHECKSUM}{checksum}\n")
            })
            .map(|at| &text[..at]);
        let body = body.ok_or_else(|| {
            damaged("its manifest is truncated or altered: the checksum does not match")
        })?;
        let json = body.lines().nth(1).unwrap_or_default();
        let manifest: Self = serde_json::from_str(json)
            .map_err(|error| damaged(&format!("its manifest cannot be read: {error}")))?;
        if manifest.name != name {
            return Err(damaged(&format!(
                "its manifest is that of backup {:?}",
                manifest.name
            )));
        }
        if let Some(file) = manifest.files.iter().find(|file| !is_file_name(&file.name)) {
            return Err(damaged(&format!("it has a file called {:?}", file.name)));
        }
        Ok(manifest)
    }
}

/// Checks the name of a backup.
///
/// # Errors
/// [`Error::Invalid`].
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    if name.len() <= NAME_BYTES_MAX && is_file_name(name) {
        return Ok(());
    }
    Err(Error::Invalid {
        what: "backup name",
        text: name.to_owned(),
        reason: format!(
            "it must have 1 to {NAME_BYTES_MAX} letters, digits, dots, dashes and underscores, and no \
             dot in front"
        ),
    })
}

/// Whether a name leads nowhere else.
fn is_file_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && name.chars().all(is_plain)
}

mod hex128 {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(id: &u128, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&format!("{id:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = String::deserialize(from)?;
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

mod hex256 {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(digest: &[u8; 32], out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&blake3::Hash::from_bytes(*digest).to_hex())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(from)?;
        let digest = blake3::Hash::from_hex(text).map_err(D::Error::custom)?;
        Ok(*digest.as_bytes())
    }
}

/// A time as people write it; the end of the year 9999 for a later one, which cannot be written.
#[must_use]
pub fn rfc3339(unix_ms: u64) -> String {
    const LAST_MS: u64 = 253_402_300_799_999;
    let time = UNIX_EPOCH + Duration::from_millis(unix_ms.min(LAST_MS));
    humantime::format_rfc3339_millis(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            name: "first".to_owned(),
            created_unix_ms: 1,
            version: "0.1.0".to_owned(),
            cluster_id: 2,
            history_id: u128::MAX,
            node_id: 3,
            feature_level: 1,
            revision: 4,
            sequence: 5,
            unix_ms: 6,
            history_root: [7; 32],
            state_digest: [8; 32],
            files: vec![File {
                name: "000012.sst".to_owned(),
                size_bytes: 9,
                blake3: [10; 32],
            }],
        }
    }

    #[test]
    fn manifest_round_trips() {
        let text = manifest().encode();
        let decoded = Manifest::decode("first", text.as_bytes());
        assert_eq!(decoded.expect("valid"), manifest());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes = manifest().encode().into_bytes();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(Manifest::decode("first", &flipped).is_err(), "byte {at}");
            }
            assert!(Manifest::decode("first", &bytes[..at]).is_err(), "cut {at}");
        }
    }

    #[test]
    fn manifest_under_another_name_is_refused() {
        let text = manifest().encode();
        let error = Manifest::decode("second", text.as_bytes()).expect_err("another name");
        assert!(error.to_string().contains("\"first\""), "{error}");
    }

    #[test]
    fn newer_format_is_named_whatever_follows() {
        let error = Manifest::decode("x", b"toka-backup 7\nsomething new");
        assert!(matches!(error, Err(Error::NewerFormat { found: 7, .. })));
    }

    #[test]
    fn file_that_leads_elsewhere_is_refused() {
        let mut manifest = manifest();
        manifest.files[0].name = "../x".to_owned();
        assert!(Manifest::decode("first", manifest.encode().as_bytes()).is_err());
    }

    #[test]
    fn sizes_that_no_number_holds_are_the_largest() {
        let mut manifest = manifest();
        manifest.files[0].size_bytes = u64::MAX;
        manifest.files.push(manifest.files[0].clone());
        assert_eq!(manifest.size_bytes(), u64::MAX);
    }

    #[test]
    fn names_are_plain() {
        for name in ["", ".", "a/b", "a b", "ä"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert!(check_name("20261126T171500Z-12").is_ok());
        assert!(check_name(&"x".repeat(65)).is_err());
    }
}
