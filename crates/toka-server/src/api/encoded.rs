//! Events as subscriptions send them, encoded once for all of those that want the same of them.
//!
//! A bounded number of the last ones that were encoded is kept. Where many subscriptions are live, each new event
//! is read and encoded by the first one that comes to it, and the others pass on the same bytes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use toka_ledger::{Error, EventHeader, Reader};
use toka_proto::convert::wire::EventParts;

use super::read::{Include, Loaded, Shape};
use crate::limits::{AT_HAND_BYTES_MAX, AT_HAND_EVENTS_MAX, ENCODED_BYTES, ENCODED_EVENTS};

/// What was encoded last.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    kept: Mutex<Kept>,
    /// An event is claimed no more.
    released: Condvar,
    events: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    messages: HashMap<Key, Bytes>,
    /// The oldest first.
    order: VecDeque<Key>,
    bytes: usize,
    /// Events that somebody encodes right now.
    claimed: HashSet<Key>,
}

type Key = (u64, Shape);

/// What happens with events that somebody else encodes right now.
#[derive(Clone, Copy, Debug)]
enum Others {
    /// They are waited for. Blocking.
    Await,
    /// They are encoded here too: on the reactor, nobody waits for a thread.
    Repeat,
}

impl Encoded {
    /// Events that were encoded since the node was started.
    pub(crate) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// The events' messages, if all of them are there, nothing has to be read for them, or `load` has it in memory: of a
    /// few new events, it is asked. Those up to the sequence `old` are not kept: whoever reads history, and few do so in
    /// the same place, would push out what those that are live are about to want.
    pub(super) fn at_hand(
        &self,
        include: Include,
        headers: &[Arc<EventHeader>],
        old: u64,
        load: impl Fn(&[&EventHeader]) -> Option<Vec<Bytes>>,
    ) -> Option<Vec<Bytes>> {
        let shape = include.shape();
        if include.is_nothing() {
            let plain =
                |headers: &[&EventHeader]| Ok::<_, Infallible>(messages(&Loaded::plain(headers)));
            return self.fill(shape, headers, old, Others::Repeat, plain).ok();
        }
        let kept = self.kept().get(shape, headers);
        if kept.is_some() {
            return kept;
        }
        let bytes: usize = headers.iter().map(|of| include.extra_bytes(of)).sum();
        let is_live = headers.iter().all(|header| header.sequence > old);
        if !is_live || headers.len() > AT_HAND_EVENTS_MAX || bytes > AT_HAND_BYTES_MAX as usize {
            return None;
        }
        let load = |headers: &[&EventHeader]| load(headers).ok_or(());
        self.fill(shape, headers, old, Others::Repeat, load).ok()
    }

    /// The events' messages, with what is wanted of them. Those up to the sequence `old` are not kept. Blocking.
    pub(super) fn load(
        &self,
        reader: &Reader,
        include: Include,
        headers: &[Arc<EventHeader>],
        old: u64,
    ) -> Result<Vec<Bytes>, Error> {
        self.fill(include.shape(), headers, old, Others::Await, |headers| {
            include
                .read(reader, headers)
                .map(|loaded| messages(&loaded))
        })
    }

    /// Encodes what is not there, and what nobody else is about to; `others` says what happens with that. Who waits
    /// has nothing claimed. What is up to the sequence `old` is not kept. `encode` makes the messages, in the order of
    /// their headers.
    fn fill<E>(
        &self,
        shape: Shape,
        headers: &[Arc<EventHeader>],
        old: u64,
        others: Others,
        encode: impl Fn(&[&EventHeader]) -> Result<Vec<Bytes>, E>,
    ) -> Result<Vec<Bytes>, E> {
        let (mut messages, claim) = self.claim(shape, headers, old);
        // Nobody claims what is old.
        let is_own = |at: &usize| {
            let sequence = headers[*at].sequence;
            messages[*at].is_none() && (sequence <= old || claim.has(sequence))
        };
        let own: Vec<usize> = (0..headers.len()).filter(is_own).collect();
        let wanted: Vec<&EventHeader> = own.iter().map(|&at| &*headers[at]).collect();
        let mut new = Vec::with_capacity(claim.keys.len());
        for (at, message) in own.into_iter().zip(self.count(encode(&wanted)?)) {
            let sequence = headers[at].sequence;
            if claim.has(sequence) {
                new.push((sequence, message.clone()));
            }
            messages[at] = Some(message);
        }
        self.kept().put(shape, new);
        drop(claim);
        let again = |header: &EventHeader| encode(&[header]).map(|messages| self.count(messages));
        let mut all = Vec::with_capacity(headers.len());
        for (header, message) in headers.iter().zip(messages) {
            let message = match (message, others) {
                (None, Others::Await) => self.wait((header.sequence, shape)),
                (message, _) => message,
            };
            match message {
                Some(message) => all.push(message),
                None => all.extend(again(header)?),
            }
        }
        Ok(all)
    }

