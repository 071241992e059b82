//! Random histories, crashed everywhere, against a model.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

/// What the log must hold.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    entries: BTreeMap<u64, Entry>,
    purged: Option<LogId>,
    committed: Option<LogId>,
    vote: Option<Vote>,
}

impl Model {
    fn next(&self) -> u64 {
        let purged = self.purged.map_or(0, |purged| purged.index + 1);
        self.entries
            .last_key_value()
            .map_or(purged, |(last, _)| last + 1)
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Append(entries) => {
                self.entries.extend(
                    entries
                        .iter()
                        .map(|entry| (entry.log_id.index, entry.clone())),
                );
            }
            Change::TruncateAfter(after) => {
                self.entries
                    .retain(|index, _| after.is_some_and(|after| *index <= after.index));
            }
            Change::Purge(upto) => {
                self.entries.retain(|index, _| *index > upto.index);
                self.purged = self.purged.max(Some(*upto));
            }
            Change::Vote(vote) => self.vote = Some(*vote),
            Change::Committed(committed) => self.committed = *committed,
        }
    }

    fn of(log: &SegmentLog) -> Self {
        let meta = log.meta();
        Self {
            entries: read(log)
                .into_iter()
                .map(|entry| (entry.log_id.index, entry))
                .collect(),
            purged: meta.purged,
            committed: meta.committed,
            vote: meta.vote,
        }
    }
}

/// A step, still without the indexes that depend on the state.
#[derive(Clone, Debug)]
enum Step {
    Append(Vec<usize>),
    Truncate(u64),
    Purge(u64),
    Vote,
    Committed,
}

fn step() -> impl Strategy<Value = Step> {
    let lens = prop::collection::vec(prop_oneof![4 => 0..300usize, 1 => 3000..12_000usize], 1..6);
    prop_oneof![
        6 => lens.prop_map(Step::Append),
        2 => (0..8u64).prop_map(Step::Truncate),
        1 => (0..12u64).prop_map(Step::Purge),
        1 => Just(Step::Vote),
        1 => Just(Step::Committed),
    ]
}

/// What openraft would ask for, given the state: log ids grow, and only what is there is cut.
fn change(step: &Step, model: &Model, term: &mut u64) -> Change {
    let id_at = |index: u64| model.entries.get(&index).map(|entry| entry.log_id);
    match step {
        Step::Append(lens) => {
            let entries = (model.next()..).zip(lens);
            Change::Append(
                entries
                    .map(|(index, len)| entry(*term, index, *len))
                    .collect(),
            )
        }
        Step::Truncate(count) => {
            *term += 1;
            let last_kept = model.next().checked_sub(count + 1);
            Change::TruncateAfter(last_kept.and_then(id_at).or(model.purged))
        }
        Step::Purge(count) => {
            let first = model
                .entries
                .first_key_value()
                .map_or(model.next(), |(first, _)| *first);
            let upto = first + count;
            Change::Purge(id_at(upto).unwrap_or_else(|| log_id(*term, upto)))
        }
        Step::Vote => Change::Vote(Vote::new(*term, 1)),
        Step::Committed => {
            let last = model.entries.last_key_value();
            Change::Committed(last.map(|(_, entry)| entry.log_id))
        }
    }
}

/// A reproducible coin for each sector and name.
fn coin(seed: u64) -> impl FnMut() -> bool {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state & 3 != 0
    }
}

/// Writes the groups; before and after each sync, crashes the disk and opens what is left: it must be
/// the state before or after the group that was being written, and after its sync the latter.
fn run(groups: &[Vec<Step>], seed: u64) -> Result<(), TestCaseError> {
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    let mut model = Model::default();
    let mut term = 1;
    for (turn, steps) in groups.iter().enumerate() {
        let before = model.clone();
        let mut changes = Vec::new();
        for step in steps {
            let change = change(step, &model, &mut term);
            model.apply(&change);
            changes.push(change);
        }
        log.write(&changes).expect("write");
        for image in 0..4 {
            let crashed = disk.crash(coin(seed ^ (turn as u64 * 4 + image)));
            let found = Model::of(&open(&crashed));
            prop_assert!(
                found == before || found == model,
                "neither before nor after the group"
            );
        }
        log.sync().expect("sync");
        let crashed = disk.crash(coin(seed.rotate_left(9) ^ turn as u64));
        let reopened = open(&crashed);
        prop_assert_eq!(&Model::of(&reopened), &model);
        prop_assert_eq!(reopened.meta(), log.meta());
        // Go on from a crash now and then: what is written over a torn frame must hold as well.
        if turn % 5 == 4 {
            let torn = change(&Step::Append(vec![9000, 20]), &model, &mut term);
            log.write(&[torn]).expect("write");
            let crashed = disk.crash(coin(seed.rotate_left(21) ^ turn as u64));
            let next = open(&crashed);
            model = Model::of(&next);
            drop(log);
            return run_on(
                crashed,
                next,
                model,
                term,
                &groups[turn + 1..],
                seed.rotate_left(7),
            );
        }
    }
    Ok(())
}

