//! Appends without entries, held back for the entries that follow at once.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::{FutureExt, Stream};
use openraft::raft::AppendEntriesRequest;
use tokio::task::yield_now;

use crate::type_config::TypeConfig;

type Request = AppendEntriesRequest<TypeConfig>;

/// Times that the tasks which can run are let run, before a request without entries goes out alone. Once is enough in
/// most cases: the next entry is proposed by one of them.
const ROUNDS_MAX: u32 = 2;

/// Takes what openraft wants sent to a follower, and joins what says the same.
///
/// When an entry is committed, openraft tells the followers so, in a request of its own. Under load the next entry is
/// proposed at the same moment, and its request says it too: sent alone, the first one would be half of all messages. It
/// is held for no time, only while other tasks run that can run anyway.
#[derive(Default)]
pub(super) struct Held {
    /// Without entries; or the next one to be handed out, behind one that it does not stand for.
    request: Option<Request>,
    /// How often the tasks were let run.
    rounds: u32,
    /// They are let run.
    round: Option<BoxFuture<'static, ()>>,
    /// There are no more, and `input` must not be asked again.
    is_ended: bool,
}

impl Held {
    /// The next request of `input` that is to be sent.
    pub(super) fn poll_next<S>(
        &mut self,
        input: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<Option<Request>>
    where
        S: Stream<Item = Request> + Unpin,
    {
        if let Some(request) = self.request.take_if(|request| !is_bare(request)) {
            return Poll::Ready(Some(request));
        }
        if self.is_ended {
            return Poll::Ready(None);
        }
        loop {
            let next = match Pin::new(&mut *input).poll_next(context) {
                Poll::Ready(Some(next)) => next,
                Poll::Ready(None) => {
                    self.is_ended = true;
                    return Poll::Ready(self.request.take());
                }
                Poll::Pending => return self.poll_held(context),
            };
            match self.request.take() {
                Some(before) if !stands_for(&next, &before) => {
                    self.hold(next);
                    return Poll::Ready(Some(before));
                }
                _ if !is_bare(&next) => return Poll::Ready(Some(next)),
                // It waits no longer for saying more.
                Some(_) => self.request = Some(next),
                None => self.hold(next),
            }
        }
    }

    fn hold(&mut self, request: Request) {
        self.request = Some(request);
        self.rounds = 0;
        self.round = None;
    }

    /// What is held, once nothing has followed for long enough.
    fn poll_held(&mut self, context: &mut Context<'_>) -> Poll<Option<Request>> {
        if self.request.is_none() {
            return Poll::Pending;
        }
        while self.rounds < ROUNDS_MAX {
            let round = self.round.get_or_insert_with(|| yield_now().boxed());
            if round.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.round = None;
            self.rounds += 1;
        }
        Poll::Ready(self.request.take())
    }
}

fn is_bare(request: &Request) -> bool {
    request.entries.is_empty()
}

/// Whether a follower that has `later` needs no `earlier`, which was to be sent right before it. openraft takes an answer
/// for that to all requests up to it.
fn stands_for(later: &Request, earlier: &Request) -> bool {
    is_bare(earlier)
        && later.vote == earlier.vote
        && later.prev_log_id == earlier.prev_log_id
        && later.leader_commit >= earlier.leader_commit
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;

    use futures::{StreamExt, stream};
    use openraft::vote::RaftLeaderId;

    use super::*;
    use crate::type_config::{Entry, EntryPayload, LeaderId, LogId, Vote};

    fn id(index: u64) -> LogId {
        LogId::new(LeaderId::new(1, 1), index)
    }

    /// Of so many entries behind `prev`.
    fn request(prev: u64, entries: u64, committed: u64) -> Request {
        let entry = |index| Entry {
            log_id: id(index),
            payload: EntryPayload::Blank,
        };
        AppendEntriesRequest {
            vote: Vote {
                leader_id: LeaderId::new(1, 1),
                committed: true,
            },
            prev_log_id: Some(id(prev)),
            entries: (1..=entries).map(|count| entry(prev + count)).collect(),
            leader_commit: Some(id(committed)),
        }
    }

    /// Where it begins, its entries, what it says is committed.
    fn parts(request: &Request) -> (u64, usize, u64) {
        let index = |log_id: Option<LogId>| log_id.map_or(0, |log_id| log_id.index);
        let Request {
            prev_log_id,
            entries,
            leader_commit,
            ..
        } = request;
        (index(*prev_log_id), entries.len(), index(*leader_commit))
    }

    /// What is sent of `requests` at once, in order, while nothing else follows.
    fn sent_at_once(held: &mut Held, requests: Vec<Request>) -> Vec<(u64, usize, u64)> {
        let mut input = stream::iter(requests).chain(stream::pending());
        let mut context = Context::from_waker(Waker::noop());
        let mut sent = Vec::new();
        while let Poll::Ready(Some(request)) = held.poll_next(&mut input, &mut context) {
            sent.push(parts(&request));
        }
        sent
    }

    #[test]
    fn commit_position_goes_with_the_entries_that_follow_at_once() {
        let mut held = Held::default();
        let committed = sent_at_once(&mut held, vec![request(4, 1, 3), request(5, 0, 5)]);
        assert_eq!(committed, [(4, 1, 3)]);
        let followed = sent_at_once(&mut held, vec![request(5, 2, 5), request(7, 0, 6)]);
        assert_eq!(followed, [(5, 2, 5)]);
        let later = sent_at_once(&mut held, vec![request(7, 0, 7), request(7, 1, 7)]);
        assert_eq!(later, [(7, 1, 7)]);
    }

    #[test]
    fn request_that_says_less_stands_for_none() {
        let mut other_vote = request(5, 1, 5);
        other_vote.vote.leader_id = LeaderId::new(2, 1);
        for after in [request(6, 1, 5), request(5, 1, 4), other_vote] {
            let expected = [parts(&request(5, 0, 5)), parts(&after)];
            let sent = sent_at_once(&mut Held::default(), vec![request(5, 0, 5), after]);
            assert_eq!(sent, expected);
        }
    }

    #[tokio::test]
    async fn commit_position_goes_out_alone_when_nothing_follows() {
        let mut held = Held::default();
        let mut input = stream::iter([request(5, 0, 5)]).chain(stream::pending());
        // Nothing else wakes it.
        let sent = poll_fn(|context| held.poll_next(&mut input, context)).await;
        assert_eq!(sent.as_ref().map(parts), Some((5, 0, 5)));
    }

    #[test]
    fn last_request_is_sent_and_the_end_is_not_asked_for_again() {
        let last = |last: Option<Request>| async move { Some((last?, None)) };
        // It panics if it is asked after its end.
        let mut input = stream::unfold(Some(request(5, 0, 5)), last).boxed();
        let mut context = Context::from_waker(Waker::noop());
        let mut held = Held::default();
        let mut next = || held.poll_next(&mut input, &mut context);
        assert!(matches!(next(), Poll::Ready(Some(_))));
        for _ in 0..2 {
            assert!(matches!(next(), Poll::Ready(None)));
        }
    }
}
