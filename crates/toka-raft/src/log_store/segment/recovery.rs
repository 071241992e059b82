//! Opening a log: replay, cut what a crash has torn, refuse what is damaged.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use toka_ledger::disk::Disk;
use toka_ledger::seam::Entropy;

use super::ahead::Ahead;
use super::format::{
    FRAME_HEADER_LEN, FrameHeader, HeaderError, PAGE, PAGE_LEN, Record, SegmentHeader,
    decode_record, record_len,
};
use super::index::{Index, Position, Segment, SharedIndex};
use super::mark::Mark;
use super::{Active, SegmentLog, SegmentOptions, create_segment, random_u64, segment_path};
use crate::codec::DecodeError;
use crate::log_store::LogError;
use crate::log_store::engine::{Change, LogMeta};
use crate::log_store::error::{Damage, IoContext};

/// Bytes read at once when looking for later frames.
const SCAN_BYTES: usize = 1 << 20;

/// Opens the log in `dir`, or creates it.
pub(super) fn open(
    disk: Arc<dyn Disk>,
    entropy: Arc<dyn Entropy>,
    dir: &Path,
    options: SegmentOptions,
) -> Result<SegmentLog, LogError> {
    disk.create_dir_all(dir).doing("create", dir)?;
    let lock_path = dir.join("LOCK");
    let lock = match disk.lock(&lock_path) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            return Err(LogError::InUse {
                dir: dir.to_owned(),
            });
        }
        lock => lock.doing("lock", &lock_path)?,
    };
    let files = Files::list(&*disk, dir)?;
    let mut replay = Replay::new(&*disk, dir, Mark::read(&*disk, dir)?);
    replay.run(&files.segments)?;
    let (log, active) = match replay.last.take() {
        Some(last) => last,
        None if !options.create => {
            return Err(LogError::Missing {
                dir: dir.to_owned(),
            });
        }
        None => {
            let log = random_u64(&*entropy);
            let salt = random_u64(&*entropy);
            let meta = LogMeta::default();
            let header = SegmentHeader {
                log,
                number: 1,
                salt,
                first_frame: 1,
                meta,
            };
            (log, create_segment(&*disk, dir, &header, None)?)
        }
    };
    let Replay {
        meta,
        mut index,
        next_frame,
        last_written,
        ..
    } = replay;
    index
        .segments
        .insert(active.segment.number, Arc::clone(&active.segment));
    index.log = log;
    index.durable_frame = next_frame - 1;
    settle(&active, last_written)?;
    let mut mark = Mark::open(&*disk, dir, log)?;
    mark.write(next_frame - 1)?;
    mark.sync()?;
    disk.sync_dir(dir).doing("sync", dir)?;
    let mut opened = SegmentLog {
        dir: dir.to_owned(),
        options,
        log,
        meta,
        index: SharedIndex::new(index),
        active,
        next_frame,
        dirty: false,
        mark,
        retired: Vec::new(),
        recycled: files.recycled,
        frame: Vec::new(),
        _lock: lock,
        disk,
        entropy,
    };
    for number in files.stale {
        let path = segment_path(&opened.dir, number);
        let file = opened.disk.open(&path).doing("open", &path)?;
        opened.recycle(&Segment { number, path, file })?;
    }
    opened.reclaim()?;
    Ok(opened)
}

/// Makes what was read durable. It may be in the page cache only, if the process died and not the
/// machine; and after a sync that failed, the kernel takes pages that never reached the disk for clean,
/// so that another sync alone would do nothing. Only the last frame can be concerned: the next one is
/// not written before it is synced. It is written again, as it is.
fn settle(active: &Active, last_written: u64) -> Result<(), LogError> {
    let segment = &*active.segment;
    let Segment { file, path, .. } = segment;
    let len = usize::try_from(active.offset - last_written).expect("a frame fits in memory");
    let mut bytes = vec![0; len];
    segment.read_at(&mut bytes, last_written)?;
    file.write_at(&bytes, last_written).doing("write", path)?;
    file.sync().doing("sync", path)
}

/// What is in the directory.
struct Files {
    /// Numbers of the segments that make up the log: consecutive, up to the newest.
    segments: Vec<u64>,
    /// Older ones, which were purged; a crash has undone their removal.
    stale: Vec<u64>,
    recycled: Vec<PathBuf>,
}

impl Files {
    fn list(disk: &dyn Disk, dir: &Path) -> Result<Self, LogError> {
        let mut segments: Vec<u64> = Vec::new();
        let mut recycled = Vec::new();
        for name in disk.list(dir).doing("list", dir)? {
            // A name that is not UTF-8 is none of ours.
            let Some(name) = name.to_str() else { continue };
            let number = |stem: &str| u64::from_str_radix(stem, 16).ok();
            if let Some(number) = name.strip_suffix(".log").and_then(number) {
                segments.push(number);
            } else if name.ends_with(".free") {
                recycled.push(dir.join(name));
            }
        }
        segments.sort_unstable();
        let gap = segments.windows(2).rposition(|pair| pair[0] + 1 != pair[1]);
        // Whether nothing is lost with the segments before a gap is checked at the end of the replay.
        let log = segments.split_off(gap.map_or(0, |gap| gap + 1));
        Ok(Self {
            segments: log,
            stale: segments,
            recycled,
        })
    }
}

