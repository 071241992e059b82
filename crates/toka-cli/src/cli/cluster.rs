//! The commands of `toka cluster`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

/// Shortest and longest time between two looks of `toka cluster top`: the leader asks the members more often than the
/// shortest itself.
const INTERVAL: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(3_600)];

#[derive(Debug, Subcommand)]
pub(crate) enum Cluster {
    /// Show every node: role, position, lag, disk, versions, health.
    Status {
        /// Also term, applied entries, history root, the whole reason why a node is not healthy, and all settings
        /// of intents: wider than 120 columns. JSON always has everything.
        #[arg(long)]
        wide: bool,
    },
    /// Watch every node: what it does in a second, how far it is behind, its health. Ctrl-C ends it.
    Top(Top),
    /// Hand leadership over.
    #[command(visible_alias = "transfer-leadership")]
    Transfer {
        /// To this node [default: the most up-to-date follower].
        #[arg(long, value_name = "NODE_ID")]
        to: Option<u64>,
    },
    /// Remove a node for good. (A node is added by starting it with `toka serve --join`.)
    ///
    /// Returns when the node is no member any more. Exit code 3, which --force can lead to, says that this has not
    /// come about within --timeout: most of the voters that would be left do not answer. The removal is not taken
    /// back. `toka cluster status` shows the node as "being removed", and the alarm names the nodes that have to
    /// come back; once they do the removal is finished by itself. Repeating the command does no harm.
    Remove {
        /// The node; a leader hands over first.
        node_id: u64,
        /// Also if the nodes that are left could not agree on anything until others come back: until then nothing
        /// can be committed, and the command ends with exit code 3.
        #[arg(long)]
        force: bool,
    },
    /// Start a new cluster from what one node has, after most voters of the old one are lost for good.
    ///
    /// --data names the data directory of the node, which must be stopped. Without --accept-data-loss nothing is
    /// changed: it says what the node has, so that survivors can be compared. Repeated after it has succeeded, it
    /// says so and changes nothing; with another directory or node id it ends with exit code 7.
    Recover {
        /// Directory for the first node of the new cluster, new or empty. On the same file system it takes
        /// little room.
        #[arg(long, value_name = "DIR", required_if_eq("accept_data_loss", "true"))]
        into: Option<PathBuf>,
        /// Its node id there [default: the survivor's].
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        node_id: Option<u64>,
        /// Do it: what only the lost nodes had is lost, and positions that clients hold no longer count.
        #[arg(long)]
        accept_data_loss: bool,
    },
    /// Let a read replica become a voter.
    Promote {
        /// The learner.
        node_id: u64,
    },
    /// Let a learner take the place of another node, which is removed. (For a new node:
    /// `toka serve --join ENDPOINT --replace NODE_ID`.) Repeating it says how far that is.
    Replace {
        /// The node that goes.
        node_id: u64,
        /// The learner.
        #[arg(long = "with", value_name = "NODE_ID")]
        with_node_id: u64,
    },
    /// Make the members those that there are to be, as a deployment says it: remove what is too much, wait for the rest.
    ///
    /// Members are told by their client endpoints, which differ in an ordinal, as those of a StatefulSet's pods do.
    /// Those beyond --replicas are removed, the highest ordinal first and one at a time, and never so that those
    /// that stay have no majority that answers. Then it waits until each of the others votes, serves, and has taken the
    /// place of a node that it replaces: nodes join by themselves (`toka serve --join`). Members at other endpoints are
    /// left as they are. It can be repeated at any time; exit code 3 says that it was not done within --within.
    Reconcile(Reconcile),
    /// Empty the data directory (--data) of a node that was removed from its cluster, so that a new one can join with it.
    ///
    /// The cluster (--endpoint) has to confirm that the node was its member and is none any more. In every other case the
    /// directory is left as it is, and that is no failure: it is meant to be run before each start of a node. It fails if
    /// the directory says itself that the node was removed, and the cluster does not answer (exit code 3) or is another one
    /// (7).
    Vacate,
}

/// What there is to be.
#[derive(Debug, Args)]
pub(crate) struct Reconcile {
    /// How many nodes there are to be, with the ordinals from 0 on.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=7))]
    pub(crate) replicas: u64,
    /// Client endpoint of a node, with `{ordinal}` for its ordinal, such as vault-{ordinal}.vault:7311.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) member: String,
    /// Only remove what is too much, and do not wait for the others.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// How long all of it may take.
    #[arg(long, default_value = "4m", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) within: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Time between two looks; rates are those of the time between them.
    #[arg(long, short = 'i', default_value = "2s", value_name = "TIME", value_parser = parse_interval)]
    pub(crate) interval: Duration,
    /// Look twice, an interval apart, show what was between, and stop.
    #[arg(long)]
    pub(crate) once: bool,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let [min, max] = INTERVAL;
    match (min..=max).contains(&interval) {
        true => Ok(interval),
        false => Err(format!("must be between {min:?} and {max:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_has_bounds() {
        assert_eq!(parse_interval("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["0s", "99ms", "2h", "2"] {
            assert!(parse_interval(wrong).is_err(), "{wrong}");
        }
    }
}
