//! A turn of the tasks that can run.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::task::yield_now;

/// Lets the tasks run that can, before something is done.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Of those who have it.
    others: Option<Arc<Others>>,
}

/// Told by the runtime when all that could run have run.
#[derive(Debug, Default)]
struct Others(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    have_run: bool,
    connection: Option<Waker>,
}

impl Others {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Others {
    fn wake(self: Arc<Self>) {
        let connection = {
            let mut state = self.state();
            state.have_run = true;
            state.connection.take()
        };
        if let Some(connection) = connection {
            connection.wake();
        }
    }
}

impl Turn {
    /// Whether the others have had their turn, after which they have another one; else the task of `cx` is woken when they
    /// have. To be called in a task of tokio's.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_new = self.others.is_none();
        let others = self.others.get_or_insert_default();
        others.state().connection = Some(cx.waker().clone());
        if is_new {
            // Not polled again, which would end it, whoever else has run: a connection is polled several times in a row.
            let waker = Waker::from(Arc::clone(others));
            let _ = pin!(yield_now()).poll(&mut Context::from_waker(&waker));
        }
        if !others.state().have_run {
            return Poll::Pending;
        }
        self.others = None;
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn turn_is_over_when_the_others_have_run_however_often_it_is_asked_for() {
        let mut turn = Turn::default();
        for _ in 0..2 {
            let other = tokio::spawn(async {});
            let over = poll_fn(|cx| {
                let first = turn.poll(cx);
                if first.is_pending() {
                    assert!(turn.poll(cx).is_pending(), "nobody has run in between");
                }
                first
            });
            over.await;
            assert!(other.is_finished());
        }
    }
}
