//! What is tried again, and when.

use std::time::{Duration, SystemTime};

use reqwest::header::HeaderValue;

use super::Config;
use crate::error::Source;

/// Why an attempt failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    /// How long the server asks to wait.
    pub(super) retry_after: Option<Duration>,
}

#[derive(Debug)]
pub(super) enum Reason {
    Timeout,
    Transport(Source),
    TooLarge { limit: usize, actual: usize },
    Status { status: u16, message: String },
}

impl Failure {
    pub(super) const fn new(reason: Reason) -> Self {
        Self {
            reason,
            retry_after: None,
        }
    }

    pub(super) fn transport(error: reqwest::Error) -> Self {
        // The URL is in our error already.
        Self::new(Reason::Transport(error.without_url().into()))
    }

    pub(super) const fn is_retryable(&self) -> bool {
        match &self.reason {
            Reason::Timeout | Reason::Transport(_) => true,
            Reason::TooLarge { .. } => false,
            // 408: the server waited for our request in vain.
            Reason::Status { status, .. } => matches!(status, 408 | 429 | 500..),
        }
    }
}

/// How long to wait after `attempts` attempts.
///
/// Between half and all of the backoff, so that clients that failed together do not come back
/// together; what the server asks for is waited in full, and only ever added to.
pub(super) fn wait(
    config: &Config,
    attempts: u32,
    retry_after: Option<Duration>,
    random: u32,
) -> Duration {
    let doublings = attempts.saturating_sub(1).min(31);
    let longest = config
        .backoff_min
        .saturating_mul(1 << doublings)
        .min(config.backoff_max);
    let share = f64::from(random) / f64::from(u32::MAX);
    let jittered = longest.mul_f64(0.5 + 0.5 * share);
    let asked = retry_after.unwrap_or_default().min(config.retry_after_max);
    match retry_after {
        None => jittered,
        Some(_) => asked + jittered.min(config.backoff_min),
    }
}

/// Seconds, or a date (RFC 9110, section 10.2.3).
pub(super) fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    // A date in the past asks for no wait.
    Some(
        date.duration_since(SystemTime::now())
            .unwrap_or(Duration::ZERO),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(1),
            retry_after_max: Duration::from_secs(30),
            ..Config::default()
        }
    }

    #[test]
    fn backoff_doubles_up_to_its_bound() {
        let waits = [1, 2, 3, 4, 5, 99].map(|attempts| wait(&config(), attempts, None, u32::MAX));
        let expected = [100, 200, 400, 800, 1_000, 1_000].map(Duration::from_millis);
        assert_eq!(waits, expected);
        assert_eq!(wait(&config(), 2, None, 0), Duration::from_millis(100));
    }

    #[test]
    fn server_is_obeyed_up_to_the_cap() {
        let after = |seconds| wait(&config(), 9, Some(Duration::from_secs(seconds)), 0);
        assert_eq!(after(7), Duration::from_millis(7_100));
        assert_eq!(after(3_600), Duration::from_millis(30_100));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let parse = |text| retry_after(&HeaderValue::from_static(text));
        assert_eq!(parse("7"), Some(Duration::from_secs(7)));
        assert_eq!(parse("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert!(parse("Tue, 31 Dec 2999 23:59:59 GMT") > Some(Duration::from_secs(1 << 30)));
        assert_eq!(parse("soon"), None);
    }

    #[test]
    fn client_errors_are_final() {
        let is_retryable = |status| {
            let message = String::new();
            Failure::new(Reason::Status { status, message }).is_retryable()
        };
        assert_eq!(
            [400, 401, 404, 422, 408, 429, 500, 503].map(is_retryable),
            [false, false, false, false, true, true, true, true]
        );
    }
}
