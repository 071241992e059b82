//! Events as subscriptions send them, encoded once for all of those that want the same of them.
//!
//! A bounded number of the last ones that were encoded is kept. Where many subscriptions are live, each new event
//! is read and encoded by the first one that comes to it, and the others pass on the same bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use prost::Message;
use toka_ledger::{Error, EventHeader, Reader};
use toka_proto::v1;
use toka_proto::v1::subscribe_response::Message as Answer;

use super::read::{Include, Shape};
use crate::limits::{ENCODED_BYTES, ENCODED_EVENTS};

/// Batches that may be encoded at the same time.
const TURNS: usize = 16;

/// What was encoded last.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    kept: Mutex<Kept>,
    /// Who reads and encodes holds one: it is the same one for all who want the same events.
    reading: [Mutex<()>; TURNS],
    /// The same where nothing is read: on the reactor nobody waits for a disk.
    encoding: [Mutex<()>; TURNS],
    events: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    messages: HashMap<(u64, Shape), Bytes>,
    /// The oldest first.
    order: VecDeque<(u64, Shape)>,
    bytes: usize,
}

impl Encoded {
    /// Events that were encoded since the node was started.
    pub(crate) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// The events' messages, if all of them are there or nothing has to be read for them.
    pub(super) fn at_hand(
        &self,
        include: Include,
        headers: &[Arc<EventHeader>],
    ) -> Option<Vec<Bytes>> {
        if !include.is_nothing() {
            return self.kept().get_all(include.shape(), headers);
        }
        let _turn = turn(&self.encoding, headers);
        let event = |header: &EventHeader| Ok(v1::Event::from(header));
        self.fill(include.shape(), headers, event).ok()
    }

    /// The events' messages, with what is wanted of them. Blocking.
    pub(super) fn load(
        &self,
        reader: &Reader,
        include: Include,
        headers: &[Arc<EventHeader>],
    ) -> Result<Vec<Bytes>, Error> {
        let _turn = turn(&self.reading, headers);
        self.fill(include.shape(), headers, |header| {
            include.load(reader, header)
        })
    }

    fn fill(
        &self,
        shape: Shape,
        headers: &[Arc<EventHeader>],
        event: impl Fn(&EventHeader) -> Result<v1::Event, Error>,
    ) -> Result<Vec<Bytes>, Error> {
        let known = self.kept().get(shape, headers);
        let mut messages = Vec::with_capacity(headers.len());
        let mut new = Vec::new();
        for (header, known) in headers.iter().zip(known) {
            let message = match known {
                Some(message) => message,
                None => {
                    let message = encode(event(header)?);
                    new.push((header.sequence, message.clone()));
                    message
                }
            };
            messages.push(message);
        }
        self.events.fetch_add(new.len() as u64, Ordering::Relaxed);
        if !new.is_empty() {
            self.kept().put(shape, new);
        }
        Ok(messages)
    }

    // Nothing panics while it is held.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn get(&self, shape: Shape, headers: &[Arc<EventHeader>]) -> Vec<Option<Bytes>> {
        let message = |header: &Arc<EventHeader>| self.messages.get(&(header.sequence, shape));
        headers
            .iter()
            .map(|header| message(header).cloned())
            .collect()
    }

    fn get_all(&self, shape: Shape, headers: &[Arc<EventHeader>]) -> Option<Vec<Bytes>> {
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

fn turn<'t>(turns: &'t [Mutex<()>; TURNS], headers: &[Arc<EventHeader>]) -> MutexGuard<'t, ()> {
    // Subscriptions that are live come to the same first event; those that catch up, to different ones.
    let first = headers.first().map_or(0, |header| header.sequence);
    #[allow(clippy::cast_possible_truncation, reason = "it is below 16")]
    let turn = (first % TURNS as u64) as usize;
    turns[turn].lock().unwrap_or_else(PoisonError::into_inner)
}

/// The message with an event; its header is left out, to save its bytes.
fn encode(event: v1::Event) -> Bytes {
    let message = v1::SubscribeResponse {
        header: None,
        message: Some(Answer::Event(event)),
    };
    message.encode_to_vec().into()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use toka_ledger::core::{Attributes, Digest, EventId, Kind, Salt};

    use super::*;

    fn header(sequence: u64) -> Arc<EventHeader> {
        Arc::new(EventHeader {
            id: EventId::new(1, sequence, &Digest::ZERO),
            sequence,
            unix_ms: 1,
            kind: Kind::new("k").expect("valid"),
            digest: Digest::ZERO,
            payload_digest: Digest::ZERO,
            payload_bytes: 0,
            payload_sequence: sequence,
            salt: Salt::default(),
            parents: Vec::new(),
            embedding: None,
            attributes: Attributes::default(),
            micro_cluster: None,
            intent: None,
            deduplicated: false,
        })
    }

    fn shape() -> Shape {
        Include::default().shape()
    }

    #[test]
    fn an_event_is_encoded_once_for_all_who_want_the_same_of_it() {
        let encoded = Encoded::default();
        let headers = [header(1), header(2)];
        let calls = Cell::new(0);
        let event = |header: &EventHeader| {
            calls.set(calls.get() + 1);
            Ok(v1::Event::from(header))
        };
        let first = encoded.fill(shape(), &headers, event).expect("no storage");
        let second = encoded.fill(shape(), &headers, event).expect("no storage");
        assert_eq!(
            (first == second, calls.get(), encoded.events()),
            (true, 2, 2)
        );
        let other = Include::new(Some(v1::Include {
            payload: true,
            ..Default::default()
        }));
        assert_eq!(encoded.at_hand(other, &headers), None);
        encoded
            .fill(other.shape(), &headers, event)
            .expect("no storage");
        assert_eq!(calls.get(), 4);
        assert!(encoded.at_hand(other, &headers).is_some());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let encoded = Encoded::default();
        for first in (1..=4 * ENCODED_EVENTS as u64).step_by(1_000) {
            let headers: Vec<_> = (first..first + 1_000).map(header).collect();
            let event = |header: &EventHeader| Ok(v1::Event::from(header));
            encoded.fill(shape(), &headers, event).expect("no storage");
        }
        let kept = encoded.kept();
        assert!(kept.order.len() <= ENCODED_EVENTS && kept.bytes <= ENCODED_BYTES);
        assert_eq!(kept.order.len(), kept.messages.len());
        let bytes: usize = kept.messages.values().map(Bytes::len).sum();
        assert_eq!(bytes, kept.bytes);
        drop(kept);

        let large = vec![(1, Bytes::from(vec![0; ENCODED_BYTES + 1]))];
        encoded.kept().put(shape(), large);
        assert_eq!((encoded.kept().bytes, encoded.kept().order.len()), (0, 0));
    }

    #[test]
    fn a_message_is_what_a_client_reads() {
        let message = encode(v1::Event::from(&*header(7)));
        let message = v1::SubscribeResponse::decode(message).expect("a message");
        assert!(matches!(message.message, Some(Answer::Event(event)) if event.sequence == 7));
    }
}
