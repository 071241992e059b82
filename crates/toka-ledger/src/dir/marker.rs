//! The marker file.
//!
//! ```text
//! toka-vault 1
//! mode embedded                     or: mode node, mode joining
//! join-token 0123...                of a joining node only, 32 hexadecimal digits
//! node-id 3                         of a node only
//! cluster-id 0123...                of a node in a cluster only, 32 hexadecimal digits
//! origin joined                     of a node that did not take part in forming its cluster
//! state creating                    or: state complete, state removed, state diverged,
//!                                       state ledger-damaged, state log-damaged
//! checksum 0a1b2c3d                 CRC-32C of everything before this line
//! ```
//!
//! The first line keeps its form in every format, so that an older version can name a newer one.

use std::fmt::Write as _;
use std::path::Path;

use super::Mode;
use crate::error::Error;

/// Newest format of a data directory that this version reads, and the one that it writes.
pub const FORMAT: u32 = 1;

const MAGIC: &str = "toka-vault ";
const CHECKSUM: &str = "checksum ";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) mode: Mode,
    pub(super) state: State,
    /// Of a node: it joined a cluster that was there.
    pub(super) is_joined: bool,
}

/// How far the directory has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not everything in it has been created yet.
    Creating,
    /// Everything has.
    Complete,
    /// Its node was removed from its cluster for good.
    Removed,
    /// Its node's state differed from that of the others.
    Diverged,
    /// Its ledger is damaged, and has to be replaced by a copy of another node's.
    LedgerDamaged,
    /// Its Raft log is damaged, for good.
    LogDamaged,
}

impl Marker {
    pub(super) fn encode(&self) -> String {
        let mut text = format!("{MAGIC}{FORMAT}\n");
        match self.mode {
            Mode::Embedded => text.push_str("mode embedded\n"),
            Mode::Node {
                cluster_id,
                node_id,
            } => {
                write!(text, "mode node\nnode-id {node_id}\n").expect("strings take everything");
                if let Some(id) = cluster_id {
                    writeln!(text, "cluster-id {id:032x}").expect("strings take everything");
                }
            }
            Mode::Joining { token } => {
                write!(text, "mode joining\njoin-token {token:032x}\n")
                    .expect("strings take everything");
            }
        }
        if self.is_joined {
            text.push_str("origin joined\n");
        }
        text.push_str(match self.state {
            State::Creating => "state creating\n",
            State::Complete => "state complete\n",
            State::Removed => "state removed\n",
            State::Diverged => "state diverged\n",
            State::LedgerDamaged => "state ledger-damaged\n",
            State::LogDamaged => "state log-damaged\n",
        });
        let checksum = crc32c::crc32c(text.as_bytes());
        writeln!(text, "{CHECKSUM}{checksum:08x}").expect("strings take everything");
        text
    }

    /// Reads the marker of the directory `path`.
    pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let corrupt = |detail: &str| Error::Corrupt {
            table: "file",
            key: path.join(super::MARKER).display().to_string(),
            detail: detail.to_owned(),
        };
        let text = std::str::from_utf8(bytes).map_err(|_| corrupt("not a text"))?;
        let format = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix(MAGIC))
            .and_then(|format| format.parse::<u32>().ok())
            .ok_or_else(|| corrupt("not the marker of a vault"))?;
        if format > FORMAT && !is_ours_but_for_its_format(text) {
            return Err(Error::NewerFormat {
                path: path.to_owned(),
                found: format,
                supported: FORMAT,
            });
        }
        let body = body(text).ok_or_else(|| corrupt("checksum mismatch"))?;
        parse(body).ok_or_else(|| corrupt("not a marker of this version"))
    }
}

/// What stands before the checksum, if that is right.
fn body(text: &str) -> Option<&str> {
    let (body, found) = text.split_at(text.rfind(CHECKSUM)?);
    let checksum = crc32c::crc32c(body.as_bytes());
    (found == format!("{CHECKSUM}{checksum:08x}\n")).then_some(body)
}

