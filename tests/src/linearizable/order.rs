//! The check in one pass: places are known, so only time is left to contradict them.

use anyhow::{Context as _, Result, bail, ensure};
use toka_ledger::Digest;

use super::{Call, Log, Name, Operation, Outcome};

/// What an operation did, or saw, and when it may have.
#[derive(Clone, Debug)]
pub(super) struct Effect {
    pub(super) what: What,
    pub(super) invoked: u64,
    /// After everything else, if nobody was told.
    pub(super) returned: u64,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// Appended these, the first of them at `first`.
    Append { first: u64, names: Vec<Name> },
    /// Saw everything up to `tail`.
    Read { tail: u64, root: Option<Digest> },
}

impl Effect {
    /// How far the order went when it had taken effect.
    pub(super) fn tail(&self) -> u64 {
        match &self.what {
            What::Append { first, names } => first + names.len() as u64 - 1,
            What::Read { tail, .. } => *tail,
        }
    }

    /// Where the order must not have been beyond when it took effect.
    fn latest(&self) -> u64 {
        match &self.what {
            What::Append { first, .. } => first - 1,
            What::Read { tail, .. } => *tail,
        }
    }

    /// Sorts effects as they must have come about; reads of the same, as they were called.
    pub(super) fn key(&self) -> (u64, bool, u64) {
        let is_read = matches!(self.what, What::Read { .. });
        (self.tail(), is_read, self.invoked)
    }
}

/// Finds an operation's place in the order; `None` if it has none: it took no effect, or saw nothing.
pub(super) fn effect(operation: &Operation, log: &Log) -> Result<Option<Effect>> {
    let found = match (&operation.call, &operation.outcome) {
        (Call::Commit(names), Outcome::Committed(answer)) => Some(acknowledged(names, answer, log)),
        (Call::Commit(names), Outcome::Unknown) => stored(names, log).transpose(),
        (Call::Read, Outcome::Seen { tail, newest, root }) => {
            Some(seen(*tail, *newest, *root, log))
        }
        (Call::Read, Outcome::Unknown) => None,
        (call, outcome) => bail!("{outcome:?} is no answer to {call:?}"),
    };
    let what = found
        .transpose()
        .with_context(|| format!("{operation:?}"))?;
    let is_told = operation.outcome != Outcome::Unknown;
    Ok(what.map(|what| Effect {
        what,
        invoked: operation.invoked,
        returned: if is_told {
            operation.returned
        } else {
            u64::MAX
        },
    }))
}

fn acknowledged(names: &[Name], answer: &[(u64, Digest)], log: &Log) -> Result<What> {
    ensure!(
        !names.is_empty() && names.len() == answer.len(),
        "{} events were answered",
        answer.len()
    );
    let first = answer[0].0;
    for ((name, (sequence, digest)), expected) in names.iter().zip(answer).zip(first..) {
        ensure!(*sequence == expected, "the batch was torn");
        let place = log.places.get(name);
        let place = place.with_context(|| format!("{name:?} is acknowledged and lost"))?;
        ensure!(
            place == sequence,
            "{name:?} was acknowledged at {sequence}, and is at {place}"
        );
        ensure!(
            log.digest(*sequence) == Some(*digest),
            "event {sequence} is another one than was acknowledged"
        );
    }
    let names = names.to_vec();
    Ok(What::Append { first, names })
}

/// A commit that nobody was told of: it is there as a whole, or not at all.
fn stored(names: &[Name], log: &Log) -> Result<Option<What>> {
    let places: Vec<Option<u64>> = names
        .iter()
        .map(|name| log.places.get(name).copied())
        .collect();
    let Some(first) = places.iter().flatten().next().copied() else {
        return Ok(None);
    };
    let is_whole = places
        .iter()
        .zip(first..)
        .all(|(place, expected)| *place == Some(expected));
    ensure!(is_whole, "the batch was torn: it is at {places:?}");
    let names = names.to_vec();
    Ok(Some(What::Append { first, names }))
}

fn seen(tail: u64, newest: Option<Digest>, root: Option<Digest>, log: &Log) -> Result<What> {
    let known = log.root(tail);
    let known = known.with_context(|| format!("the order ends at {}", log.tail()))?;
    ensure!(
        root.is_none_or(|root| root == known),
        "the root up to {tail} is {known}"
    );
    ensure!(
        newest.is_none_or(|newest| log.digest(tail) == Some(newest)),
        "event {tail} is another one than was read"
    );
    Ok(What::Read { tail, root })
}

/// Checks that every event is one commit's, and that no read has seen a part of a commit. `effects` are sorted.
pub(super) fn is_whole(effects: &[Effect], log: &Log) -> Result<()> {
    let mut tail = 0;
    for effect in effects {
        match &effect.what {
            What::Append { first, .. } => {
                ensure!(
                    *first == tail + 1,
                    "after event {tail}, the next commit has begun at {first}: {effect:?}"
                );
                tail = effect.tail();
            }
            What::Read { tail: seen, .. } => {
                ensure!(
                    *seen == tail,
                    "a commit ends at {tail}, and a read has seen {seen}: {effect:?}"
                );
            }
        }
    }
    ensure!(
        tail == log.tail(),
        "nobody has sent event {} and those after it",
        tail + 1
    );
    Ok(())
}

/// Checks that nothing took effect after what was called only when it had been answered.
pub(super) fn respects_time(effects: &[Effect]) -> Result<()> {
    // Of a call and an answer at the same time, the call comes first: neither was before the other.
    let calls = effects.iter().map(|effect| (effect.invoked, false, effect));
    let answers = effects.iter().map(|effect| (effect.returned, true, effect));
    let mut moments: Vec<_> = calls.chain(answers).collect();
    moments.sort_by_key(|(at, is_answer, _)| (*at, *is_answer));
    let mut reached: Option<&Effect> = None;
    for (_, is_answer, effect) in moments {
        let tail = reached.map_or(0, Effect::tail);
        if !is_answer {
            ensure!(
                effect.latest() >= tail,
                "stale: {effect:?} was called after the answer of {reached:?}"
            );
        } else if reached.is_none() || effect.tail() > tail {
            reached = Some(effect);
        }
    }
    Ok(())
}
