//! How long a call may take.

use std::time::Duration;

use tokio::time::Instant;
use tonic::codegen::http::HeaderMap;
use tonic::metadata::MetadataMap;

/// The answer must be under way before the caller gives up, or it never learns why: one tenth of
/// the time, at most this much, is kept for the way back.
const RETURN_MAX: Duration = Duration::from_millis(100);

/// When a call with this metadata must have its answer: as its `grpc-timeout` says, or after
/// `default`, and in any case after `max`.
pub(crate) fn deadline(metadata: &MetadataMap, default: Duration, max: Duration) -> Instant {
    Instant::now() + timeout(metadata, default, max)
}

fn timeout(metadata: &MetadataMap, default: Duration, max: Duration) -> Duration {
    let asked = metadata
        .get("grpc-timeout")
        .and_then(|value| value.to_str().ok())
        .and_then(parse)
        .map(|timeout| timeout - (timeout / 10).min(RETURN_MAX));
    asked.unwrap_or(default).min(max)
}

/// How long a call with these headers may take until it is ended from outside: longer than its handler takes until it
/// says why there is no answer, and less than its caller waits.
pub(super) fn limit(headers: &HeaderMap, max: Duration) -> Duration {
    let asked = headers
        .get("grpc-timeout")
        .and_then(|value| value.to_str().ok())
        .and_then(parse)
        .map(|timeout| timeout - (timeout / 20).min(RETURN_MAX / 2));
    asked.map_or(max, |asked| asked.min(max))
}

/// A `grpc-timeout`: up to eight digits and a unit.
fn parse(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.is_empty() || number.len() > 8 || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_of_a_grpc_timeout_is_read() {
        assert_eq!(parse("1H"), Some(Duration::from_secs(3_600)));
        assert_eq!(parse("2M"), Some(Duration::from_secs(120)));
        assert_eq!(parse("3S"), Some(Duration::from_secs(3)));
        assert_eq!(parse("4m"), Some(Duration::from_millis(4)));
        assert_eq!(parse("5u"), Some(Duration::from_micros(5)));
        assert_eq!(parse("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for text in ["", "S", "1", "-1S", "123456789S", "1é"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_deadline_is_bounded_and_leaves_time_for_the_answer() {
        let (default, max) = (Duration::from_secs(10), Duration::from_secs(60));
        let after = |asked: Option<&'static str>| {
            let mut metadata = MetadataMap::new();
            if let Some(asked) = asked {
                metadata.insert("grpc-timeout", asked.parse().expect("ascii"));
            }
            timeout(&metadata, default, max).as_millis()
        };
        assert_eq!(after(None), 10_000);
        assert_eq!(after(Some("500m")), 450);
        assert_eq!(after(Some("5S")), 4_900);
        assert_eq!(after(Some("2H")), 60_000);
    }

    #[test]
    fn handlers_say_why_before_calls_are_ended() {
        let max = Duration::from_secs(60);
        assert_eq!(limit(&HeaderMap::new(), max), max);
        for asked in ["500m", "5S", "10u"] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", asked.parse().expect("a value"));
            let limit = limit(&headers, max);
            let metadata = MetadataMap::from_headers(headers);
            assert!(timeout(&metadata, max, max) < limit, "{asked}");
            assert!(limit < parse(asked).expect("valid"), "{asked}");
        }
    }
}
