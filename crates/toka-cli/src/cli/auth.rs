//! Flags of `toka auth`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use toka_ledger::credentials::{Action, Grant, Limits};

#[derive(Debug, Subcommand)]
pub(crate) enum Auth {
    /// Make, list, rotate and revoke tokens: secrets that stand for a principal.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Make, list and delete roles: named sets of grants.
    #[command(subcommand)]
    Role(RoleCommand),
    /// Show who this client is to the cluster, and what it may do.
    Whoami,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token. Its text is shown this once.
    Create(CreateToken),
    /// Show all tokens, without their secrets.
    List,
    /// Make a token in the place of another one, which still counts for a while.
    Rotate {
        /// Id of the token that there is: 16 hexadecimal digits.
        id: String,
        /// How long it still counts, at most 7 days.
        #[arg(long, default_value = "0s", value_name = "TIME", value_parser = humantime::parse_duration)]
        grace: Duration,
        /// How long the new one counts from now [default: as long as the old one was to live, or for ever].
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        expires_in: Option<Duration>,
        /// Write the token's text into this file, which must not be there, and not to the output.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// End a token at once.
    Revoke {
        /// Its id: 16 hexadecimal digits.
        id: String,
    },
    /// Draw the text of a token that no vault knows, for `--bootstrap-admin-token-file` of `toka serve`. Needs no
    /// cluster.
    Generate {
        /// Write it into this file, which must not be there, and not to the output.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateToken {
    /// Whoever holds it is this one: a name of 1 to 128 bytes.
    pub(crate) principal: String,
    /// A role that it has; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub(crate) role: Vec<String>,
    /// A grant that it has besides, as `read` or `write:task.,note.`; may be repeated.
    #[arg(long, value_name = "ACTION[:PREFIX,...]", value_parser = parse_grant)]
    pub(crate) grant: Vec<Grant>,
    /// How long it counts [default: for ever].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) expires_in: Option<Duration>,
    /// Calls in a second that its principal may make [default: as the node is configured].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    requests_per_second: Option<u32>,
    /// Bytes in a second.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    bytes_per_second: Option<u64>,
    /// Subscriptions that may be open at the same time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    subscriptions: Option<u32>,
    /// Write the token's text into this file, which must not be there, and not to the output.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

impl CreateToken {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            requests_per_second: self.requests_per_second.unwrap_or(0),
            bytes_per_second: self.bytes_per_second.unwrap_or(0),
            subscriptions: self.subscriptions.unwrap_or(0),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum RoleCommand {
    /// Make a role, or give one that there is other grants.
    Put {
        /// Its name.
        name: String,
        /// What it allows, as `read` or `write:task.,note.`; may be repeated.
        #[arg(long, required = true, value_name = "ACTION[:PREFIX,...]", value_parser = parse_grant)]
        grant: Vec<Grant>,
    },
    /// Show all roles.
    List,
    /// Delete a role that no valid token has.
    Delete {
        /// Its name.
        name: String,
    },
}

/// `read`, or `write:task.,note.`: the action, and behind a colon the prefixes of kinds.
fn parse_grant(text: &str) -> Result<Grant, String> {
    let (word, prefixes) = match text.split_once(':') {
        Some((word, prefixes)) => (word, prefixes.split(',').map(str::to_owned).collect()),
        None => (text, Vec::new()),
    };
    let action = match word {
        "read" => Action::Read,
        "write" => Action::Write,
        "admin" => Action::Admin,
        _ => return Err("must begin with read, write or admin".to_owned()),
    };
    if prefixes.iter().any(String::is_empty) {
        return Err("has an empty prefix; leave the colon out for all kinds".to_owned());
    }
    Ok(Grant {
        action,
        kind_prefixes: prefixes,
    })
}

/// The time that is so long from now on, milliseconds since the Unix epoch.
pub(crate) fn from_now(after: Duration) -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.saturating_add(after).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_an_action_and_prefixes() {
        assert_eq!(parse_grant("read"), Ok(Grant::of_all(Action::Read)));
        let expected = Grant {
            action: Action::Write,
            kind_prefixes: vec!["task.".to_owned(), "note.".to_owned()],
        };
        assert_eq!(parse_grant("write:task.,note."), Ok(expected));
        for wrong in ["", "reed", "read:", "read:a,,b", ":a"] {
            assert!(parse_grant(wrong).is_err(), "{wrong}");
        }
    }
}
