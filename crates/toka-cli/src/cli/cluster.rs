//! The commands of `toka cluster`.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Cluster {
    /// Show every node: role, position, lag, disk, versions, health.
    Status {
        /// Also term, applied entries, history root, the whole reason why a node is not healthy, and all settings
        /// of intents: wider than 120 columns. JSON always has everything.
        #[arg(long)]
        wide: bool,
    },
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
}
