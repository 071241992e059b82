//! Structured events as one type.

use std::io::{self, Write};

use rmpv::Value;
use serde::Serialize;

use crate::error::Error;

/// Largest event, as MessagePack, bytes: the vault's largest payload, with room for field names.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// `event` as a tree, fields named and in their order.
///
/// # Errors
/// [`Error::Serialize`] if its `Serialize` fails, [`Error::TooLarge`] above 4 MiB.
pub fn to_value<T: Serialize + ?Sized>(event: &T) -> Result<Value, Error> {
    let mut bytes = Bounded(Vec::new());
    // Human-readable, so that an address or an id that serde would pack is text.
    let mut serializer = rmp_serde::Serializer::new(&mut bytes)
        .with_struct_map()
        .with_human_readable();
    match event.serialize(&mut serializer) {
        Ok(()) => from_payload(&bytes.0),
        Err(_) if bytes.0.len() > EVENT_BYTES_MAX => Err(too_large(bytes.0.len())),
        Err(source) => Err(Error::Serialize {
            source: source.into(),
        }),
    }
}

/// The tree in `payload`, one MessagePack value, as the vault stores typed events.
///
/// # Errors
/// [`Error::Payload`] if it is not that, [`Error::TooLarge`] above 4 MiB.
pub fn from_payload(payload: &[u8]) -> Result<Value, Error> {
    if payload.len() > EVENT_BYTES_MAX {
        return Err(too_large(payload.len()));
    }
    let mut rest = payload;
    let value = rmpv::decode::read_value(&mut rest).map_err(|source| Error::Payload {
        source: Some(source.into()),
    })?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(Error::Payload { source: None })
    }
}

fn too_large(actual: usize) -> Error {
    Error::TooLarge {
        field: "event, bytes",
        limit: EVENT_BYTES_MAX,
        actual,
    }
}

/// Fails with the write that goes over the limit, and has kept it then.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        if self.0.len() > EVENT_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde::Serializer;
    use serde::ser::Error as _;

    use super::*;

    struct Broken;

    impl Serialize for Broken {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(S::Error::custom("broken"))
        }
    }

    #[test]
    fn failing_serialize_is_an_error_with_its_source() {
        let error = to_value(&Broken).expect_err("broken");
        let source = std::error::Error::source(&error).expect("kept");
        assert!(source.to_string().contains("broken"), "{source}");
    }

    #[test]
    fn event_over_the_limit_is_refused() {
        let at_limit = "x".repeat(EVENT_BYTES_MAX - 5);
        to_value(&at_limit).expect("five bytes of header");
        let error = to_value(&format!("{at_limit}x")).expect_err("one more");
        let expected = "event, bytes is 4194305, at most 4194304";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn payload_must_be_one_value() {
        assert_eq!(from_payload(&[0x07]).expect("7"), Value::from(7));
        for bad in [&[][..], &[0xa2, b'a'], &[0x92, 0x01], &[0x07, 0x07]] {
            let error = from_payload(bad).expect_err("not one value");
            assert!(matches!(error, Error::Payload { .. }), "{bad:?}");
        }
        // Nested deeper than any event.
        assert!(from_payload(&[0x91; 1 << 20]).is_err());
    }
}
