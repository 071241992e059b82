//! The log on disk: segment files of our own (docs/adr says why not raft-engine).
//!
//! The log is one journal: entries, truncations, purges, votes and commit positions in the order in
//! which they happened, so that a crash leaves a prefix of it and nothing else. A group of changes is
//! one *frame*, written at once and synced before the next one is written. Hence the rule that tells
//! damage from a torn write: if frame N cannot be read and anything of frame N + 1 is on the disk,
//! then frame N had been synced, may have been acknowledged, and is damaged. A file beside the
//! segments, the *mark*, keeps the number of the last synced frame; it is written after each sync
//! and never waited for, so it can lag but never lead, and it gives away damage in the very last frame.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toka_ledger::disk::{Disk, DiskLock};
use toka_ledger::seam::Entropy;

use super::LogError;
use super::engine::{Change, EngineReader, LogEngine, LogMeta};
use super::error::IoContext;

mod ahead;
mod checksum;
mod format;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod index;
mod inspect;
mod mark;
mod recovery;
mod scrub;
#[cfg(test)]
mod tests;

#[cfg(feature = "storage")]
pub(crate) use inspect::log_problems;
pub use inspect::{FramePlace, frames};

use checksum::joined;
use format::{FRAME_HEADER_LEN, FrameHeader, PAGE, PAGE_LEN, SegmentHeader, encode_change};
use index::{Position, Segment, SharedIndex};
use mark::Mark;

/// How far a new file is filled with zeros ahead of the writer, bytes. A write into written space
/// does not change the file's metadata, which halves the cost of its sync; recycled files need none.
const FILL_BYTES: u64 = 1 << 20;
/// What it is filled with. They are never written to, and take no memory.
static ZEROS: [u8; FILL_BYTES as usize] = [0; FILL_BYTES as usize];

/// A frame of so many bytes or more is written into space that was not filled before it. Filling writes everything
/// twice; what it saves, a change of the file's metadata with each sync, costs less than that for a frame of this
/// size. Such frames come under load, which is when bytes count.
const UNFILLED_FRAME_BYTES: u64 = 64 << 10;

/// Purged segments kept to be written again: what one purge may free of the default size, padding included, so that
/// the log is written over and over into the same files.
const RECYCLED_SEGMENTS_MAX: usize = 8;

/// How the log lies on disk.
#[derive(Clone, Copy, Debug)]
pub struct SegmentOptions {
    /// Size of a segment file, bytes; a group that is larger gets a larger segment of its own.
    pub segment_bytes: u64,
    /// Whether a log that is not there is created; else that is an error.
    pub create: bool,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            create: true,
        }
    }
}

/// A [`LogEngine`] on disk.
pub struct SegmentLog {
    disk: Arc<dyn Disk>,
    entropy: Arc<dyn Entropy>,
    dir: PathBuf,
    options: SegmentOptions,
    log: u64,
    meta: LogMeta,
    index: SharedIndex,
    active: Active,
    /// Number of the next frame.
    next_frame: u64,
    /// Whether a frame has been written and not been synced.
    dirty: bool,
    mark: Mark,
    /// Segments without entries that a reader may still hold.
    retired: Vec<Arc<Segment>>,
    /// Files to be written again.
    recycled: Vec<PathBuf>,
    /// Reused for each frame.
    frame: Vec<u8>,
    /// Keeps other processes out, until dropped.
    _lock: Box<dyn DiskLock>,
}

/// The segment that is being written.
struct Active {
    segment: Arc<Segment>,
    salt: u64,
    /// Where the next frame goes.
    offset: u64,
    /// Length of the file; it is written that far. Not before `offset`.
    file_len: u64,
}

pub(super) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.log"))
}

impl SegmentLog {
    /// Opens the log in `dir`, or creates it, if the options say so. A write that a crash has torn is
    /// cut off.
    ///
    /// # Errors
    /// [`LogError::Missing`];
    /// [`LogError::Damaged`] if something is missing that may have been acknowledged;
    /// [`LogError::InUse`]; [`LogError::UnknownVersion`]; [`LogError::Io`].
    pub fn open(
        disk: Arc<dyn Disk>,
        entropy: Arc<dyn Entropy>,
        dir: &Path,
        options: SegmentOptions,
    ) -> Result<Self, LogError> {
        recovery::open(disk, entropy, dir, options)
    }

