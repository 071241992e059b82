//! Consumer groups against a naive model: whatever consumers do, nothing is lost, nothing is with two of them, and
//! every bound holds. The commands that a history came to are applied again in other ways, to the same rows.

mod apply_support;
#[path = "apply_support/groups.rs"]
mod groups;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use apply_support::*;
use groups::*;
use proptest::prelude::*;
use proptest::sample::Index;
use toka_ledger::command::{Command, ParkedAction, Verdict};
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Durability, Engine};
use toka_ledger::group::{ItemState, SettleOutcome};
use toka_ledger::restore::repeat;
use toka_ledger::seam::{InlineThreads, Threads};
use toka_ledger::verify::verify;
use toka_ledger::{Ledger, LogMark, Outcome, Reader};

/// What the settings of [`groups::settings`] say.
const UNACKNOWLEDGED_MAX: usize = 3;
const DELIVERIES_MAX: u32 = 2;

#[derive(Clone, Debug)]
enum Step {
    /// Events, each a task or not.
    Commit(Vec<bool>),
    /// A consumer asks for some.
    Pull(usize),
    /// A delivery that there was once, the last ones more often, is settled.
    Settle(Index, What),
    /// All that is parked.
    MoveParked(bool),
    /// Milliseconds go by.
    Wait(u64),
    /// The group is made again, and begins where it was.
    Again,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Acknowledge,
    Reject(u32),
    Extend,
    Park,
    Release,
    /// By a commit that depends on it.
    Commit,
}

fn step() -> impl Strategy<Value = Step> {
    let what = prop_oneof![
        4 => Just(What::Acknowledge),
        2 => (0..700_u32).prop_map(What::Reject),
        1 => Just(What::Extend),
        1 => Just(What::Park),
        2 => Just(What::Release),
        2 => Just(What::Commit),
    ];
    prop_oneof![
        4 => prop::collection::vec(any::<bool>(), 1..4).prop_map(Step::Commit),
        8 => (1..5_usize).prop_map(Step::Pull),
        10 => (any::<Index>(), what).prop_map(|(which, what)| Step::Settle(which, what)),
        1 => any::<bool>().prop_map(Step::MoveParked),
        4 => (1..1_200_u64).prop_map(Step::Wait),
        1 => Just(Step::Again),
    ]
}

/// An outstanding event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Out {
    deliveries: u32,
    forgiven: u32,
    is_leased: bool,
    due: u64,
}

/// What the group should be.
#[derive(Default)]
struct Model {
    /// The tasks, by their sequences.
    tasks: BTreeSet<u64>,
    last: u64,
    position: u64,
    out: BTreeMap<u64, Out>,
    parked: BTreeMap<u64, u32>,
    done: BTreeSet<u64>,
}

impl Model {
    /// What a pull should deliver.
    fn pull(&mut self, now: u64, max: usize) -> Vec<(u64, u32)> {
        let is_due = |(sequence, out): (&u64, &Out)| (out.due <= now).then_some(*sequence);
        let due: Vec<u64> = self.out.iter().filter_map(is_due).take(max).collect();
        // There may be more than that after a replay.
        let room = UNACKNOWLEDGED_MAX.saturating_sub(self.out.len());
        let room = room.min(max - due.len());
        let new = self.tasks.range(self.position + 1..).copied();
        let new: Vec<u64> = new.take(room).collect();
        if due.is_empty() && new.is_empty() {
            return Vec::new();
        }
        let mut delivered = Vec::new();
        for sequence in due {
            let out = self.out[&sequence];
            if out.deliveries - out.forgiven >= DELIVERIES_MAX {
                self.out.remove(&sequence);
                self.parked.insert(sequence, out.deliveries);
            } else {
                delivered.push((sequence, out.deliveries + 1));
            }
        }
        if room > 0 {
            self.position = match new.last() {
                Some(last) if new.len() == room => *last,
                _ => self.last,
            };
        }
        delivered.extend(new.into_iter().map(|sequence| (sequence, 1)));
        for (sequence, delivery) in &delivered {
            let forgiven = self.out.get(sequence).map_or(0, |out| out.forgiven);
            let out = Out {
                deliveries: *delivery,
                forgiven,
                is_leased: true,
                due: now + TIMEOUT,
            };
            self.out.insert(*sequence, out);
        }
        delivered
    }

