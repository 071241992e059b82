//! How often what was done, and what came of it.

use std::collections::BTreeMap;

use super::errand::Errand;
use super::fault::Kind;

/// Faults of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How often there was one.
    pub dealt: u64,
    /// How often it was seen to do something.
    pub took_effect: u64,
    /// What it did, in what [`Kind::does`] says.
    pub effects: u64,
}

/// Everything that the nemesis has done.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    faults: BTreeMap<Kind, Count>,
    errands: BTreeMap<Errand, u64>,
    /// Changes of the membership that were begun during a partition that lost packets.
    partitioned: BTreeMap<Errand, u64>,
}

impl Tally {
    /// Takes note of a round that is over: what each fault did.
    pub(super) fn note(&mut self, errand: Errand, effects: &[(Kind, u64)]) {
        for (kind, effect) in effects {
            let count = self.faults.entry(*kind).or_default();
            count.dealt += 1;
            count.took_effect += u64::from(*effect > 0);
            count.effects += effect;
        }
        *self.errands.entry(errand).or_default() += 1;
        let mut partitions = effects.iter().filter(|(kind, _)| kind.is_partition());
        if errand.changes_members() && partitions.any(|(_, effect)| *effect > 0) {
            *self.partitioned.entry(errand).or_default() += 1;
        }
    }

    /// Faults of one kind.
    #[must_use]
    pub fn of(&self, kind: Kind) -> Count {
        self.faults.get(&kind).copied().unwrap_or_default()
    }

    /// What has not happened yet: kinds of faults that have done nothing, errands that were not run, changes of the
    /// membership that were not begun during a partition.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let idle = Kind::ALL.into_iter();
        let idle = idle.filter(|kind| self.of(*kind).took_effect == 0);
        let mut missing: Vec<String> = idle.map(|kind| format!("{kind:?}")).collect();
        for errand in Errand::ALL {
            if !self.errands.contains_key(&errand) {
                missing.push(format!("{errand:?}"));
            }
            if errand.changes_members() && !self.partitioned.contains_key(&errand) {
                missing.push(format!("{errand:?} during a partition"));
            }
        }
        missing
    }

    /// One line for each kind of fault and each errand.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let kind = |kind: Kind| {
            let Count {
                dealt,
                took_effect,
                effects,
            } = self.of(kind);
            let does = kind.does();
            format!("{kind:?}: dealt {dealt}, took effect {took_effect}: {effects} {does}")
        };
        let mut lines: Vec<String> = Kind::ALL.into_iter().map(kind).collect();
        for (errand, count) in &self.errands {
            let mut line = format!("errand {errand:?}: {count}");
            if errand.changes_members() {
                let partitioned = self.partitioned.get(errand).copied().unwrap_or_default();
                line.push_str(&format!(", begun during a partition: {partitioned}"));
            }
            lines.push(line);
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_had_no_effect_is_missing() {
        let mut tally = Tally::default();
        tally.note(Errand::Add, &[(Kind::Partial, 0), (Kind::Pause, 1)]);
        let missing = tally.missing();
        let is_missing = |what: &str| missing.iter().any(|missing| missing == what);
        assert!(is_missing("Partial") && is_missing("Add during a partition"));
        assert!(!is_missing("Pause") && !is_missing("Add"));
        tally.note(Errand::Add, &[(Kind::Partial, 3)]);
        let missing = tally.missing();
        assert!(!missing.contains(&"Partial".to_owned()));
        assert!(!missing.contains(&"Add during a partition".to_owned()));
        let partial = tally.of(Kind::Partial);
        let expected = Count {
            dealt: 2,
            took_effect: 1,
            effects: 3,
        };
        assert_eq!(partial, expected);
    }
}
