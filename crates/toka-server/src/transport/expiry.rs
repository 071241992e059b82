//! Whether a certificate ends so soon that somebody has to see to it.

use toka_tls::Validity;

const HOUR: u64 = 3_600;
/// Before the end of a certificate that holds for long.
const WARNING_SECONDS: u64 = 7 * 24 * HOUR;
/// Of the whole time, for one that holds for a short time. What renews by itself does so with a third of it left.
const WARNING_PART: u64 = 6;

/// What to say of the certificate that `setting` names at `now`, seconds since the Unix epoch; absent: nothing.
pub(super) fn warning(setting: &str, validity: Validity, now: u64) -> Option<String> {
    let Validity {
        not_before,
        not_after,
    } = validity;
    let Some(left) = not_after.checked_sub(now) else {
        return Some(format!(
            "{setting}: the certificate has expired: renew it (docs/operations.md, Certificates)"
        ));
    };
    let lifetime = not_after.saturating_sub(not_before);
    let is_soon = left < WARNING_SECONDS.min(lifetime / WARNING_PART);
    is_soon.then(|| {
        format!(
            "{setting}: the certificate expires in {} h: renew it (docs/operations.md, Certificates)",
            left / HOUR
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * HOUR;

    fn is_warned(lifetime: u64, left: u64) -> bool {
        let validity = Validity {
            not_before: 1_000 * DAY,
            not_after: 1_000 * DAY + lifetime,
        };
        warning("tls_cert", validity, 1_000 * DAY + lifetime - left).is_some()
    }

    #[test]
    fn certificate_of_a_year_is_warned_of_a_week_before() {
        assert!(!is_warned(365 * DAY, 8 * DAY));
        assert!(is_warned(365 * DAY, 6 * DAY));
    }

    #[test]
    fn certificate_of_a_day_is_warned_of_hours_before() {
        assert!(!is_warned(DAY, 8 * HOUR));
        assert!(is_warned(DAY, 3 * HOUR));
    }

    #[test]
    fn certificate_that_has_expired_is_said_to_have() {
        let validity = Validity {
            not_before: 0,
            not_after: 10,
        };
        let said = warning("tls_cert", validity, 11).expect("expired");
        assert!(
            said.starts_with("tls_cert: the certificate has expired"),
            "{said}"
        );
    }
}
