//! Where a list of heads goes on.

use toka_ledger::Invalid;

use super::{decode, encode, given};

/// Everything that makes two lists of heads the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadsIdentity<'a> {
    pub(crate) kind_prefixes: &'a [String],
    /// Positions mean nothing in another history.
    pub(crate) history_id: u128,
}

/// Where the next page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadsPageToken {
    /// The page is up to this sequence, inclusive.
    pub(crate) from: u64,
    /// The sequence as of which all pages are, fixed by the first.
    pub(crate) as_of: u64,
}

impl HeadsPageToken {
    pub(crate) fn encode(self, list: HeadsIdentity<'_>) -> String {
        encode([self.from, self.as_of], list.digest())
    }

    /// The token of a request.
    ///
    /// # Errors
    /// [`Invalid::Syntax`] for what is no token of this list; the empty text is none at all.
    pub(crate) fn read(text: &str, list: HeadsIdentity<'_>) -> Result<Option<Self>, Invalid> {
        given(text, |text| {
            let [from, as_of] = decode(text, list.digest())?;
            Some(Self { from, as_of })
        })
    }
}

impl HeadsIdentity<'_> {
    fn digest(self) -> [u8; 8] {
        let mut hasher = blake3::Hasher::new_derive_key("toka-server v1 page token of heads");
        for prefix in self.kind_prefixes {
            // The length keeps ("ab", "c") and ("a", "bc") apart.
            hasher.update(&(prefix.len() as u64).to_le_bytes());
            hasher.update(prefix.as_bytes());
        }
        hasher.update(&self.history_id.to_le_bytes());
        let mut digest = [0; 8];
        hasher.finalize_xof().fill(&mut digest);
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_of_heads_is_one_of_its_list() {
        let ours = ["a".to_owned(), "bc".to_owned()];
        let list = HeadsIdentity {
            kind_prefixes: &ours,
            history_id: 7,
        };
        let token = HeadsPageToken { from: 5, as_of: 90 };
        let text = token.encode(list);
        assert_eq!(HeadsPageToken::read(&text, list), Ok(Some(token)));
        assert_eq!(HeadsPageToken::read("", list), Ok(None));
        let others = ["ab".to_owned(), "c".to_owned()];
        for other in [
            HeadsIdentity {
                kind_prefixes: &others,
                ..list
            },
            HeadsIdentity {
                history_id: 8,
                ..list
            },
        ] {
            let error = HeadsPageToken::read(&text, other).expect_err("another list");
            assert_eq!(error.field(), "page_token");
        }
    }
}
