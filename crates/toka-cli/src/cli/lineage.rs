//! Flags of `toka lineage`.

use clap::{ArgAction, Args, ValueEnum};

use super::Read;

/// How a lineage is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LineageFormat {
    /// A drawing for people, newest first; as --output table.
    #[value(alias = "table")]
    Graph,
    /// One JSON object a line; as --output json.
    Json,
    /// For Graphviz.
    Dot,
    /// For Mermaid.
    Mermaid,
    /// A picture.
    Svg,
}

#[derive(Debug, Args)]
pub(crate) struct Lineage {
    /// Id, sequence or digest; what it depends on is shown.
    #[arg(required_unless_present_any = ["diff", "heads"], conflicts_with_all = ["diff", "heads"])]
    pub(crate) event: Option<String>,
    /// Show what depends on the event instead.
    #[arg(long, conflicts_with_all = ["both", "common", "diff", "heads"])]
    pub(crate) descendants: bool,
    /// Show what the event depends on, and what depends on it.
    #[arg(long, conflicts_with_all = ["common", "diff", "heads"])]
    pub(crate) both: bool,
    /// Show the nearest common ancestors of the event and of this one.
    #[arg(long, value_name = "EVENT", requires = "event",
          conflicts_with_all = ["diff", "heads", "depth", "max", "kind"])]
    pub(crate) common: Option<String>,
    /// Show what the second event has in its history, itself included, and the first one has not.
    #[arg(long, num_args = 2, action = ArgAction::Set, value_names = ["WITHOUT", "OF"],
          conflicts_with_all = ["heads", "depth"])]
    pub(crate) diff: Vec<String>,
    /// Show the events that no other one depends on.
    #[arg(long, conflicts_with = "depth")]
    pub(crate) heads: bool,
    /// At most so many steps away from the event.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) depth: Option<u32>,
    /// At most so many events; with --both, so many in each direction.
    #[arg(long, short = 'n', default_value_t = 1_000, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max: u32,
    /// Only kinds that begin with this, though the walk goes through others; may be repeated.
    #[arg(long, value_name = "PREFIX")]
    pub(crate) kind: Vec<String>,
    /// How it is written, instead of --output, which all commands have and which knows table (graph here) and json only
    /// [default: graph on a terminal and with --output table, else json].
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<LineageFormat>,
    /// Write a picture, as --format svg does.
    #[arg(long, conflicts_with = "format")]
    pub(crate) svg: bool,
    #[command(flatten)]
    pub(crate) read: Read,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_of_all_commands_are_formats_of_a_lineage() {
        let format = |name: &str| LineageFormat::from_str(name, false);
        assert_eq!(format("table"), Ok(LineageFormat::Graph));
        assert_eq!(format("json"), Ok(LineageFormat::Json));
    }
}
