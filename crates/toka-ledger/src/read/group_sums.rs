//! What was stored of consumer groups at some revisions, to compare replicas by: they are seldom at the same one.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Reader;
use crate::core::Digest;

/// A digest is kept at each multiple of this revision.
pub const GROUP_SUM_REVISIONS: u64 = 256;
/// Digests that are kept, the newest ones.
pub const GROUP_SUMS_MAX: usize = 64;

/// The newest digests with their revisions, ascending. In memory: after a start there are none.
#[derive(Debug, Default)]
pub(crate) struct GroupSums(Mutex<VecDeque<(u64, Digest)>>);

impl GroupSums {
    /// Appends new ones, in their order.
    pub(crate) fn push(&self, new: impl IntoIterator<Item = (u64, Digest)>) {
        let mut sums = self.lock();
        for sum in new {
            if sums.len() == GROUP_SUMS_MAX {
                sums.pop_front();
            }
            sums.push_back(sum);
        }
    }

    /// Forgets all: another ledger was installed.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, Digest)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// What [`Reader::groups_digest`] was at the newest revisions that are multiples of [`GROUP_SUM_REVISIONS`], the
    /// newest first: at most [`GROUP_SUMS_MAX`] of those that were applied since the ledger was opened.
    #[must_use]
    pub fn group_sums(&self) -> Vec<(u64, Digest)> {
        self.shared
            .group_sums
            .lock()
            .iter()
            .rev()
            .copied()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_ones_are_kept() {
        let sums = GroupSums::default();
        sums.push((1..=100).map(|number| (number * GROUP_SUM_REVISIONS, Digest::ZERO)));
        let kept: Vec<u64> = sums.lock().iter().map(|(revision, _)| *revision).collect();
        assert_eq!(kept.len(), GROUP_SUMS_MAX);
        assert_eq!(kept.last(), Some(&25_600));
        sums.clear();
        assert!(sums.lock().is_empty());
    }
}
