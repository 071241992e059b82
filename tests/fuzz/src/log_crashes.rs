//! A Raft log that is written by any groups of changes, large and small, and purged, so that files are filled ahead, not
//! filled, and written again; crashes come anywhere among them. What a crash leaves opens, with all groups that were
//! synced, and the one that was being written whole or not at all.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use toka_ledger::disk::MemoryDisk;
use toka_ledger::seam::Entropy;
use toka_raft::log_store::{
    Change, LogEngine, LogError, LogMeta, ReadPlan, SegmentLog, SegmentOptions,
};

use crate::raft_segments::{entry, log_id, vote};
use crate::{Seed, noise};

const DIR: &str = "/raft";
/// A few large frames fill a segment, and the largest do not fit into one.
const OPTIONS: SegmentOptions = SegmentOptions {
    segment_bytes: 64 * 4096,
    create: true,
};
/// Times that the log is opened.
const LIVES_MAX: u8 = 4;
/// Groups between two openings.
const GROUPS_MAX: u8 = 16;
/// Operations of the disk after which it may fail.
const OPERATIONS_MAX: u64 = 120;
/// Bytes of a small entry, at most,
const SMALL_BYTES_MAX: usize = 600;
/// and of a large one, with which a frame is not filled ahead of.
const LARGE_BYTES: std::ops::RangeInclusive<usize> = 60_000..=300_000;

/// Other numbers each time, and the same for the same input.
#[derive(Debug, Default)]
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let count = self.0.fetch_add(1, Ordering::Relaxed);
        bytes.copy_from_slice(&noise(count, bytes.len()));
    }
}

/// What a log has to have.
#[derive(Clone, Debug, Default)]
struct Model {
    meta: LogMeta,
    /// Bytes of the entry at each index.
    entries: BTreeMap<u64, usize>,
}

impl Model {
    fn apply(&mut self, change: &Change, bytes: usize) {
        self.meta.apply(change).expect("the change fits");
        if let Change::Append(entries) = change {
            let added = entries.iter().map(|entry| (entry.log_id.index, bytes));
            self.entries.extend(added);
        }
        let range = self.meta.range();
        self.entries.retain(|index, _| range.contains(index));
    }

    fn is_in(&self, log: &SegmentLog) -> bool {
        log.meta() == &self.meta && {
            let ReadPlan::Blocking(read) = log.reader().plan(self.meta.range(), u64::MAX) else {
                panic!("segments are read from the disk");
            };
            let found = read().expect("what was replayed can be read");
            let expected = self.entries.iter();
            let expected = expected.map(|(index, bytes)| entry(*index, body(*index, *bytes)));
            found.into_iter().eq(expected)
        }
    }
}

/// See above.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let entropy = Arc::new(Counting::default());
    let (mut disk, mut model) = (MemoryDisk::new(), Model::default());
    let lives = input.int_in_range(1..=LIVES_MAX).unwrap_or(1);
    for _ in 0..lives {
        let Ok((crashed, possible)) = live(&mut input, &disk, &entropy, model.clone()) else {
            return;
        };
        disk = crashed;
        let log = open(&disk, &entropy).expect("what a crash leaves opens");
        let found = possible.into_iter().find(|one| one.is_in(&log));
        model = found.expect("the log is as it was before the last group, or after it");
        log.reader()
            .verify(&mut |_| true)
            .expect("what was replayed is sound");
    }
}

fn open(disk: &MemoryDisk, entropy: &Arc<Counting>) -> std::result::Result<SegmentLog, LogError> {
    let (disk, entropy) = (Arc::new(disk.clone()), Arc::clone(entropy));
    SegmentLog::open(disk, entropy, Path::new(DIR), OPTIONS)
}

/// Writes until the disk fails or the input has enough. What a power cut leaves, and what may be on it.
fn live(
    input: &mut Unstructured<'_>,
    disk: &MemoryDisk,
    entropy: &Arc<Counting>,
    mut model: Model,
) -> Result<(MemoryDisk, Vec<Model>)> {
    if input.arbitrary()? {
        disk.fail_after(input.int_in_range(0..=OPERATIONS_MAX)?);
    }
    let mut possible = vec![model.clone()];
    if let Ok(mut log) = open(disk, entropy) {
        for _ in 0..input.int_in_range(0..=GROUPS_MAX)? {
            let mut changes = Vec::new();
            for _ in 0..=input.int_in_range(0_u8..=2)? {
                let (change, bytes) = change(input, &model.meta)?;
                model.apply(&change, bytes);
                changes.push(change);
            }
            let written = log.write(&changes).and_then(|()| log.sync());
            if written.is_err() {
                possible.push(model);
                break;
            }
            possible = vec![model.clone()];
        }
    }
    Ok((disk.crash(survival(input)?), possible))
}

/// Which sectors of what was not synced are there: none, all, every other one, or any.
fn survival(input: &mut Unstructured<'_>) -> Result<impl FnMut() -> bool + use<>> {
    let (kind, mut state) = (input.int_in_range(0_u8..=3)?, input.arbitrary::<u32>()?);
    Ok(move || {
        // The numbers of Numerical Recipes.
        state = match kind {
            3 => state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223),
            _ => state.wrapping_add(1 << 31),
        };
        match kind {
            0 => false,
            1 => true,
            _ => state >> 31 == 1,
        }
    })
}

/// A change as openraft makes them, and the bytes of an entry that it appends.
fn change(input: &mut Unstructured<'_>, meta: &LogMeta) -> Result<(Change, usize)> {
    let (range, next) = (meta.range(), meta.next_index());
    let committed = meta.committed.map_or(0, |committed| committed.index + 1);
    let kept = range.start.max(committed);
    Ok(match input.int_in_range(0_u8..=15)? {
        0 => (Change::Vote(vote(input.arbitrary()?)), 0),
        1 if !range.is_empty() => {
            let index = input.int_in_range(range.start..=next - 1)?;
            (Change::Committed(Some(log_id(index))), 0)
        }
        // Nothing that is committed is cut off.
        2 if kept < next => {
            let index = input.int_in_range(kept..=next - 1)?;
            (Change::TruncateAfter(Some(log_id(index))), 0)
        }
        3..=5 if !range.is_empty() => {
            let index = input.int_in_range(range.start..=next - 1)?;
            (Change::Purge(log_id(index)), 0)
        }
        kind => {
            let bytes = match kind {
                0..=12 => input.int_in_range(0..=SMALL_BYTES_MAX)?,
                _ => input.int_in_range(LARGE_BYTES)?,
            };
            (Change::Append(vec![entry(next, body(next, bytes))]), bytes)
        }
    })
}

/// Of another byte for each index.
fn body(index: u64, bytes: usize) -> Bytes {
    // The lowest bits are meant.
    Bytes::from(vec![index as u8; bytes])
}

/// Noise: the bytes mean nothing but to this target.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    let lengths = [40, 80, 160, 320];
    let seed = |(at, len): (u64, usize)| (format!("noise-{len}"), noise(at, len));
    (10..).zip(lengths).map(seed).collect()
}