/// Whether a marker that names a newer format is one of this format, whose number was damaged: with the right
/// number its checksum would be right.
fn is_ours_but_for_its_format(text: &str) -> bool {
    let rest = text.find('\n').map_or("", |end| &text[end..]);
    body(&format!("{MAGIC}{FORMAT}{rest}")).is_some()
}

fn parse(body: &str) -> Option<Marker> {
    let mut lines = body.lines().skip(1).peekable();
    let mode = match lines.next()? {
        "mode embedded" => Mode::Embedded,
        "mode joining" => {
            let token = lines.next()?.strip_prefix("join-token ")?;
            let token = u128::from_str_radix(token, 16).ok()?;
            Mode::Joining { token }
        }
        "mode node" => {
            let node_id = lines.next()?.strip_prefix("node-id ")?.parse().ok()?;
            let cluster_id = match lines.peek()?.strip_prefix("cluster-id ") {
                Some(id) => {
                    let id = u128::from_str_radix(id, 16).ok()?;
                    lines.next();
                    Some(id)
                }
                None => None,
            };
            Mode::Node {
                cluster_id,
                node_id,
            }
        }
        _ => return None,
    };
    let is_joined = lines.next_if_eq(&"origin joined").is_some();
    let state = match lines.next()? {
        "state complete" => State::Complete,
        "state creating" => State::Creating,
        "state removed" => State::Removed,
        "state diverged" => State::Diverged,
        "state ledger-damaged" => State::LedgerDamaged,
        "state log-damaged" => State::LogDamaged,
        _ => return None,
    };
    lines.next().is_none().then_some(Marker {
        mode,
        state,
        is_joined,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn markers() -> Vec<Marker> {
        let node = |cluster_id| Mode::Node {
            cluster_id,
            node_id: 3,
        };
        let modes = [
            Mode::Embedded,
            node(None),
            node(Some(7)),
            node(Some(u128::MAX)),
            Mode::Joining { token: 9 },
        ];
        let with = |state, is_joined| {
            modes.map(|mode| Marker {
                mode,
                state,
                is_joined,
            })
        };
        [
            State::Creating,
            State::Complete,
            State::Removed,
            State::Diverged,
            State::LedgerDamaged,
            State::LogDamaged,
        ]
        .map(|state| [with(state, false), with(state, true)].concat())
        .concat()
    }

    #[test]
    fn markers_round_trip() {
        for marker in markers() {
            let decoded = Marker::decode(Path::new("d"), marker.encode().as_bytes());
            assert_eq!(decoded.expect("valid"), marker);
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        for marker in markers() {
            let bytes = marker.encode().into_bytes();
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut flipped = bytes.clone();
                    flipped[at] ^= 1 << bit;
                    assert!(
                        Marker::decode(Path::new("d"), &flipped).is_err(),
                        "byte {at}"
                    );
                }
                assert!(
                    Marker::decode(Path::new("d"), &bytes[..at]).is_err(),
                    "cut at {at}"
                );
            }
        }
    }

    #[test]
    fn flipped_number_of_the_format_is_damage_and_no_newer_format() {
        for marker in markers() {
            let flipped = marker.encode().replacen(" 1\n", " 3\n", 1);
            let error = Marker::decode(Path::new("d"), flipped.as_bytes());
            assert!(matches!(error, Err(Error::Corrupt { .. })), "{error:?}");
            // A newer one has a checksum of its own.
            let (body, _) = flipped.split_at(flipped.rfind(CHECKSUM).expect("there"));
            let checksum = crc32c::crc32c(body.as_bytes());
            let newer = format!("{body}{CHECKSUM}{checksum:08x}\n");
            let error = Marker::decode(Path::new("d"), newer.as_bytes());
            assert!(matches!(error, Err(Error::NewerFormat { .. })), "{error:?}");
        }
    }

    #[test]
    fn newer_format_is_named_whatever_follows() {
        let error = Marker::decode(Path::new("d"), b"toka-vault 9\nsomething new");
        assert!(matches!(
            error,
            Err(Error::NewerFormat {
                found: 9,
                supported: 1,
                ..
            })
        ));
    }
}