    /// Begins a new segment, durably. The active one has been synced: the existence of the next one
    /// tells recovery that it is complete.
    fn roll(&mut self, bytes: u64) -> Result<(), LogError> {
        let number = self.active.segment.number + 1;
        let recycled = (PAGE + bytes <= self.options.segment_bytes)
            .then(|| self.recycled.pop())
            .flatten();
        let header = SegmentHeader {
            log: self.log,
            number,
            salt: random_u64(&*self.entropy),
            first_frame: self.next_frame,
            meta: self.meta.clone(),
        };
        self.active = create_segment(&*self.disk, &self.dir, &header, recycled.as_deref())?;
        let segment = Arc::clone(&self.active.segment);
        self.index.write().segments.insert(number, segment);
        Ok(())
    }

    fn sync_active(&mut self) -> Result<(), LogError> {
        if self.dirty {
            self.active
                .segment
                .file
                .sync()
                .doing("sync", &self.active.segment.path)?;
            self.dirty = false;
            self.index.write().durable_frame = self.next_frame - 1;
            self.mark.write(self.next_frame - 1)?;
        }
        Ok(())
    }

    /// Fills a new file with zeros up to `end` and somewhat beyond.
    fn fill(&mut self, end: u64) -> Result<(), LogError> {
        let Active {
            segment, file_len, ..
        } = &mut self.active;
        if *file_len >= end {
            return Ok(());
        }
        let ahead = end
            .next_multiple_of(FILL_BYTES)
            .min(self.options.segment_bytes)
            .max(end);
        while *file_len < ahead {
            let bytes = (ahead - *file_len).min(FILL_BYTES);
            let zeros = &ZEROS[..usize::try_from(bytes).expect("at most their number")];
            segment
                .file
                .write_at(zeros, *file_len)
                .doing("extend", &segment.path)?;
            *file_len += bytes;
        }
        Ok(())
    }

    /// Encodes `changes` as one frame into `self.frame`; returns the places of its entries in it, and the checksum of
    /// its payload.
    fn encode(&mut self, changes: &[Change]) -> (Vec<(u64, std::ops::Range<usize>)>, u32) {
        let (mut places, mut checksum) = (Vec::new(), 0);
        self.frame.clear();
        self.frame.resize(FRAME_HEADER_LEN, 0);
        for change in changes {
            let start = self.frame.len();
            let own = encode_change(&mut self.frame, change, |index, place| {
                places.push((index, place))
            });
            checksum = joined(checksum, own, self.frame.len() - start);
        }
        (places, checksum)
    }

    /// Completes `self.frame` with its header and padding, which needs the segment's salt.
    fn seal(&mut self, payload_checksum: u32) {
        let payload = &self.frame[FRAME_HEADER_LEN..];
        let header = FrameHeader {
            salt: self.active.salt,
            frame: self.next_frame,
            payload_len: u32::try_from(payload.len())
                .expect("the write-ahead thread limits groups to far less than 4 GiB"),
            payload_checksum,
        };
        debug_assert_eq!(payload_checksum, crc32c::crc32c(payload));
        self.frame[..FRAME_HEADER_LEN].copy_from_slice(&header.encode(self.log));
        self.frame
            .resize(self.frame.len().next_multiple_of(PAGE_LEN), 0);
    }

    /// Takes segments that hold no entry any more out of use.
    fn reclaim(&mut self) -> Result<(), LogError> {
        {
            let mut index = self.index.write();
            let keep = index.first_segment().unwrap_or(self.active.segment.number);
            if index
                .segments
                .first_key_value()
                .is_some_and(|(number, _)| *number < keep)
            {
                let kept = index.segments.split_off(&keep);
                let retired = std::mem::replace(&mut index.segments, kept);
                self.retired.extend(retired.into_values());
            }
        }
        for segment in std::mem::take(&mut self.retired) {
            // A reader that looked the segment up before it was purged is still reading it.
            if Arc::strong_count(&segment) > 1 {
                self.retired.push(segment);
            } else {
                self.recycle(&segment)?;
            }
        }
        Ok(())
    }

