//! Texts from people and clients: page tokens, lines of an import, digests and ids. Read or refused, and what is read
//! is written back as the same.

use std::str::FromStr as _;

use toka_ledger::engine::Direction;
use toka_ledger::read::Filter;
use toka_ledger::{Digest, EventId};

use crate::line::Line;
use crate::page_token::{IntentListIdentity, IntentPageToken, ListIdentity, PageToken, Times};
use crate::{Seed, of_kind, payload};

/// See above. The first byte says what the rest is.
pub fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(bytes) else {
        // What comes in a message or from a line of text has been checked for it.
        return;
    };
    match kind % 5 {
        0 => page_token(text),
        1 => line(text),
        2 => {
            if let Ok(digest) = Digest::from_str(text) {
                assert_eq!(digest.to_string(), text.to_ascii_lowercase());
            }
        }
        3 => {
            if let Ok(id) = EventId::from_str(text) {
                assert_eq!(EventId::from_str(&id.to_string()), Ok(id));
                let _ = (id.sequence(), id.unix_ms());
            }
        }
        _ => shown(bytes),
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

const INTENTS: IntentListIdentity = IntentListIdentity {
    skip_tentative: false,
    history_id: 7,
};

fn page_token(text: &str) {
    let filter = Filter::default();
    let list = list(&filter);
    let read = PageToken::read(text, &list).ok().flatten();
    assert_eq!(read, PageToken::decode(text, &list));
    if let Some(token) = read {
        assert_eq!(token.encode(&list), text.to_ascii_lowercase());
    }
    if let Ok(Some(token)) = IntentPageToken::read(text, INTENTS) {
        assert_eq!(token.encode(INTENTS), text.to_ascii_lowercase());
    }
}

/// A line that is an event is one that the vault takes, or refuses, under the digest that the import computes for it.
fn line(text: &str) {
    let Ok(line) = Line::parse(text) else { return };
    let parents = [Digest([1; 32]), Digest([2; 32])];
    let Ok(((draft, event), digest)) = line.draft(&parents, true) else {
        return;
    };
    drop(event);
    if let Ok(event) = draft.prepare() {
        let (kind, payload) = (&event.kind, &event.payload_digest);
        let actual = toka_ledger::hash::event_digest(kind, payload, &event.salt, &parents);
        assert_eq!(actual, digest);
    }
}

/// A payload is shown as a text that gives the same bytes again.
fn shown(bytes: &[u8]) {
    let again = match payload::show(bytes) {
        payload::Shown::Json(value) => payload::from_json(&value),
        payload::Shown::Base64(text) => payload::from_base64(&text),
    };
    assert_eq!(again.expect("it was just written"), bytes);
}

/// One of each.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    let filter = Filter::default();
    let token = PageToken {
        next: 17,
        until: 99,
    }
    .encode(&list(&filter));
    let digest = Digest([0xab; 32]);
    let id = EventId::new(1_700_000_000_000, 5, &digest);
    let whole = format!(
        r#"{{"format":1,"ref":"a","parents":["{digest}"],"kind":"auth.login","payload":{{"b":[1,-2,2.5,null]}},"embedding":[0.6,-0.8],"embedding_model":"m/2","salt":"00ff","source":"web","content_type":"text/plain","attributes":{{"user":"alice"}}}}"#
    );
    // Of which a digit was read as a sign once.
    let signed = format!("+1{}", &token[2..]);
    let inputs = [
        ("token", 0, token),
        ("token-signed", 0, signed),
        ("line", 1, r#"{"kind":"a","payload":{"b":1}}"#.to_owned()),
        ("line-whole", 1, whole),
        (
            "line-base64",
            1,
            r#"{"kind":"a","payload_base64":"wWhlbGxv"}"#.to_owned(),
        ),
        (
            "line-quantised",
            1,
            r#"{"kind":"a","embedding":[0.6000366210937500,-0.79998779296875]}"#.to_owned(),
        ),
        (
            "line-newer",
            1,
            r#"{"format":2,"kind":"a","new":1}"#.to_owned(),
        ),
        ("digest", 2, digest.to_string()),
        ("id", 3, id.to_string()),
        ("payload", 4, "\u{1}".to_owned()),
    ];
    let seed = |(name, kind, text): (&str, u8, String)| (name.to_owned(), of_kind(kind, text));
    inputs.into_iter().map(seed).collect()
}
