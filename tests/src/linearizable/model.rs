//! The same question put to a checker that knows nothing of places: the one of the crate `stateright`.

use anyhow::{Result, anyhow};
use stateright::semantics::{ConsistencyTester as _, LinearizabilityTester, SequentialSpec};
use toka_ledger::Digest;

use super::order::{Effect, What};
use super::{Log, Name};

/// Operations of one window. The checker copies what is left of it at each of its steps.
const WINDOW: usize = 24;

/// A vault that does one thing after the other.
#[derive(Clone, Debug)]
struct Prefix<'a> {
    tail: u64,
    log: &'a Log,
}

#[derive(Clone, Debug)]
enum Ask {
    Append(Vec<Name>),
    Read,
}

#[derive(Clone, Debug, PartialEq)]
enum Answer {
    At(u64),
    Seen { tail: u64, root: Option<Digest> },
}

impl SequentialSpec for Prefix<'_> {
    type Op = Ask;
    type Ret = Answer;

    fn invoke(&mut self, ask: &Ask) -> Answer {
        match ask {
            Ask::Append(names) => {
                let first = self.tail + 1;
                self.tail += names.len() as u64;
                Answer::At(first)
            }
            Ask::Read => Answer::Seen {
                tail: self.tail,
                root: self.log.root(self.tail),
            },
        }
    }

    /// A prefix has its root only with its events: appended here, they must be those that are there.
    fn is_valid_step(&mut self, ask: &Ask, answer: &Answer) -> bool {
        let before = self.tail;
        match (ask, self.invoke(ask), answer) {
            (Ask::Append(names), Answer::At(first), Answer::At(told)) => {
                let mut places = names.iter().zip(before + 1..);
                first == *told && places.all(|(name, at)| self.log.name(at) == Some(*name))
            }
            (
                Ask::Read,
                Answer::Seen { tail, root },
                Answer::Seen {
                    tail: seen,
                    root: told,
                },
            ) => tail == *seen && (told.is_none() || root == *told),
            _ => false,
        }
    }
}

/// Cuts sorted effects into pieces, each with where the order was before it.
///
/// A history is linearizable just if each piece is, and nothing in a piece was answered before something in an
/// earlier one was called; [`super::order::respects_time`] has checked that.
pub(super) fn windows(effects: &[Effect]) -> impl Iterator<Item = (u64, &[Effect])> {
    effects.chunks(WINDOW).scan(0, |tail, window| {
        let before = *tail;
        *tail = window.last().map_or(before, Effect::tail);
        Some((before, window))
    })
}

/// Whether there is an order for the effects of `window`, after event `before`.
///
/// # Errors
/// The history makes no sense to the checker.
pub(super) fn is_linearizable(before: u64, window: &[Effect], log: &Log) -> Result<bool> {
    let mut tester = LinearizabilityTester::new(Prefix { tail: before, log });
    // Each operation is a thread of its own: those of one client are kept in order by their times. The checker
    // tries threads by their numbers, so that it tries the order that they should have first.
    let calls = (0..)
        .zip(window)
        .map(|(thread, it)| (it.invoked, false, thread, it));
    let answers = (0..)
        .zip(window)
        .map(|(thread, it)| (it.returned, true, thread, it));
    let mut moments: Vec<(u64, bool, usize, &Effect)> = calls.chain(answers).collect();
    moments.sort_by_key(|(at, is_answer, thread, _)| (*at, *is_answer, *thread));
    for (_, is_answer, thread, effect) in moments {
        let accepted = if is_answer {
            tester.on_return(thread, answer(effect)).map(drop)
        } else {
            tester.on_invoke(thread, ask(effect)).map(drop)
        };
        accepted.map_err(|reason| anyhow!("stateright: {reason}"))?;
    }
    Ok(tester.is_consistent())
}

fn ask(effect: &Effect) -> Ask {
    match &effect.what {
        What::Append { names, .. } => Ask::Append(names.clone()),
        What::Read { .. } => Ask::Read,
    }
}

fn answer(effect: &Effect) -> Answer {
    match &effect.what {
        What::Append { first, .. } => Answer::At(*first),
        What::Read { tail, root } => Answer::Seen {
            tail: *tail,
            root: *root,
        },
    }
}
