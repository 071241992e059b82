//! Large frames, which are written into space that was not filled before.

use super::*;

/// Holds a few large frames.
const ROOMY: SegmentOptions = SegmentOptions {
    segment_bytes: 64 * PAGE,
    create: true,
};
/// A group with an entry of this size is a large frame.
const LARGE: usize = 70_000;

fn bytes_of(disk: &MemoryDisk, number: u64) -> u64 {
    disk.read(&segment_file(number)).expect("segment").len() as u64
}

#[test]
fn large_frame_is_written_once() {
    let disk = MemoryDisk::new();
    let options = SegmentOptions {
        segment_bytes: 4 * FILL_BYTES,
        ..ROOMY
    };
    let mut log = open_with(&disk, options).expect("opens");
    put(&mut log, &[Change::Append(vec![entry(1, 0, LARGE)])]);
    let written = PAGE + (LARGE as u64).next_multiple_of(PAGE);
    assert_eq!(bytes_of(&disk, 1), written);
    // A small one is worth zeros ahead of it, and large ones go on in them and beyond.
    put(&mut log, &[Change::Append(vec![entry(1, 1, 100)])]);
    assert_eq!(bytes_of(&disk, 1), FILL_BYTES);
    for index in 2..20 {
        put(&mut log, &[Change::Append(vec![entry(1, index, LARGE)])]);
    }
    let expected = read(&log);
    log.close().expect("close");
    assert_eq!(read(&open_with(&disk, options).expect("opens")), expected);
    assert_eq!(expected.len(), 20);
}

/// Sizes of entries, a group each: large ones at the beginning, in the middle and at the end of a segment, and one that
/// gets a segment of its own.
const SIZES: [usize; 12] = [
    LARGE,
    100,
    LARGE,
    LARGE,
    100,
    100,
    3 * LARGE,
    LARGE,
    100,
    4 * LARGE,
    LARGE,
    100,
];

/// Appends and purges until the disk fails. Returns the entries before and after the last group.
fn play(disk: &MemoryDisk) -> [Vec<Entry>; 2] {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let Ok(mut log) = open_with(disk, ROOMY) else {
        return [before, after];
    };
    for (index, len) in (0..).zip(SIZES.into_iter().cycle().take(2 * SIZES.len())) {
        before.clone_from(&after);
        let mut changes = vec![Change::Append(vec![entry(1, index, len)])];
        after.push(entry(1, index, len));
        if index % 8 == 7 {
            changes.push(Change::Purge(log_id(1, index - 4)));
            after.retain(|entry| entry.log_id.index > index - 4);
        }
        if log.write(&changes).and_then(|()| log.sync()).is_err() {
            break;
        }
    }
    [before, after]
}

#[test]
fn crash_among_large_frames_leaves_a_prefix_of_the_groups() {
    let disk = MemoryDisk::new();
    play(&disk);
    let operations = disk.operations();
    assert!(operations > 50, "{operations}");
    for at in 0..operations {
        let disk = MemoryDisk::new();
        disk.fail_after(at);
        let [before, after] = play(&disk);
        // Nothing, all, or every other sector of what was not synced.
        for image in 0..3 {
            let mut sector = 0;
            let crashed = disk.crash(|| {
                sector += 1;
                image == 1 || (image == 2 && sector % 2 == 0)
            });
            let found = read(&open_with(&crashed, ROOMY).expect("opens"));
            assert!(
                found == before || found == after,
                "operation {at}, image {image}"
            );
        }
    }
}
