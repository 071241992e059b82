//! Directories of a Raft log: segments whose checksums are right whatever their records say, some of them damaged
//! after that. To open one ends in a log or an error; a log that opens can be read to its end, goes on, and is the same
//! when it is opened again.

use std::path::Path;
use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use toka_ledger::disk::{Disk, MemoryDisk};
use toka_ledger::seam::Entropy;
use toka_raft::codec::{encode_log_id, encode_vote};
use toka_raft::fuzzing;
use toka_raft::log_store::{
    Change, LogEngine, LogError, LogMeta, ReadPlan, SegmentLog, SegmentOptions, frames,
};
use toka_raft::type_config::{Commands, Entry, EntryPayload, LeaderId, LogId, Vote};

use crate::raft_codec::{entry_record, memberships};
use crate::{Seed, noise};

const DIR: &str = "/raft";
/// Few entries fill a segment.
const OPTIONS: SegmentOptions = SegmentOptions {
    segment_bytes: 8 * 4096,
    create: true,
};

/// The same numbers every time.
#[derive(Debug)]
struct Constant;

impl Entropy for Constant {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0x5a);
    }
}

/// See above.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let disk = MemoryDisk::new();
    // An input that ends early leaves the segments that it has.
    let _ = lay_out(&disk, &mut input);
    let _ = frames(&disk, Path::new(DIR));
    let Ok(mut log) = open(&disk) else { return };
    read_to_end(&log);
    go_on(&mut log);
    let meta = log.meta().clone();
    log.close().expect("memory has room");
    let log = open(&disk).expect("a log that was closed opens again");
    assert_eq!(log.meta(), &meta);
    read_to_end(&log);
}

fn open(disk: &MemoryDisk) -> std::result::Result<SegmentLog, LogError> {
    let disk = Arc::new(disk.clone());
    SegmentLog::open(disk, Arc::new(Constant), Path::new(DIR), OPTIONS)
}

fn read_to_end(log: &SegmentLog) {
    let reader = log.reader();
    let range = log.meta().range();
    let ReadPlan::Blocking(read) = reader.plan(range.clone(), u64::MAX) else {
        panic!("segments are read from the disk");
    };
    let entries = read().expect("what was replayed can be read");
    let indexes = entries.iter().map(|entry| entry.log_id.index);
    assert!(range.eq(indexes), "all entries are there");
    reader
        .verify(&mut |_| true)
        .expect("what was replayed is sound");
}

/// Appends an entry, where the index is not the last that there is.
fn go_on(log: &mut SegmentLog) {
    let index = log.meta().next_index();
    let changes = match index {
        u64::MAX => vec![Change::Vote(vote(1))],
        index => vec![Change::Append(vec![entry(
            index,
            Bytes::from_static(b"next"),
        )])],
    };
    log.write(&changes).expect("memory has room");
    log.sync().expect("memory has room");
}

fn lay_out(disk: &MemoryDisk, input: &mut Unstructured<'_>) -> Result<()> {
    let dir = Path::new(DIR);
    disk.create_dir_all(dir).expect("an empty disk");
    let mut first_frame = input.int_in_range(1..=3)?;
    let mut meta = meta(input)?;
    for number in 1..=input.int_in_range(1_u64..=3)? {
        let frames: Vec<Vec<Bytes>> = (0..input.int_in_range(0_u8..=4)?)
            .map(|_| frame(input))
            .collect::<Result<_>>()?;
        let mut bytes = fuzzing::segment(number, first_frame, &meta, &frames);
        damage(input, &mut bytes)?;
        let path = dir.join(format!("{number:016x}.log"));
        disk.create_with(&path, &bytes).expect("room for a file");
        first_frame += frames.len() as u64;
        // What the next one says it begins with; right only if all records of this one are understood alike.
        for record in frames.iter().flatten() {
            follow(&mut meta, record);
        }
    }
    if input.ratio(1_u8, 4_u8)? {
        let mark: Vec<u8> = input.arbitrary()?;
        disk.create_with(&dir.join("mark"), &mark)
            .expect("room for a file");
    }
    Ok(())
}

fn meta(input: &mut Unstructured<'_>) -> Result<LogMeta> {
    if input.ratio(3_u8, 4_u8)? {
        return Ok(LogMeta::default());
    }
    Ok(LogMeta {
        first_index: index(input)?,
        purged: log_id_option(input)?,
        last: log_id_option(input)?,
        committed: log_id_option(input)?,
        vote: None,
    })
}

