//! Who is a member, and who was one, as far as this node has applied.
//!
//! Node ids are given out in ascending order and never again. So a node whose id is not above the
//! highest one that a member ever had, and which is no member, was removed for good: whoever has
//! applied that much can tell it so, also a node that is behind.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::codec::AppliedMembership;

/// The last membership that was applied; kept beside the ledger so that asking costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Roster(Mutex<AppliedMembership>);

impl Roster {
    pub(crate) fn set(&self, applied: AppliedMembership) {
        *self.lock() = applied;
    }

    /// The highest node id that a member ever had; 0: none.
    pub(crate) fn highest_node_id(&self) -> u64 {
        self.lock().highest_node_id
    }

    /// Whether `node_id` was a member and is none any more, nor ever will be.
    pub(crate) fn has_removed(&self, node_id: u64) -> bool {
        let applied = self.lock();
        node_id != 0
            && node_id <= applied.highest_node_id
            && applied.stored.membership().get_node(&node_id).is_none()
    }

    fn lock(&self) -> MutexGuard<'_, AppliedMembership> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::type_config::{Member, Membership, StoredMembership};

    fn stored(ids: &[u64]) -> StoredMembership {
        let nodes: BTreeMap<_, _> = ids.iter().map(|id| (*id, Member::default())).collect();
        let voters: BTreeSet<_> = ids.iter().copied().collect();
        let membership = Membership::new(vec![voters], nodes).expect("valid");
        StoredMembership::new(None, membership)
    }

    #[test]
    fn only_an_id_that_was_given_out_can_have_been_removed() {
        let roster = Roster::default();
        assert!(!roster.has_removed(1), "nothing is known yet");
        let formed = AppliedMembership::default().followed_by(stored(&[1, 2, 4]));
        roster.set(formed.clone());
        assert!(!roster.has_removed(4) && !roster.has_removed(5));
        roster.set(formed.followed_by(stored(&[1, 2])));
        assert!(roster.has_removed(4) && !roster.has_removed(2));
        assert!(!roster.has_removed(5), "it may have been added since");
        assert_eq!(roster.highest_node_id(), 4);
    }
}
