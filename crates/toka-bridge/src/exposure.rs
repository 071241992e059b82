//! What can be reached from other machines is protected.

use std::net::SocketAddr;

use crate::error::Error;

/// Looks whether any of the addresses would be reached without what it needs. The same rule as that of nodes.
///
/// # Errors
/// [`Error::Exposed`].
pub(crate) fn check(
    addresses: &[SocketAddr],
    has_tls: bool,
    vault_asks: bool,
) -> Result<(), Error> {
    let mut others = addresses.iter();
    let other = others.find(|address| !address.ip().to_canonical().is_loopback());
    let Some(&address) = other else {
        return Ok(());
    };
    let (lacks, remedy) = match (has_tls, vault_asks) {
        (true, true) => return Ok(()),
        (true, false) => (
            "authentication",
            "use a vault whose nodes ask callers who they are (auth)",
        ),
        (false, true) => ("TLS", "give --tls-cert and --tls-key"),
        (false, false) => (
            "TLS and authentication",
            "give --tls-cert and --tls-key, and use a vault whose nodes ask callers who they are (auth)",
        ),
    };
    Err(Error::Exposed {
        address,
        lacks,
        remedy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacks(addresses: &[&str], has_tls: bool, vault_asks: bool) -> Option<&'static str> {
        let addresses = addresses
            .iter()
            .map(|text| text.parse().expect("an address"));
        let addresses: Vec<SocketAddr> = addresses.collect();
        match check(&addresses, has_tls, vault_asks) {
            Err(Error::Exposed { lacks, .. }) => Some(lacks),
            Ok(()) => None,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn loopback_needs_no_protection() {
        for address in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(lacks(&[address], false, false), None, "{address}");
        }
    }

    #[test]
    fn addresses_that_others_reach_need_tls_and_a_vault_that_asks() {
        for address in ["0.0.0.0:1", "10.0.0.1:1", "[::]:1"] {
            let both = ["127.0.0.1:1", address];
            assert_eq!(lacks(&both, false, false), Some("TLS and authentication"));
            assert_eq!(lacks(&both, true, false), Some("authentication"));
            assert_eq!(lacks(&both, false, true), Some("TLS"));
            assert_eq!(lacks(&both, true, true), None);
        }
    }
}
