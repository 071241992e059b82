//! An initial member as it is written: `ID=RAFT_ENDPOINT,CLIENT_ENDPOINT`.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};
use toka_raft::Member;

/// A node that takes part when the cluster forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialMember {
    /// The node, from 1.
    pub node_id: u64,
    /// Where it can be reached.
    pub member: Member,
}

/// A text that is no initial member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not ID=RAFT_ENDPOINT,CLIENT_ENDPOINT such as 1=10.0.0.1:7312,10.0.0.1:7311: {detail}"
)]
pub struct MemberError {
    text: String,
    detail: &'static str,
}

impl FromStr for InitialMember {
    type Err = MemberError;

    fn from_str(text: &str) -> Result<Self, MemberError> {
        let error = |detail| MemberError {
            text: text.to_owned(),
            detail,
        };
        let (id, endpoints) = text
            .split_once('=')
            .ok_or_else(|| error("there is no `=`"))?;
        let (raft, client) = endpoints
            .split_once(',')
            .ok_or_else(|| error("there is no `,`"))?;
        let node_id = id
            .trim()
            .parse()
            .map_err(|_| error("the id is not a number"))?;
        if node_id == 0 {
            return Err(error("the id is 0; ids start at 1"));
        }
        let endpoint = |text: &str| {
            let text = text.trim();
            check_endpoint(text)
                .map(|()| text.to_owned())
                .map_err(error)
        };
        let member = Member::new(endpoint(raft)?, endpoint(client)?);
        Ok(Self { node_id, member })
    }
}

impl fmt::Display for InitialMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Member {
            raft_endpoint,
            client_endpoint,
            ..
        } = &self.member;
        write!(f, "{}={raft_endpoint},{client_endpoint}", self.node_id)
    }
}

impl<'de> Deserialize<'de> for InitialMember {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl Serialize for InitialMember {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Checks that `text` is `host:port`; an IPv6 host stands in brackets.
pub(crate) fn check_endpoint(text: &str) -> Result<(), &'static str> {
    if text.contains(['/', '@', '?', '#']) || text.chars().any(char::is_whitespace) {
        return Err("an endpoint is host:port, without a scheme and a path");
    }
    let (host, port) = text
        .rsplit_once(':')
        .ok_or("an endpoint is host:port, and has no `:`")?;
    match port.parse::<u16>() {
        Ok(0) => return Err("port 0 cannot be reached by others"),
        Ok(_) => {}
        Err(_) => return Err("an endpoint's port is not a number from 1 to 65535"),
    }
    if host.is_empty() {
        return Err("an endpoint's host is empty");
    }
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.contains(':') && !bracketed {
        return Err("an IPv6 host stands in brackets, as in [::1]:7311");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_read_and_written_alike() {
        let text = "3=node-3.toka:7312,[::1]:7311";
        let member: InitialMember = text.parse().expect("valid");
        assert_eq!(member.node_id, 3);
        assert_eq!(member.member.raft_endpoint, "node-3.toka:7312");
        assert_eq!(member.member.client_endpoint, "[::1]:7311");
        assert_eq!(member.to_string(), text);
    }

    #[test]
    fn a_malformed_member_says_what_is_wrong() {
        for (text, detail) in [
            ("a:1,b:2", "there is no `=`"),
            ("1=a:1", "there is no `,`"),
            ("x=a:1,b:2", "the id is not a number"),
            ("0=a:1,b:2", "the id is 0; ids start at 1"),
            ("1=a,b:2", "an endpoint is host:port, and has no `:`"),
            ("1=a:0,b:2", "port 0 cannot be reached by others"),
            ("1=a:1,:2", "an endpoint's host is empty"),
            (
                "1=::1:1,b:2",
                "an IPv6 host stands in brackets, as in [::1]:7311",
            ),
            (
                "1=http://a:1,b:2",
                "an endpoint is host:port, without a scheme and a path",
            ),
        ] {
            let error = text.parse::<InitialMember>().expect_err(text);
            assert!(error.to_string().ends_with(detail), "{text}: {error}");
        }
    }
}
