//! A node that runs, which checks itself.

use anyhow::{Result, bail};
use toka_client::verification::Part;
use toka_client::{Code, Error, Verify as Wanted};

use super::Checked;
use crate::cli::{Global, Verify};
use crate::failure::Failure;
use crate::progress;
use crate::target::{Remote, endpoints, failure};

/// Bytes that the node reads in a second, unless it is told otherwise: commits go on beside it.
const RATE_BYTES: u64 = 64 << 20;

/// Lets the node that answers check what it has; it gives up when this process ends.
pub(super) async fn check(global: &Global, flags: &Verify) -> Result<Checked> {
    let remote = Remote::connect(endpoints(global)?, global.timeout).await?;
    let wanted = Wanted {
        rate_limit_bytes_per_s: flags.rate_limit.map_or(RATE_BYTES, |limit| limit.0),
        threads: flags.threads.map_or(0, u32::from),
    };
    let mut verification = remote.client().verify(wanted).await.map_err(failure)?;
    let waiting = progress::spinner("the node makes a copy of its vault");
    let (mut bar, mut counting) = (None, None);
    let verified = loop {
        match verification.next().await {
            Ok(Some(Part::Progress(now))) => {
                waiting.finish_and_clear();
                let bar = bar.get_or_insert_with(|| progress::bar(now.total, "events"));
                bar.set_position(now.checked);
                if now.checked == now.total && now.total > 0 {
                    bar.finish_and_clear();
                    counting.get_or_insert_with(|| {
                        progress::spinner("every event is checked; what is beside them is read")
                    });
                }
            }
            Ok(Some(Part::Report(verified))) => break Ok(verified),
            Ok(None) => break Err(None),
            Err(error) => break Err(Some(error)),
        }
    };
    waiting.finish_and_clear();
    for bar in bar.into_iter().chain(counting) {
        bar.finish_and_clear();
    }
    let verified = match verified {
        Ok(verified) => verified,
        // So damaged that the copy could not even be opened.
        Err(Some(Error::Refused {
            code: Code::DataLoss,
            message,
            ..
        })) => bail!(Failure::Damaged(message)),
        Err(Some(error)) => return Err(failure(error)),
        Err(None) => bail!(Failure::Unavailable(format!(
            "{} gave no report",
            verification.endpoint()
        ))),
    };
    Ok(Checked {
        node_id: Some(verified.header.node_id),
        report: Some(verified.report),
        files: Vec::new(),
    })
}
