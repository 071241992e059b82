//! Names at which browsers may call a node: `HOST`, `HOST:PORT`, `*.DOMAIN`.

use std::str::FromStr;

use tonic::codegen::http::uri::Authority;

use super::error::ConfigError;

/// Names of one node.
const HOSTS_MAX: usize = 256;
const EXPECTED: &str = "is not HOST, HOST:PORT or *.DOMAIN, such as vault.example";

/// A name at which browsers may call a node, and at which pages are that may call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost {
    /// In lower case; an IPv6 address in brackets.
    host: String,
    /// The names below it are meant, and not itself.
    is_domain: bool,
    /// Absent: pages at any port.
    port: Option<u16>,
}

impl AllowedHost {
    /// Whether `host` is this name, or one of these.
    pub(crate) fn is_host(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        if !self.is_domain {
            return host == self.host;
        }
        let labels = host.strip_suffix(self.host.as_str());
        let labels = labels.and_then(|labels| labels.strip_suffix('.'));
        labels.is_some_and(|labels| !labels.is_empty())
    }

    /// Whether pages at this port are meant.
    pub(crate) fn is_at(&self, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
    }
}

impl FromStr for AllowedHost {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, is_domain) = match text.strip_prefix("*.") {
            Some(domain) => (domain, true),
            None => (text, false),
        };
        if name.contains(['*', '@', '/']) {
            return Err(EXPECTED);
        }
        let authority: Authority = name.parse().map_err(|_| EXPECTED)?;
        let host = authority.host();
        let port = authority.port_u16();
        if host.is_empty() || (port.is_none() && host.len() < name.len()) {
            return Err(EXPECTED);
        }
        Ok(Self {
            host: host.to_ascii_lowercase(),
            is_domain,
            port,
        })
    }
}

/// The names of the setting.
pub(super) fn allowed_hosts(texts: &[String]) -> Result<Vec<AllowedHost>, ConfigError> {
    const KEY: &str = "allowed_hosts";
    if texts.len() > HOSTS_MAX {
        let count = texts.len();
        return Err(ConfigError::invalid(
            KEY,
            format!("{count} are more than {HOSTS_MAX}"),
        ));
    }
    let host = |text: &String| {
        let host = text.parse::<AllowedHost>();
        host.map_err(|detail| ConfigError::invalid(KEY, format!("{text:?} {detail}")))
    };
    texts.iter().map(host).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> AllowedHost {
        text.parse().expect(text)
    }

    #[test]
    fn name_is_itself_in_any_case() {
        for text in ["vault.example", "Vault.Example:8443"] {
            assert!(host(text).is_host("VAULT.example"), "{text}");
            assert!(!host(text).is_host("a.vault.example"), "{text}");
            assert!(!host(text).is_host("vault.example.evil"), "{text}");
        }
        assert!(host("[::1]:7").is_host("[::1]"));
    }

    #[test]
    fn domain_is_the_names_below_it() {
        let domain = host("*.vault.example");
        assert!(domain.is_host("a.vault.example"));
        assert!(domain.is_host("a.B.vault.example"));
        for other in ["vault.example", ".vault.example", "evilvault.example"] {
            assert!(!domain.is_host(other), "{other}");
        }
    }

    #[test]
    fn port_is_any_unless_it_is_said() {
        assert!(host("vault.example").is_at(80) && host("vault.example").is_at(8443));
        assert!(host("vault.example:8443").is_at(8443));
        assert!(!host("vault.example:8443").is_at(80));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "", "*", "*.", "a b", "http://a", "a/b", "me@a", "a:", "a:x", "a:70000", "a.*.b", ":1",
        ] {
            let refused = allowed_hosts(&[text.to_owned()]).expect_err(text);
            let said = refused.to_string();
            assert!(said.starts_with("allowed_hosts: "), "{said}");
        }
    }

    #[test]
    fn names_are_bounded() {
        let many = vec!["a".to_owned(); HOSTS_MAX + 1];
        assert!(allowed_hosts(&many).is_err());
        assert!(allowed_hosts(&many[1..]).is_ok());
    }
}