    fn recycle(&mut self, segment: &Segment) -> Result<(), LogError> {
        let len = segment
            .file
            .size()
            .doing("read the size of", &segment.path)?;
        // Shorter where its last frames were large; the rest is filled or written when it is needed.
        if len <= self.options.segment_bytes && self.recycled.len() < RECYCLED_SEGMENTS_MAX {
            let path = segment.path.with_extension("free");
            self.disk
                .rename(&segment.path, &path)
                .doing("rename", &segment.path)?;
            self.recycled.push(path);
            Ok(())
        } else {
            self.disk
                .remove(&segment.path)
                .doing("remove", &segment.path)
        }
    }
}

impl LogEngine for SegmentLog {
    fn meta(&self) -> &LogMeta {
        &self.meta
    }

    fn reader(&self) -> Box<dyn EngineReader> {
        Box::new(self.index.clone())
    }

    fn write(&mut self, changes: &[Change]) -> Result<(), LogError> {
        let mut meta = self.meta.clone();
        changes.iter().try_for_each(|change| meta.apply(change))?;
        // One frame at a time may be unsynced: that is what the rule about damage rests on.
        self.sync_active()?;
        let (places, checksum) = self.encode(changes);
        let bytes = self.frame.len().next_multiple_of(PAGE_LEN) as u64;
        if self.active.offset + bytes > self.active.file_len.max(self.options.segment_bytes) {
            self.roll(bytes)?;
        }
        self.seal(checksum);
        let offset = self.active.offset;
        if bytes < UNFILLED_FRAME_BYTES {
            self.fill(offset + bytes)?;
        }
        let segment = &self.active.segment;
        segment
            .file
            .write_at(&self.frame, offset)
            .doing("write", &segment.path)?;
        self.dirty = true;
        self.active.offset += bytes;
        self.active.file_len = self.active.file_len.max(self.active.offset);
        self.next_frame += 1;
        let number = segment.number;
        self.update_index(changes, places, number, offset);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LogError> {
        self.sync_active()?;
        self.reclaim()
    }

    fn close(mut self) -> Result<(), LogError> {
        self.sync_active()?;
        // From now on damage in the last frame can be told from a torn write with certainty.
        self.mark.sync()
    }
}

impl SegmentLog {
    /// Makes what was just written readable.
    fn update_index(
        &mut self,
        changes: &[Change],
        places: Vec<(u64, std::ops::Range<usize>)>,
        segment: u64,
        frame_offset: u64,
    ) {
        let mut index = self.index.write();
        let mut places = places.into_iter();
        for change in changes {
            if let Change::Append(entries) = change {
                for (at, place) in places.by_ref().take(entries.len()) {
                    let len = u32::try_from(place.len()).expect("a frame is smaller than 4 GiB");
                    let offset = frame_offset + place.start as u64;
                    index.push(
                        at,
                        Position {
                            segment,
                            offset,
                            len,
                        },
                    );
                }
            }
            self.meta
                .apply(change)
                .expect("write() has tried the same changes on a copy");
            index.trim(&self.meta.range());
        }
    }
}

fn random_u64(entropy: &dyn Entropy) -> u64 {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    u64::from_be_bytes(bytes)
}

/// Creates a segment with its header, durably; from a recycled file if there is one.
fn create_segment(
    disk: &dyn Disk,
    dir: &Path,
    header: &SegmentHeader,
    recycled: Option<&Path>,
) -> Result<Active, LogError> {
    let path = segment_path(dir, header.number);
    let file = if let Some(recycled) = recycled {
        disk.rename(recycled, &path).doing("rename", recycled)?;
        // The new name must be durable before the new content: under its old name the file may be
        // part of the log.
        disk.sync_dir(dir).doing("sync", dir)?;
        disk.open(&path).doing("open", &path)?
    } else {
        disk.create(&path).doing("create", &path)?
    };
    file.write_at(&header.encode(), 0).doing("write", &path)?;
    file.sync().doing("sync", &path)?;
    if recycled.is_none() {
        disk.sync_dir(dir).doing("sync", dir)?;
    }
    let file_len = file.size().doing("read the size of", &path)?;
    let segment = Arc::new(Segment {
        number: header.number,
        path,
        file,
    });
    Ok(Active {
        segment,
        salt: header.salt,
        offset: PAGE,
        file_len,
    })
}
