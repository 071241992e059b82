//! `toka backup`: making, listing, checking and removing backups.

use std::time::Instant;

use anyhow::{Context as _, Result};
use indicatif::ProgressBar;
use serde_json::{Value, json};
use toka_backup::{
    Created, Error, Manifest, Options, Progress, PruneOptions, Repository, Step, create, prune,
    rfc3339, verify, verify_objects,
};
use toka_client::Consistency as Wanted;
use toka_ledger::seam::SystemClock;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{
    Backup, Consistency, CreateBackup, Format, Global, ListBackups, PruneBackups, VerifyBackup,
};
use crate::failure::Failure;
use crate::target::{Remote, endpoints, failure as node_failure};
use crate::{output, progress};

pub(crate) async fn run(global: &Global, command: Backup, format: Format) -> Result<()> {
    match command {
        Backup::Create(flags) => make(global, flags, format).await,
        Backup::List(flags) => list(flags, format).await,
        Backup::Verify(flags) => check(flags, format).await,
        Backup::Prune(flags) => remove(flags, format).await,
    }
}

async fn make(global: &Global, flags: CreateBackup, format: Format) -> Result<()> {
    let begin = Instant::now();
    let remote = Remote::connect(endpoints(global)?, global.timeout).await?;
    let repository = Repository::create(&flags.place).map_err(failure)?;
    let options = Options {
        name: flags.name,
        consistency: match flags.consistency {
            Consistency::Local => Wanted::Local,
            Consistency::Linearizable => Wanted::Linearizable,
            Consistency::AtLeast(revision) => Wanted::AtLeast(revision),
        },
        rate_limit_bytes_per_s: flags.rate_limit.map_or(0, |limit| limit.0),
    };
    let stop = stopped_by_signals()?;
    let waiting = progress::spinner("the node reads its copy to look for damage");
    let mut bar = Bar::default();
    let created = create(
        remote.client(),
        &repository,
        &options,
        &SystemClock,
        &stop,
        &mut |progress| {
            if !waiting.is_finished() {
                waiting.finish_and_clear();
            }
            bar.show(progress);
        },
    )
    .await
    .map_err(failure);
    waiting.finish_and_clear();
    bar.clear();
    let Created {
        manifest,
        sent_files,
        sent_bytes,
    } = created?;
    let took = begin.elapsed();
    if format == Format::Json {
        let mut value = describe(&manifest);
        value["sent_files"] = json!(sent_files);
        value["sent_bytes"] = json!(sent_bytes);
        value["elapsed_ms"] = json!(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        return output::json(&value);
    }
    output::line(&format!(
        "backup {} of node {}: sequence {}, {} files, {} bytes; {} files, {} bytes sent in {:.1} s",
        manifest.name,
        manifest.node_id,
        manifest.sequence,
        manifest.files.len(),
        manifest.size_bytes(),
        sent_files,
        sent_bytes,
        took.as_secs_f64()
    ))
}

/// Ends what is under way in good order on Ctrl-C, and when the process is to terminate.
fn stopped_by_signals() -> Result<CancellationToken> {
    let stop = CancellationToken::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let (mut signals, stop) = (
            signal(kind).context("cannot wait for signals")?,
            stop.clone(),
        );
        // Ends with the program, which ends soon after.
        tokio::spawn(async move {
            signals.recv().await;
            stop.cancel();
        });
    }
    Ok(stop)
}

async fn list(flags: ListBackups, format: Format) -> Result<()> {
    let repository = Repository::open(&flags.place).map_err(failure)?;
    let mut list = repository.list().await.map_err(failure)?;
    list.sort_by_key(|(_, manifest)| manifest.as_ref().map_or(u64::MAX, |known| known.sequence));
    if format == Format::Json {
        for (name, manifest) in &list {
            output::json(&match manifest {
                Ok(manifest) => describe(manifest),
                Err(error) => json!({ "name": name, "problem": error.to_string() }),
            })?;
        }
        return Ok(());
    }
    let mut table = output::table(&[
        "name", "created", "sequence", "time", "files", "bytes", "node",
    ]);
    for (name, manifest) in &list {
        match manifest {
            Ok(manifest) => table.add_row([
                name.clone(),
                rfc3339(manifest.created_unix_ms),
                manifest.sequence.to_string(),
                rfc3339(manifest.unix_ms),
                manifest.files.len().to_string(),
                manifest.size_bytes().to_string(),
                manifest.node_id.to_string(),
            ]),
            Err(error) => table.add_row([name.clone(), error.to_string()]),
        };
    }
    output::line(&table.to_string())
}

