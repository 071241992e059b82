//! The marker file.
//!
//! ```text
//! toka-vault 1
//! mode embedded                     or: mode node
//! node-id 3                         of a node only
//! cluster-id 0123...                of a node in a cluster only, 32 hexadecimal digits
//! state creating                    or: state complete
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
    pub(super) is_complete: bool,
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
        }
        text.push_str(if self.is_complete {
            "state complete\n"
        } else {
            "state creating\n"
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
        if format > FORMAT {
            return Err(Error::NewerFormat {
                path: path.to_owned(),
                found: format,
                supported: FORMAT,
            });
        }
        let body = text
            .rfind(CHECKSUM)
            .filter(|&at| {
                let checksum = crc32c::crc32c(&bytes[..at]);
                text[at..] == format!("{CHECKSUM}{checksum:08x}\n")
            })
            .map(|at| &text[..at])
            .ok_or_else(|| corrupt("checksum mismatch"))?;
        parse(body).ok_or_else(|| corrupt("not a marker of this version"))
    }
}

fn parse(body: &str) -> Option<Marker> {
    let mut lines = body.lines().skip(1).peekable();
    let mode = match lines.next()? {
        "mode embedded" => Mode::Embedded,
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
    let is_complete = match lines.next()? {
        "state complete" => true,
        "state creating" => false,
        _ => return None,
    };
    lines
        .next()
        .is_none()
        .then_some(Marker { mode, is_complete })
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
        ];
        let with = |is_complete| modes.map(|mode| Marker { mode, is_complete });
        [with(true), with(false)].concat()
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