    fn settle(&mut self, now: u64, (sequence, delivery): (u64, u32), what: What) -> bool {
        let current = self.out.get(&sequence).copied();
        // A delivery that is settled is settled: only that of a consumer that has the event counts.
        let is_current = |out: &Out| out.is_leased && out.deliveries == delivery;
        let Some(out) = current.filter(is_current) else {
            return false;
        };
        let is_exhausted = out.deliveries - out.forgiven >= DELIVERIES_MAX;
        match what {
            What::Release => {
                let released = Out {
                    forgiven: out.forgiven + 1,
                    is_leased: false,
                    due: now,
                    ..out
                };
                self.out.insert(sequence, released);
            }
            What::Extend => {
                let due = now + TIMEOUT;
                self.out.insert(sequence, Out { due, ..out });
            }
            What::Acknowledge | What::Commit => {
                self.out.remove(&sequence);
                self.done.insert(sequence);
            }
            What::Reject(delay) if !is_exhausted => {
                let waiting = Out {
                    is_leased: false,
                    due: now + u64::from(delay),
                    ..out
                };
                self.out.insert(sequence, waiting);
            }
            What::Reject(_) | What::Park => {
                self.out.remove(&sequence);
                self.parked.insert(sequence, out.deliveries);
            }
        }
        true
    }

    fn move_parked(&mut self, now: u64, replays: bool) -> u32 {
        let mut moved = 0;
        while let Some((sequence, deliveries)) = self.parked.pop_first() {
            if replays {
                let waiting = Out {
                    deliveries,
                    forgiven: deliveries,
                    is_leased: false,
                    due: now,
                };
                self.out.insert(sequence, waiting);
            } else {
                self.done.insert(sequence);
            }
            moved += 1;
        }
        moved
    }
}

/// A vault, what should be in its group, and what was done.
struct Run {
    vault: Vault,
    model: Model,
    now: u64,
    commands: Vec<Command>,
    /// Every delivery that there was.
    issued: Vec<(u64, u32)>,
    incarnation: u64,
}

impl Run {
    fn new(steps: &[Step]) -> Self {
        let mut run = Self {
            vault: Vault::pristine(),
            model: Model::default(),
            now: NOW,
            commands: Vec::new(),
            issued: Vec::new(),
            incarnation: 2,
        };
        run.apply(create());
        run.apply(create_group(NOW, settings(), 0));
        for step in steps {
            run.step(step);
            run.check();
        }
        run
    }

