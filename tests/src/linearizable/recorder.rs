//! Operations, as they are called and answered.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::{Call, Operation, Outcome};

/// A history in the making; clones share it.
#[derive(Clone, Debug)]
pub struct Recorder {
    /// Monotonic, and this process's own: no node's clock has a part in it.
    started: Instant,
    operations: Arc<Mutex<Vec<Operation>>>,
}

/// A call that has not been answered. One that is dropped has an unknown outcome.
#[derive(Debug)]
#[must_use = "a call is answered by `answer`"]
pub struct Ticket {
    recorder: Recorder,
    operation: Option<Operation>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            operations: Arc::default(),
        }
    }
}

impl Recorder {
    /// Takes note that `call` is made now.
    pub fn invoke(&self, call: Call) -> Ticket {
        let now = self.now();
        Ticket {
            recorder: self.clone(),
            operation: Some(Operation {
                call,
                outcome: Outcome::Unknown,
                invoked: now,
                returned: now,
            }),
        }
    }

    /// All that are done.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        let operations = self.operations.lock();
        operations.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Ticket {
    /// Takes note of the answer, which has come now.
    pub fn answer(mut self, outcome: Outcome) {
        let returned = self.recorder.now();
        if let Some(operation) = &mut self.operation {
            operation.outcome = outcome;
            operation.returned = returned;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let operations = self.recorder.operations.lock();
        let mut operations = operations.unwrap_or_else(PoisonError::into_inner);
        operations.extend(self.operation.take());
    }
}
