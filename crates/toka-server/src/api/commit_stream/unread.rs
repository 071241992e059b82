//! Answers that their client has not taken yet.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::limits::STREAM_UNREAD_BYTES;

/// An answer, and its part of the room.
type Answer = (Bytes, OwnedSemaphorePermit);

/// Where the session puts its answers; it waits while its client takes none.
pub(super) struct Unread {
    answers: mpsc::Sender<Result<Answer, Status>>,
    room: Arc<Semaphore>,
}

/// Room for so many answers, and for [`STREAM_UNREAD_BYTES`] of them; and the answers as they are taken.
pub(super) fn unread(
    answers_max: usize,
) -> (
    Unread,
    impl Stream<Item = Result<Bytes, Status>> + Send + 'static,
) {
    let (answers, taken) = mpsc::channel(answers_max);
    let room = Arc::new(Semaphore::new(STREAM_UNREAD_BYTES as usize));
    let taken = ReceiverStream::new(taken);
    let taken = taken.map(|answer: Result<Answer, Status>| answer.map(|(bytes, _)| bytes));
    (Unread { answers, room }, taken)
}

impl Unread {
    /// Puts an answer there; false if the client is gone.
    pub(super) async fn put(&self, answer: Bytes) -> bool {
        // One that is larger takes all of the room.
        let bytes = u32::try_from(answer.len()).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(bytes.min(STREAM_UNREAD_BYTES));
        match room.await {
            // With the client what it has not taken is gone, and there is room.
            Ok(room) => self.answers.send(Ok((answer, room))).await.is_ok(),
            Err(_) => false,
        }
    }

    /// The last word.
    pub(super) async fn end(&self, status: Status) {
        // Fails if the client is gone.
        let _ = self.answers.send(Err(status)).await;
    }

    /// Waits until the client is gone.
    pub(super) async fn closed(&self) {
        self.answers.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// Whether there is room for an answer of so many bytes.
    fn put(unread: &Unread, bytes: u32) -> Option<bool> {
        unread.put(vec![0; bytes as usize].into()).now_or_never()
    }

    #[test]
    fn what_is_not_taken_is_bounded_in_bytes_and_number() {
        let (answers, mut taken) = unread(3);
        assert_eq!(put(&answers, STREAM_UNREAD_BYTES - 1), Some(true));
        assert_eq!(put(&answers, 2), None);
        assert_eq!(put(&answers, 1), Some(true));
        assert!(matches!(taken.next().now_or_never(), Some(Some(Ok(_)))));
        for _ in 0..2 {
            assert_eq!(put(&answers, 1), Some(true));
        }
        assert_eq!(put(&answers, 1), None);
    }

    #[test]
    fn large_answer_waits_until_everything_is_taken() {
        let (answers, mut taken) = unread(3);
        assert_eq!(put(&answers, 1), Some(true));
        assert_eq!(put(&answers, 2 * STREAM_UNREAD_BYTES), None);
        assert!(matches!(taken.next().now_or_never(), Some(Some(Ok(_)))));
        assert_eq!(put(&answers, 2 * STREAM_UNREAD_BYTES), Some(true));
    }

    #[test]
    fn who_waits_for_room_learns_that_the_client_is_gone() {
        let (answers, taken) = unread(3);
        assert_eq!(put(&answers, STREAM_UNREAD_BYTES), Some(true));
        let mut waits = Box::pin(answers.put(Bytes::from_static(b"1")));
        assert_eq!((&mut waits).now_or_never(), None);
        drop(taken);
        assert_eq!(waits.now_or_never(), Some(false));
    }
}
