//! Flags of `toka backup` and `toka restore`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use toka_server::config::ByteSize;

use super::{Consistency, parse_consistency};

#[derive(Debug, Subcommand)]
pub(crate) enum Backup {
    /// Make a backup of the running cluster; files that are there from earlier ones are not sent again.
    ///
    /// If it is broken off, run it again: what has come is not fetched twice.
    Create(CreateBackup),
    /// Show the backups in a place.
    List(ListBackups),
    /// Check a backup without restoring it: every file against its checksum, then every event.
    Verify(VerifyBackup),
    /// Remove backups, and files that no backup needs any more.
    Prune(PruneBackups),
}

#[derive(Debug, Args)]
pub(crate) struct CreateBackup {
    /// Where to: a directory that is new, empty, or has backups, outside of every data directory; or
    /// s3://BUCKET/PREFIX (endpoint and credentials in AWS_ENDPOINT,
    /// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ALLOW_HTTP).
    pub(crate) place: String,
    /// Name of the backup [default: its time and sequence].
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Bytes that the node reads to look for damage, for checksums, and bytes that it sends, each at most in
    /// a second, such as 50MiB [default: no limit].
    #[arg(long, value_name = "SIZE")]
    pub(crate) rate_limit: Option<ByteSize>,
    /// What the node must have: linearizable (all that was acknowledged before), local (what it has, also
    /// without a leader) or at-least:REVISION.
    #[arg(long, default_value = "linearizable", value_parser = parse_consistency)]
    pub(crate) consistency: Consistency,
}

#[derive(Debug, Args)]
pub(crate) struct ListBackups {
    /// A directory, or s3://BUCKET/PREFIX.
    pub(crate) place: String,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyBackup {
    /// A directory, or s3://BUCKET/PREFIX.
    pub(crate) place: String,
    /// The same as --backup.
    pub(crate) name: Option<String>,
    /// Which backup [default: the one with the highest sequence].
    #[arg(long, value_name = "NAME", conflicts_with = "name")]
    pub(crate) backup: Option<String>,
    /// Check the files only, and not the events in them: needs no room on this machine.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Where the files are put while the events are checked [default: the directory for temporary files].
    #[arg(long, value_name = "DIR", conflicts_with = "quick")]
    pub(crate) scratch: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct PruneBackups {
    /// A directory, or s3://BUCKET/PREFIX.
    pub(crate) place: String,
    /// Remove this backup; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub(crate) delete: Vec<String>,
    /// Keep so many backups, at least 1, those with the highest sequences [default: all].
    #[arg(long, value_name = "N")]
    pub(crate) keep_last: Option<usize>,
    /// Keep files that no backup needs for so long after they were written: they may belong to one that is being
    /// made, or that was broken off and is to go on.
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) grace: Duration,
}

/// Makes a data directory from a backup.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// Where the backups are: a directory, or s3://BUCKET/PREFIX.
    pub(crate) place: String,
    /// For this node of a new cluster: run it once for each initial member, with the same backup, then
    /// start them with `toka serve`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..),
          required_unless_present = "embedded")]
    pub(crate) node_id: Option<u64>,
    /// For an embedded vault.
    #[arg(long, conflicts_with = "node_id")]
    pub(crate) embedded: bool,
    /// Which backup [default: the one with the highest sequence].
    #[arg(long, value_name = "NAME", conflicts_with_all = ["sequence", "time"])]
    pub(crate) backup: Option<String>,
    /// Up to the event at this sequence, from 1 on.
    #[arg(long, value_name = "N", conflicts_with = "time")]
    pub(crate) sequence: Option<u64>,
    /// Up to the last event at or before this time, such as 2026-11-26T17:15:00Z; not before the first event.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_rfc3339_weak)]
    pub(crate) time: Option<SystemTime>,
}
