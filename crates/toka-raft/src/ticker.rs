//! Ticks of tasks that look at something from time to time.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

/// Ticks now, and then every `period`. After a tick that came late the next one comes a whole period later:
/// a task that was held up does not catch up.
pub(crate) fn ticker(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
