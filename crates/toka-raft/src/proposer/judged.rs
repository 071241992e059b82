//! Which of several commits may be proposed.
//!
//! They come from one stream, and are each for itself: what one of them needs, or lacks, is no matter of the others.

use std::borrow::Cow;

use toka_ledger::Outcome;
use toka_ledger::command::{Commit, FEATURE_LEVEL_MIN};

use crate::error::CommitError;

/// Commits, each judged alone.
pub(super) struct Judged<'a> {
    /// Those that may be proposed, in their order.
    sound: Cow<'a, [Commit]>,
    /// The others: where they are among all, ascending, and why they are not proposed.
    refused: Vec<(usize, CommitError)>,
}

impl<'a> Judged<'a> {
    /// Judges `commits` by themselves, and by the vault's feature level, which is read if one of them needs more than
    /// every build knows.
    ///
    /// # Errors
    /// The level cannot be read.
    pub(super) fn of(
        commits: &'a [Commit],
        level: impl FnOnce() -> Result<u32, CommitError>,
    ) -> Result<Self, CommitError> {
        let is_above = |commit: &Commit| commit.level_needed() > FEATURE_LEVEL_MIN;
        let level = match commits.iter().any(is_above) {
            true => level()?,
            false => FEATURE_LEVEL_MIN,
        };
        let mut refused = Vec::new();
        for (place, commit) in commits.iter().enumerate() {
            if let Err(error) = check(commit, level) {
                refused.push((place, error));
            }
        }
        let sound = if refused.is_empty() {
            Cow::Borrowed(commits)
        } else {
            let mut places = refused.iter().map(|(place, _)| *place).peekable();
            let is_sound = |(place, _): &(usize, &Commit)| places.next_if_eq(place).is_none();
            let sound = commits.iter().enumerate().filter(is_sound);
            sound.map(|(_, commit)| commit.clone()).collect()
        };
        Ok(Self { sound, refused })
    }

    /// Those that may be proposed, in their order.
    pub(super) fn sound(&self) -> &[Commit] {
        &self.sound
    }

    /// Why the others are not.
    pub(super) fn refusals(&self) -> impl Iterator<Item = &CommitError> {
        self.refused.iter().map(|(_, error)| error)
    }

    /// What has become of each, where those that were proposed have these outcomes.
    pub(super) fn answers(self, outcomes: Vec<Outcome>) -> Vec<Result<Outcome, CommitError>> {
        let all = outcomes.len() + self.refused.len();
        let mut outcomes = outcomes.into_iter();
        let mut refused = self.refused.into_iter().peekable();
        let answer = |place: usize| match refused.next_if(|(at, _)| *at == place) {
            Some((_, error)) => Err(error),
            None => outcomes.next().ok_or(CommitError::Unknown),
        };
        (0..all).map(answer).collect()
    }
}

fn check(commit: &Commit, level: u32) -> Result<(), CommitError> {
    // What no node can decode would stop every one of them.
    commit.check()?;
    check_level(commit.level_needed(), level)
}

/// What a member of an older build cannot decode would stop it: whether the vault's `level` is high enough.
pub(super) fn check_level(needed: u32, level: u32) -> Result<(), CommitError> {
    if needed > level {
        return Err(CommitError::FeatureLevel { needed, level });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use toka_ledger::command::{COORDINATION_LEVEL, Precondition};
    use toka_ledger::prepare::{EventDraft, prepare_commit};

    use super::*;

    fn commit(kind: &str) -> Commit {
        prepare_commit([EventDraft::new(kind)], vec![], 1).expect("valid")
    }

    /// One that no vault of the first level takes.
    fn above(kind: &str) -> Commit {
        let condition = Precondition::KindPrefixSequence {
            prefix: "never".to_owned(),
            sequence: 0,
        };
        Commit {
            preconditions: vec![condition],
            ..commit(kind)
        }
    }

    /// One that no node could read back.
    fn empty() -> Commit {
        Commit {
            events: Vec::new(),
            ..commit("none")
        }
    }

    fn outcome(revision: u64) -> Outcome {
        Outcome::Committed {
            revision,
            headers: Vec::new(),
        }
    }

    #[test]
    fn commit_that_may_not_be_proposed_keeps_back_no_other_one() {
        let commits = [
            above("first"),
            commit("second"),
            empty(),
            commit("fourth"),
            above("fifth"),
        ];
        let judged = Judged::of(&commits, || Ok(FEATURE_LEVEL_MIN)).expect("the level is there");
        assert_eq!(judged.sound(), [commits[1].clone(), commits[3].clone()]);
        assert_eq!(judged.refusals().count(), 3);
        let answers = judged.answers(vec![outcome(1), outcome(2)]);
        let level = CommitError::FeatureLevel {
            needed: COORDINATION_LEVEL,
            level: FEATURE_LEVEL_MIN,
        };
        assert_eq!(answers.len(), 5);
        assert_eq!(answers[0], Err(level.clone()));
        assert_eq!(answers[1], Ok(outcome(1)));
        assert!(matches!(answers[2], Err(CommitError::Invalid(_))));
        assert_eq!(answers[3], Ok(outcome(2)));
        assert_eq!(answers[4], Err(level));
    }

    #[test]
    fn level_is_read_only_where_a_commit_needs_more_than_all_builds_know() {
        let commits = [commit("first"), commit("second")];
        let judged = Judged::of(&commits, || unreachable!("nobody needs it"));
        let judged = judged.expect("all may be proposed");
        assert_eq!(judged.sound(), commits);
        let commits = [commit("first"), above("second")];
        let judged = Judged::of(&commits, || Ok(COORDINATION_LEVEL)).expect("the level is there");
        assert_eq!(judged.sound(), commits);
        let unread = Judged::of(&commits, || Err(CommitError::Stopped));
        assert_eq!(unread.err(), Some(CommitError::Stopped));
    }
}