async fn check(flags: VerifyBackup, format: Format) -> Result<()> {
    let repository = Repository::open(&flags.place).map_err(failure)?;
    let manifest = match flags.backup.as_ref().or(flags.name.as_ref()) {
        Some(name) => repository.manifest(name).await.map_err(failure)?,
        None => {
            let newest = repository.manifests().await.map_err(failure)?.pop();
            newest.ok_or_else(|| {
                failure(Error::NoBackups {
                    repository: repository.to_string(),
                })
            })?
        }
    };
    let mut bar = Bar::default();
    let report = if flags.quick {
        verify_objects(&repository, &manifest, &mut |progress| bar.show(progress))
            .await
            .map(|()| None)
    } else {
        let scratch = match &flags.scratch {
            Some(dir) => tempfile::tempdir_in(dir),
            None => tempfile::tempdir(),
        };
        let scratch = scratch.context("cannot make a directory for temporary files")?;
        verify(&repository, &manifest, scratch.path(), &mut |progress| {
            bar.show(progress);
        })
        .await
        .map(Some)
    };
    bar.clear();
    let report = report.map_err(failure)?;
    if format == Format::Json {
        let mut value = describe(&manifest);
        value["events_checked"] = json!(report.as_ref().map(|report| report.events));
        return output::json(&value);
    }
    let events = report.map_or_else(
        || "their events were not looked at".to_owned(),
        |report| format!("{} events checked", report.events),
    );
    output::line(&format!(
        "backup {}: {} files, {} bytes are as they were written; {events}; history root {}",
        manifest.name,
        manifest.files.len(),
        manifest.size_bytes(),
        manifest.position().history_root
    ))
}

async fn remove(flags: PruneBackups, format: Format) -> Result<()> {
    let repository = Repository::open(&flags.place).map_err(failure)?;
    let options = PruneOptions {
        delete: flags.delete,
        keep_last: flags.keep_last,
        grace_ms: u64::try_from(flags.grace.as_millis()).unwrap_or(u64::MAX),
    };
    let pruned = prune(&repository, &options, &SystemClock)
        .await
        .map_err(failure)?;
    if format == Format::Json {
        return output::json(&json!({
            "backups": pruned.backups,
            "files": pruned.objects,
            "bytes": pruned.bytes,
        }));
    }
    output::line(&format!(
        "{} backups removed, and {} files of {} bytes that no backup needs",
        pruned.backups, pruned.objects, pruned.bytes
    ))
}

/// A backup, without the list of its files.
pub(super) fn describe(manifest: &Manifest) -> Value {
    let position = manifest.position();
    json!({
        "name": manifest.name,
        "created_unix_ms": manifest.created_unix_ms,
        "version": manifest.version,
        "cluster_id": format!("{:032x}", manifest.cluster_id),
        "history_id": format!("{:032x}", manifest.history_id),
        "node_id": manifest.node_id,
        "revision": position.revision,
        "sequence": position.sequence,
        "unix_ms": position.unix_ms,
        "history_root": position.history_root,
        "state_digest": position.state_digest,
        "files": manifest.files.len(),
        "size_bytes": manifest.size_bytes(),
    })
}

/// A bar for each step, which appears when it is known how much there is to do.
#[derive(Default)]
pub(super) struct Bar(Option<(Step, ProgressBar)>);

impl Bar {
    pub(super) fn show(&mut self, now: Progress) {
        if now.total == 0 {
            return;
        }
        if self.0.as_ref().is_none_or(|(step, _)| *step != now.step) {
            if let Some((_, ended)) = self.0.take() {
                ended.finish_and_clear();
            }
            let unit = match now.step {
                Step::Files => "bytes",
                Step::Check => "events checked",
                Step::Repeat => "events applied again",
            };
            self.0 = Some((now.step, progress::bar(now.total, unit)));
        }
        if let Some((_, bar)) = &self.0 {
            bar.set_length(now.total);
            bar.set_position(now.done);
        }
    }

    pub(super) fn clear(self) {
        if let Some((_, bar)) = self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Gives an error its exit code.
pub(super) fn failure(error: Error) -> anyhow::Error {
    let is_newer = matches!(
        &error,
        Error::Unreadable { source, .. } if matches!(**source, Error::NewerFormat { .. })
    );
    match error {
        Error::Node(error) => node_failure(error),
        Error::Invalid { .. }
        | Error::InDataDirectory { .. }
        | Error::NotEmpty { .. }
        | Error::KeepsNone => Failure::Usage(error.to_string()).into(),
        Error::NotFound { name, repository } => {
            Failure::NotFound(format!("backup {name:?} in {repository}")).into()
        }
        Error::NoBackups { repository } => {
            Failure::NotFound(format!("backup in {repository}")).into()
        }
        Error::Exists { .. }
        | Error::OtherCluster { .. }
        | Error::NotCovered { .. }
        | Error::BeforeFirst { .. } => Failure::Refused(error.to_string()).into(),
        // It has a code of its own.
        Error::Unreadable { .. } if is_newer => error.into(),
        Error::Damaged { .. } | Error::Unreadable { .. } => {
            Failure::Damaged(error.to_string()).into()
        }
        error => error.into(),
    }
}