fn frame(input: &mut Unstructured<'_>) -> Result<Vec<Bytes>> {
    (0..input.int_in_range(0_u8..=4)?)
        .map(|_| record(input))
        .collect()
}

/// Tag and content.
fn record(input: &mut Unstructured<'_>) -> Result<Bytes> {
    Ok(match input.int_in_range(0_u8..=15)? {
        0 => Bytes::from(input.arbitrary::<Vec<u8>>()?),
        1 => Bytes::from_static(&[2, 0]),
        2 => [&[2, 1][..], &encode_log_id(&log_id(index(input)?))[..]]
            .concat()
            .into(),
        3 | 4 => [&[3][..], &encode_log_id(&log_id(index(input)?))[..]]
            .concat()
            .into(),
        5 => [&[4][..], &encode_vote(&vote(input.arbitrary()?))[..]]
            .concat()
            .into(),
        6 => [&[5, 1][..], &encode_log_id(&log_id(index(input)?))[..]]
            .concat()
            .into(),
        7 => {
            let payload = EntryPayload::Membership(memberships().swap_remove(0));
            let log_id = log_id(index(input)?);
            entry_record(&Entry { log_id, payload }).into()
        }
        _ => {
            let index = index(input)?;
            let len = input.int_in_range(0_usize..=5000)?;
            let body = Bytes::from(vec![7; if len < 4000 { len % 20 } else { len }]);
            entry_record(&entry(index, body)).into()
        }
    })
}

/// What a record of an entry or of a purge does to where the log is, roughly.
fn follow(meta: &mut LogMeta, record: &[u8]) {
    let log_id =
        |bytes: Option<&[u8]>| bytes.and_then(|bytes| toka_raft::codec::decode_log_id(bytes).ok());
    let change = match record.first() {
        Some(1) => log_id(record.get(3..27)).map(|log_id| {
            Change::Append(vec![Entry {
                log_id,
                payload: EntryPayload::Blank,
            }])
        }),
        Some(2) => Some(Change::TruncateAfter(log_id(record.get(2..)))),
        Some(3) => log_id(record.get(1..)).map(Change::Purge),
        Some(4) => record
            .get(1..)
            .and_then(|bytes| toka_raft::codec::decode_vote(bytes).ok())
            .map(Change::Vote),
        Some(5) => Some(Change::Committed(log_id(record.get(2..)))),
        _ => None,
    };
    if let Some(change) = change {
        // A gap: the log is refused anyway.
        let _ = meta.apply(&change);
    }
}

fn damage(input: &mut Unstructured<'_>, bytes: &mut Vec<u8>) -> Result<()> {
    match input.int_in_range(0_u8..=11)? {
        0 => bytes.truncate(input.int_in_range(0..=bytes.len())?),
        1 => {
            let at = input.int_in_range(0..=bytes.len() - 1)?;
            bytes[at] ^= 1 << input.int_in_range(0_u8..=7)?;
        }
        2 => bytes.resize(bytes.len() + 3 * 4096, 0),
        3 => {
            let frame = bytes.len().saturating_sub(4096);
            bytes[frame..].fill(0);
        }
        _ => {}
    }
    Ok(())
}

/// Mostly one of the first.
fn index(input: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match input.int_in_range(0_u8..=31)? {
        0 => input.arbitrary()?,
        1 => u64::MAX - u64::from(input.arbitrary::<bool>()?),
        _ => input.int_in_range(0..=7)?,
    })
}

fn log_id_option(input: &mut Unstructured<'_>) -> Result<Option<LogId>> {
    match input.arbitrary()? {
        true => Ok(Some(log_id(index(input)?))),
        false => Ok(None),
    }
}

pub(crate) fn log_id(index: u64) -> LogId {
    LogId {
        leader_id: leader_id(1),
        index,
    }
}

fn leader_id(term: u64) -> LeaderId {
    LeaderId { term, node_id: 1 }
}

pub(crate) fn vote(term: u64) -> Vote {
    Vote {
        leader_id: leader_id(term),
        committed: true,
    }
}

pub(crate) fn entry(index: u64, body: Bytes) -> Entry {
    Entry {
        log_id: log_id(index),
        payload: EntryPayload::Normal(Commands(body)),
    }
}

/// Noise: the bytes mean nothing but to this target.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    let lengths = [20, 40, 80, 160, 320];
    let seed = |(at, len): (u64, usize)| (format!("noise-{len}"), noise(at, len));
    (0..).zip(lengths).map(seed).collect()
}
