//! Page tokens: where a list goes on, bound to the list it belongs to.
//!
//! 25 bytes, in hexadecimal. Of events: version u8 | next u64 | until u64 | digest of the query, 8 bytes.
//! Of intents: version u8 | events u64 | intent u64 | digest of the query, 8 bytes. Of heads: as of events.
//! Of parked events: version u8 | sequence u64 | incarnation u64 | digest of the query, 8 bytes.

// Said, since the fuzz targets include this file from elsewhere.
#[path = "page_token/heads.rs"]
mod heads;

use std::cmp::Reverse;

use toka_ledger::engine::Direction;
use toka_ledger::intent::{IntentId, Summary};
use toka_ledger::read::Filter;
use toka_ledger::{GroupName, Invalid};

pub(crate) use self::heads::{HeadsIdentity, HeadsPageToken};

/// Changes whenever the bytes do; a token of another version is refused.
const VERSION: u8 = 1;
const TOKEN_BYTES: usize = 25;

/// Where the next page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageToken {
    /// Forward: the page is after this sequence. Backward: it is up to this sequence, inclusive.
    pub(crate) next: u64,
    /// Last sequence of the whole list, fixed by its first page.
    pub(crate) until: u64,
}

/// Everything that makes two lists the same but their page size and what comes with the headers.
#[derive(Clone, Debug)]
pub(crate) struct ListIdentity<'a> {
    /// As the request has it.
    pub(crate) after: u64,
    /// As the request has it; 0 for the end.
    pub(crate) until: u64,
    pub(crate) direction: Direction,
    pub(crate) times: Times,
    pub(crate) filter: &'a Filter,
    /// Positions mean nothing in another history.
    pub(crate) history_id: u128,
}

/// Bounds of a list by time, milliseconds since the Unix epoch; 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) from_unix_ms: u64,
    pub(crate) until_unix_ms: u64,
}

impl ListIdentity<'_> {
    fn digest(&self) -> [u8; 8] {
        let mut hasher = blake3::Hasher::new_derive_key("toka-server v1 page token");
        let mut text = |text: &str| {
            // The length keeps ("ab", "c") and ("a", "bc") apart.
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        for prefix in &self.filter.kind_prefixes {
            text(prefix);
        }
        text("\0");
        for (name, value) in &self.filter.attributes {
            text(name);
            text(value);
        }
        text("\0");
        for intent in &self.filter.intents {
            hasher.update(&intent.0.to_le_bytes());
        }
        hasher.update(&self.after.to_le_bytes());
        hasher.update(&self.until.to_le_bytes());
        hasher.update(&[u8::from(self.direction == Direction::Backward)]);
        hasher.update(&self.history_id.to_le_bytes());
        // Only where they are given: tokens of nodes that did not know of them stay good.
        if let Some(of) = &self.filter.descendants_of {
            hasher.update(b"descendants of");
            hasher.update(of.to_string().as_bytes());
        }
        if self.times != Times::default() {
            hasher.update(b"times");
            hasher.update(&self.times.from_unix_ms.to_le_bytes());
            hasher.update(&self.times.until_unix_ms.to_le_bytes());
        }
        let mut digest = [0; 8];
        hasher.finalize_xof().fill(&mut digest);
        digest
    }
}

impl PageToken {
    pub(crate) fn encode(&self, list: &ListIdentity<'_>) -> String {
        encode([self.next, self.until], list.digest())
    }

    /// `None`: this is no token, or one of another list.
    pub(crate) fn decode(text: &str, list: &ListIdentity<'_>) -> Option<Self> {
        let [next, until] = decode(text, list.digest())?;
        Some(Self { next, until })
    }

    /// The same, of a request.
    ///
    /// # Errors
    /// [`Invalid::Syntax`] for what is no token of this list; the empty text is none at all.
    pub(crate) fn read(text: &str, list: &ListIdentity<'_>) -> Result<Option<Self>, Invalid> {
        given(text, |text| Self::decode(text, list))
    }
}

/// Everything that makes two lists of intents the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IntentListIdentity {
    pub(crate) skip_tentative: bool,
    /// Ids mean nothing in another history.
    pub(crate) history_id: u128,
}

