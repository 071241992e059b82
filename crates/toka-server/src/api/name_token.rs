//! Page tokens of lists in the order of names: where a list goes on, bound to the list it belongs to.
//!
//! In hexadecimal: version u8 | digest of the list, 8 bytes | the last name of the page, UTF-8.

use toka_ledger::Invalid;

/// Changes whenever the bytes do; a token of another version is refused.
const VERSION: u8 = 1;
/// Longer than that of any name.
const TOKEN_DIGITS_MAX: usize = 1_024;

/// A list in the order of names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NameList {
    /// Of what.
    pub(crate) of: &'static str,
    /// Names of another history are others' names.
    pub(crate) history_id: u128,
}

impl NameList {
    /// The token of the page after the one that ends with `name`.
    pub(crate) fn encode(&self, name: &str) -> String {
        let bytes = std::iter::once(VERSION)
            .chain(self.digest())
            .chain(name.bytes());
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }

    /// The name in the token of a request.
    ///
    /// # Errors
    /// [`Invalid::Syntax`] for what is no token of this list; the empty text is none at all.
    pub(crate) fn read(&self, text: &str) -> Result<Option<String>, Invalid> {
        if text.is_empty() {
            return Ok(None);
        }
        self.decode(text).map(Some).ok_or(Invalid::Syntax {
            field: "page_token",
            expected: "a token that an earlier page of this very list had",
        })
    }

    fn decode(&self, text: &str) -> Option<String> {
        let bytes = unhex(text)?;
        let (version, rest) = bytes.split_first()?;
        let (digest, name) = rest.split_first_chunk::<8>()?;
        if *version != VERSION || *digest != self.digest() {
            return None;
        }
        String::from_utf8(name.to_vec()).ok()
    }

    fn digest(&self) -> [u8; 8] {
        let mut hasher = blake3::Hasher::new_derive_key("toka-server v1 page token of names");
        hasher.update(&self.history_id.to_le_bytes());
        hasher.update(self.of.as_bytes());
        let mut digest = [0; 8];
        hasher.finalize_xof().fill(&mut digest);
        digest
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let is_hex = text.bytes().all(|digit| digit.is_ascii_hexdigit());
    if text.len() > TOKEN_DIGITS_MAX || !text.len().is_multiple_of(2) || !is_hex {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: NameList = NameList {
        of: "cursors",
        history_id: 7,
    };

    #[test]
    fn a_token_of_the_same_list_is_read_back() {
        for name in ["worker", "ü", &"n".repeat(255)] {
            let text = LIST.encode(name);
            assert_eq!(LIST.read(&text), Ok(Some(name.to_owned())));
        }
        assert_eq!(LIST.read(""), Ok(None));
    }

    #[test]
    fn what_is_no_token_of_the_list_is_refused() {
        let text = LIST.encode("worker");
        let others = [
            NameList {
                of: "groups",
                ..LIST
            },
            NameList {
                history_id: 8,
                ..LIST
            },
        ];
        assert!(others.iter().all(|other| other.read(&text).is_err()));
        for wrong in ["zz", "0", &text[1..], &format!("02{}", &text[2..]), "éé"] {
            assert!(LIST.read(wrong).is_err(), "{wrong}");
        }
    }
}
