//! The ids of traces and spans.

use std::fmt;
use std::str::FromStr;

/// Why something is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Another number of bytes.
    #[error("{field} has {actual} bytes; it must have {expected}")]
    Length {
        /// Which id.
        field: &'static str,
        /// Bytes that it must have.
        expected: usize,
        /// Bytes that it has.
        actual: usize,
    },
    /// Zeros stand for no id.
    #[error("{field} is all zeros")]
    Zero {
        /// Which id.
        field: &'static str,
    },
    /// Not written as an id is.
    #[error("{field} must be {digits} hexadecimal digits")]
    Syntax {
        /// Which id.
        field: &'static str,
        /// How many digits.
        digits: usize,
    },
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $field:literal, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl TryFrom<&[u8]> for $name {
            type Error = IdError;

            fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
                let id: [u8; $bytes] = bytes.try_into().map_err(|_| IdError::Length {
                    field: $field,
                    expected: $bytes,
                    actual: bytes.len(),
                })?;
                match id.iter().all(|byte| *byte == 0) {
                    true => Err(IdError::Zero { field: $field }),
                    false => Ok(Self(id)),
                }
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let syntax = || IdError::Syntax {
                    field: $field,
                    digits: 2 * $bytes,
                };
                if text.len() != 2 * $bytes || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(syntax());
                }
                let mut id = [0; $bytes];
                for (place, byte) in id.iter_mut().enumerate() {
                    let digits = &text[2 * place..2 * place + 2];
                    *byte = u8::from_str_radix(digits, 16).map_err(|_| syntax())?;
                }
                Self::try_from(&id[..])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
    };
}

id!(
    /// Id of a trace, 16 bytes, not all zeros; written as 32 lower-case hexadecimal digits.
    TraceId, "trace_id", 16
);
id!(
    /// Id of a span within its trace, 8 bytes, not all zeros; written as 16 lower-case hexadecimal digits.
    SpanId, "span_id", 8
);

/// A span, by its ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanRef {
    /// Its trace.
    pub trace: TraceId,
    /// Its id there.
    pub span: SpanId,
}

/// `TRACE-SPAN`, as `traceparent` has them.
impl fmt::Display for SpanRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.trace, self.span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_as_it_is_read() {
        let text = "0af7651916cd43dd8448eb211c80319c";
        let id: TraceId = text.parse().expect("an id");
        assert_eq!(id.to_string(), text);
        let upper: TraceId = text.to_uppercase().parse().expect("an id");
        assert_eq!(upper, id);
    }

    #[test]
    fn what_is_no_id_is_refused_with_its_name() {
        for text in [
            "",
            "b7ad6b716920333",
            "b7ad6b716920333z",
            "b7ad6b71692033éx",
        ] {
            let error = text.parse::<SpanId>().expect_err("no id");
            assert_eq!(error.to_string(), "span_id must be 16 hexadecimal digits");
        }
        let zero = SpanId::try_from(&[0; 8][..]);
        assert_eq!(zero, Err(IdError::Zero { field: "span_id" }));
        let short = TraceId::try_from(&[1; 8][..]).expect_err("short");
        assert_eq!(short.to_string(), "trace_id has 8 bytes; it must have 16");
    }
}
