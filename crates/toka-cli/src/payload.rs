//! JSON on the terminal, MessagePack in the vault.

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::Value;
use toka_ledger::EventPayload as _;

use crate::failure::Failure;

/// A payload as the command line and JSON Lines show it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shown {
    /// MessagePack that JSON can express without loss.
    Json(Value),
    /// Any other bytes.
    Base64(String),
}

/// The MessagePack bytes of a JSON text.
pub(crate) fn from_json_text(text: &[u8]) -> Result<Bytes> {
    let value: Value = serde_json::from_slice(text)
        .context("the payload is not JSON; use --raw to store bytes as they are")?;
    from_json(&value)
}

/// The MessagePack bytes of a JSON value, map keys sorted.
pub(crate) fn from_json(value: &Value) -> Result<Bytes> {
    Ok(value.to_bytes()?)
}

/// The bytes behind standard base64.
pub(crate) fn from_base64(text: &str) -> Result<Bytes> {
    match BASE64.decode(text) {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) => bail!("payload_base64 is not base64: {error}"),
    }
}

/// The bytes behind hexadecimal digits.
pub(crate) fn from_hex(digits: &str) -> Result<Vec<u8>> {
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        bail!(Failure::Refused(format!(
            "{digits:?} is not an even number of hexadecimal digits"
        )));
    }
    let bytes = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16));
    Ok(bytes.collect::<Result<_, _>>()?)
}

/// JSON if it gives the same bytes back, else base64.
pub(crate) fn show(payload: &[u8]) -> Shown {
    to_json(payload).map_or_else(|| Shown::Base64(BASE64.encode(payload)), Shown::Json)
}

fn to_json(payload: &[u8]) -> Option<Value> {
    let mut rest = payload;
    let value = rmpv::decode::read_value(&mut rest).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let json = json_value(value)?;
    (from_json(&json).ok()? == payload).then_some(json)
}

fn json_value(value: rmpv::Value) -> Option<Value> {
    Some(match value {
        rmpv::Value::Nil => Value::Null,
        rmpv::Value::Boolean(b) => b.into(),
        rmpv::Value::Integer(i) => match (i.as_u64(), i.as_i64()) {
            (Some(u), _) => u.into(),
            (None, Some(i)) => i.into(),
            (None, None) => return None,
        },
        rmpv::Value::F64(f) => serde_json::Number::from_f64(f)?.into(),
        rmpv::Value::String(s) => s.into_str()?.into(),
        rmpv::Value::Array(items) => items
            .into_iter()
            .map(json_value)
            .collect::<Option<Vec<_>>>()?
            .into(),
        rmpv::Value::Map(entries) => {
            let mut map = serde_json::Map::new();
            for (key, value) in entries {
                let rmpv::Value::String(key) = key else {
                    return None;
                };
                map.insert(key.into_str()?, json_value(value)?);
            }
            map.into()
        }
        rmpv::Value::F32(_) | rmpv::Value::Binary(_) | rmpv::Value::Ext(..) => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_survives_the_way_through_messagepack() {
        let value = json!({"b": [1, -2, 2.5, null, true], "a": {"z": "ü", "y": u64::MAX}});
        let bytes = from_json(&value).expect("encodes");
        assert_eq!(show(&bytes), Shown::Json(value));
    }

    #[test]
    fn bytes_that_are_no_messagepack_are_shown_as_base64() {
        assert_eq!(show(b"\xc1hello"), Shown::Base64("wWhlbGxv".to_owned()));
        assert_eq!(from_base64("wWhlbGxv").expect("decodes"), &b"\xc1hello"[..]);
    }

    #[test]
    fn hexadecimal_digits_are_read() {
        assert_eq!(from_hex("00fF").expect("valid"), [0, 255]);
        assert!(from_hex("0").is_err());
        assert!(from_hex("+1").is_err());
        assert!(from_hex("zz").is_err());
    }

    #[test]
    fn messagepack_that_json_would_change_is_shown_as_base64() {
        // A 32-bit float, and a map whose keys are not sorted.
        assert!(matches!(show(b"\xca\x3f\x80\x00\x00"), Shown::Base64(_)));
        assert!(matches!(show(b"\x82\xa1b\x01\xa1a\x02"), Shown::Base64(_)));
    }
}
