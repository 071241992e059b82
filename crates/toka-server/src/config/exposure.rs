//! Whether a node may be reached from other machines: the one place that decides it.

use std::net::SocketAddr;

use super::{Config, ConfigError};

const TLS_REMEDY: &str = "give tls_cert, tls_key and raft_tls_ca";
const AUTH_REMEDY: &str = "turn authentication on with auth";
const BOTH_REMEDY: &str =
    "give tls_cert, tls_key and raft_tls_ca, and turn authentication on with auth";
const CONSOLE_TLS_REMEDY: &str = "turn http_tls on, or the console off";
const CONSOLE_AUTH_REMEDY: &str = "turn authentication on with auth, or the console off";
const CONSOLE_BOTH_REMEDY: &str =
    "turn http_tls on, and authentication with auth, or the console off";

/// What keeps those away who have no business with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// What is said is encrypted, and nodes prove that they are nodes.
    pub tls: bool,
    /// Clients have to say who they are, and are asked what they may do.
    pub auth: bool,
}

impl Protection {
    /// What a listener for clients lacks, and what would provide it.
    const fn lacks_for_clients(self) -> Option<(&'static str, &'static str)> {
        match (self.tls, self.auth) {
            (true, true) => None,
            (true, false) => Some(("authentication", AUTH_REMEDY)),
            (false, true) => Some(("TLS", TLS_REMEDY)),
            (false, false) => Some(("TLS and authentication", BOTH_REMEDY)),
        }
    }

    /// As before, of the console, whose port has TLS of its own to turn on.
    const fn lacks_for_console(self) -> Option<(&'static str, &'static str)> {
        match (self.tls, self.auth) {
            (true, true) => None,
            (true, false) => Some(("authentication", CONSOLE_AUTH_REMEDY)),
            (false, true) => Some(("TLS", CONSOLE_TLS_REMEDY)),
            (false, false) => Some(("TLS and authentication", CONSOLE_BOTH_REMEDY)),
        }
    }

    /// As before, of one for nodes: their certificates say who they are.
    const fn lacks_for_nodes(self) -> Option<(&'static str, &'static str)> {
        if self.tls {
            None
        } else {
            Some(("TLS", TLS_REMEDY))
        }
    }
}

impl Config {
    /// What protects the node as it is configured.
    #[must_use]
    pub fn protection(&self) -> Protection {
        Protection {
            tls: self.tls.is_some(),
            auth: self.has_auth(),
        }
    }

    /// Whether clients have to say who they are.
    const fn has_auth(&self) -> bool {
        self.auth.enabled
    }

    /// Whether there is a console: where nobody has said so, on loopback alone.
    #[must_use]
    pub fn has_console(&self) -> bool {
        self.console
            .unwrap_or_else(|| is_loopback(self.http_listen))
    }

    /// # Errors
    /// [`ConfigError::Exposed`]. HTTP without the console is left out: it says nothing of what is stored, and a kubelet
    /// must reach it.
    pub(super) fn check_exposure(&self) -> Result<(), ConfigError> {
        if self.insecure {
            return Ok(());
        }
        self.check_listeners()
    }

    /// What a node is told that is exposed all the same.
    pub(super) fn exposure_warning(&self) -> Option<String> {
        match self.check_listeners() {
            Err(ConfigError::Exposed {
                key,
                address,
                lacks,
                ..
            }) => Some(format!(
                "{key}: whoever reaches {address} finds it without {lacks}, as `insecure` allows"
            )),
            _ => None,
        }
    }

    fn check_listeners(&self) -> Result<(), ConfigError> {
        let protection = self.protection();
        check("listen", self.listen, protection.lacks_for_clients())?;
        check(
            "raft_listen",
            self.raft_listen,
            protection.lacks_for_nodes(),
        )?;
        if !self.has_console() {
            return Ok(());
        }
        let over_http = Protection {
            tls: self.tls.as_ref().is_some_and(|tls| tls.http),
            ..protection
        };
        check(
            "http_listen",
            self.http_listen,
            over_http.lacks_for_console(),
        )
    }
}

fn check(
    key: &'static str,
    address: SocketAddr,
    lacks: Option<(&'static str, &'static str)>,
) -> Result<(), ConfigError> {
    match lacks {
        Some((lacks, remedy)) if !is_loopback(address) => Err(ConfigError::Exposed {
            key,
            address,
            lacks,
            remedy,
        }),
        _ => Ok(()),
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacks(address: &str, tls: bool, auth: bool) -> Option<&'static str> {
        let address = address.parse().expect("an address");
        let protection = Protection { tls, auth };
        match check("listen", address, protection.lacks_for_clients()) {
            Err(ConfigError::Exposed { lacks, .. }) => Some(lacks),
            Ok(()) => None,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn loopback_needs_no_protection() {
        for address in [
            "127.0.0.1:1",
            "127.9.8.7:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert_eq!(lacks(address, false, false), None, "{address}");
        }
    }

    #[test]
    fn other_addresses_need_tls_and_authentication() {
        for address in ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "[2001:db8::1]:1"] {
            assert_eq!(lacks(address, false, false), Some("TLS and authentication"));
            assert_eq!(lacks(address, true, false), Some("authentication"));
            assert_eq!(lacks(address, false, true), Some("TLS"));
            assert_eq!(lacks(address, true, true), None);
        }
    }

    #[test]
    fn error_names_the_setting_and_the_way_out() {
        let mut config = Config::new(1, "/unused".into());
        config.raft_listen = "10.0.0.1:7312".parse().expect("an address");
        let error = config.check().expect_err("exposed").to_string();
        for part in [
            "raft_listen: 10.0.0.1:7312",
            "without TLS",
            "--insecure",
            "TOKA_INSECURE",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        config.insecure = true;
        config.check().expect("it is meant");
        let warnings = config.warnings();
        assert!(
            warnings.iter().any(|said| said.contains("without TLS")),
            "{warnings:?}"
        );
    }

    #[test]
    fn http_may_be_reached_by_anybody() {
        let mut config = Config::new(1, "/unused".into());
        config.http_listen = "0.0.0.0:7313".parse().expect("an address");
        config.check().expect("a kubelet asks there");
        assert!(!config.has_console());
    }

    #[test]
    fn console_that_others_reach_needs_protection() {
        let mut config = Config::new(1, "/unused".into());
        assert!(config.has_console());
        config.http_listen = "0.0.0.0:7313".parse().expect("an address");
        config.console = Some(true);
        let error = config.check().expect_err("exposed").to_string();
        for part in ["http_listen: 0.0.0.0:7313", "TLS and authentication"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        config.insecure = true;
        config.check().expect("it is meant");
    }
}