/// Goes on with an opened log after a crash.
fn run_on(
    disk: MemoryDisk,
    mut log: SegmentLog,
    mut model: Model,
    mut term: u64,
    groups: &[Vec<Step>],
    seed: u64,
) -> Result<(), TestCaseError> {
    for (turn, steps) in groups.iter().enumerate() {
        let mut changes = Vec::new();
        for step in steps {
            let change = change(step, &model, &mut term);
            model.apply(&change);
            changes.push(change);
        }
        put(&mut log, &changes);
        let crashed = disk.crash(coin(seed ^ turn as u64));
        prop_assert_eq!(&Model::of(&open(&crashed)), &model);
    }
    Ok(())
}

#[test]
fn crash_at_any_point_leaves_a_prefix_of_the_groups() {
    let groups = prop::collection::vec(prop::collection::vec(step(), 1..4), 1..25);
    let mut runner = TestRunner::new(Config {
        cases: Config::default().cases.div_ceil(2),
        ..Config::default()
    });
    runner
        .run(&(groups, any::<u64>()), |(groups, seed)| run(&groups, seed))
        .unwrap_or_else(|failure| panic!("{failure}"));
}

/// A history that rolls, purges, recycles, truncates and outgrows a segment.
fn history() -> Vec<Vec<Step>> {
    let mut groups = Vec::new();
    for round in 0..4 {
        groups.push(vec![Step::Vote, Step::Append(vec![100, 3000])]);
        groups.push(vec![Step::Append(vec![9000, 50])]);
        groups.push(vec![Step::Truncate(2), Step::Append(vec![8000, 8000])]);
        groups.push(vec![Step::Append(vec![if round == 2 {
            50_000
        } else {
            20_000
        }])]);
        groups.push(vec![Step::Purge(4), Step::Committed]);
    }
    groups
}

/// Plays the history until the disk fails. Returns the states before and after the last group.
fn play(disk: &MemoryDisk) -> (Model, Model) {
    let (mut before, mut model, mut term) = (Model::default(), Model::default(), 1);
    let Ok(mut log) = try_open(disk) else {
        return (before, model);
    };
    for steps in history() {
        before = model.clone();
        let mut changes = Vec::new();
        for step in &steps {
            let change = change(step, &model, &mut term);
            model.apply(&change);
            changes.push(change);
        }
        if log.write(&changes).and_then(|()| log.sync()).is_err() {
            break;
        }
    }
    (before, model)
}

#[test]
fn crash_at_every_disk_operation_leaves_a_prefix_of_the_groups() {
    let disk = MemoryDisk::new();
    play(&disk);
    let operations = disk.operations();
    assert!(operations > 100, "{operations}");
    for at in 0..operations {
        let disk = MemoryDisk::new();
        disk.fail_after(at);
        let (before, after) = play(&disk);
        for image in 0..6 {
            let crashed = disk.crash(coin(at * 6 + image));
            // Recovery may be cut short as well, at any of its operations.
            crashed.fail_after(image);
            drop(try_open(&crashed));
            let crashed = crashed.crash(coin(at * 7 + image));
            let found = Model::of(&open(&crashed));
            assert!(
                found == before || found == after,
                "operation {at}, image {image}"
            );
        }
    }
}

#[test]
fn any_flipped_bit_is_harmless_or_refused() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    put(&mut log, &[Change::Vote(Vote::new(7, 1))]);
    append(&mut log, 0..12);
    put(&mut log, &[Change::Purge(log_id(1, 2))]);
    let expected = Model::of(&log);
    log.close().expect("close");
    let mut refused = 0;
    for number in [1, 2] {
        let len = disk.read(&segment_file(number)).expect("segment").len();
        for at in (0..len).step_by(97) {
            let damaged = killed(&disk);
            damage(&damaged, number, |bytes| bytes[at] ^= 0x10);
            match try_open(&damaged) {
                // Padding and space that is not written yet mean nothing.
                Ok(log) => assert_eq!(Model::of(&log), expected, "segment {number} byte {at}"),
                Err(LogError::Damaged { .. }) => refused += 1,
                Err(other) => panic!("segment {number} byte {at}: {other}"),
            }
        }
    }
    assert!(refused > 20, "{refused}");
}
