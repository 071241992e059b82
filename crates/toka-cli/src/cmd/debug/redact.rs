//! Takes out of texts what must not leave the machine: secrets, payloads, embeddings.
//!
//! Values that are known to be secrets are replaced wherever they stand. Others are found by what stands before them
//! (`token=...`, `"payload": ...`, `Bearer ...`, `://user:password@`). When in doubt more is taken than is needed.

use std::ffi::OsString;

/// What stands in the place of what was taken.
pub(super) const MARK: &str = "[redacted]";

/// Names of secrets have one of these in them.
const SECRET: [&str; 15] = [
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "authorization",
    "cookie",
    "apikey",
    "api_key",
    "api-key",
    "access_key",
    "private_key",
    // OTEL_EXPORTER_OTLP_HEADERS and OTEL_EXPORTER_OTLP_TRACES_HEADERS: a collector's token stands in them.
    "otlp_headers",
    "traces_headers",
];
/// What users have stored, or what comes from it.
const CONTENT: [&str; 3] = ["payload", "payload_base64", "embedding"];
/// A secret that is shorter is not looked for: it would be found in everything.
const VALUE_BYTES_MIN: usize = 6;
/// Around a private key, with its kind in between.
const KEY_BEGIN: [&str; 2] = ["-----BEGIN ", "PRIVATE KEY"];
const KEY_END: &str = "-----END ";
/// Within a text that is quoted itself a quote has a backslash.
const QUOTES: [&str; 3] = ["\\\"", "\"", "'"];

/// Whether what is called so must not be told.
pub(super) fn is_sensitive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    is_content(&name) || SECRET.iter().any(|part| name.contains(part))
}

fn is_content(name: &str) -> bool {
    CONTENT.contains(&name)
}

/// Knows the secrets of this process.
pub(super) struct Redactor {
    /// The longest first: one may begin with another.
    values: Vec<String>,
}

impl Redactor {
    /// With the values of variables that are called as secrets are, and others that are known.
    pub(super) fn new(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        mut values: Vec<String>,
    ) -> Self {
        for (name, value) in variables {
            if is_sensitive(&name.to_string_lossy()) {
                values.push(value.to_string_lossy().into_owned());
            }
        }
        values.retain(|value| value.len() >= VALUE_BYTES_MIN);
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self { values }
    }

    /// The text without them, line by line.
    pub(super) fn text(&self, text: &str) -> String {
        let known = self.values.iter();
        let text = known.fold(text.to_owned(), |text, value| text.replace(value, MARK));
        let mut out = String::with_capacity(text.len());
        let mut is_in_key = false;
        for line in text.split_inclusive('\n') {
            let begins = KEY_BEGIN.iter().all(|part| line.contains(part));
            if begins {
                out.push_str(MARK);
                out.push('\n');
            }
            is_in_key |= begins;
            if !is_in_key {
                out.push_str(&pairs(&users(line)));
            }
            if line.contains(KEY_END) {
                is_in_key = false;
            }
        }
        out
    }
}

/// A line without names and passwords in addresses.
fn users(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let is_end = |c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '?' | '#');
        let authority = &after[..after.find(is_end).unwrap_or(after.len())];
        rest = match authority.rfind('@') {
            Some(at) => {
                out.push_str(MARK);
                &after[at..]
            }
            None => after,
        };
    }
    out.push_str(rest);
    out
}

/// A line without the values of sensitive names.
fn pairs(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find(is_of_name) {
        let name = &rest[start..];
        let name = &name[..name.find(|c: char| !is_of_name(c)).unwrap_or(name.len())];
        let end = start + name.len();
        out.push_str(&rest[..start]);
        if is_web_token(name) || has_vault_token(name) {
            out.push_str(MARK);
            rest = &rest[end..];
            continue;
        }
        out.push_str(name);
        rest = &rest[end..];
        let (between, value) = if name.eq_ignore_ascii_case("bearer") {
            (blanks(rest), bare(&rest[blanks(rest)..]))
        } else if is_sensitive(name) {
            let Some(between) = separator(rest) else {
                continue;
            };
            let is_content = is_content(&name.to_ascii_lowercase());
            (between, value(&rest[between..], is_content))
        } else {
            continue;
        };
        if value > 0 {
            let taken = &rest[between..between + value];
            let is_around = |quote: &&str| {
                taken.len() >= 2 * quote.len()
                    && taken.starts_with(*quote)
                    && taken.ends_with(*quote)
            };
            let quote = QUOTES.into_iter().find(is_around).unwrap_or_default();
            out.push_str(&rest[..between]);
            for part in [quote, MARK, quote] {
                out.push_str(part);
            }
            rest = &rest[between + value..];
        }
    }
    out.push_str(rest);
    out
}

/// Dots too: a token of the web has them, and names of fields may.
fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// The signed tokens of RFC 7519: they begin as JSON does in base64.
fn is_web_token(word: &str) -> bool {
    word.starts_with("eyJ") && word.matches('.').count() >= 2
}

/// Tokens of a vault, `toka_<id>_<secret>`, whatever stands around them.
fn has_vault_token(word: &str) -> bool {
    const PREFIX: &str = "toka_";
    const ID_DIGITS: usize = 16;
    word.match_indices(PREFIX).any(|(at, _)| {
        let rest = &word.as_bytes()[at + PREFIX.len()..];
        let id = rest.split_at_checked(ID_DIGITS);
        id.is_some_and(|(id, rest)| {
            id.iter().all(u8::is_ascii_hexdigit) && rest.first() == Some(&b'_')
        })
    })
}

