//! What many tasks have for one connection at the same moment, in one write.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::turn::Turn;

/// Bytes that are gathered for one write.
const BYTES_MAX: usize = 32 << 10;
/// What has as many bytes by itself is written as it is: to copy it would cost more than a write.
const ALONE_BYTES: usize = 16 << 10;
/// Bytes that are kept between writes. There are thousands of connections, most of them idle.
const KEPT_BYTES: usize = 4 << 10;

/// What is to be written to a connection when the tasks that can run have run.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    turn: Turn,
    bytes: Vec<u8>,
    /// How many of them were written.
    written: usize,
    /// How many there were last, which is what there will be next as a rule.
    usual: usize,
    /// Nothing more is waited for, or taken up before this has gone out.
    is_due: bool,
}

impl Gathered {
    /// Whether there is nothing to be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes up all of `slices`, and says how many bytes that are. `None`: what there is must go out first, or, if there is
    /// nothing, these are to be written as they are.
    pub(crate) fn take(&mut self, slices: &[IoSlice<'_>]) -> Option<usize> {
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        let room = BYTES_MAX.saturating_sub(self.bytes.len());
        if self.is_due || len > room || len >= ALONE_BYTES {
            self.is_due = !self.is_empty();
            return None;
        }
        self.make_room(len);
        for slice in slices {
            self.bytes.extend_from_slice(slice);
        }
        Some(len)
    }

    /// Makes room for `len` more, of which there are no more than the bound allows.
    fn make_room(&mut self, len: usize) {
        let (needed, capacity) = (self.bytes.len() + len, self.bytes.capacity());
        if needed > capacity {
            let wanted = needed.max(self.usual).max(2 * capacity).min(BYTES_MAX);
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
    }

    /// Whether it is time to write what there is; else the task of `cx` is woken when it is. To be called in a task of
    /// tokio's.
    pub(crate) fn is_due(&mut self, cx: &mut Context<'_>) -> bool {
        self.is_due = self.is_due || self.turn.poll(cx).is_ready();
        self.is_due
    }

    /// Writes some of what there is, which is not nothing, to `stream`.
    ///
    /// # Errors
    /// Those of `stream`; [`io::ErrorKind::WriteZero`] if it takes nothing.
    pub(crate) fn poll_some<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.is_due = true;
        let rest = &self.bytes[self.written..];
        let written = ready!(Pin::new(stream).poll_write(cx, rest))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.written += written;
        if self.written >= self.bytes.len() {
            self.restart();
        }
        Poll::Ready(Ok(()))
    }

    fn restart(&mut self) {
        self.usual = self.bytes.len();
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        } else {
            self.bytes.clear();
        }
        self.written = 0;
        self.is_due = false;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// Takes so many bytes with each write, and keeps what it took.
    struct Writes {
        bytes_max: usize,
        taken: Vec<Vec<u8>>,
    }

    impl Writes {
        fn of(bytes_max: usize) -> Self {
            Self {
                bytes_max,
                taken: Vec::new(),
            }
        }
    }

    impl AsyncWrite for Writes {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let len = bytes.len().min(self.bytes_max);
            self.taken.push(bytes[..len].to_vec());
            Poll::Ready(Ok(len))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn take(gathered: &mut Gathered, bytes: &[u8]) -> Option<usize> {
        gathered.take(&[IoSlice::new(bytes)])
    }

    async fn write(gathered: &mut Gathered, writes: &mut Writes) {
        let written = poll_fn(|cx| gathered.poll_some(writes, cx)).await;
        written.expect("it takes all");
    }

    #[tokio::test]
    async fn what_is_handed_over_until_the_others_have_run_is_one_write() {
        let (mut gathered, mut writes) = (Gathered::default(), Writes::of(usize::MAX));
        for _ in 0..2 {
            let mut is_first = true;
            let due = poll_fn(|cx| {
                if is_first {
                    is_first = false;
                    assert_eq!(take(&mut gathered, b"ab"), Some(2));
                    assert!(!gathered.is_due(cx), "others may run");
                    assert_eq!(take(&mut gathered, b"c"), Some(1));
                    return Poll::Pending;
                }
                match gathered.is_due(cx) {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            });
            due.await;
            write(&mut gathered, &mut writes).await;
            assert!(gathered.is_empty());
        }
        assert_eq!(writes.taken, [b"abc", b"abc"]);
    }

    #[tokio::test]
    async fn what_is_written_in_part_goes_on_there_and_nothing_is_taken_up_meanwhile() {
        let (mut gathered, mut writes) = (Gathered::default(), Writes::of(2));
        assert_eq!(take(&mut gathered, b"abc"), Some(3));
        write(&mut gathered, &mut writes).await;
        assert_eq!(take(&mut gathered, b"d"), None);
        assert!(poll_fn(|cx| Poll::Ready(gathered.is_due(cx))).await);
        write(&mut gathered, &mut writes).await;
        assert!(gathered.is_empty());
        assert_eq!(writes.taken, [&b"ab"[..], b"c"]);
        assert_eq!(take(&mut gathered, b"d"), Some(1));
    }

    #[tokio::test]
    async fn what_is_large_is_left_alone_and_waits_for_what_was_before_it() {
        let (mut gathered, mut writes) = (Gathered::default(), Writes::of(usize::MAX));
        let large = vec![0_u8; ALONE_BYTES];
        assert_eq!(take(&mut gathered, &large), None);
        assert!(gathered.is_empty(), "nothing is before it");
        assert_eq!(take(&mut gathered, b"a"), Some(1));
        assert_eq!(take(&mut gathered, &large), None);
        write(&mut gathered, &mut writes).await;
        assert_eq!(writes.taken, [b"a"]);
        assert_eq!(take(&mut gathered, &large), None);
    }

    #[tokio::test]
    async fn bytes_are_bounded_and_given_back_when_they_are_out() {
        let (mut gathered, mut writes) = (Gathered::default(), Writes::of(usize::MAX));
        let part = vec![0_u8; ALONE_BYTES - 1];
        assert!(take(&mut gathered, &part).is_some());
        assert!(take(&mut gathered, &part).is_some());
        assert_eq!(take(&mut gathered, &part), None, "there is no room");
        assert!(gathered.bytes.capacity() <= BYTES_MAX);
        for _ in 0..2 {
            write(&mut gathered, &mut writes).await;
            assert!(gathered.bytes.capacity() <= KEPT_BYTES);
            assert!(take(&mut gathered, b"a").is_some());
        }
    }
}
