//! What is in a closed log, and what is damaged: for diagnosis, and for tests that damage it.

use std::ops::Range;
use std::path::{Path, PathBuf};
#[cfg(feature = "storage")]
use std::sync::Arc;

use toka_ledger::disk::Disk;
#[cfg(feature = "storage")]
use toka_ledger::disk::DiskFile;
#[cfg(feature = "storage")]
use toka_ledger::seam::Entropy;

use super::format::{FRAME_HEADER_LEN, FrameHeader, PAGE, PAGE_LEN, SegmentHeader};
#[cfg(feature = "storage")]
use super::mark::Mark;
#[cfg(feature = "storage")]
use super::{SegmentLog, SegmentOptions, segment_path};
use crate::log_store::LogError;
use crate::log_store::error::IoContext;

/// One frame on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FramePlace {
    /// The segment's file.
    pub segment: PathBuf,
    /// Number of the frame.
    pub frame: u64,
    /// Its bytes in the file, padding included. The next frame begins where it ends.
    pub bytes: Range<u64>,
}

/// Lists the frames in `dir` whose headers can be read, oldest first. Nothing is changed.
///
/// # Errors
/// [`LogError::Io`].
pub fn frames(disk: &dyn Disk, dir: &Path) -> Result<Vec<FramePlace>, LogError> {
    let mut places = Vec::new();
    for name in disk.list(dir).doing("list", dir)? {
        if !name.to_string_lossy().ends_with(".log") {
            continue;
        }
        let path = dir.join(name);
        let file = disk.open(&path).doing("open", &path)?;
        let mut page = vec![0; PAGE_LEN];
        file.read_at(&mut page, 0).doing("read", &path)?;
        let Ok(segment) = SegmentHeader::decode(&page) else {
            continue;
        };
        let mut offset = PAGE;
        loop {
            let mut header = [0; FRAME_HEADER_LEN];
            file.read_at(&mut header, offset).doing("read", &path)?;
            let Some(header) = FrameHeader::decode(segment.log, &header) else {
                break;
            };
            if header.salt != segment.salt {
                break;
            }
            let bytes = offset..offset + header.padded_len();
            offset = bytes.end;
            places.push(FramePlace {
                segment: path.clone(),
                frame: header.frame,
                bytes,
            });
        }
    }
    Ok(places)
}

/// What is damaged in the log in `dir` on `disk`, which nobody has open: the file, and what is wrong with it. Of
/// the frames it is the first damage. What opening the log writes goes to `view`.
///
/// What follows the last frame cannot be told from what was there before the file was written again.
#[cfg(feature = "storage")]
pub(crate) fn log_problems(
    disk: &dyn Disk,
    view: Arc<dyn Disk>,
    entropy: Arc<dyn Entropy>,
    dir: &Path,
) -> Result<Vec<(PathBuf, String)>, LogError> {
    let mut found: Vec<(PathBuf, String)> = Mark::problem(disk, dir)?.into_iter().collect();
    let options = SegmentOptions {
        create: false,
        ..SegmentOptions::default()
    };
    match SegmentLog::open(view, entropy, dir, options) {
        Ok(log) => found.extend(padding_problems(disk, dir, log.next_frame)?),
        Err(LogError::Damaged {
            segment,
            offset,
            damage,
            ..
        }) => {
            let detail = format!("at byte {offset}: {damage}");
            found.push((segment_path(dir, segment), detail));
        }
        Err(LogError::Missing { dir }) => found.push((dir, "the log is gone".to_owned())),
        Err(error) => return Err(error),
    }
    Ok(found)
}

/// Bytes between the frames before `end` that are not zero, as they were written: the first in each segment.
#[cfg(feature = "storage")]
fn padding_problems(
    disk: &dyn Disk,
    dir: &Path,
    end: u64,
) -> Result<Vec<(PathBuf, String)>, LogError> {
    let mut found = Vec::new();
    for name in disk.list(dir).doing("list", dir)? {
        if !name.to_string_lossy().ends_with(".log") {
            continue;
        }
        let path = dir.join(name);
        let file = disk.open_to_read(&path).doing("open", &path)?;
        if let Some(at) = padding_problem(&*file, end).doing("read", &path)? {
            found.push((path, format!("at byte {at}: not zero, behind a frame")));
        }
    }
    Ok(found)
}

