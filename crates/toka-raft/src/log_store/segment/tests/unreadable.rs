//! Sectors that the disk cannot read are damage; those of the mark are done without.

use super::*;

fn is_unreadable(error: &LogError) -> bool {
    let LogError::Damaged { damage, .. } = error else {
        return false;
    };
    matches!(damage, Damage::Unreadable(_))
}

#[test]
fn sector_that_cannot_be_read_when_the_log_is_opened_is_damage() {
    let disk = MemoryDisk::new();
    append(&mut open(&disk), 0..5);
    forget_mark(&disk);
    // Of the segment's header; of a frame, and of the last one.
    for at in [0, page_of(2), page_of(4)] {
        let disk = killed(&disk);
        disk.spoil(&segment_file(1), at as u64).expect("there");
        let found = damage_found(&disk);
        assert!(matches!(found, Damage::Unreadable(_)), "{at}: {found}");
    }
}

#[test]
fn sector_that_cannot_be_read_in_a_log_in_use_is_damage_to_readers_and_to_the_scrub() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    append(&mut log, 0..5);
    let at = page_of(2) as u64;
    disk.spoil(&segment_file(1), at).expect("there");
    let ReadPlan::Blocking(read) = log.reader().plan(2..3, u64::MAX) else {
        panic!("it is on the disk");
    };
    let error = read().expect_err("unreadable");
    assert!(is_unreadable(&error) && error.is_damage(), "{error}");
    let verified = log.reader().verify(&mut |_| true);
    let error = verified.expect_err("unreadable");
    assert!(is_unreadable(&error), "{error}");
    let ReadPlan::Blocking(read) = log.reader().plan(3..5, u64::MAX) else {
        panic!("it is on the disk");
    };
    assert_eq!(read().expect("the others are sound").len(), 2);
}

#[test]
fn mark_that_cannot_be_read_is_done_without() {
    let disk = MemoryDisk::new();
    append(&mut open(&disk), 0..5);
    let disk = killed(&disk);
    let mark = Path::new(DIR).join("mark");
    for slot in [0, PAGE] {
        disk.spoil(&mark, slot).expect("there");
    }
    assert_eq!(open(&disk).meta().range(), 0..5);
}