    fn count(&self, encoded: Vec<Bytes>) -> Vec<Bytes> {
        let count = encoded.len() as u64;
        self.events.fetch_add(count, Ordering::Relaxed);
        encoded
    }

    /// The messages that are there, and a claim on those that are not, that nobody else has claimed, and that are
    /// after the sequence `old`.
    fn claim(
        &self,
        shape: Shape,
        headers: &[Arc<EventHeader>],
        old: u64,
    ) -> (Vec<Option<Bytes>>, Claim<'_>) {
        let mut claim = Claim {
            encoded: self,
            keys: Vec::new(),
        };
        let mut kept = self.kept();
        let mut messages = Vec::with_capacity(headers.len());
        for header in headers {
            let key = (header.sequence, shape);
            let message = kept.messages.get(&key).cloned();
            if message.is_none() && header.sequence > old && kept.claimed.insert(key) {
                claim.keys.push(key);
            }
            messages.push(message);
        }
        drop(kept);
        (messages, claim)
    }

    /// Waits while somebody encodes the event; `None` if nothing came of it.
    fn wait(&self, key: Key) -> Option<Bytes> {
        let mut kept = self.kept();
        loop {
            if let Some(message) = kept.messages.get(&key) {
                return Some(message.clone());
            }
            if !kept.claimed.contains(&key) {
                return None;
            }
            kept = self
                .released
                .wait(kept)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    // Nothing panics while it is held.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Events that one caller encodes, in order; others wait until it is dropped.
struct Claim<'e> {
    encoded: &'e Encoded,
    keys: Vec<Key>,
}

impl Claim<'_> {
    fn has(&self, sequence: u64) -> bool {
        let found = self.keys.binary_search_by_key(&sequence, |(of, _)| *of);
        found.is_ok()
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if self.keys.is_empty() {
            return;
        }
        let mut kept = self.encoded.kept();
        for key in &self.keys {
            kept.claimed.remove(key);
        }
        drop(kept);
        self.encoded.released.notify_all();
    }
}

impl Kept {
    fn get(&self, shape: Shape, headers: &[Arc<EventHeader>]) -> Option<Vec<Bytes>> {
        let message = |header: &Arc<EventHeader>| self.messages.get(&(header.sequence, shape));
        headers
            .iter()
            .map(|header| message(header).cloned())
            .collect()
    }

    fn put(&mut self, shape: Shape, new: Vec<(u64, Bytes)>) {
        for (sequence, message) in new {
            let key = (sequence, shape);
            self.bytes += message.len();
            match self.messages.insert(key, message) {
                Some(old) => self.bytes -= old.len(),
                None => self.order.push_back(key),
            }
        }
        while self.bytes > ENCODED_BYTES || self.order.len() > ENCODED_EVENTS {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            if let Some(message) = self.messages.remove(&oldest) {
                self.bytes -= message.len();
            }
        }
    }
}

/// The field of a [`v1::SubscribeResponse`](toka_proto::v1::SubscribeResponse) with an event.
const EVENT: u32 = 2;

/// The messages with these events; their header is left out, to save its bytes.
pub(super) fn messages(loaded: &Loaded<'_>) -> Vec<Bytes> {
    let message = |event: EventParts<'_>| {
        let mut message = Vec::with_capacity(event.field_len(EVENT));
        event.encode_field(EVENT, &mut message);
        Bytes::from(message)
    };
    loaded.parts().map(message).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use prost::Message;
    use toka_proto::v1;

    use super::*;
    use crate::fixture;

    fn header(sequence: u64) -> Arc<EventHeader> {
        Arc::new(fixture::header(sequence))
    }

    fn shape() -> Shape {
        Include::default().shape()
    }

    fn plain(headers: &[&EventHeader]) -> Result<Vec<Bytes>, Error> {
        Ok(messages(&Loaded::plain(headers)))
    }

    #[test]
    fn a_message_is_what_the_generated_one_would_be() {
        let header = header(7);
        let message = v1::SubscribeResponse {
            header: None,
            message: Some(v1::subscribe_response::Message::Event((&*header).into())),
        };
        let encoded = plain(&[&*header]).expect("no storage");
        assert_eq!(encoded, [message.encode_to_vec()]);
    }

