//! Flags of `toka intents`, `toka search` and `toka bench intents`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};

use super::{Embed, Filter, Query, Read};

#[derive(Debug, Args)]
pub(crate) struct Intents {
    #[command(subcommand)]
    pub(crate) command: Option<IntentsCommand>,
    /// Draw the table again every second, until Ctrl-C.
    #[arg(long)]
    pub(crate) watch: bool,
    /// Write a map of the intents into a file, which ends with .svg or .html, instead: those of like meaning are near each
    /// other. A file that is there is replaced.
    #[arg(long, value_name = "FILE", conflicts_with = "watch")]
    pub(crate) plot: Option<PlotFile>,
    /// At most so many intents, the largest first [default: 20 on a terminal, else all; with --plot 200, and at most
    /// 1000].
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Leave intents with fewer than five events out.
    #[arg(long)]
    pub(crate) skip_tentative: bool,
    /// Examples of each [default: 1; with --plot 3].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=8))]
    pub(crate) examples: Option<u32>,
    /// As of right behind the event at this sequence. The history up to there is applied again to find out, which takes
    /// its time; of a cluster it is read first, at most a million events, and labels are not known.
    #[arg(long, value_name = "SEQUENCE", conflicts_with = "watch")]
    pub(crate) at: Option<u64>,
}

/// How a map is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlotFormat {
    /// A picture.
    Svg,
    /// A page with the picture in it.
    Html,
}

/// A file for a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlotFile {
    pub(crate) path: PathBuf,
    pub(crate) format: PlotFormat,
}

/// A file's name that does not say what is to be in it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} ends with neither .svg nor .html")]
pub(crate) struct UnknownEnding {
    name: String,
}

impl FromStr for PlotFile {
    type Err = UnknownEnding;

    fn from_str(name: &str) -> Result<Self, UnknownEnding> {
        let path = PathBuf::from(name);
        let ending = path.extension().and_then(|ending| ending.to_str());
        let format = match ending.map(str::to_ascii_lowercase).as_deref() {
            Some("svg") => PlotFormat::Svg,
            Some("html") => PlotFormat::Html,
            _ => {
                return Err(UnknownEnding {
                    name: name.to_owned(),
                });
            }
        };
        Ok(Self { path, format })
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum IntentsCommand {
    /// Show one intent, of a retired one its successor.
    Get {
        /// Its id.
        intent: u64,
    },
    /// List the events of an intent, in order.
    Events {
        /// Its id.
        intent: u64,
        /// At most so many.
        #[arg(long, short = 'n', default_value_t = u64::MAX, hide_default_value = true, value_name = "N")]
        limit: u64,
    },
    /// Give an intent a name that people know it by.
    Label {
        /// Its id.
        intent: u64,
        /// The name.
        #[arg(required_unless_present = "clear", conflicts_with = "clear")]
        label: Option<String>,
        /// Take the name off.
        #[arg(long)]
        clear: bool,
    },
    /// Tell where an event of this meaning would go, without committing it.
    Classify {
        #[command(flatten)]
        query: Query,
        #[command(flatten)]
        embed: Embed,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Search {
    #[command(flatten)]
    pub(crate) query: Query,
    #[command(flatten)]
    pub(crate) embed: Embed,
    /// Hits wanted.
    #[arg(long, short = 'n', default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) limit: u32,
    /// Intents to look into, the nearest first.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) probes: u32,
    /// Compare every event.
    #[arg(long, conflicts_with = "probes")]
    pub(crate) exact: bool,
    #[command(flatten)]
    pub(crate) filter: Filter,
    #[command(flatten)]
    pub(crate) read: Read,
}

#[derive(Debug, Args)]
pub(crate) struct BenchIntents {
    /// Raw little-endian f32 rows, in the order of their arrival.
    pub(crate) file: PathBuf,
    /// Components of each row.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) dim: u16,
    /// What each row is, a line each: as it is, or the `label` of a line of JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Another order of arrival: little-endian u32 numbers of rows, from 0.
    #[arg(long, value_name = "FILE")]
    pub(crate) order: Option<PathBuf>,
    /// Events of one commit.
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) batch: u32,
    /// Afterwards search for the vectors of so many events: recall of the ten nearest others by the number
    /// of intents that are looked into, and the time it takes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) queries: Option<u32>,
    /// Keep the vault in memory, instead of a temporary directory.
    #[arg(long)]
    pub(crate) memory: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ending_of_a_file_says_how_a_map_is_written() {
        let format = |name: &str| name.parse::<PlotFile>().map(|file| file.format);
        assert_eq!(format("a/map.svg"), Ok(PlotFormat::Svg));
        assert_eq!(format("map.HTML"), Ok(PlotFormat::Html));
        for name in ["map.png", "map", "svg", ".svg", ""] {
            let error = format(name).expect_err("unknown").to_string();
            assert!(error.contains(".svg nor .html"), "{error}");
        }
    }
}