fn blanks(text: &str) -> usize {
    text.len() - text.trim_start_matches([' ', '\t']).len()
}

/// Bytes between a name and its value; `None`: no value follows.
fn separator(text: &str) -> Option<usize> {
    let after = text.trim_start_matches(['"', '\'', '\\']);
    let after = &after[blanks(after)..];
    let after = after.strip_prefix([':', '='])?;
    let after = after.strip_prefix('>').unwrap_or(after);
    let after = &after[blanks(after)..];
    Some(text.len() - after.len())
}

/// Bytes of the value that the text begins with. In doubt, and of what users have stored, the whole line.
fn value(text: &str, is_content: bool) -> usize {
    let line = text.trim_end_matches(['\r', '\n']).len();
    if let Some(quote) = QUOTES.into_iter().find(|quote| text.starts_with(quote)) {
        return quoted(text, quote).unwrap_or(line);
    }
    if is_content {
        return line;
    }
    let word = bare(text);
    let scheme = text[..word].to_ascii_lowercase();
    match &text[..word] {
        nested if nested.contains(['{', '[', '(']) => line,
        _ if matches!(scheme.as_str(), "bearer" | "basic" | "digest") => {
            let credentials = &text[word..];
            word + blanks(credentials) + bare(&credentials[blanks(credentials)..])
        }
        _ => word,
    }
}

/// Bytes up to the end of a quoted value, quotes included.
fn quoted(text: &str, quote: &str) -> Option<usize> {
    let mut at = quote.len();
    while let Some(found) = text[at..].find(quote) {
        let end = at + found;
        at = end + quote.len();
        let escapes = text[..end].len() - text[..end].trim_end_matches('\\').len();
        let is_escaped = match quote.len() {
            1 => escapes % 2 == 1,
            // The one that it has is a part of the quote.
            _ => escapes > 0,
        };
        if !is_escaped {
            return Some(at);
        }
    }
    None
}

/// Bytes up to where a value without quotes ends.
fn bare(text: &str) -> usize {
    let is_end = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '&');
    text.find(is_end).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(text: &str) -> String {
        Redactor::new([], Vec::new()).text(text)
    }

    #[test]
    fn planted_values_do_not_survive() {
        for line in [
            "token=PLANTED",
            "token: PLANTED and more",
            "API_TOKEN=\"a PLANTED b\" rest",
            r#"{"fields":{"client_secret":"a\"PLANTED\"b","x":1}}"#,
            r#"{"message":"{\"password\":\"PLANTED\"}"}"#,
            r#"{"message":"{\"password\":\"a\\\"PLANTED\"}"}"#,
            "password => 'PLANTED'",
            "authorization: Bearer PLANTED",
            "authorization: Basic PLANTED=",
            "Authorization=Some(\"x PLANTED\")",
            "sent bearer PLANTED, was refused",
            "payload=[1, 2, PLANTED]",
            "payload=b\"some PLANTED bytes\"",
            r#"{"kind":"a","payload":{"x":{"y":"PLANTED"}},"payload_bytes":7}"#,
            "embedding: Some([0.1, PLANTED])",
            "https://user:PLANTED@example.org/path",
            "s3://PLANTED@bucket/?x=1",
            "GET /?access_token=PLANTED&x=1",
            "cookie: session=PLANTED",
            "token eyJhbGciOiJI.PLANTED.c2ln.",
            "called with toka_0123456789abcdef_PLANTED",
            "key.toka_0123456789abcdef_-PLANTED_x, and more",
            "key -----BEGIN PRIVATE KEY-----\nPLANTED\nPLANTED\n-----END PRIVATE KEY-----\nafter",
            "-----BEGIN EC PRIVATE KEY-----PLANTED",
        ] {
            let said = redacted(line);
            assert!(!said.contains("PLANTED"), "{line}: {said}");
            assert!(said.contains(MARK), "{line}: {said}");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for line in [
            "2026-11-27T18:33:26Z  INFO toka_raft: leader leader=1 term=1\n",
            "payload_bytes=256 payload_digest=abcd\n",
            "toka_raft_term 1\n# HELP toka_tokens_total Tokens.\n",
            "toka_0123456789abcdef is an id\n",
            "no token was given\n",
            "tokens are made by `toka auth`\n",
            "http://127.0.0.1:7313/metrics?a=b@c\n",
            "äöü token\n",
        ] {
            assert_eq!(redacted(line), line);
        }
    }

    #[test]
    fn rest_of_the_line_stays_readable() {
        let said = redacted("a=1 token=x b=2\nc=3");
        assert_eq!(said, "a=1 token=[redacted] b=2\nc=3");
        let said = redacted(r#"{"token":"x","b":2}"#);
        assert_eq!(said, r#"{"token":"[redacted]","b":2}"#);
    }

    #[test]
    fn known_secrets_are_found_anywhere() {
        let variables = [
            ("AWS_SECRET_ACCESS_KEY", "planted-long"),
            ("AWS_SESSION_TOKEN", "planted"),
            ("TOKEN_SHORT", "1"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-team=planted-too"),
            ("HOME", "/home/me"),
        ];
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        let redactor = Redactor::new(variables, vec!["of the file".to_owned()]);
        let said = redactor.text("1 /home/me planted-long,planted of the file x-team=planted-too");
        assert_eq!(
            said,
            "1 /home/me [redacted],[redacted] [redacted] [redacted]"
        );
    }

    #[test]
    fn any_text_is_taken() {
        for text in [
            "",
            "token",
            "token=",
            "token=\"",
            "\\\"",
            "://",
            "://@",
            "bearer",
            "é=token:é",
        ] {
            let _ = redacted(text);
        }
    }
}
