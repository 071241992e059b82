//! Flags of `toka dev`.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// How many nodes: 1, 3, 5 or 7.
    #[arg(long, default_value_t = 3, value_parser = parse_nodes)]
    pub(crate) nodes: u64,
}

/// A number of nodes of which most are left when some fail.
pub(super) fn parse_nodes(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(nodes @ (1 | 3 | 5 | 7)) => Ok(nodes),
        _ => Err(
            "must be 1, 3, 5 or 7: an even number survives no more failures than one less"
                .to_owned(),
        ),
    }
}
