//! Places in the history as they are written on the command line.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where to begin following.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Beginning,
    Now,
    After(u64),
    /// At a time, milliseconds since the Unix epoch.
    At(u64),
}

/// Where to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    Sequence(u64),
    /// A time, milliseconds since the Unix epoch.
    Time(u64),
}

/// How a cursor is to move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CursorWay {
    pub(crate) name: String,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

const TIMES: &str = "a time such as 2026-11-27T09:30:00Z or 15m (ago)";

pub(super) fn parse_start(text: &str) -> Result<From, String> {
    match text {
        "beginning" => Ok(From::Beginning),
        "now" => Ok(From::Now),
        _ => sequence(text)
            .map(From::After)
            .or_else(|| time(text).map(From::At))
            .ok_or_else(|| format!("must be beginning, now, a sequence, or {TIMES}")),
    }
}

pub(super) fn parse_until(text: &str) -> Result<Until, String> {
    sequence(text)
        .map(Until::Sequence)
        .or_else(|| time(text).map(Until::Time))
        .ok_or_else(|| format!("must be a sequence or {TIMES}"))
}

pub(super) fn parse_time(text: &str) -> Result<u64, String> {
    time(text).ok_or_else(|| format!("must be {TIMES}"))
}

/// A name and a sequence with `=` in between.
pub(super) fn parse_named_sequence(text: &str) -> Result<(String, u64), String> {
    let (name, digits) = super::parse_pair(text)?;
    let sequence = sequence(&digits).ok_or_else(|| format!("{digits:?} is no sequence"))?;
    Ok((name, sequence))
}

/// A cursor's name and two sequences, as NAME=FROM:TO.
pub(super) fn parse_cursor_way(text: &str) -> Result<CursorWay, String> {
    let (name, way) = super::parse_pair(text)?;
    way.split_once(':')
        .and_then(|(from, to)| Some((sequence(from)?, sequence(to)?)))
        .map(|(from, to)| CursorWay { name, from, to })
        .ok_or_else(|| format!("{way:?} is not two sequences with `:` in between"))
}

/// A history as it is written everywhere.
pub(super) fn parse_history(text: &str) -> Result<u128, String> {
    let is_one = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    u128::from_str_radix(text, 16)
        .ok()
        .filter(|_| is_one)
        .ok_or_else(|| "must be 32 hexadecimal digits".to_owned())
}

fn sequence(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn time(text: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339_weak(text).ok();
    let ago = |ago: Duration| SystemTime::now().checked_sub(ago);
    let time = time.or_else(|| humantime::parse_duration(text).ok().and_then(ago))?;
    let since_epoch = time.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since_epoch.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_goes_from_one_sequence_to_another() {
        let way = parse_cursor_way("a:b=1:20").expect("a way");
        let (name, from, to) = ("a:b".to_owned(), 1, 20);
        assert_eq!(way, CursorWay { name, from, to });
        for wrong in ["a", "a=1", "a=1:", "a=:1", "a=1:x", "a=-1:2"] {
            assert!(parse_cursor_way(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_named_sequence("a=7"), Ok(("a".to_owned(), 7)));
        for wrong in ["a", "a=", "a=x"] {
            assert!(parse_named_sequence(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_place_is_a_sequence_or_a_time() {
        assert_eq!(parse_start("now"), Ok(From::Now));
        assert_eq!(parse_start("17"), Ok(From::After(17)));
        assert_eq!(parse_until("17"), Ok(Until::Sequence(17)));
        let noon = parse_time("2026-11-27T12:00:00Z").expect("a time");
        assert_eq!(noon, 1_795_780_800_000);
        assert_eq!(parse_start("2026-11-27 12:00:00"), Ok(From::At(noon)));
        assert_eq!(parse_until("2026-11-27T12:00:00Z"), Ok(Until::Time(noon)));
        let hour_ago = parse_time("1h").expect("a time");
        let now = parse_time("0s").expect("a time");
        assert!(hour_ago + 3_599_000 < now);
        for wrong in ["", "later", "-1", "2026"] {
            // A year alone is a sequence.
            assert_eq!(parse_until(wrong).is_ok(), wrong == "2026", "{wrong}");
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
