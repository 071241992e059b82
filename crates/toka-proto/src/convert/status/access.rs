//! Callers who have not shown who they are, may not do what they ask for, or do too much of it.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::pb;

use super::details::Details;
use super::reason;

/// UNAUTHENTICATED: the caller has not shown who it is; the message says what is wrong with what it has shown, and
/// nothing of that itself.
#[must_use]
pub fn unauthenticated(message: impl Into<String>) -> Status {
    Details::new(Code::Unauthenticated, reason::UNAUTHENTICATED).status(message)
}

/// PERMISSION_DENIED: the caller lacks a grant, which is named as text, for example `write:task.new`.
#[must_use]
pub fn permission_denied(missing: &str, message: impl Into<String>) -> Status {
    Details::new(Code::PermissionDenied, reason::PERMISSION_DENIED)
        .with(&pb::ResourceInfo {
            resource_type: "grant".to_owned(),
            resource_name: missing.to_owned(),
            ..Default::default()
        })
        .status(message)
}

/// RESOURCE_EXHAUSTED: the caller has used up what it may use in a time.
#[must_use]
pub fn throttled(subject: &str, retry_after: Duration) -> Status {
    Details::new(Code::ResourceExhausted, reason::OVERLOADED)
        .retry(retry_after)
        .status(format!(
            "the limit of this principal is reached: {subject}; try again in {} ms",
            retry_after.as_millis()
        ))
}

#[cfg(test)]
mod tests {
    use super::super::{Detail, parse};
    use super::*;

    #[test]
    fn refusals_are_read_back() {
        let denied = permission_denied("write:task.new", "no");
        assert_eq!(denied.code(), Code::PermissionDenied);
        let missing = "write:task.new".to_owned();
        assert_eq!(
            parse(&denied).detail,
            Some(Detail::PermissionDenied { missing })
        );
        let unknown = unauthenticated("who?");
        assert_eq!(unknown.code(), Code::Unauthenticated);
        assert_eq!(parse(&unknown).detail, Some(Detail::Unauthenticated));
    }

    #[test]
    fn throttled_caller_is_told_when_to_come_back() {
        let status = throttled("requests in a second", Duration::from_millis(250));
        assert_eq!(status.code(), Code::ResourceExhausted);
        let failure = parse(&status);
        assert_eq!(failure.detail, Some(Detail::Overloaded));
        assert_eq!(failure.retry_after, Some(Duration::from_millis(250)));
    }
}
