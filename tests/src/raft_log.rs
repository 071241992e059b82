//! The Raft log of a node on disk, and damage to it; docs/format-raft-log.md has the bytes.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

const PAGE: usize = 4096;
const FRAME_HEADER: usize = 32;
const FRAME_MAGIC: &[u8] = b"TKFR";
/// Random number of the segment, in its first page and again in each of its frames.
const SEGMENT_SALT: std::ops::Range<usize> = 25..33;
const FRAME_SALT: std::ops::Range<usize> = 8..16;
const FRAME_LENGTH: std::ops::Range<usize> = 24..28;
/// Length and checksum before each record; the length counts what follows both.
const RECORD_PREFIX: usize = 8;
const RECORD_PURGE: u8 = 3;
/// Of the log id in such a record, behind its tag.
const PURGE_INDEX: std::ops::Range<usize> = 17..25;

/// A group of records that was written and synced at once.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Where it begins in the file, bytes.
    pub offset: u64,
    /// Bytes of its records.
    pub payload: u64,
}

impl Frame {
    /// Where the next frame begins, bytes.
    pub fn end(&self) -> u64 {
        (self.offset + FRAME_HEADER as u64 + self.payload).next_multiple_of(PAGE as u64)
    }
}

/// The newest segment of a node's log.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    /// Oldest first.
    pub frames: Vec<Frame>,
}

impl Segment {
    /// Reads the newest segment of the node with its data in `data`.
    pub fn newest(data: &Path) -> Result<Self> {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(data.join("raft"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                paths.push(path);
            }
        }
        let path = paths.into_iter().max().context("there is no segment")?;
        let bytes = std::fs::read(&path)?;
        let salt = bytes
            .get(SEGMENT_SALT)
            .context("the segment has no header")?;
        let mut frames = Vec::new();
        let mut offset = PAGE;
        while let Some(header) = bytes.get(offset..offset + FRAME_HEADER)
            && header.starts_with(FRAME_MAGIC)
            && &header[FRAME_SALT] == salt
        {
            let length = header[FRAME_LENGTH].try_into().expect("four bytes");
            let frame = Frame {
                offset: offset as u64,
                payload: u32::from_be_bytes(length).into(),
            };
            offset = usize::try_from(frame.end())?;
            frames.push(frame);
        }
        ensure!(!frames.is_empty(), "{} has no frame", path.display());
        Ok(Self { path, frames })
    }

    /// Index up to which the log was purged, as far as this segment tells; 0 if it does not.
    pub fn purged(&self) -> Result<u64> {
        let bytes = std::fs::read(&self.path)?;
        let mut purged = 0;
        for frame in &self.frames {
            let start = usize::try_from(frame.offset)? + FRAME_HEADER;
            let mut records = bytes
                .get(start..start + usize::try_from(frame.payload)?)
                .unwrap_or_default();
            while let Some((length, rest)) = records.split_first_chunk::<4>()
                && let length = usize::try_from(u32::from_be_bytes(*length))?
                && length > 0
                && let Some(record) = rest.get(4..4 + length)
            {
                if record[0] == RECORD_PURGE {
                    let index = record[PURGE_INDEX].try_into().expect("eight bytes");
                    purged = purged.max(u64::from_be_bytes(index));
                }
                records = &records[RECORD_PREFIX + length..];
            }
        }
        Ok(purged)
    }

    fn file(&self) -> Result<File> {
        Ok(OpenOptions::new().read(true).write(true).open(&self.path)?)
    }

    /// Where the log ends, bytes.
    pub fn end(&self) -> u64 {
        self.frames.last().map_or(PAGE as u64, Frame::end)
    }

    /// Flips the bits of some bytes in the middle of a frame's records.
    pub fn flip(&self, frame: &Frame) -> Result<()> {
        let offset = frame.offset + FRAME_HEADER as u64 + frame.payload / 2;
        let mut bytes = [0; 4];
        let length = usize::try_from(frame.payload.min(bytes.len() as u64 * 2) / 2)?;
        let file = self.file()?;
        file.read_exact_at(&mut bytes[..length], offset)?;
        bytes[..length].iter_mut().for_each(|byte| *byte = !*byte);
        file.write_all_at(&bytes[..length], offset)?;
        Ok(())
    }

    /// Cuts the file off after `length` bytes.
    pub fn truncate(&self, length: u64) -> Result<()> {
        Ok(self.file()?.set_len(length)?)
    }

    /// Writes the beginning of a frame behind the last one, as a crash in the middle of a write leaves
    /// it: the first bytes are there, the others are not.
    pub fn tear_a_write(&self) -> Result<()> {
        let last = self.frames.last().context("there is no frame")?;
        let file = self.file()?;
        let mut torn = vec![0; FRAME_HEADER + usize::try_from(last.payload)?];
        file.read_exact_at(&mut torn, last.offset)?;
        torn.truncate(FRAME_HEADER + torn.len() / 3);
        file.write_all_at(&torn, self.end())?;
        Ok(())
    }
}