/// The last intent of a page, as a place in their order: the largest come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct IntentPageToken {
    events: Reverse<u64>,
    intent: IntentId,
}

impl IntentPageToken {
    pub(crate) const fn of(summary: &Summary) -> Self {
        Self {
            events: Reverse(summary.events),
            intent: summary.intent,
        }
    }

    pub(crate) fn encode(&self, list: IntentListIdentity) -> String {
        encode([self.events.0, self.intent.0], list.digest())
    }

    /// The token of a request.
    ///
    /// # Errors
    /// [`Invalid::Syntax`] for what is no token of this list; the empty text is none at all.
    pub(crate) fn read(text: &str, list: IntentListIdentity) -> Result<Option<Self>, Invalid> {
        given(text, |text| {
            let [events, intent] = decode(text, list.digest())?;
            Some(Self {
                events: Reverse(events),
                intent: IntentId(intent),
            })
        })
    }
}

impl IntentListIdentity {
    fn digest(self) -> [u8; 8] {
        let mut hasher = blake3::Hasher::new_derive_key("toka-server v1 page token of intents");
        hasher.update(&[u8::from(self.skip_tentative)]);
        hasher.update(&self.history_id.to_le_bytes());
        let mut digest = [0; 8];
        hasher.finalize_xof().fill(&mut digest);
        digest
    }
}

/// A list of events of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupList {
    Outstanding,
    Parked,
}

impl GroupList {
    fn digest(self, group: &GroupName) -> [u8; 8] {
        let context = match self {
            Self::Outstanding => "toka-server v1 page token of outstanding events",
            Self::Parked => "toka-server v1 page token of parked events",
        };
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(group.as_str().as_bytes());
        let mut digest = [0; 8];
        hasher.finalize_xof().fill(&mut digest);
        digest
    }
}

/// The last event of a page of such a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupPageToken {
    pub(crate) sequence: u64,
    /// Which group of that name.
    pub(crate) incarnation: u64,
}

impl GroupPageToken {
    pub(crate) fn encode(&self, list: GroupList, group: &GroupName) -> String {
        encode([self.sequence, self.incarnation], list.digest(group))
    }

    /// The token of a request.
    ///
    /// # Errors
    /// [`Invalid::Syntax`] for what is no token of this list; the empty text is none at all.
    pub(crate) fn read(
        text: &str,
        list: GroupList,
        group: &GroupName,
    ) -> Result<Option<Self>, Invalid> {
        given(text, |text| {
            let [sequence, incarnation] = decode(text, list.digest(group))?;
            Some(Self {
                sequence,
                incarnation,
            })
        })
    }
}

