//! Reading a segment from front to back, much at a time.

use bytes::Bytes;

use super::index::Segment;
use crate::log_store::LogError;

/// Bytes read at once.
const AHEAD_BYTES: usize = 1 << 20;

/// What was read of a segment last.
#[derive(Default)]
pub(super) struct Ahead {
    /// The segment's number.
    segment: u64,
    /// Where `bytes` begin in it.
    start: u64,
    bytes: Bytes,
    /// Up to here no more is read than was asked for: some of it cannot be read, and need not be the log's.
    exact_until: u64,
}

impl Ahead {
    /// `len` bytes from `offset` on, or fewer where the file ends.
    pub(super) fn read(
        &mut self,
        segment: &Segment,
        offset: u64,
        len: usize,
    ) -> Result<Bytes, LogError> {
        if self.segment != segment.number {
            *self = Self {
                segment: segment.number,
                ..Self::default()
            };
        }
        if let Some(held) = self.held(offset, len) {
            return Ok(held);
        }
        if offset >= self.exact_until {
            match read(segment, offset, len.max(AHEAD_BYTES)) {
                Ok(bytes) => {
                    let asked = bytes.slice(..len.min(bytes.len()));
                    (self.start, self.bytes) = (offset, bytes);
                    return Ok(asked);
                }
                Err(_) => self.exact_until = offset + AHEAD_BYTES as u64,
            }
        }
        read(segment, offset, len)
    }

    fn held(&self, offset: u64, len: usize) -> Option<Bytes> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let until = from.checked_add(len)?;
        (until <= self.bytes.len()).then(|| self.bytes.slice(from..until))
    }
}

fn read(segment: &Segment, offset: u64, len: usize) -> Result<Bytes, LogError> {
    let mut bytes = vec![0; len];
    let read = segment.read_at(&mut bytes, offset)?;
    bytes.truncate(read);
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use toka_ledger::disk::{Disk as _, MemoryDisk};

    use super::*;

    #[test]
    fn what_is_read_is_what_is_there() {
        let disk = MemoryDisk::new();
        let len = 2 * AHEAD_BYTES + 100;
        let segment = |number: u64, seed: usize| {
            let content: Vec<u8> = (0..len).map(|at| ((at + seed) % 251) as u8).collect();
            let path = Path::new("/").join(number.to_string());
            let file = disk.create(&path).expect("created");
            file.write_at(&content, 0).expect("written");
            (Segment { number, path, file }, content)
        };
        let segments = [segment(1, 0), segment(2, 7)];
        let mut ahead = Ahead::default();
        for (segment, content) in &segments {
            for (offset, asked) in [
                (0, 32),
                (32, 4_000),
                (AHEAD_BYTES - 1, 2),
                (AHEAD_BYTES, AHEAD_BYTES + 50),
                (10, 10),
                (len - 10, 20),
                (len, 1),
                (len + 5, 0),
            ] {
                let read = ahead.read(segment, offset as u64, asked).expect("readable");
                let expected = &content[offset.min(len)..(offset + asked).min(len)];
                assert_eq!(read, expected, "{asked} at {offset}");
            }
        }
    }
}
