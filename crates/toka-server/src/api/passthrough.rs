//! Answers that are encoded before they are sent.

use std::fmt;
use std::marker::PhantomData;

use bytes::{BufMut, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// The encoded bytes of an answer.
pub(super) trait Written: Send + 'static {
    fn write(&self, out: &mut EncodeBuf<'_>);
}

impl Written for Bytes {
    fn write(&self, out: &mut EncodeBuf<'_>) {
        out.reserve(self.len());
        out.put_slice(self);
    }
}

/// Requests of the type `M` are decoded; answers, of the type `T`, are bytes already.
pub(super) struct Passthrough<M, T>(PhantomData<fn(T) -> M>);

impl<M, T> Default for Passthrough<M, T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<M, T> fmt::Debug for Passthrough<M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passthrough")
    }
}

impl<M: Message + Default + 'static, T: Written> Codec for Passthrough<M, T> {
    type Encode = T;
    type Decode = M;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self::default()
    }

    fn decoder(&mut self) -> Self {
        Self::default()
    }
}

impl<M, T: Written> Encoder for Passthrough<M, T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.write(out);
        Ok(())
    }
}

impl<M: Message + Default, T> Decoder for Passthrough<M, T> {
    type Item = M;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<M>, Status> {
        // As the generated service says it of its own.
        M::decode(bytes)
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}
