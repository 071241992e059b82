//! `toka verify`: checks every event of a data directory.

use anyhow::{Result, bail};

use crate::cli::Format;
use crate::failure::Failure;
use crate::output;
use crate::progress;
use crate::target::Target;

pub(crate) async fn run(target: &Target, format: Format) -> Result<()> {
    let Target::Embedded(local) = target else {
        bail!("say which data directory to check with --data DIR");
    };
    let bar = progress::bar(local.sequence(), "events");
    let report = local.verify(&bar)?;
    bar.finish_and_clear();
    match format {
        Format::Json => output::json(&serde_json::json!({
            "events": report.events,
            "payloads": report.payloads,
            "erased": report.erased,
            "history_root": report.history_root,
            "state_digest": report.state_digest,
            "problems": report.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }))?,
        Format::Table => {
            for problem in &report.problems {
                output::line(&problem.to_string())?;
            }
            output::line(&format!(
                "{} events checked, {} payloads, {} erased; history root {}",
                report.events, report.payloads, report.erased, report.history_root
            ))?;
        }
    }
    match report.problems.len() {
        0 => Ok(()),
        problems => bail!(Failure::Damaged(problems)),
    }
}
