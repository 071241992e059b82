//! Flags of `toka cursor` and `toka group`.

use std::time::Duration;

use clap::{Args, Subcommand};
use toka_ledger::group::{
    ACK_TIMEOUT_MS_DEFAULT, DELIVERIES_MAX_DEFAULT, UNACKNOWLEDGED_MAX_DEFAULT,
};
use toka_proto::convert::coordination::Token;

use super::{Filter, place};

#[derive(Debug, Subcommand)]
pub(crate) enum Cursor {
    /// Show all of them.
    List,
    /// Show where one is.
    Get {
        /// Its name.
        name: String,
    },
    /// Put one somewhere, and make it if there is none of that name.
    Save {
        /// Its name.
        name: String,
        /// The sequence where it goes.
        sequence: u64,
        /// Only if it is at this sequence (0: there is none).
        #[arg(long, value_name = "SEQUENCE")]
        from: Option<u64>,
    },
    /// Delete one.
    Delete {
        /// Its name.
        name: String,
        /// Only if it is at this sequence.
        #[arg(long, value_name = "SEQUENCE")]
        from: Option<u64>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    /// Make a group; one of that name with the same settings stays as it is.
    Create(CreateGroup),
    /// Change how a group delivers; it stays where it is.
    Update(UpdateGroup),
    /// Show all of them.
    List,
    /// Show one.
    Show {
        /// Its name.
        name: String,
    },
    /// Delete one, and all that it has outstanding or parked.
    Delete {
        /// Its name.
        name: String,
    },
    /// Take events of a group, to be settled by `ack` or `reject`; nothing is printed if there are none.
    Pull(Pull),
    /// Take events of a group one after the other; each is acknowledged once it is written.
    Consume(Consume),
    /// Be done with deliveries.
    Ack {
        /// The group.
        name: String,
        /// What their lines have as `token`.
        #[arg(required = true, value_parser = parse_token)]
        token: Vec<Token>,
    },
    /// Have events delivered again; they are parked if they have had all their deliveries.
    Reject {
        /// The group.
        name: String,
        /// What their lines have as `token`.
        #[arg(required = true, value_parser = parse_token)]
        token: Vec<Token>,
        /// Not before this time has passed.
        #[arg(long, default_value = "0s", value_name = "TIME", value_parser = humantime::parse_duration)]
        delay: Duration,
        /// Why, at most 256 bytes.
        #[arg(
            long,
            default_value = "",
            hide_default_value = true,
            value_name = "TEXT"
        )]
        reason: String,
    },
    /// Ask for more time for deliveries: from now on as much as there was at first.
    Extend {
        /// The group.
        name: String,
        /// What their lines have as `token`.
        #[arg(required = true, value_parser = parse_token)]
        token: Vec<Token>,
    },
    /// Put deliveries aside.
    Park {
        /// The group.
        name: String,
        /// What their lines have as `token`.
        #[arg(required = true, value_parser = parse_token)]
        token: Vec<Token>,
        /// Why, at most 256 bytes.
        #[arg(
            long,
            default_value = "",
            hide_default_value = true,
            value_name = "TEXT"
        )]
        reason: String,
    },
    /// Give deliveries back to which nothing was done; they do not count.
    Release {
        /// The group.
        name: String,
        /// What their lines have as `token`.
        #[arg(required = true, value_parser = parse_token)]
        token: Vec<Token>,
    },
    /// Show the events that were delivered and are not done with: who has them, or what they wait for.
    Outstanding {
        /// The group.
        name: String,
        /// At most so many.
        #[arg(long, short = 'n', default_value_t = 1_000, value_name = "N")]
        limit: usize,
    },
    /// Show the events that a group has put aside.
    Parked {
        /// The group.
        name: String,
        /// At most so many.
        #[arg(long, short = 'n', default_value_t = 1_000, value_name = "N")]
        limit: usize,
    },
    /// Have parked events delivered again, with all their deliveries.
    Replay(Parked),
    /// Be done with parked events.
    Discard(Parked),
}

