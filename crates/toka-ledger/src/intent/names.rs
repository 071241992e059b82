//! Where ids lead that are in use no more, and what people call the intents.

use std::collections::{BTreeMap, BTreeSet};

use super::{IntentId, MicroClusterId};

/// Successors of retired intents, aliases of folded micro-clusters, and labels.
///
/// Both relations lead from ids that are never used again to ids that were in use at that moment, so
/// that following them ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) successors: BTreeMap<IntentId, IntentId>,
    aliases: BTreeMap<MicroClusterId, MicroClusterId>,
    /// The other way: all that was folded into a micro-cluster in use, directly or not.
    folded: BTreeMap<MicroClusterId, BTreeSet<MicroClusterId>>,
    pub(super) labels: BTreeMap<IntentId, String>,
}

impl Names {
    /// The intent that holds most of what `intent` held; itself while it is in use.
    pub(super) fn resolve(&self, mut intent: IntentId) -> IntentId {
        while let Some(&successor) = self.successors.get(&intent) {
            intent = successor;
        }
        intent
    }

    /// Takes note that `micro` was folded into `into`.
    pub(super) fn fold(&mut self, micro: MicroClusterId, into: MicroClusterId) {
        self.aliases.insert(micro, into);
        let mut folded = self.folded.remove(&micro).unwrap_or_default();
        folded.insert(micro);
        // When names are loaded, `into` may have been folded on already.
        let root = self.root(into);
        self.folded.entry(root).or_default().append(&mut folded);
    }

    /// The ids of micro-clusters that were folded into `micro`, which is in use.
    pub(super) fn folded(
        &self,
        micro: MicroClusterId,
    ) -> impl Iterator<Item = MicroClusterId> + '_ {
        self.folded.get(&micro).into_iter().flatten().copied()
    }

    /// The micro-cluster that holds the events of `micro`; itself while it is in use.
    pub(super) fn root(&self, mut micro: MicroClusterId) -> MicroClusterId {
        while let Some(&into) = self.aliases.get(&micro) {
            micro = into;
        }
        micro
    }

    /// The intents that `intent` led through and the one that it is now, in order.
    pub(super) fn successors_of(&self, intent: IntentId) -> Vec<IntentId> {
        std::iter::successors(self.successors.get(&intent), |next| {
            self.successors.get(next)
        })
        .copied()
        .collect()
    }
}
