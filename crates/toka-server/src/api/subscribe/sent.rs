//! What a subscriber is sent.

use bytes::{BufMut, Bytes};
use toka_proto::convert::wire::put_head;
use toka_proto::passthrough::Written;
use tonic::codec::EncodeBuf;

/// Bytes of a key and a length.
const HEAD_BYTES_MAX: usize = 16;

/// One encoded [`v1::SubscribeResponse`](toka_proto::v1::SubscribeResponse).
#[derive(Debug)]
pub(in crate::api) enum Sent {
    /// The whole of it.
    Message(Bytes),
    /// Several that have an event each, to be sent as one.
    Events(Vec<Bytes>),
}

/// Field of a [`v1::SubscribeResponse`](toka_proto::v1::SubscribeResponse) with several events.
const EVENTS: u32 = 7;
/// What stands before each of them. Before one alone, in its message, stands another key, a byte too.
const BATCHED_EVENT: u8 = 1 << 3 | 2;

impl Written for Sent {
    fn write(&self, out: &mut EncodeBuf<'_>) {
        let events = match self {
            Self::Message(message) => return message.write(out),
            Self::Events(events) => events,
        };
        let bytes: usize = events.iter().map(Bytes::len).sum();
        let mut head = Vec::with_capacity(HEAD_BYTES_MAX);
        put_head(&mut head, EVENTS, bytes);
        out.reserve(head.len() + bytes);
        out.put_slice(&head);
        for event in events {
            out.put_u8(BATCHED_EVENT);
            out.put_slice(&event[1..]);
        }
    }
}
