//! Lines that tell a person what happens, with the time since the start.

use std::time::Instant;

pub(crate) struct Progress {
    started: Instant,
}

impl Progress {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// Prints one line.
    pub(crate) fn say(&self, message: &str) {
        println!(
            "[{:>6.1} s] {message}",
            self.started.elapsed().as_secs_f64()
        );
    }
}