    fn apply(&mut self, command: Command) -> Outcome {
        let outcome = self.vault.apply(std::slice::from_ref(&command)).remove(0);
        self.commands.push(command);
        outcome
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Commit(events) => self.commit(events),
            Step::Pull(max) => self.pull(*max),
            Step::Settle(which, what) => self.settle(which, *what),
            Step::MoveParked(replays) => {
                let action = if *replays {
                    ParkedAction::Replay
                } else {
                    ParkedAction::Discard
                };
                let parked = self.vault.parked();
                let expected = self.model.move_parked(self.now, *replays);
                let command = move_parked(self.now, self.incarnation, parked, action);
                let outcome = self.apply(command);
                assert!(
                    matches!(outcome, Outcome::ParkedMoved { moved, .. } if moved == expected),
                    "{outcome:?}, not {expected}"
                );
            }
            Step::Wait(ms) => self.now += ms,
            Step::Again => {
                self.apply(delete_group(self.now, self.incarnation));
                let command = create_group(self.now, settings(), self.model.position);
                match self.apply(command) {
                    Outcome::GroupCreated { group, .. } => self.incarnation = group.incarnation,
                    other => panic!("{other:?}"),
                }
                self.model.out.clear();
                self.model.parked.clear();
                let before = self.model.tasks.range(..=self.model.position);
                self.model.done = before.copied().collect();
                self.issued.clear();
            }
        }
    }

    fn commit(&mut self, events: &[bool]) {
        let first = self.model.last + 1;
        let events = (first..).zip(events).map(|(sequence, is_task)| {
            let kind = if *is_task { "task.new" } else { "note" };
            event(kind, &sequence.to_string())
        });
        let mut commit = commit(events.collect::<Vec<_>>());
        commit.unix_ms = self.now;
        let outcome = self.apply(Command::Commit(commit));
        self.stored(&outcome);
    }

    /// Takes note of the events that a commit has stored.
    fn stored(&mut self, outcome: &Outcome) {
        let Outcome::Committed { headers, .. } = outcome else {
            panic!("{outcome:?}");
        };
        for header in headers {
            self.model.last = header.sequence;
            if header.kind.as_str().starts_with("task") {
                self.model.tasks.insert(header.sequence);
            }
        }
    }

    fn pull(&mut self, max: usize) {
        let planned = self.vault.planned(self.now, "a", max);
        let deliveries = match planned {
            Some(command) => delivered(self.apply(command)).0,
            None => Vec::new(),
        };
        for delivery in &deliveries {
            assert_eq!(delivery.deadline_unix_ms, self.now + TIMEOUT);
            if let Some(before) = self.model.out.get(&delivery.sequence) {
                let is_free = !before.is_leased || before.due <= self.now;
                assert!(is_free, "a consumer has event {}", delivery.sequence);
            }
        }
        let expected = self.model.pull(self.now, max);
        assert_eq!(places(&deliveries), expected);
        for place in expected {
            assert!(!self.issued.contains(&place), "{place:?} is not new");
            self.issued.push(place);
        }
    }

    fn settle(&mut self, which: &Index, what: What) {
        // One of the last: what is further back is stale most of the time.
        let recent = &self.issued[self.issued.len().saturating_sub(8)..];
        if recent.is_empty() {
            return;
        }
        let (sequence, delivery) = recent[which.index(recent.len())];
        let expected = self.model.settle(self.now, (sequence, delivery), what);
        let reason = String::new;
        let verdict = match what {
            What::Acknowledge => Verdict::Acknowledge,
            What::Extend => Verdict::Extend,
            What::Reject(delay_ms) => Verdict::Reject {
                delay_ms,
                reason: reason(),
            },
            What::Park => Verdict::Park { reason: reason() },
            What::Release => Verdict::Release,
            What::Commit => return self.settle_by_commit(sequence, delivery, expected),
        };
        let verdicts = [(sequence, delivery, verdict)];
        let outcome = self.apply(settle(self.now, self.incarnation, verdicts));
        let expected = match expected {
            true => SettleOutcome::Done,
            false => SettleOutcome::Stale,
        };
        assert!(
            matches!(&outcome, Outcome::Settled { outcomes, .. } if outcomes[..] == [expected]),
            "{outcome:?}, not {expected:?}"
        );
    }

    fn settle_by_commit(&mut self, sequence: u64, delivery: u32, expected: bool) {
        let condition = toka_ledger::command::Precondition::Acknowledge {
            group: name(),
            incarnation: self.incarnation,
            sequence,
            delivery,
        };
        let payload = self.commands.len().to_string();
        let mut commit = commit_if([condition], [event("done", &payload)]);
        commit.unix_ms = self.now;
        let outcome = self.apply(Command::Commit(commit));
        let is_stored = matches!(outcome, Outcome::Committed { .. });
        assert_eq!(is_stored, expected, "{outcome:?}");
        if is_stored {
            self.stored(&outcome);
        }
    }

    /// The group is what the model says, and what must hold of any group does.
    fn check(&self) {
        let model = &self.model;
        let reader = self.vault.ledger.reader();
        let group = self.vault.group();
        assert_eq!(group.position, model.position);
        assert_eq!(group.unacknowledged as usize, model.out.len());
        assert_eq!(group.parked as usize, model.parked.len());
        let items = reader.group_items(&name(), 0, 100).expect("readable");
        let items = items.into_iter().map(|item| {
            let out = Out {
                deliveries: item.deliveries,
                forgiven: item.forgiven,
                is_leased: matches!(item.state, ItemState::Leased { .. }),
                due: item.due_unix_ms(),
            };
            assert!(out.deliveries - out.forgiven <= DELIVERIES_MAX);
            (item.sequence, out)
        });
        assert_eq!(items.collect::<BTreeMap<_, _>>(), model.out);
        let parked = reader.group_parked(&name(), 0, 1_000).expect("readable");
        let parked = parked.into_iter();
        let parked = parked.map(|parked| (parked.sequence, parked.deliveries));
        assert_eq!(parked.collect::<BTreeMap<_, _>>(), model.parked);
        // Of the tasks up to the position each is in one place.
        let mut places: Vec<u64> = model.done.iter().copied().collect();
        places.extend(model.out.keys().chain(model.parked.keys()));
        places.sort_unstable();
        let before = model.tasks.range(..=model.position).copied();
        assert_eq!(places, before.collect::<Vec<_>>());
    }
}

