//! What this node knows by itself that an operator has to do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use toka_ledger::seam::Clock;
use toka_proto::v1;
use toka_proto::v1::AlarmKind;

/// The name of a kind as operators have it everywhere, such as `slow_disk`.
pub(crate) fn name(kind: AlarmKind) -> String {
    let name = kind.as_str_name();
    name.strip_prefix("ALARM_KIND_")
        .unwrap_or(name)
        .to_lowercase()
}

/// A node's own alarms, at most one of a kind. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Alarms {
    node_id: u64,
    clock: Arc<dyn Clock>,
    raised: Arc<Mutex<BTreeMap<AlarmKind, v1::Alarm>>>,
}

impl Alarms {
    pub(crate) fn new(node_id: u64, clock: Arc<dyn Clock>) -> Self {
        Self {
            node_id,
            clock,
            raised: Arc::default(),
        }
    }

    /// Raises an alarm, or lowers it where there is no `message`: what is wrong, and the way out. One that
    /// is raised already keeps its time.
    pub(crate) fn set(&self, kind: AlarmKind, message: Option<String>) {
        let mut raised = self.lock();
        let Some(message) = message else {
            if raised.remove(&kind).is_some() {
                tracing::info!(node_id = self.node_id, alarm = name(kind), "over");
            }
            return;
        };
        let alarm = raised.entry(kind).or_insert_with(|| {
            tracing::error!(
                node_id = self.node_id,
                alarm = name(kind),
                message,
                "raised"
            );
            v1::Alarm {
                kind: kind.into(),
                node_id: Some(self.node_id),
                since_unix_ms: self.clock.unix_ms(),
                ..v1::Alarm::default()
            }
        });
        alarm.message = message;
    }

    /// Whose they are.
    pub(crate) const fn node_id(&self) -> u64 {
        self.node_id
    }

    /// Those that are raised.
    pub(crate) fn raised(&self) -> Vec<v1::Alarm> {
        self.lock().values().cloned().collect()
    }

    pub(crate) fn is_raised(&self, kind: AlarmKind) -> bool {
        self.lock().contains_key(&kind)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AlarmKind, v1::Alarm>> {
        self.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use toka_ledger::seam::SystemClock;

    use super::*;

    #[test]
    fn kinds_have_the_names_that_operators_know() {
        assert_eq!(name(AlarmKind::DiskNearlyFull), "disk_nearly_full");
        assert_eq!(name(AlarmKind::NoQuorum), "no_quorum");
    }

    #[test]
    fn alarm_keeps_its_time_until_it_is_lowered() {
        let alarms = Alarms::new(3, Arc::new(SystemClock));
        alarms.set(AlarmKind::SlowDisk, None);
        assert_eq!(alarms.raised(), []);
        alarms.set(AlarmKind::SlowDisk, Some("slow".to_owned()));
        let first = alarms.raised();
        alarms.set(AlarmKind::SlowDisk, Some("slower".to_owned()));
        let second = alarms.raised();
        assert!(alarms.is_raised(AlarmKind::SlowDisk));
        assert!(!alarms.is_raised(AlarmKind::StateDiffers));
        assert_eq!(second[0].message, "slower");
        assert_eq!(second[0].node_id, Some(3));
        assert_eq!(second[0].since_unix_ms, first[0].since_unix_ms);
        alarms.set(AlarmKind::SlowDisk, None);
        assert_eq!(alarms.raised(), []);
    }
}