struct Replay<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    /// The log and the last durable frame, from the mark.
    durable: Option<(u64, u64)>,
    meta: LogMeta,
    index: Index,
    next_frame: u64,
    /// Where the last frame begins in the segment read last, or its header if it has none.
    last_written: u64,
    /// The log's identity, and the segment read last.
    last: Option<(u64, Active)>,
    ahead: Ahead,
}

impl<'a> Replay<'a> {
    fn new(disk: &'a dyn Disk, dir: &'a Path, durable: Option<(u64, u64)>) -> Self {
        Self {
            disk,
            dir,
            durable,
            meta: LogMeta::default(),
            index: Index::default(),
            next_frame: 1,
            last_written: 0,
            last: None,
            ahead: Ahead::default(),
        }
    }

    fn run(&mut self, segments: &[u64]) -> Result<(), LogError> {
        let mut opened = segments.first().map(|&number| self.open(number));
        for (&number, next) in segments.iter().zip(1_usize..) {
            let Some(segment) = opened.take() else { break };
            let (segment, file_len) = segment?;
            opened = segments.get(next).map(|&number| self.open(number));
            if let Some(Ok((next, _))) = &opened {
                // The disk reads it while this one is checked.
                next.file.read_soon();
            }
            match self.header(&segment)? {
                Some(header) => self.segment(&header, segment, file_len)?,
                // A crash came between the creation of the newest segment and its first sync.
                None if Some(&number) == segments.last() && !self.in_use(&segment, file_len)? => {
                    self.disk
                        .remove(&segment.path)
                        .doing("remove", &segment.path)?;
                }
                None => return Err(self.damaged(number, 0, Damage::SegmentHeader)),
            }
        }
        self.check_end()?;
        let range = self.meta.range();
        if !range.is_empty() && self.index.range() != range {
            let damage = Damage::MissingEntries {
                first_index: range.start,
            };
            return Err(self.damaged(segments[0], 0, damage));
        }
        Ok(())
    }

    /// A segment, and the size of its file.
    fn open(&self, number: u64) -> Result<(Arc<Segment>, u64), LogError> {
        let path = segment_path(self.dir, number);
        let file = self.disk.open(&path).doing("open", &path)?;
        let file_len = file.size().doing("read the size of", &path)?;
        Ok((Arc::new(Segment { number, path, file }), file_len))
    }

    fn damaged(&self, segment: u64, offset: u64, damage: Damage) -> LogError {
        LogError::Damaged {
            dir: self.dir.to_owned(),
            segment,
            offset,
            damage,
        }
    }

    /// A record whose checksum is right.
    fn undecodable(&self, segment: u64, offset: u64, error: DecodeError) -> LogError {
        if error.is_newer() {
            return LogError::Newer {
                path: segment_path(self.dir, segment),
                offset,
                source: error,
            };
        }
        self.damaged(segment, offset, Damage::Record(error))
    }

    /// The header, if it is this segment's and this log's.
    fn header(&self, segment: &Segment) -> Result<Option<SegmentHeader>, LogError> {
        let mut page = vec![0; PAGE_LEN];
        let read = segment.read_at(&mut page, 0)?;
        match SegmentHeader::decode(&page[..read]) {
            Ok(header) => {
                let ours = self.last.as_ref().is_none_or(|(log, _)| *log == header.log);
                Ok(Some(header).filter(|header| ours && header.number == segment.number))
            }
            Err(HeaderError::Unreadable) => Ok(None),
            Err(HeaderError::UnknownVersion(version)) => Err(LogError::UnknownVersion {
                path: segment.path.clone(),
                version,
            }),
        }
    }

    /// Whether anything was ever synced to a segment whose header cannot be read.
    fn in_use(&self, segment: &Segment, file_len: u64) -> Result<bool, LogError> {
        let Some((log, _)) = &self.last else {
            // Segment 1 of a new log. Later ones are only begun while their predecessor is there.
            let began = segment.number == 1 && self.durable.is_none() && file_len <= PAGE;
            return Ok(!began);
        };
        let found = find_frame(segment, PAGE, file_len, |page| {
            FrameHeader::decode(*log, page).filter(|frame| frame.frame >= self.next_frame)
        })?;
        Ok(found.is_some())
    }

