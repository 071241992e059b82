//! Who is at the other end of a connection.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

/// What the certificate of a caller says, in the extensions of each of its requests
/// (`request.extensions().get::<PeerIdentity>()`).
///
/// Absent where the caller has shown none: over a connection without TLS, and to a listener that does not demand one.
/// A certificate that is not valid (another CA, expired, not for clients) never comes so far: the connection is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Subject alternative names of the kinds URI and DNS, as they stand in the certificate, and last the subject's
    /// common name where that is not among them. At most [`NAMES_MAX`]; those of a node are no principals.
    pub names: Vec<String>,
    /// The certificate is that of a node of this cluster: signed by the CA of the nodes, with a name that is allowed.
    /// Nodes call with what they forward for their clients; the caller's own credentials are in the metadata then.
    pub is_node: bool,
}

/// Names of one certificate that are looked at; further ones are left out.
pub const NAMES_MAX: usize = 64;

/// The place of a [`PeerIdentity`] that is known once the handshake is over, and where the caller is. Cheap to clone; all
/// clones say the same.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    shown: Arc<OnceLock<PeerIdentity>>,
    from: Option<SocketAddr>,
}

impl Identity {
    /// Of a caller at an address.
    pub(crate) fn at(from: SocketAddr) -> Self {
        Self {
            shown: Arc::default(),
            from: Some(from),
        }
    }

    /// Where the caller is; absent: nobody has said so.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.from
    }

    /// What the caller's certificate says; absent: it has shown none, or not yet.
    #[must_use]
    pub fn get(&self) -> Option<&PeerIdentity> {
        self.shown.get()
    }

    /// A connection has one handshake.
    pub(crate) fn set(&self, identity: PeerIdentity) {
        let _ = self.shown.set(identity);
    }
}
