//! Bytes in and out: fixed little-endian integers, varints (LEB128), length-prefixed strings.
//!
//! Reading is total: whatever the input, it ends in a value or an error, and allocates no more
//! than the input is long.

use bytes::{Buf, BufMut, Bytes};

/// Bytes that are not what the format says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input ended early.
    #[error("{field}: the input ends too early")]
    Truncated {
        /// What was being read.
        field: &'static str,
    },
    /// A value that the format does not allow.
    #[error("{field}: not a valid value")]
    Invalid {
        /// What was being read.
        field: &'static str,
    },
    /// Bytes after the end.
    #[error("{bytes} bytes too many")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A version that this build does not know.
    #[error("{field}: version {version} is not known")]
    Version {
        /// What was being read.
        field: &'static str,
        /// The version found.
        version: u8,
    },
}

/// Reads from the front of a buffer, sharing it.
#[derive(Debug)]
pub struct Reader {
    rest: Bytes,
}

impl Reader {
    /// Starts at the front of `bytes`.
    #[must_use]
    pub const fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `n` bytes, shared with the input.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn bytes(&mut self, field: &'static str, n: usize) -> Result<Bytes, DecodeError> {
        if self.rest.len() < n {
            return Err(DecodeError::Truncated { field });
        }
        Ok(self.rest.split_to(n))
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let array = self.rest.first_chunk::<N>();
        let array = *array.ok_or(DecodeError::Truncated { field })?;
        self.rest.advance(N);
        Ok(array)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    /// Four bytes, little-endian.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_le_bytes)
    }

    /// Eight bytes, little-endian.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A varint.
    ///
    /// # Errors
    /// [`DecodeError`] if it is cut off, longer than ten bytes, above 2^64, or not the shortest
    /// form (equal values must be equal bytes).
    pub fn varint(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(field)?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return Err(DecodeError::Invalid { field });
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(DecodeError::Invalid { field });
                }
                return Ok(value);
            }
        }
        Err(DecodeError::Invalid { field })
    }

    /// A varint that counts something, at most `max`.
    ///
    /// # Errors
    /// [`DecodeError`], also above `max`.
    pub fn count(&mut self, field: &'static str, max: usize) -> Result<usize, DecodeError> {
        match usize::try_from(self.varint(field)?) {
            Ok(count) if count <= max => Ok(count),
            _ => Err(DecodeError::Invalid { field }),
        }
    }

    /// Bytes behind their length (a varint), at most `max`, shared with the input.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn prefixed(&mut self, field: &'static str, max: usize) -> Result<Bytes, DecodeError> {
        let n = self.count(field, max)?;
        self.bytes(field, n)
    }

    /// What `read` makes of the bytes behind their length (a varint), at most `max`. They are lent, which spares what is
    /// not kept a share in the input.
    ///
    /// # Errors
    /// [`DecodeError`], also where `read` fails, however it does.
    pub fn lent<T, E>(
        &mut self,
        field: &'static str,
        max: usize,
        read: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<T, DecodeError> {
        let n = self.count(field, max)?;
        let bytes = self.rest.get(..n);
        let bytes = bytes.ok_or(DecodeError::Truncated { field })?;
        let made = read(bytes).map_err(|_| DecodeError::Invalid { field })?;
        self.rest.advance(n);
        Ok(made)
    }

    /// UTF-8 behind its length in bytes.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn text(&mut self, field: &'static str, max: usize) -> Result<String, DecodeError> {
        self.checked(field, max, |text| Ok::<_, DecodeError>(text.to_owned()))
    }

    /// What `check` makes of UTF-8 behind its length in bytes.
    ///
    /// # Errors
    /// [`DecodeError`], also where `check` fails, however it does.
    pub fn checked<T, E>(
        &mut self,
        field: &'static str,
        max: usize,
        check: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, DecodeError> {
        self.lent(field, max, |bytes| {
            let text = std::str::from_utf8(bytes).map_err(|_| ())?;
            check(text).map_err(|_| ())
        })
    }

    /// Checks that everything was read.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`].
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing {
                bytes: self.rest.len(),
            })
        }
    }
}

/// Appends a varint (LEB128, shortest form).
pub fn put_varint(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Appends `bytes` behind their length.
pub fn put_prefixed(out: &mut impl BufMut, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_round_trip(value: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut reader = Reader::new(out.into());
            prop_assert_eq!(reader.varint("value"), Ok(value));
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn any_bytes_end_in_a_value_or_an_error(bytes: Vec<u8>) {
            let mut reader = Reader::new(bytes.into());
            while reader.remaining() > 0 && reader.text("text", 100).is_ok() {}
        }
    }

    #[test]
    fn only_the_shortest_varint_is_accepted() {
        let mut reader = Reader::new(Bytes::from_static(&[0x80, 0]));
        assert_eq!(reader.varint("n"), Err(DecodeError::Invalid { field: "n" }));
    }
}