    fn segment(
        &mut self,
        header: &SegmentHeader,
        segment: Arc<Segment>,
        file_len: u64,
    ) -> Result<(), LogError> {
        if let Some((_, previous)) = &self.last {
            if header.first_frame != self.next_frame {
                let damage = Damage::LaterSegment {
                    frame: self.next_frame,
                    later: header.first_frame,
                };
                return Err(self.damaged(previous.segment.number, previous.offset, damage));
            }
            if header.meta != self.meta {
                return Err(self.damaged(segment.number, 0, Damage::SegmentChain));
            }
        } else if !header.meta.is_sound() {
            return Err(self.damaged(segment.number, 0, Damage::SegmentHeader));
        } else {
            self.meta = header.meta.clone();
            self.next_frame = header.first_frame;
            self.index
                .trim(&(self.meta.next_index()..self.meta.next_index()));
        }
        self.index
            .segments
            .insert(segment.number, Arc::clone(&segment));
        let mut offset = PAGE;
        self.last_written = 0;
        while let Some((frame, payload)) = self.frame(header, &segment, offset, file_len)? {
            let start = offset + FRAME_HEADER_LEN as u64;
            self.payload(segment.number, start, &payload)?;
            self.last_written = offset;
            offset += frame.padded_len();
            self.next_frame += 1;
        }
        self.last = Some((
            header.log,
            Active {
                segment,
                salt: header.salt,
                offset,
                file_len,
            },
        ));
        Ok(())
    }

    /// The next frame and its payload, if they are intact.
    fn frame(
        &mut self,
        segment_header: &SegmentHeader,
        segment: &Segment,
        offset: u64,
        file_len: u64,
    ) -> Result<Option<(FrameHeader, Bytes)>, LogError> {
        let header = self.ahead.read(segment, offset, FRAME_HEADER_LEN)?;
        let Some(header) = FrameHeader::decode(segment_header.log, &header).filter(|header| {
            header.salt == segment_header.salt
                && header.frame == self.next_frame
                && offset + header.padded_len() <= file_len
        }) else {
            return Ok(None);
        };
        let start = offset + FRAME_HEADER_LEN as u64;
        let len = header.payload_len as usize;
        let payload = self.ahead.read(segment, start, len)?;
        let intact = payload.len() == len && crc32c::crc32c(&payload) == header.payload_checksum;
        Ok(intact.then_some((header, payload)))
    }

    fn payload(&mut self, segment: u64, start: u64, payload: &Bytes) -> Result<(), LogError> {
        let mut at = 0;
        while at < payload.len() {
            let offset = start + at as u64;
            let contradiction =
                |replay: &Self| replay.damaged(segment, offset, Damage::Contradiction);
            let len = record_len(&payload[at..]).ok_or_else(|| contradiction(self))?;
            let record = decode_record(payload.slice(at..at + len))
                .map_err(|error| self.undecodable(segment, offset, error))?;
            if let Record::Entry(entry) = &record {
                let len = u32::try_from(len).expect("a payload is smaller than 4 GiB");
                self.index.push(
                    entry.log_id.index,
                    Position {
                        segment,
                        offset,
                        len,
                    },
                );
            }
            self.meta
                .apply(&Change::from(record))
                .map_err(|_| contradiction(self))?;
            self.index.trim(&self.meta.range());
            at += len;
        }
        Ok(())
    }

    /// Decides whether the log ends where its frames end, or has lost some.
    fn check_end(&self) -> Result<(), LogError> {
        let frame = self.next_frame;
        let Some((log, active)) = &self.last else {
            return match self.durable {
                Some((_, durable)) => {
                    Err(self.damaged(1, 0, Damage::DurableFrame { frame, durable }))
                }
                None => Ok(()),
            };
        };
        let Active {
            segment,
            salt,
            offset,
            file_len,
        } = active;
        let later = find_frame(segment, *offset, *file_len, |page| {
            FrameHeader::decode(*log, page)
                .filter(|later| later.salt == *salt && later.frame > frame)
        })?;
        if let Some(later) = later {
            let damage = Damage::LaterFrame {
                frame,
                later: later.frame,
            };
            return Err(self.damaged(segment.number, *offset, damage));
        }
        match self.durable {
            Some((marked, durable)) if marked == *log && durable >= frame => {
                let damage = Damage::DurableFrame { frame, durable };
                Err(self.damaged(segment.number, *offset, damage))
            }
            _ => self.note_torn(*log, active),
        }
    }

    /// Says so if there is something to be cut.
    fn note_torn(&self, log: u64, active: &Active) -> Result<(), LogError> {
        let Active {
            segment,
            salt,
            offset,
            ..
        } = active;
        let mut header = [0; FRAME_HEADER_LEN];
        segment.read_at(&mut header, *offset)?;
        if FrameHeader::decode(log, &header).is_some_and(|header| header.salt == *salt) {
            let frame = self.next_frame;
            tracing::warn!(
                segment = segment.number,
                offset,
                frame,
                "cut off a write that a crash has torn from the Raft log"
            );
        }
        Ok(())
    }
}

/// Looks at the start of every page in `from..to`.
fn find_frame(
    segment: &Segment,
    from: u64,
    to: u64,
    mut check: impl FnMut(&[u8]) -> Option<FrameHeader>,
) -> Result<Option<FrameHeader>, LogError> {
    let mut chunk = vec![0; SCAN_BYTES];
    let mut offset = from;
    while offset < to {
        let read = segment.read_at(&mut chunk, offset)?;
        if read == 0 {
            break;
        }
        if let Some(found) = chunk[..read].chunks(PAGE_LEN).find_map(&mut check) {
            return Ok(Some(found));
        }
        offset += read as u64;
    }
    Ok(None)
}
