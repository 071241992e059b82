//! What many tasks have for one connection at the same moment, in one write.

use std::mem;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::task::yield_now;

/// Lets the tasks run that can, before each write to a connection.
///
/// Calls are made and answered by tasks of their own, each of which wakes that of the connection, which the runtime then
/// runs next: where many can go on at the same moment, as those whose commits are of one log entry, each would have a
/// write of its own, which is a system call and a turn of TCP. What they have all handed over goes out in one. With nothing
/// else to run it costs no time.
#[derive(Debug, Default)]
pub struct Turn {
    /// Of those who have it.
    others: Option<Arc<Others>>,
    /// They had theirs,
    is_over: bool,
    /// and something was written since.
    is_used: bool,
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
    /// Whether the next write may go ahead; else the task of `cx` is woken when it may. To be called in a task of tokio's.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_over {
            return Poll::Ready(());
        }
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
        self.is_over = true;
        Poll::Ready(())
    }

    /// Something was written. What there is besides may follow at once: of messages that are not small, each is a write.
    pub fn written(&mut self) {
        self.is_used |= self.is_over;
    }

    /// The connection is read from, as HTTP does each time before it writes: if something was written since the others
    /// had their turn, they have another one before the next write.
    pub fn read(&mut self) {
        if mem::take(&mut self.is_used) {
            self.is_over = false;
        }
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
            let both = poll_fn(|cx| {
                let first = turn.poll(cx);
                let second = turn.poll(cx);
                assert_eq!(first, second);
                second
            });
            both.await;
            assert!(other.is_finished());
            turn.written();
            turn.read();
        }
    }

    #[tokio::test]
    async fn others_have_one_turn_for_what_is_written_together() {
        let mut turn = Turn::default();
        // That something is read takes back no turn that nobody has used.
        turn.read();
        poll_fn(|cx| turn.poll(cx)).await;
        turn.read();
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..2 {
            assert!(turn.poll(&mut context).is_ready());
            turn.written();
        }
        turn.read();
        assert!(turn.poll(&mut context).is_pending());
    }
}
