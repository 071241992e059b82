//! Words for what differs between events of the same meaning.

/// Digits in a row that are kept: `8 AM` and `error 404` say something, `order 20394` does not.
const DIGITS_KEPT_MAX: usize = 3;

/// Letters and digits mixed, at least so many characters: a hexadecimal id, as short as Git's.
const HEX_CHARS_MIN: usize = 7;

/// Letters and digits mixed, at least so many characters: an id in another alphabet, such as a ULID.
const MIXED_CHARS_MIN: usize = 12;

/// Hexadecimal digits without a decimal one among them are a word unless there are so many.
const HEX_WORD_CHARS_MAX: usize = 15;

/// `text` with ids, times and long numbers replaced by `id`, `time` and `number`.
pub(super) fn tone(text: &str) -> String {
    let mut toned = String::with_capacity(text.len());
    let mut rest = text;
    let mut after_placeholder = false;
    while let Some(first) = rest.chars().next() {
        let (taken, placeholder) = if first.is_alphanumeric() {
            next_word(rest)
        } else {
            (first.len_utf8(), None)
        };
        let (taken, later) = rest.split_at(taken);
        // Only parts of one word meet without anything between them.
        let meets = first.is_alphanumeric() && toned.ends_with(char::is_alphanumeric);
        if meets && (after_placeholder || placeholder.is_some()) {
            toned.push(' ');
        }
        toned.push_str(placeholder.unwrap_or(taken));
        after_placeholder = placeholder.is_some();
        rest = later;
    }
    toned
}

/// Bytes of the word at the start of `text`, and what stands for it; none: itself.
fn next_word(text: &str) -> (usize, Option<&'static str>) {
    if let Some(bytes) = uuid(text) {
        return (bytes, Some("id"));
    }
    if let Some(bytes) = timestamp(text) {
        return (bytes, Some("time"));
    }
    if let Some((bytes, digits)) = number(text) {
        let is_long = digits > DIGITS_KEPT_MAX;
        return (bytes, is_long.then_some("number"));
    }
    let run = &text[..run_bytes(text, char::is_alphanumeric)];
    if is_id(run) {
        return (run.len(), Some("id"));
    }
    // Letters, then perhaps a long number, which is the next word; short numbers belong to letters.
    let mut taken = 0;
    while taken < run.len() {
        let letters = run_bytes(&run[taken..], |c| !c.is_ascii_digit());
        let digits = run_bytes(&run[taken + letters..], |c| c.is_ascii_digit());
        if digits > DIGITS_KEPT_MAX {
            return match taken + letters {
                0 => (digits, Some("number")),
                before => (before, None),
            };
        }
        taken += letters + digits;
    }
    (run.len(), None)
}

