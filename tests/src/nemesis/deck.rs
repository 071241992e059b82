//! Which faults come when, and beside which errand.
//!
//! Drawn one by one, some kinds would not come for a long time. So errands are dealt from a deck that is shuffled, and
//! of the kinds of faults that suit an errand those come first that have had an effect least often.

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

use super::errand::Errand;
use super::fault::Kind;
use super::tally::Tally;

/// Faults at once.
const FAULTS: std::ops::RangeInclusive<usize> = 2..=3;
const ERRANDS: [Errand; 7] = [
    Errand::Nothing,
    Errand::Nothing,
    Errand::RollingRestart,
    Errand::Replace,
    Errand::Add,
    Errand::Remove,
    Errand::Credentials,
];

/// The errands to come.
#[derive(Debug, Default)]
pub(super) struct Deck(Vec<Errand>);

/// What one round consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hand {
    pub(super) errand: Errand,
    pub(super) kinds: Vec<Kind>,
}

impl Deck {
    /// The next round, after what `tally` tells of. The membership is changed during a partition, always.
    pub(super) fn deal(&mut self, tally: &Tally, rng: &mut StdRng) -> Hand {
        if self.0.is_empty() {
            self.0 = ERRANDS.to_vec();
            self.0.shuffle(rng);
        }
        let errand = self.0.pop().unwrap_or(Errand::Nothing);
        let count = rng.random_range(FAULTS);
        let mut kinds = Vec::new();
        if errand.changes_members() {
            kinds.extend(rarest(tally, rng, Kind::is_partition));
        }
        while kinds.len() < count {
            let suits = |kind| errand.bears(kind) && goes_with(kind, &kinds, tally);
            let Some(kind) = rarest(tally, rng, suits) else {
                break;
            };
            kinds.push(kind);
        }
        Hand { errand, kinds }
    }
}

/// One of those that suit and have had an effect least often. Of those that never had one, first those that suit the
/// fewest errands.
fn rarest(tally: &Tally, rng: &mut StdRng, suits: impl Fn(Kind) -> bool) -> Option<Kind> {
    let key = |kind: &Kind| match tally.of(*kind).took_effect {
        0 => (0, room(*kind)),
        count => (count, 0),
    };
    let mut suiting: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| suits(*kind)).collect();
    let least = suiting.iter().map(key).min()?;
    suiting.retain(|kind| key(kind) == least);
    suiting.choose(rng).copied()
}

/// How many errands bear it; those that need no partition leave these to those that do.
fn room(kind: Kind) -> usize {
    if kind.is_partition() {
        return ERRANDS.len();
    }
    ERRANDS.iter().filter(|errand| errand.bears(kind)).count()
}

/// Whether it can be told from the others, and undone without them. The first of a heavy kind is alone of those: nodes
/// that were killed do not notice that their disk is full.
fn goes_with(kind: Kind, others: &[Kind], tally: &Tally) -> bool {
    let is_new = tally.of(kind).took_effect == 0;
    let bears = |other: &Kind| {
        let both_heavy = kind.is_heavy() && other.is_heavy();
        !(kind.excludes(*other) || is_new && both_heavy)
    };
    others.iter().all(bears)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed;

    /// Rounds until everything has happened once, if everything takes effect.
    const ROUNDS_MAX: usize = 8;

    #[test]
    fn everything_is_dealt_within_a_few_rounds_whatever_the_seed() {
        for seed in 0..500 {
            let mut rng = seed::rng(seed, 0);
            let (mut deck, mut tally) = (Deck::default(), Tally::default());
            for _ in 0..ROUNDS_MAX {
                let hand = deck.deal(&tally, &mut rng);
                let effects: Vec<_> = hand.kinds.iter().map(|kind| (*kind, 1)).collect();
                tally.note(hand.errand, &effects);
            }
            assert_eq!(tally.missing(), Vec::<String>::new(), "seed {seed}");
        }
    }

    #[test]
    fn hand_has_nothing_that_its_errand_does_not_bear() {
        let mut rng = seed::rng(1, 0);
        let (mut deck, mut tally) = (Deck::default(), Tally::default());
        for _ in 0..200 {
            let Hand { errand, kinds } = deck.deal(&tally, &mut rng);
            assert!(FAULTS.contains(&kinds.len()), "{kinds:?}");
            assert!(
                kinds.iter().all(|kind| errand.bears(*kind)),
                "{errand:?}: {kinds:?}"
            );
            let partitions = kinds.iter().filter(|kind| kind.is_partition()).count();
            assert!(partitions <= 1 && (partitions == 1 || !errand.changes_members()));
            let effects: Vec<_> = kinds.iter().map(|kind| (*kind, 1)).collect();
            tally.note(errand, &effects);
        }
    }
}
