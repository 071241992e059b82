//! Tells damage in RocksDB's write-ahead log from a tail that was torn by a crash.
//!
//! A log file is a row of 32 KiB blocks. A record is one FULL fragment, or FIRST, MIDDLE..., LAST
//! over several blocks; a fragment is `u32 masked crc32c(type, data) | u16 len | u8 type | data`
//! (little-endian); fewer than seven bytes at the end of a block are padding. Every record is
//! synced before the next one is written, so only the last one can be torn, and a torn one was
//! never acknowledged. Where the first fragment is that does not check out, it is damage if
//!
//! - a later record begins after it, in this file or in a later one; or
//! - its bytes are all there: no 512-byte sector of it is missing (all zeros), and it does not end
//!   beyond the file, or does so only because its length field is wrong.
//!
//! The sector rule is etcd's. It errs on the side of refusing, except for a last record that has an
//! aligned sector of zeros as content.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use tracing::warn;

use super::EngineError;

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 4 + 2 + 1;
const SECTOR_BYTES: usize = 512;

// Fragment types, RocksDB's db/log_format.h; the recyclable ones are never written, since
// recycling is off.
const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// Looks through all log files in `dir` and cuts a torn tail, durably.
///
/// Nobody else may have the store open.
///
/// # Errors
/// [`EngineError::Corruption`] for damage; then nothing has been changed.
pub(super) fn cut_torn_tail(dir: &Path) -> Result<(), EngineError> {
    let mut torn: Option<(PathBuf, usize)> = None;
    for path in log_files(dir)? {
        let bytes = fs::read(&path).map_err(EngineError::io("read", &path))?;
        let scan = scan(&bytes);
        let is_empty = scan.records == 0 && scan.end == End::Clean;
        if let (Some((torn, at)), false) = (&torn, is_empty) {
            let detail = format!("cut after byte {at}, but a later file follows");
            return Err(EngineError::corruption(torn, None, detail));
        }
        match scan.end {
            End::Clean => {}
            End::Torn => torn = Some((path, scan.valid_bytes)),
            End::Damaged { at } => {
                let detail = format!("bad record at byte {at}, and it is not a torn tail");
                return Err(EngineError::corruption(&path, None, detail));
            }
        }
    }
    let Some((path, valid_bytes)) = torn else {
        return Ok(());
    };
    warn!(path = %path.display(), valid_bytes, "unfinished write cut from the write-ahead log");
    OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|file| {
            file.set_len(valid_bytes as u64)?;
            file.sync_all()
        })
        .map_err(EngineError::io("cut", &path))
}

/// Checks the list of table files in `dir`, which is written as a log is: RocksDB takes one whose last record has
/// a wrong length for one that a crash has torn, and goes on without that record.
///
/// # Errors
/// [`EngineError::Corruption`], [`EngineError::Io`].
pub(super) fn check_manifest(dir: &Path) -> Result<(), EngineError> {
    let pointer = dir.join(super::CURRENT_FILE);
    let name = fs::read(&pointer).map_err(EngineError::io("read", &pointer))?;
    let name = String::from_utf8_lossy(&name);
    let path = dir.join(name.trim_end());
    let bytes = fs::read(&path).map_err(EngineError::io("read", &path))?;
    match scan(&bytes).end {
        // Torn: it was never relied on.
        End::Clean | End::Torn => Ok(()),
        End::Damaged { at } => {
            let detail = format!("bad record at byte {at}");
            Err(EngineError::corruption(&path, None, detail))
        }
    }
}

/// Log files in the order they were written.
fn log_files(dir: &Path) -> Result<Vec<PathBuf>, EngineError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(EngineError::io("list", dir))? {
        let path = entry.map_err(EngineError::io("list", dir))?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".log")?.parse::<u64>().ok());
        files.extend(number.map(|number| (number, path)));
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Clean,
    Torn,
    Damaged { at: usize },
}

struct LogScan {
    /// Whole, valid records.
    records: usize,
    /// Bytes up to the end of the last of them.
    valid_bytes: usize,
    end: End,
}