#[derive(Debug, Args)]
pub(crate) struct CreateGroup {
    /// Its name.
    pub(crate) name: String,
    /// Where it starts: beginning, now, the sequence after which, or the time from which on.
    #[arg(long, default_value = "beginning", value_parser = parse_start, value_name = "WHERE")]
    pub(crate) from: GroupStart,
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// Time in which a consumer must settle a delivery.
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = parse_ack_timeout)]
    pub(crate) ack_timeout: u32,
    /// Events that are outstanding at most; 1: each is settled before the next is delivered.
    #[arg(long, default_value_t = UNACKNOWLEDGED_MAX_DEFAULT, value_name = "N")]
    pub(crate) unacknowledged_max: u32,
    /// Deliveries after which an event is parked.
    #[arg(long, default_value_t = DELIVERIES_MAX_DEFAULT, value_name = "N")]
    pub(crate) deliveries_max: u32,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateGroup {
    /// Its name.
    pub(crate) name: String,
    /// Time in which a consumer must settle what is delivered from now on [default: as it is].
    #[arg(long, value_name = "TIME", value_parser = parse_ack_timeout)]
    pub(crate) ack_timeout: Option<u32>,
    /// Events that are outstanding at most [default: as it is].
    #[arg(long, value_name = "N")]
    pub(crate) unacknowledged_max: Option<u32>,
    /// Deliveries after which an event is parked [default: as it is].
    #[arg(long, value_name = "N")]
    pub(crate) deliveries_max: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// The group.
    pub(crate) name: String,
    /// Who takes them, for people.
    #[arg(long, default_value = "toka", value_name = "NAME")]
    pub(crate) consumer: String,
    /// At most so many.
    #[arg(long, short = 'n', default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) limit: u32,
    /// How long to wait where there is none.
    #[arg(long, default_value = "0s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) wait: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Consume {
    /// The group.
    pub(crate) name: String,
    /// Who takes them, for people.
    #[arg(long, default_value = "toka", value_name = "NAME")]
    pub(crate) consumer: String,
    /// At most so many [default: without an end].
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Stop when there is none left, as for an embedded vault.
    #[arg(long)]
    pub(crate) until_empty: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Parked {
    /// The group.
    pub(crate) name: String,
    /// Which events [default: the first 1,000].
    pub(crate) sequence: Vec<u64>,
}

/// Where a group starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupStart {
    Beginning,
    Now,
    After(u64),
    /// Milliseconds since the Unix epoch.
    At(u64),
}

fn parse_start(text: &str) -> Result<GroupStart, String> {
    Ok(match place::parse_start(text)? {
        place::From::Beginning => GroupStart::Beginning,
        place::From::Now => GroupStart::Now,
        place::From::After(sequence) => GroupStart::After(sequence),
        place::From::At(unix_ms) => GroupStart::At(unix_ms),
    })
}

fn parse_ack_timeout(text: &str) -> Result<u32, String> {
    let timeout = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    u32::try_from(timeout.as_millis()).map_err(|_| "is too long".to_owned())
}

/// A group and a token of it with `=` in between.
pub(super) fn parse_delivery(text: &str) -> Result<(String, Token), String> {
    let (group, token) = super::parse_pair(text)?;
    Ok((group, parse_token(&token)?))
}

fn parse_token(text: &str) -> Result<Token, String> {
    let bytes = crate::payload::from_hex(text).map_err(|error| error.to_string())?;
    Token::decode("token", &bytes.into()).map_err(|error| error.to_string())
}

// The default stands in the flags as text.
const _: () = assert!(ACK_TIMEOUT_MS_DEFAULT == 30_000);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_a_place_or_a_time() {
        for (text, start) in [
            ("beginning", GroupStart::Beginning),
            ("now", GroupStart::Now),
            ("17", GroupStart::After(17)),
            ("1970-01-01T00:00:01Z", GroupStart::At(1_000)),
        ] {
            assert_eq!(parse_start(text), Ok(start));
        }
        assert!(matches!(parse_start("15m"), Ok(GroupStart::At(_))));
        assert!(parse_start("later").is_err());
    }

    #[test]
    fn a_token_is_what_was_printed() {
        let token = Token {
            incarnation: 7,
            sequence: 300,
            delivery: 2,
        };
        assert_eq!(parse_token(&crate::output::hex(&token.encode())), Ok(token));
        let delivery = format!("work={}", crate::output::hex(&token.encode()));
        assert_eq!(parse_delivery(&delivery), Ok(("work".to_owned(), token)));
        assert!(parse_token("00").is_err());
        assert!(parse_token("token").is_err());
    }
}
