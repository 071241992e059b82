//! What a certificate says: whose it is, and when it holds.

use rustls::pki_types::CertificateDer;

use crate::identity::NAMES_MAX;

/// Tags of DER.
const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
/// 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// Names of the holder: URIs, DNS names, and last the subject's common name where it is not among them.
pub(crate) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    // It was verified, and with that parsed, before.
    let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) else {
        return Vec::new();
    };
    let alternative = parsed.valid_uri_names().chain(parsed.valid_dns_names());
    let mut names: Vec<String> = alternative.take(NAMES_MAX).map(str::to_owned).collect();
    if let Some(common) = common_name(parsed.subject())
        && names.len() < NAMES_MAX
        && !names.contains(&common)
    {
        names.push(common);
    }
    names
}

/// Whether one of `names` is `allowed`: equal, or under a `*.` that stands for one label. Letters of DNS names have no
/// case. URIs and common names are no DNS names: what stands before their first dot may be anything, and is no label then.
#[must_use]
pub fn is_allowed(names: &[String], allowed: &[String]) -> bool {
    names.iter().any(|name| {
        allowed
            .iter()
            .any(|allowed| match allowed.strip_prefix("*.") {
                Some(domain) => name.split_once('.').is_some_and(|(label, rest)| {
                    is_label(label) && rest.eq_ignore_ascii_case(domain)
                }),
                None => name.eq_ignore_ascii_case(allowed),
            })
    })
}

/// Whether text is one label of a DNS name.
fn is_label(text: &str) -> bool {
    let is_of_label = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !text.is_empty() && text.bytes().all(is_of_label)
}

/// When a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From then on, seconds since the Unix epoch.
    pub not_before: u64,
    /// Until then, seconds since the Unix epoch.
    pub not_after: u64,
}

/// When the certificate holds; absent: it cannot be read.
pub(crate) fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let mut outer = Der(certificate.as_ref());
    let mut signed = Der(Der(outer.expect(SEQUENCE)?).expect(SEQUENCE)?);
    let (tag, _) = signed.next()?;
    if tag == VERSION {
        signed.expect(INTEGER)?;
    }
    // Signature algorithm, issuer, validity.
    signed.expect(SEQUENCE)?;
    signed.expect(SEQUENCE)?;
    let mut times = Der(signed.expect(SEQUENCE)?);
    Some(Validity {
        not_before: time(times.next()?)?,
        not_after: time(times.next()?)?,
    })
}

fn time((tag, text): (u8, &[u8])) -> Option<u64> {
    match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year = number(year)?;
            // RFC 5280, section 4.1.2.5.1.
            unix_seconds(if year < 50 { 2_000 } else { 1_900 } + year, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            unix_seconds(number(year)?, rest)
        }
        _ => None,
    }
}

/// The last common name in a subject: the most specific one.
fn common_name(subject: &[u8]) -> Option<String> {
    let mut parts = Der(subject);
    let mut found = None;
    while let Some(part) = parts.expect(SET) {
        let mut attributes = Der(part);
        while let Some(attribute) = attributes.expect(SEQUENCE) {
            let mut attribute = Der(attribute);
            let is_name = attribute.expect(OBJECT_IDENTIFIER) == Some(COMMON_NAME);
            if let Some((UTF8_STRING | PRINTABLE_STRING | IA5_STRING, text)) = attribute.next()
                && is_name
                && let Ok(text) = std::str::from_utf8(text)
            {
                found = Some(text.to_owned());
            }
        }
    }
    found.filter(|name| !name.is_empty())
}

/// Values of DER, one after the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// Tag and contents of the next value; absent: there is none, or it is cut off.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            // No certificate is longer than four bytes can say.
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            if bytes.len() > 4 {
                return None;
            }
            let length = bytes
                .iter()
                .fold(0_u32, |length, byte| (length << 8) | u32::from(*byte));
            (usize::try_from(length).ok()?, rest)
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, contents))
    }

    /// Contents of the next value, if its tag is `tag`.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, contents) = self.next()?;
        (found == tag).then_some(contents)
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The time `MMDDHHMMSSZ` of `year`; 0 for one before the epoch. Days are counted from the first of March, so that a leap
/// day is a year's last.
fn unix_seconds(year: u64, rest: &[u8]) -> Option<u64> {
    let rest = rest.strip_suffix(b"Z")?;
    if rest.len() != 10 {
        return None;
    }
    let mut pairs = rest.chunks_exact(2).map(number);
    let mut next = || pairs.next().flatten();
    let (month, day) = (next()?, next()?);
    let (hour, minute, second) = (next()?, next()?, next()?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if year < 1_970 {
        return Some(0);
    }
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    // Days from the first of March of the year 0 to the epoch.
    let since_epoch = days.saturating_sub(719_468);
    Some(since_epoch * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_from_the_epoch() {
        assert_eq!(unix_seconds(1970, b"0101000000Z"), Some(0));
        assert_eq!(unix_seconds(2000, b"0229235959Z"), Some(951_868_799));
        assert_eq!(unix_seconds(2026, b"1127210500Z"), Some(1_795_813_500));
        for wrong in [
            &b"1301000000Z"[..],
            b"0101000000",
            b"01010000Z",
            b"0x01000000Z",
        ] {
            assert_eq!(unix_seconds(2026, wrong), None);
        }
    }

    #[test]
    fn what_is_cut_off_is_nothing() {
        assert!(Der(&[SEQUENCE, 2, 0]).next().is_none());
        assert!(Der(&[SEQUENCE, 0x82, 1]).next().is_none());
        assert!(Der(&[SEQUENCE, 0x85, 0, 0, 0, 0, 1, 0]).next().is_none());
        assert_eq!(Der(&[SET, 1, 7]).next(), Some((SET, &[7][..])));
        assert_eq!(validity(&CertificateDer::from(vec![SEQUENCE, 0x80])), None);
    }

    #[test]
    fn a_name_is_allowed_as_it_is_or_under_one_label() {
        let names = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let allowed = names(&["node", "*.vault.svc"]);
        for (name, is) in [
            ("node", true),
            ("NODE", true),
            ("a.vault.svc", true),
            ("a.Vault.svc", true),
            ("vault.svc", false),
            (".vault.svc", false),
            ("a.b.vault.svc", false),
            ("other", false),
            // No DNS names, but URIs and common names of anybody.
            ("spiffe://robot.vault.svc", false),
            ("robot@a.vault.svc", false),
            ("a robot.vault.svc", false),
        ] {
            assert_eq!(is_allowed(&names(&[name]), &allowed), is, "{name}");
        }
        assert!(!is_allowed(&[], &allowed));
        assert!(!is_allowed(&names(&["node"]), &[]));
    }
}