fn problems(reader: &Reader) -> Vec<toka_ledger::verify::Problem> {
    verify(reader, &mut |_| {}).expect("readable").problems
}

fn open(engine: &Arc<MemoryEngine>) -> Ledger {
    let engine = Arc::clone(engine) as Arc<dyn Engine>;
    Ledger::open(engine, Arc::new(InlineThreads)).expect("opens")
}

fn apply_all(ledger: &mut Ledger, commands: &[Command]) {
    let applied = ledger.apply(commands, LogMark::default(), Durability::Volatile);
    assert_eq!(applied.expect("applies").len(), commands.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.div_ceil(2)))]
    #[test]
    fn group_does_what_a_naive_one_would(
        steps in prop::collection::vec(step(), 1..60),
        cut: Index,
        until: Index,
    ) {
        let run = Run::new(&steps);
        let reader = run.vault.ledger.reader();
        prop_assert_eq!(problems(&reader), []);
        let expected = contents(&*run.vault.engine);

        // In one entry.
        let engine = Arc::new(MemoryEngine::new());
        apply_all(&mut open(&engine), &run.commands);
        prop_assert_eq!(&contents(&*engine), &expected);

        // In two, with a crash that loses the second, which is applied again.
        let (first, second) = run.commands.split_at(cut.index(run.commands.len()));
        let engine = Arc::new(MemoryEngine::new());
        let mut ledger = open(&engine);
        apply_all(&mut ledger, first);
        engine.flush().expect("flushes");
        apply_all(&mut ledger, second);
        let engine = Arc::new(engine.crash_image());
        apply_all(&mut open(&engine), second);
        prop_assert_eq!(&contents(&*engine), &expected);

        // Up to an earlier event.
        let until = until.index(usize::try_from(run.model.last).expect("small") + 1) as u64;
        let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
        let threads: Arc<dyn Threads> = Arc::new(InlineThreads);
        repeat(&engine, &reader, until, &threads, &mut |_| {}).expect("repeated");
        let (restored, _) = Ledger::read_only(engine).expect("opens");
        prop_assert_eq!(problems(&restored), []);
        let group = restored.group(&name()).expect("readable").expect("kept");
        prop_assert_eq!(group.position, run.model.position.min(until));
        let kept = run.model.out.range(..=until).count();
        prop_assert_eq!(group.unacknowledged as usize, kept);
    }
}
