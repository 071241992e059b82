//! Calls of the agent's own code, which may panic, or never answer.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::timeout;

use crate::error::{Error, HandlerError};

/// A call of the agent's own code: bounded, and a panic in it is an error.
pub(super) async fn guarded<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, HandlerError>> + Send,
) -> Result<T, HandlerError> {
    // The agent is shared by reference, and its context is dropped after a panic.
    let call = Box::pin(AssertUnwindSafe(call).catch_unwind());
    match timeout(limit, call).await {
        Ok(Ok(called)) => called,
        Ok(Err(panic)) => Err(HandlerError::Panicked {
            message: message_of(&*panic),
        }),
        Err(_) => Err(HandlerError::Late {
            limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        }),
    }
}

/// Folds an event into the state that holds those up to `after`. After a panic that is not to be used any more.
///
/// # Errors
/// [`Error::Apply`] for a panic.
pub(super) fn folding<T>(after: u64, call: impl FnOnce() -> T) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| Error::Apply {
        after,
        message: message_of(&*panic),
    })
}

/// As [`folding`], with events that are read meanwhile.
pub(super) async fn folding_read<T>(
    after: u64,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let call = Box::pin(AssertUnwindSafe(call).catch_unwind());
    call.await.unwrap_or_else(|panic| {
        Err(Error::Apply {
            after,
            message: message_of(&*panic),
        })
    })
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    if let Some(message) = panic.downcast_ref::<&str>() {
        return (*message).to_owned();
    }
    let message = panic.downcast_ref::<String>();
    message.map_or_else(|| "without a message".to_owned(), Clone::clone)
}
