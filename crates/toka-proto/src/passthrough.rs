//! A codec for what is encoded before it is sent.

use std::fmt;
use std::marker::PhantomData;

use bytes::{BufMut as _, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::convert::status;

/// The encoded bytes of a message.
pub trait Written: Send + 'static {
    /// Writes all of them.
    fn write(&self, out: &mut EncodeBuf<'_>);
}

impl Written for Bytes {
    fn write(&self, out: &mut EncodeBuf<'_>) {
        out.reserve(self.len());
        out.put_slice(self);
    }
}

/// What is written, of the type `W`, is bytes already; what is read is decoded as a message of the type `R`.
///
/// A client writes requests and reads answers, a server the other way round.
pub struct Passthrough<W, R> {
    /// How messages that are written are gathered; `None`: as the transport does it.
    written: Option<BufferSettings>,
    types: PhantomData<fn(W) -> R>,
}

/// Room for a message that is written alone. The allocators' quickest sizes end there, and few answers are longer; one
/// that is grows the buffer once.
const ONE_MESSAGE_BYTES: usize = 1 << 10;
/// Written bytes that are sent without a wait for more.
const GATHERED_BYTES_MAX: usize = 32 << 10;

impl<W, R> Passthrough<W, R> {
    /// For calls that write one message: the transport has 8 KiB ready for each stream.
    #[must_use]
    pub fn of_one() -> Self {
        Self {
            written: Some(BufferSettings::new(ONE_MESSAGE_BYTES, GATHERED_BYTES_MAX)),
            types: PhantomData,
        }
    }
}

impl<W, R> Default for Passthrough<W, R> {
    fn default() -> Self {
        Self {
            written: None,
            types: PhantomData,
        }
    }
}

impl<W, R> fmt::Debug for Passthrough<W, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passthrough")
    }
}

impl<W: Written, R: Message + Default + 'static> Codec for Passthrough<W, R> {
    type Encode = W;
    type Decode = R;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self {
            written: self.written,
            types: PhantomData,
        }
    }

    fn decoder(&mut self) -> Self {
        Self::default()
    }
}

impl<W: Written, R> Encoder for Passthrough<W, R> {
    type Item = W;
    type Error = Status;

    fn encode(&mut self, item: W, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.write(out);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.written.unwrap_or_default()
    }
}

impl<W, R: Message + Default> Decoder for Passthrough<W, R> {
    type Item = R;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<R>, Status> {
        R::decode(bytes)
            .map(Some)
            .map_err(|error| status::undecodable(&error))
    }
}
