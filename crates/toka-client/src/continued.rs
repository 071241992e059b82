//! Intents that were retired while a subscription followed them.

use std::collections::BTreeMap;

use toka_ledger::intent::IntentId;
use toka_proto::convert::read::INTENTS_MAX;

/// What a subscription was told of retired intents, by any node.
#[derive(Debug, Default)]
pub(crate) struct Continued {
    successors: BTreeMap<IntentId, IntentId>,
}

impl Continued {
    /// Takes a node's message that `intent` goes on as `successor`, and puts the successor into the
    /// filter with which the next node is asked. Returns what is news of it, if anything is.
    ///
    /// The retired intent stays in the filter: the next node may be behind the regrouping, and does not
    /// know yet that the intent's events are its successor's.
    pub(crate) fn take(
        &mut self,
        filter: &mut Vec<IntentId>,
        intent: IntentId,
        successor: IntentId,
    ) -> Option<(IntentId, IntentId)> {
        let (known, successor) = (self.now(intent), self.now(successor));
        if known == successor {
            return None;
        }
        // Both are ends, so there is never a cycle.
        self.successors.insert(known, successor);
        if !filter.contains(&successor) {
            filter.push(successor);
        }
        while filter.len() > INTENTS_MAX {
            let oldest = filter
                .iter()
                .position(|intent| self.successors.contains_key(intent));
            let Some(oldest) = oldest else { break };
            self.successors.remove(&filter.remove(oldest));
        }
        Some((known, successor))
    }

    /// The end of the chain from `intent`, as far as it was told.
    fn now(&self, intent: IntentId) -> IntentId {
        let mut now = intent;
        while let Some(&next) = self.successors.get(&now) {
            now = next;
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IntentId = IntentId(1);
    const B: IntentId = IntentId(2);
    const C: IntentId = IntentId(3);

    #[test]
    fn each_successor_is_told_once_and_followed_beside_the_retired() {
        let (mut continued, mut filter) = (Continued::default(), vec![A]);
        assert_eq!(continued.take(&mut filter, A, B), Some((A, B)));
        assert_eq!(continued.take(&mut filter, A, B), None);
        assert_eq!(filter, [A, B]);
        // Another node knows more of the chain, and tells it from both ends.
        assert_eq!(continued.take(&mut filter, A, C), Some((B, C)));
        assert_eq!(continued.take(&mut filter, B, C), None);
        // One that is behind knows less.
        assert_eq!(continued.take(&mut filter, A, B), None);
        assert_eq!(filter, [A, B, C]);
    }

    #[test]
    fn filter_stays_within_its_bound() {
        let (mut continued, mut filter) = (Continued::default(), vec![IntentId(0)]);
        for n in 0..1_000 {
            let (intent, successor) = (IntentId(n), IntentId(n + 1));
            let told = continued.take(&mut filter, intent, successor);
            assert_eq!(told, Some((intent, successor)));
        }
        assert_eq!(filter.len(), INTENTS_MAX);
        assert_eq!(filter.last(), Some(&IntentId(1_000)));
        assert!(continued.successors.len() <= INTENTS_MAX);
    }
}