fn given<T>(text: &str, decode: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Invalid> {
    if text.is_empty() {
        return Ok(None);
    }
    decode(text).map(Some).ok_or(Invalid::Syntax {
        field: "page_token",
        expected: "a token that an earlier page of this very list had",
    })
}

fn encode(numbers: [u64; 2], digest: [u8; 8]) -> String {
    let numbers = numbers.iter().flat_map(|number| number.to_be_bytes());
    let bytes = std::iter::once(VERSION).chain(numbers).chain(digest);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

fn decode(text: &str, digest: [u8; 8]) -> Option<[u64; 2]> {
    let bytes = unhex(text)?;
    let (version, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first_chunk::<8>()?;
    let (second, rest) = rest.split_first_chunk::<8>()?;
    if *version != VERSION || *rest != digest {
        return None;
    }
    Some([u64::from_be_bytes(*first), u64::from_be_bytes(*second)])
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let is_hex = text.bytes().all(|digit| digit.is_ascii_hexdigit());
    if text.len() != 2 * TOKEN_BYTES || !is_hex {
        return None;
    }
    (0..TOKEN_BYTES)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use toka_ledger::Selector;

    use super::*;

    fn filter(prefixes: &[&str], attributes: &[(&str, &str)]) -> Filter {
        Filter {
            kind_prefixes: prefixes.iter().map(ToString::to_string).collect(),
            attributes: attributes
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Filter::default()
        }
    }

    fn list(filter: &Filter) -> ListIdentity<'_> {
        ListIdentity {
            after: 3,
            until: 0,
            direction: Direction::Forward,
            times: Times::default(),
            filter,
            history_id: 9,
        }
    }

    const TOKEN: PageToken = PageToken {
        next: 17,
        until: 99,
    };

    #[test]
    fn a_token_of_the_same_list_is_read_back() {
        let filter = filter(&["auth."], &[("source", "me")]);
        let text = TOKEN.encode(&list(&filter));
        assert_eq!(PageToken::decode(&text, &list(&filter)), Some(TOKEN));
    }

    #[test]
    fn a_token_of_another_list_is_refused() {
        let ours = filter(&["a", "bc"], &[]);
        let text = TOKEN.encode(&list(&ours));
        let others = [
            filter(&["ab", "c"], &[]),
            filter(&["a"], &[]),
            filter(&[], &[("a", "bc")]),
        ];
        for other in &others {
            assert_eq!(PageToken::decode(&text, &list(other)), None);
        }
        let base = list(&ours);
        for other in [
            ListIdentity {
                after: 4,
                ..base.clone()
            },
            ListIdentity {
                until: 1,
                ..base.clone()
            },
            ListIdentity {
                direction: Direction::Backward,
                ..base.clone()
            },
            ListIdentity {
                times: Times {
                    from_unix_ms: 5,
                    until_unix_ms: 0,
                },
                ..base.clone()
            },
            ListIdentity {
                filter: &Filter {
                    descendants_of: Some(Selector::Sequence(1)),
                    ..ours.clone()
                },
                ..base.clone()
            },
            ListIdentity {
                history_id: 8,
                ..base.clone()
            },
        ] {
            assert_eq!(PageToken::decode(&text, &other), None);
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let filter = Filter::default();
        let good = TOKEN.encode(&list(&filter));
        let newer = format!("02{}", &good[2..]);
        let signed = format!("+1{}", &good[2..]);
        let foreign = "é".repeat(TOKEN_BYTES);
        for text in [
            "",
            "next",
            &good[1..],
            &newer,
            &signed,
            &foreign,
            &"zz".repeat(TOKEN_BYTES),
        ] {
            assert_eq!(PageToken::decode(text, &list(&filter)), None, "{text}");
        }
    }

    #[test]
    fn token_of_a_group_is_one_of_its_list() {
        let group = |name| GroupName::new(name).expect("valid");
        let (parked, outstanding) = (GroupList::Parked, GroupList::Outstanding);
        let token = GroupPageToken {
            sequence: 5,
            incarnation: 9,
        };
        let text = token.encode(parked, &group("work"));
        assert_eq!(
            GroupPageToken::read(&text, parked, &group("work")),
            Ok(Some(token))
        );
        assert!(GroupPageToken::read(&text, parked, &group("play")).is_err());
        assert!(GroupPageToken::read(&text, outstanding, &group("work")).is_err());
    }

    #[test]
    fn token_of_intents_is_one_of_its_list() {
        let list = IntentListIdentity {
            skip_tentative: false,
            history_id: 7,
        };
        let token = IntentPageToken {
            events: Reverse(90),
            intent: IntentId(4),
        };
        let text = token.encode(list);
        assert_eq!(IntentPageToken::read(&text, list), Ok(Some(token)));
        assert_eq!(IntentPageToken::read("", list), Ok(None));
        let others = [
            IntentListIdentity {
                skip_tentative: true,
                ..list
            },
            IntentListIdentity {
                history_id: 8,
                ..list
            },
        ];
        for other in others {
            let error = IntentPageToken::read(&text, other).expect_err("another list");
            assert_eq!(error.field(), "page_token");
        }
        assert!(IntentPageToken::read("00", list).is_err());
        // The largest first, of equally large ones the oldest.
        let after = |events, intent| IntentPageToken {
            events: Reverse(events),
            intent: IntentId(intent),
        };
        assert!(token < after(89, 1) && token < after(90, 5) && token > after(91, 9));
    }
}
