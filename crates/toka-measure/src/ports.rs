//! Ports for servers that are started here.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::error::Error;

/// Ports are looked for from here on.
const FIRST: u16 = 12_000;
/// All below 32768, where the system takes the ports of outgoing connections from: such a port could be taken while
/// its server is down.
const COUNT: u16 = 20_000;

/// Addresses on loopback that were free a moment ago, no two the same.
///
/// # Errors
/// [`Error::Ports`].
pub fn free(wanted: usize) -> Result<Vec<SocketAddr>, Error> {
    // Programs that look at the same time begin at different places.
    let start = std::process::id().wrapping_mul(61) % u32::from(COUNT);
    let mut held = Vec::new();
    for offset in 0..u32::from(COUNT) {
        if held.len() == wanted {
            break;
        }
        let place = u16::try_from((start + offset) % u32::from(COUNT)).unwrap_or(0);
        // All are held at once, so that none is counted twice.
        held.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, FIRST + place)));
    }
    let addresses: Vec<_> = held
        .iter()
        .filter_map(|listener| listener.local_addr().ok())
        .collect();
    if addresses.len() < wanted {
        return Err(Error::Ports {
            wanted,
            first: FIRST,
        });
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_are_not_ephemeral() {
        let mut ports: Vec<_> = free(9)
            .expect("free ports")
            .iter()
            .map(SocketAddr::port)
            .collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 9);
        assert!(ports.iter().all(|port| *port < 32_768));
    }
}
