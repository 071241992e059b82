//! What a call shows of who is calling.

use std::fmt;

use toka_auth::Token;
use toka_proto::convert::{metadata, status};
use tonic::Status;
use tonic::codegen::http::HeaderMap;
use tonic::metadata::MetadataMap;

use crate::transport::PeerIdentity;

const AUTHORIZATION: &str = "authorization";
const SCHEME: &str = "bearer ";

/// What a call shows.
#[derive(Debug)]
pub(super) enum Credential<'a> {
    /// Nothing.
    None,
    /// A bearer token of a vault.
    Token(Token),
    /// Another bearer token, which can only be a JWT. Not to be shown: it is as good as a password.
    Jwt(Hidden<'a>),
    /// A client certificate with these names.
    Certificate(&'a [String]),
    /// By a node, the name of a caller that had shown it a certificate.
    OnBehalfOf(String),
    /// The certificate of a node, which calls for itself.
    Node(&'a [String]),
}

/// Text that `Debug` does not show.
#[derive(Clone, Copy)]
pub(super) struct Hidden<'a>(pub(super) &'a str);

impl fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("redacted")
    }
}

/// What the call shows: a bearer token before a certificate. A node that forwards a call lends it nothing: it counts
/// what the call carries.
///
/// # Errors
/// UNAUTHENTICATED where it is malformed. The text says nothing of the credential.
pub(super) fn shown<'a>(
    headers: &'a HeaderMap,
    peer: Option<&'a PeerIdentity>,
) -> Result<Credential<'a>, Status> {
    let mut bearers = headers.get_all(AUTHORIZATION).iter();
    if let Some(bearer) = bearers.next() {
        if bearers.next().is_some() {
            return Err(status::unauthenticated(
                "there is more than one `authorization` in the call",
            ));
        }
        let text = bearer.to_str().ok().and_then(bearer_text);
        let text = text.ok_or_else(|| {
            status::unauthenticated("`authorization` is not of the form `Bearer TOKEN`")
        })?;
        return match Token::is_meant_by(text) {
            true => match text.parse() {
                Ok(token) => Ok(Credential::Token(token)),
                Err(error) => Err(status::unauthenticated(format!(
                    "the token is malformed: {error}"
                ))),
            },
            false => Ok(Credential::Jwt(Hidden(text))),
        };
    }
    let Some(peer) = peer else {
        return Ok(Credential::None);
    };
    if !peer.is_node {
        return Ok(match peer.names.is_empty() {
            true => Credential::None,
            false => Credential::Certificate(&peer.names),
        });
    }
    if !headers.contains_key(metadata::FORWARDED_BY) {
        return Ok(Credential::Node(&peer.names));
    }
    Ok(match on_behalf_of(headers) {
        Some(name) => Credential::OnBehalfOf(name),
        None => Credential::None,
    })
}

fn bearer_text(value: &str) -> Option<&str> {
    let (scheme, text) = value.split_at_checked(SCHEME.len())?;
    let text = text.trim();
    (scheme.eq_ignore_ascii_case(SCHEME) && !text.is_empty()).then_some(text)
}

fn on_behalf_of(headers: &HeaderMap) -> Option<String> {
    // Binary metadata is in base64 in the header.
    let mut only = HeaderMap::new();
    only.insert(
        metadata::ON_BEHALF_OF,
        headers.get(metadata::ON_BEHALF_OF)?.clone(),
    );
    let only = MetadataMap::from_headers(only);
    let bytes = only.get_bin(metadata::ON_BEHALF_OF)?.to_bytes().ok()?;
    String::from_utf8(bytes.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic::metadata::BinaryMetadataValue;

    use super::*;

    fn headers(bearers: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for bearer in bearers {
            headers.append(AUTHORIZATION, bearer.parse().expect("a value"));
        }
        headers
    }

    fn peer(is_node: bool) -> PeerIdentity {
        PeerIdentity {
            names: vec!["robot.test".to_owned()],
            is_node,
        }
    }

    fn forwarded(behalf: Option<&str>) -> HeaderMap {
        let mut map = MetadataMap::new();
        metadata::put_forwarded_by(&mut map, 2);
        if let Some(name) = behalf {
            let name = BinaryMetadataValue::from_bytes(name.as_bytes());
            map.insert_bin(metadata::ON_BEHALF_OF, name);
        }
        map.into_headers()
    }

    #[test]
    fn malformed_credentials_are_refused_without_being_shown() {
        for bearers in [
            &["Basic c2VjcmV0"][..],
            &["Bearer"],
            &["Bearer  "],
            &["Bearer toka_secret"],
            &["Bearer a", "Bearer b"],
            &["secret"],
        ] {
            let refused = shown(&headers(bearers), None).expect_err("malformed");
            assert_eq!(refused.code(), Code::Unauthenticated);
            assert!(!refused.message().contains("secret"), "{refused:?}");
        }
    }

    #[test]
    fn scheme_is_read_whatever_its_case() {
        for scheme in ["Bearer", "bearer", "BEARER"] {
            let headers = headers(&[&format!("{scheme} e30.e30.e30")]);
            let credential = shown(&headers, None).expect("well formed");
            assert!(matches!(credential, Credential::Jwt(Hidden("e30.e30.e30"))));
            assert!(!format!("{credential:?}").contains("e30"));
        }
    }

    #[test]
    fn bearer_token_comes_before_the_certificate() {
        let (peer, headers) = (peer(false), headers(&["Bearer a.b.c"]));
        let credential = shown(&headers, Some(&peer)).expect("well formed");
        assert!(matches!(credential, Credential::Jwt(_)));
        let nothing = HeaderMap::new();
        let credential = shown(&nothing, Some(&peer)).expect("well formed");
        assert!(matches!(credential, Credential::Certificate(names) if names == peer.names));
    }

    #[test]
    fn node_that_forwards_a_call_lends_it_nothing() {
        let node = peer(true);
        let own = HeaderMap::new();
        let credential = shown(&own, Some(&node)).expect("well formed");
        assert!(matches!(credential, Credential::Node(_)));
        let anonymous = forwarded(None);
        let credential = shown(&anonymous, Some(&node)).expect("well formed");
        assert!(matches!(credential, Credential::None));
        let behalf = forwarded(Some("robot.test"));
        let credential = shown(&behalf, Some(&node)).expect("well formed");
        assert!(matches!(credential, Credential::OnBehalfOf(name) if name == "robot.test"));
    }

    #[test]
    fn only_a_node_speaks_for_others() {
        let behalf = forwarded(Some("admin.test"));
        let credential = shown(&behalf, None).expect("well formed");
        assert!(matches!(credential, Credential::None));
        let client = peer(false);
        let credential = shown(&behalf, Some(&client)).expect("well formed");
        assert!(matches!(credential, Credential::Certificate(_)));
    }
}