    #[test]
    fn an_event_is_encoded_once_for_all_who_want_the_same_of_it() {
        let encoded = Encoded::default();
        let headers = [header(1), header(2)];
        let calls = Cell::new(0);
        let event = |headers: &[&EventHeader]| {
            calls.set(calls.get() + headers.len());
            plain(headers)
        };
        let first = encoded
            .fill(shape(), &headers, 0, Others::Await, event)
            .expect("no storage");
        let second = encoded
            .fill(shape(), &headers, 0, Others::Await, event)
            .expect("no storage");
        assert_eq!(
            (first == second, calls.get(), encoded.events()),
            (true, 2, 2)
        );
        let other = Include::new(Some(v1::Include {
            payload: true,
            ..Default::default()
        }));
        assert_eq!(encoded.at_hand(other, &headers, 0, |_| None), None);
        encoded
            .fill(other.shape(), &headers, 0, Others::Await, event)
            .expect("no storage");
        assert_eq!(calls.get(), 4);
        assert!(encoded.at_hand(other, &headers, 0, |_| None).is_some());
    }

    #[test]
    fn an_event_that_another_failed_to_encode_is_encoded_here() {
        let encoded = Encoded::default();
        let headers = [header(1)];
        let failed = encoded.fill(shape(), &headers, 0, Others::Await, |_| Err(Error::Closed));
        assert!(failed.is_err());
        assert!(encoded.kept().claimed.is_empty());
        let messages = encoded.fill(shape(), &headers, 0, Others::Await, plain);
        assert_eq!(messages.expect("no storage").len(), 1);
    }

    #[test]
    fn what_is_claimed_is_waited_for() {
        let encoded = Encoded::default();
        let headers = [header(1), header(2)];
        let (_, claim) = encoded.claim(shape(), &headers[..1], 0);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| encoded.fill(shape(), &headers, 0, Others::Await, plain));
            // The second event shows that the other thread has come to wait for the first.
            while encoded.events() == 0 {
                std::thread::yield_now();
            }
            let message = plain(&[&*headers[0]]).expect("no storage").remove(0);
            encoded.kept().put(shape(), vec![(1, message.clone())]);
            drop(claim);
            let messages = waits.join().expect("no panic").expect("no storage");
            assert_eq!((messages.len(), &messages[0]), (2, &message));
        });
        assert_eq!(encoded.events(), 1);
    }

    #[test]
    fn headers_are_not_waited_for() {
        let encoded = Encoded::default();
        let headers = [header(1)];
        let (_, claim) = encoded.claim(shape(), &headers, 0);
        let messages = encoded.at_hand(Include::default(), &headers, 0, |_| None);
        assert_eq!(messages.map(|messages| messages.len()), Some(1));
        drop(claim);
    }

    #[test]
    fn new_events_in_memory_are_encoded_at_once_and_old_ones_are_not() {
        let encoded = Encoded::default();
        let include = Include::new(Some(v1::Include {
            payload: true,
            ..Default::default()
        }));
        let load = |headers: &[&EventHeader]| plain(headers).ok();
        let headers = [header(1), header(2)];
        assert_eq!(encoded.at_hand(include, &headers, 1, load), None);
        let messages = encoded.at_hand(include, &headers[1..], 1, load);
        assert_eq!(messages.map(|messages| messages.len()), Some(1));
        assert_eq!(encoded.kept().order, [(2, include.shape())]);
        assert!(encoded.kept().claimed.is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let encoded = Encoded::default();
        for first in (1..=4 * ENCODED_EVENTS as u64).step_by(1_000) {
            let headers: Vec<_> = (first..first + 1_000).map(header).collect();
            encoded
                .fill(shape(), &headers, 0, Others::Await, plain)
                .expect("no storage");
        }
        let kept = encoded.kept();
        assert!(kept.order.len() <= ENCODED_EVENTS && kept.bytes <= ENCODED_BYTES);
        assert_eq!(kept.order.len(), kept.messages.len());
        let bytes: usize = kept.messages.values().map(Bytes::len).sum();
        assert_eq!(bytes, kept.bytes);
        drop(kept);

        let large = vec![(1, Bytes::from(vec![0; ENCODED_BYTES + 1]))];
        encoded.kept().put(shape(), large);
        let kept = encoded.kept();
        assert_eq!((kept.bytes, kept.order.len()), (0, 0));
    }

    #[test]
    fn what_is_old_is_encoded_and_not_kept() {
        let encoded = Encoded::default();
        let headers = [header(1), header(2), header(3)];
        let messages = encoded.fill(shape(), &headers, 2, Others::Await, plain);
        assert_eq!(messages.expect("no storage").len(), 3);
        let kept = encoded.kept();
        assert_eq!(kept.order, [(3, shape())]);
        assert!(kept.claimed.is_empty());
    }
}