fn scan(bytes: &[u8]) -> LogScan {
    let mut records = 0;
    let mut valid_bytes = 0;
    let mut in_record = false;
    let mut at = 0;
    let end = loop {
        at = skip_padding(at);
        if at >= bytes.len() {
            // FIRST without LAST: the rest never reached the disk.
            break if in_record { End::Torn } else { End::Clean };
        }
        let Some(fragment) = fragment_at(bytes, at) else {
            break classify(bytes, at);
        };
        let in_order = match fragment.kind {
            MIDDLE | LAST => in_record,
            _ => !in_record,
        };
        if !in_order {
            break End::Damaged { at };
        }
        in_record = matches!(fragment.kind, FIRST | MIDDLE);
        at += HEADER_BYTES + fragment.len;
        if !in_record {
            records += 1;
            valid_bytes = at;
        }
    };
    LogScan {
        records,
        valid_bytes,
        end,
    }
}

struct Fragment {
    kind: u8,
    len: usize,
}

/// The fragment at `at`, if it is valid.
fn fragment_at(bytes: &[u8], at: usize) -> Option<Fragment> {
    let header = bytes.get(at..at + HEADER_BYTES)?;
    let kind = header[6];
    let len = usize::from(u16::from_le_bytes([header[4], header[5]]));
    let end = at + HEADER_BYTES + len;
    if kind == 0 || end > block_end(at) || end > bytes.len() {
        return None;
    }
    let checksum = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    let valid = masked(crc32c::crc32c(&bytes[at + 6..end])) == checksum;
    valid.then_some(Fragment { kind, len })
}

/// What the invalid fragment at `at` is a sign of.
fn classify(bytes: &[u8], at: usize) -> End {
    let torn = !later_record_begins(bytes, at) && is_incomplete(bytes, at);
    if torn { End::Torn } else { End::Damaged { at } }
}

/// Whether a valid record begins anywhere after `at`. Fragments that could continue the bad one do
/// not count, since its parts may reach the disk in any order.
fn later_record_begins(bytes: &[u8], at: usize) -> bool {
    (at + 1..bytes.len().saturating_sub(HEADER_BYTES - 1))
        .any(|at| matches!(bytes[at + 6], FULL | FIRST) && fragment_at(bytes, at).is_some())
}

/// Whether part of the fragment at `at` never reached the disk.
fn is_incomplete(bytes: &[u8], at: usize) -> bool {
    let rest = &bytes[at..];
    if rest.len() < HEADER_BYTES || is_zero(rest) {
        return true;
    }
    let header = &rest[..HEADER_BYTES];
    let to_sector = at.next_multiple_of(SECTOR_BYTES) - at;
    if is_zero(header) {
        // Nothing says how long it was; the sector it began in is missing.
        return is_zero(&rest[..to_sector.min(rest.len())]);
    }
    let end = HEADER_BYTES + usize::from(u16::from_le_bytes([header[4], header[5]]));
    if at + end > block_end(at) {
        return false; // No fragment is that long.
    }
    if end > rest.len() {
        return !valid_at_another_length(rest);
    }
    let sectors = rest.get(to_sector..end).unwrap_or_default();
    sectors.chunks_exact(SECTOR_BYTES).any(is_zero)
}

/// Whether the checksum fits the fragment at some length within the file, so that it is the length
/// that is wrong. (The checksum does not cover the length.)
fn valid_at_another_length(rest: &[u8]) -> bool {
    let checksum = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
    let mut crc = crc32c::crc32c(&rest[6..HEADER_BYTES]);
    masked(crc) == checksum
        || rest[HEADER_BYTES..].iter().any(|&byte| {
            crc = crc32c::crc32c_append(crc, &[byte]);
            masked(crc) == checksum
        })
}

/// `at`, or the start of the next block where no header fits before it.
fn skip_padding(at: usize) -> usize {
    let left = block_end(at) - at;
    if left < HEADER_BYTES { at + left } else { at }
}

fn block_end(at: usize) -> usize {
    (at / BLOCK_BYTES + 1) * BLOCK_BYTES
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// RocksDB stores checksums masked (util/crc32c.h).
const fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests;
