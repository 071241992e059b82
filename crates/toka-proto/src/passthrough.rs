//! A codec for what is encoded before it is sent.

use std::fmt;
use std::marker::PhantomData;

use bytes::{BufMut as _, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

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
pub struct Passthrough<W, R>(PhantomData<fn(W) -> R>);

impl<W, R> Default for Passthrough<W, R> {
    fn default() -> Self {
        Self(PhantomData)
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
        Self::default()
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