#[cfg(feature = "storage")]
fn padding_problem(file: &dyn DiskFile, end: u64) -> std::io::Result<Option<u64>> {
    let mut page = vec![0; PAGE_LEN];
    file.read_at(&mut page, 0)?;
    let Ok(segment) = SegmentHeader::decode(&page) else {
        return Ok(None);
    };
    let mut offset = PAGE;
    loop {
        let mut header = [0; FRAME_HEADER_LEN];
        file.read_at(&mut header, offset)?;
        let header = FrameHeader::decode(segment.log, &header)
            .filter(|header| header.salt == segment.salt && header.frame < end);
        let Some(header) = header else {
            return Ok(None);
        };
        let from = offset + FRAME_HEADER_LEN as u64 + u64::from(header.payload_len);
        offset += header.padded_len();
        let mut rest = [0; PAGE_LEN];
        let rest = &mut rest[..usize::try_from(offset - from).expect("less than a page")];
        file.read_at(rest, from)?;
        if let Some(at) = rest.iter().position(|byte| *byte != 0) {
            return Ok(Some(from + at as u64));
        }
    }
}

#[cfg(all(test, feature = "storage"))]
mod tests {
    use openraft::vote::RaftLeaderId as _;
    use toka_ledger::disk::MemoryDisk;
    use toka_ledger::seam::Seams;

    use super::*;
    use crate::log_store::{Change, LogEngine as _};
    use crate::type_config::{Entry, EntryPayload, LeaderId, LogId};

    const DIR: &str = "/raft";

    /// A log of seven frames in several segments, closed.
    fn closed_log() -> MemoryDisk {
        let (disk, dir) = (MemoryDisk::new(), Path::new(DIR));
        disk.create_dir_all(dir).expect("created");
        let options = SegmentOptions {
            segment_bytes: 4 * PAGE,
            create: true,
        };
        let entropy = Seams::system().entropy;
        let opened = SegmentLog::open(Arc::new(disk.clone()), entropy, dir, options);
        let mut log = opened.expect("opened");
        for index in 0..7 {
            let entry = Entry {
                log_id: LogId::new(LeaderId::new(1, 1), index),
                payload: EntryPayload::Blank,
            };
            log.write(&[Change::Append(vec![entry])]).expect("written");
            log.sync().expect("synced");
        }
        log.close().expect("closed");
        disk
    }

    fn problems(disk: &MemoryDisk) -> Vec<(PathBuf, String)> {
        let view = Arc::new(disk.crash(|| true));
        let entropy = Seams::system().entropy;
        log_problems(disk, view, entropy, Path::new(DIR)).expect("readable")
    }

    fn flip(disk: &MemoryDisk, path: &Path, at: u64) {
        let file = disk.open(path).expect("opened");
        let mut byte = [0];
        file.read_at(&mut byte, at).expect("read");
        file.write_at(&[byte[0] ^ 1], at).expect("written");
    }

    #[test]
    fn every_flipped_byte_of_a_closed_log_is_named_also_of_the_padding_and_the_mark() {
        let disk = closed_log();
        assert!(problems(&disk).is_empty());
        let mark = Path::new(DIR).join("mark");
        let mut places: Vec<(PathBuf, u64)> = vec![(mark.clone(), 9), (mark, PAGE + 9)];
        for frame in frames(&disk, Path::new(DIR)).expect("listed") {
            let (at, end) = (frame.bytes.start, frame.bytes.end);
            let of_frame = [0, 4, 9, 20, 30, 33, 45].map(|byte| at + byte);
            let all = of_frame
                .into_iter()
                .chain([at + 1_000, end - 1, 0, 30, PAGE - 1]);
            places.extend(all.map(|at| (frame.segment.clone(), at)));
        }
        for (path, at) in places {
            flip(&disk, &path, at);
            let found = problems(&disk);
            assert_eq!(found.len(), 1, "byte {at} of {}: {found:?}", path.display());
            // What ends too early is told of the segment before.
            assert!(found[0].0.starts_with(DIR), "{found:?}");
            flip(&disk, &path, at);
        }
        assert!(problems(&disk).is_empty());
    }
}
