//! Calls that were refused, for whoever watches over the vault.
//!
//! Who is refused may ask again and again: a bounded number is told one by one, and the others are counted.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use toka_auth::Source;
use tokio::time::Instant;

use crate::limits::{DENIALS_MAX, DENIALS_WINDOW};

/// A call that was refused. Nothing in it is secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Denial<'a> {
    /// Who called; empty: nobody knows.
    pub(crate) principal: &'a str,
    /// How that is known.
    pub(crate) source: Source,
    /// The rpc, as it stands in the table.
    pub(crate) method: &'a str,
    /// The grant that is missing, or why the credential is refused.
    pub(crate) missing: &'a str,
}

/// What is told of calls that were refused. Never blocks.
pub(crate) trait Denials: Send + Sync + fmt::Debug {
    /// A call was refused.
    fn denied(&self, denial: &Denial<'_>);
}

/// Tells the log.
#[derive(Debug, Default)]
pub(crate) struct Traced {
    window: Mutex<Window>,
}

/// Denials of a while, of which a bounded number is told one by one.
#[derive(Debug, Default)]
pub(crate) struct Window {
    begun: Option<Instant>,
    told: usize,
    untold: u64,
}

impl Window {
    /// Whether one more is told; where a new window begins, also how many of the last one were not.
    pub(crate) fn enter(&mut self, now: Instant) -> (bool, u64) {
        let mut untold = 0;
        let is_over = |begun| now.saturating_duration_since(begun) >= DENIALS_WINDOW;
        if self.begun.is_none_or(is_over) {
            untold = std::mem::take(&mut self.untold);
            self.begun = Some(now);
            self.told = 0;
        }
        let is_told = self.told < DENIALS_MAX;
        if is_told {
            self.told += 1;
        } else {
            self.untold += 1;
        }
        (is_told, untold)
    }
}

impl Denials for Traced {
    fn denied(&self, denial: &Denial<'_>) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let (is_told, untold) = window.enter(Instant::now());
        drop(window);
        if untold > 0 {
            tracing::warn!(count = untold, "further calls were refused");
        }
        if is_told {
            let Denial {
                principal,
                source,
                method,
                missing,
            } = *denial;
            tracing::warn!(principal, %source, method, missing, "call refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flood_is_counted_and_not_told_one_by_one() {
        let mut window = Window::default();
        let now = Instant::now();
        let told = (0..DENIALS_MAX + 10).filter(|_| window.enter(now).0);
        assert_eq!(told.count(), DENIALS_MAX);
        assert_eq!(window.enter(now + DENIALS_WINDOW), (true, 10));
        assert_eq!(window.enter(now + DENIALS_WINDOW), (true, 0));
    }
}