fn run_bytes(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// Length of the UUID that `text` starts with.
fn uuid(text: &str) -> Option<usize> {
    let matches = shape(text, "hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh");
    matches.filter(|&bytes| !continues(text, bytes))
}

/// Length of the date, date and time (RFC 3339), or time with seconds that `text` starts with.
fn timestamp(text: &str) -> Option<usize> {
    let date = shape(text, "dddd-dd-dd");
    let bytes = match date {
        None => clock(text)?,
        Some(date) => {
            let joined = text[date..].starts_with(['T', 't', ' ', '_']);
            let clock = joined.then(|| clock(&text[date + 1..])).flatten();
            clock.map_or(date, |clock| date + 1 + clock)
        }
    };
    (!continues(text, bytes)).then_some(bytes)
}

fn clock(text: &str) -> Option<usize> {
    let mut bytes = shape(text, "dd:dd:dd")?;
    if let Some(fraction) = text[bytes..].strip_prefix(['.', ',']) {
        let digits = run_bytes(fraction, |c| c.is_ascii_digit());
        bytes += if digits == 0 { 0 } else { 1 + digits };
    }
    let zone = &text[bytes..];
    let zone_bytes = if zone.starts_with(['Z', 'z']) {
        Some(1)
    } else if zone.starts_with(['+', '-']) {
        shape(&zone[1..], "dd:dd")
            .or_else(|| shape(&zone[1..], "dddd"))
            .map(|bytes| bytes + 1)
    } else {
        None
    };
    Some(bytes + zone_bytes.unwrap_or_default())
}

/// Bytes and digits of the number that `text` starts with, separators and fraction included.
fn number(text: &str) -> Option<(usize, usize)> {
    let mut digits = run_bytes(text, |c| c.is_ascii_digit());
    if digits == 0 {
        return None;
    }
    let mut bytes = digits;
    while let Some(group) = text[bytes..].strip_prefix(['.', ',']) {
        let more = run_bytes(group, |c| c.is_ascii_digit());
        if more == 0 {
            break;
        }
        bytes += 1 + more;
        digits += more;
    }
    (!continues(text, bytes)).then_some((bytes, digits))
}

/// Whether a letter or digit follows the first `bytes` of `text`.
fn continues(text: &str, bytes: usize) -> bool {
    text[bytes..].starts_with(char::is_alphanumeric)
}

/// Length of `pattern` if `text` starts like it: `h` is a hexadecimal digit, `d` a decimal one.
fn shape(text: &str, pattern: &str) -> Option<usize> {
    let starts_like = text.len() >= pattern.len()
        && pattern.bytes().zip(text.bytes()).all(|(p, b)| match p {
            b'h' => b.is_ascii_hexdigit(),
            b'd' => b.is_ascii_digit(),
            _ => p == b,
        });
    starts_like.then_some(pattern.len())
}

fn is_id(run: &str) -> bool {
    let digits = run.bytes().filter(u8::is_ascii_digit).count();
    let letters = run.bytes().filter(u8::is_ascii_alphabetic).count();
    let is_hex = run.bytes().all(|b| b.is_ascii_hexdigit());
    let is_mixed = digits >= 2 && letters >= 1;
    if is_hex && run.len() >= HEX_CHARS_MIN {
        return is_mixed || run.len() > HEX_WORD_CHARS_MAX;
    }
    // A name with a number at its end is not an id: what is mixed has digits before letters.
    let digit_first = run
        .bytes()
        .skip_while(|b| !b.is_ascii_digit())
        .any(|b| b.is_ascii_alphabetic());
    run.is_ascii() && run.len() >= MIXED_CHARS_MIN && digits >= 3 && letters >= 1 && digit_first
}

/// The words of an identifier, in lower case: split at everything but letters and digits, and where
/// the case changes, so that `userID` and `HTTPServer.startedAt` are `user id` and
/// `http server started at`.
pub(super) fn split_name(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 8);
    let mut previous = ' ';
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        if !c.is_alphanumeric() {
            previous = ' ';
            continue;
        }
        let next_is_lower = chars.peek().is_some_and(|next| next.is_lowercase());
        let starts = c.is_uppercase() && (!previous.is_uppercase() || next_is_lower);
        if (previous == ' ' || starts) && !words.is_empty() {
            words.push(' ');
        }
        words.extend(c.to_lowercase());
        previous = c;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_times_and_long_numbers_are_placeholders() {
        for (text, expected) in [
            ("550e8400-e29b-41d4-a716-446655440000", "id"),
            (
                "/users/550E8400-E29B-41D4-A716-446655440000/x",
                "/users/id/x",
            ),
            ("commit 95a00f1 by bob", "commit id by bob"),
            ("da39a3ee5e6b4b0d3255bfef95601890afd80709", "id"),
            ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "id"),
            ("order-12345", "order-number"),
            ("order12345", "order number"),
            ("12345xyz", "number xyz"),
            ("a1b12345xyz", "a1b number xyz"),
            ("1,234,567.89 EUR", "number EUR"),
            ("3.14", "3.14"),
            ("10.0.0.17", "number"),
            ("1234567890", "number"),
            ("2026-03-01", "time"),
            ("at 2026-03-01T10:00:00.5+01:00.", "at time."),
            ("2026-03-01 10:00:00Z, 09:15:00", "time, time"),
        ] {
            assert_eq!(tone(text), expected, "{text}");
        }
    }

    #[test]
    fn words_and_short_numbers_stay() {
        for text in [
            "Please wake me up at 8 AM.",
            "error 404",
            "deadbeef decade effaced",
            "sha256 base64 utf8 h264 x86",
            "2nd 3rd 10:30",
            "naïve café \u{1F600} 日本語",
            "",
        ] {
            assert_eq!(tone(text), text);
        }
    }

    #[test]
    fn names_are_split() {
        for (name, expected) in [
            ("user_id", "user id"),
            ("userID", "user id"),
            ("HTTPServer.startedAt", "http server started at"),
            ("auth.login", "auth login"),
            ("v2", "v2"),
            ("__a--b__", "a b"),
            ("ÉtatCivil", "état civil"),
            ("", ""),
        ] {
            assert_eq!(split_name(name), expected, "{name}");
        }
    }
}
