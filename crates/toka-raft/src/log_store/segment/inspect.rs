//! Where the frames of a closed log are: for diagnosis, and for tests that damage them.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toka_ledger::disk::Disk;

use super::format::{FRAME_HEADER_LEN, FrameHeader, PAGE, PAGE_LEN, SegmentHeader};
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
