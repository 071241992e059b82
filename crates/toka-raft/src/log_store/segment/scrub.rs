//! Checking the frames of a log that is in use.
//!
//! What is looked at cannot change meanwhile: a frame that is durable is never written again while its
//! segment is in use, and a segment that somebody holds is not recycled.

use std::sync::Arc;

use super::format::{FRAME_HEADER_LEN, FrameHeader, PAGE, PAGE_LEN, SegmentHeader};
use super::index::{Segment, SharedIndex};
use crate::log_store::LogError;
use crate::log_store::error::Damage;

/// Reads the headers and all durable frames of the segments in use.
pub(super) fn verify(
    index: &SharedIndex,
    pace: &mut dyn FnMut(u64) -> bool,
) -> Result<(), LogError> {
    let (log, durable, segments) = {
        let index = index.read();
        let segments: Vec<Arc<Segment>> = index.segments.values().cloned().collect();
        (index.log, index.durable_frame, segments)
    };
    let mut headers = Vec::with_capacity(segments.len());
    for segment in &segments {
        headers.push(header(segment, log)?);
    }
    let ends = headers.iter().skip(1).map(|next| next.first_frame - 1);
    let ends: Vec<u64> = ends.chain([durable]).collect();
    for ((segment, header), last) in segments.iter().zip(&headers).zip(ends) {
        if !frames(segment, header, last.min(durable), pace)? {
            return Ok(());
        }
    }
    Ok(())
}

fn header(segment: &Segment, log: u64) -> Result<SegmentHeader, LogError> {
    let mut page = vec![0; PAGE_LEN];
    let read = segment.read_at(&mut page, 0)?;
    SegmentHeader::decode(&page[..read])
        .ok()
        .filter(|header| header.log == log && header.number == segment.number)
        .ok_or_else(|| segment.damaged(0, Damage::SegmentHeader))
}

/// Checks the frames up to `last`; `false` if the pass is to end.
fn frames(
    segment: &Segment,
    header: &SegmentHeader,
    last: u64,
    pace: &mut dyn FnMut(u64) -> bool,
) -> Result<bool, LogError> {
    let mut offset = PAGE;
    for frame in header.first_frame..=last {
        let unreadable = || {
            let durable = last;
            segment.damaged(offset, Damage::DurableFrame { frame, durable })
        };
        let mut bytes = [0; FRAME_HEADER_LEN];
        segment.read_at(&mut bytes, offset)?;
        let found = FrameHeader::decode(header.log, &bytes)
            .filter(|found| found.salt == header.salt && found.frame == frame)
            .ok_or_else(unreadable)?;
        let mut payload = vec![0; found.payload_len as usize];
        let read = segment.read_at(&mut payload, offset + FRAME_HEADER_LEN as u64)?;
        if read != payload.len() || crc32c::crc32c(&payload) != found.payload_checksum {
            return Err(unreadable());
        }
        offset += found.padded_len();
        if !pace(found.padded_len()) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use openraft::vote::RaftLeaderId as _;
    use toka_ledger::disk::{Disk as _, MemoryDisk};
    use toka_ledger::seam::Seams;

    use crate::log_store::{Change, LogEngine as _, SegmentLog, SegmentOptions, frames};
    use crate::type_config::{Entry, EntryPayload, LeaderId, LogId};

    #[test]
    fn every_flipped_byte_of_a_log_in_use_is_found_but_those_of_the_padding() {
        let (disk, dir) = (MemoryDisk::new(), Path::new("/raft"));
        disk.create_dir_all(dir).expect("created");
        let options = SegmentOptions {
            segment_bytes: 4 * 4_096,
            create: true,
        };
        let entropy = Seams::system().entropy;
        let opened = SegmentLog::open(std::sync::Arc::new(disk.clone()), entropy, dir, options);
        let mut log = opened.expect("opened");
        for index in 0..7 {
            let entry = Entry {
                log_id: LogId::new(LeaderId::new(1, 1), index),
                payload: EntryPayload::Blank,
            };
            log.write(&[Change::Append(vec![entry])]).expect("written");
            log.sync().expect("synced");
        }
        let reader = log.reader();
        let is_sound = || reader.verify(&mut |_| true).is_ok();
        assert!(is_sound());
        let places = frames(&disk, dir).expect("listed");
        assert!(places.len() == 7 && places[0].segment != places[6].segment);
        for place in places {
            let at = place.bytes.start;
            let file = disk.open(&place.segment).expect("opened");
            // The segment's header, the frame's header, its record.
            for at in (0..60).chain(at..at + 60) {
                let mut byte = [0];
                file.read_at(&mut byte, at).expect("read");
                file.write_at(&[byte[0] ^ 1], at).expect("written");
                assert!(!is_sound(), "byte {at} of {}", place.segment.display());
                file.write_at(&byte, at).expect("written");
            }
        }
        assert!(is_sound());
    }
}
