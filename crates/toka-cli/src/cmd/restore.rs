//! `toka restore`: a data directory from a backup.

use anyhow::{Result, bail};
use serde_json::json;
use toka_backup::{Owner, Point, Repository, Restored, restore};

use super::backup::{Bar, failure};
use super::serve::PROTECTION;
use crate::cli::{Format, Global, Restore};
use crate::failure::Failure;
use crate::output;

pub(crate) async fn run(global: &Global, flags: Restore, format: Format) -> Result<()> {
    let Some(path) = &global.data else {
        bail!(Failure::Usage(
            "say with --data DIR into which directory to restore".to_owned()
        ));
    };
    let repository = Repository::open(&flags.place).map_err(failure)?;
    let owner = match flags.node_id {
        Some(node_id) => Owner::Node { node_id },
        None => Owner::Embedded,
    };
    let point = match (flags.sequence, flags.time) {
        (Some(sequence), _) => Point::Sequence(sequence),
        (None, Some(time)) => {
            let time = time.duration_since(std::time::UNIX_EPOCH);
            let unix_ms = time.map_or(0, |time| time.as_millis());
            Point::Time(u64::try_from(unix_ms).unwrap_or(u64::MAX))
        }
        (None, None) => Point::Backup(flags.backup),
    };
    let mut bar = Bar::default();
    let restored = restore(&repository, &point, path, owner, &mut |progress| {
        bar.show(progress);
    })
    .await;
    bar.clear();
    let restored = restored.map_err(failure)?;
    if format == Format::Json {
        return output::json(&describe(&restored));
    }
    let position = restored.position;
    output::line(&format!(
        "restored from backup {}: {} events checked, sequence {}, history root {}, state digest {}",
        restored.backup,
        restored.report.events,
        position.sequence,
        position.history_root,
        position.state_digest
    ))?;
    if let Some(events) = restored.repeated_events {
        let from = restored.base.map_or_else(
            || "the beginning".to_owned(),
            |base| format!("backup {base}"),
        );
        output::line(&format!("{events} events applied again, from {from} on"))?;
    }
    if let Owner::Node { node_id } = owner {
        output::line(&format!(
            "start it with `toka serve --node-id {node_id} --data {} --listen IP:7311 --raft-listen IP:7312` and each \
             --initial-member, when all of them are restored from the same backup; {PROTECTION}",
            path.display()
        ))?;
    }
    Ok(())
}

fn describe(restored: &Restored) -> serde_json::Value {
    let position = restored.position;
    json!({
        "backup": restored.backup,
        "base": restored.base,
        "revision": position.revision,
        "sequence": position.sequence,
        "unix_ms": position.unix_ms,
        "history_root": position.history_root,
        "state_digest": position.state_digest,
        "events_checked": restored.report.events,
        "repeated_events": restored.repeated_events,
    })
}
