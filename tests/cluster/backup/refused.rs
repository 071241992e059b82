//! Backups that are not what was written.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use toka_ledger::hash;
use toka_tests::cluster::{self, Cluster};
use toka_tests::command::Toka;

use super::{all_files, files, manifest, object, place, text, under_load, user, value};

/// Writes a manifest as docs/format-backup.md says, with its checksum.
fn write_manifest(place: &Path, name: &str, manifest: &Value) -> Result<()> {
    let body = format!("toka-backup 1\n{manifest}\n");
    let checksum = hash::payload_digest(body.as_bytes());
    let path = place.join("backups").join(name);
    Ok(std::fs::write(path, format!("{body}blake3 {checksum}\n"))?)
}

/// Checks that verification, of the files alone too where they are to blame, and restore refuse a backup
/// for that reason, and that nothing is left.
async fn refused(
    cluster: &Cluster,
    toka: &Toka,
    at: &str,
    name: &str,
    reason: &str,
    in_files: bool,
) -> Result<()> {
    let data = cluster.directory().join("refused").display().to_string();
    let restore = [
        "restore",
        at,
        "--backup",
        name,
        "--data",
        &data,
        "--node-id",
        "1",
    ];
    let mut commands = vec![["backup", "verify", at, name].to_vec(), restore.to_vec()];
    if in_files {
        commands.push(["backup", "verify", at, name, "--quick"].to_vec());
    }
    for command in commands {
        let ran = toka.run(&command).await?;
        ensure!(ran.code == Some(6), "{command:?}, for {reason:?}: {ran:?}");
        ensure!(
            ran.stderr.contains(reason),
            "{command:?}, for {reason:?}: {ran:?}"
        );
    }
    ensure!(!Path::new(&data).exists(), "the restore has left something");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn altered_truncated_foreign_and_half_written_backups_are_refused() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let (toka, at) = user(cluster, 1);
        let place = place(cluster);
        let mut other = cluster.prepare_beside(1)?;
        other.launch_all()?;
        other.wait_all_ready().await?;
        under_load(cluster, async |_, _| {
            value(&toka, &["backup", "create", &at, "--name", "b"])
                .await
                .map(drop)
        })
        .await?;
        let (others_user, others_at) = user(&other, 1);
        under_load(&mut other, async |_, _| {
            let arguments = ["backup", "create", &others_at, "--name", "b"];
            value(&others_user, &arguments).await.map(drop)
        })
        .await?;
        let others_place = super::place(&other);
        let (ours, theirs) = (manifest(&place, "b")?, manifest(&others_place, "b")?);

        // Every file: cut, altered, gone.
        for digest in files(&ours)? {
            let path = object(&place, &digest);
            let bytes = std::fs::read(&path)?;
            if bytes.is_empty() {
                continue;
            }
            std::fs::write(&path, &bytes[..bytes.len() - 1])?;
            let reason = format!("has {} bytes instead of {}", bytes.len() - 1, bytes.len());
            refused(cluster, &toka, &at, "b", &reason, true).await?;
            let mut altered = bytes.clone();
            altered[bytes.len() / 2] ^= 1;
            std::fs::write(&path, &altered)?;
            refused(cluster, &toka, &at, "b", "was altered", true).await?;
            std::fs::remove_file(&path)?;
            refused(cluster, &toka, &at, "b", "is missing", true).await?;
            std::fs::write(&path, &bytes)?;
        }
        value(&toka, &["backup", "verify", &at, "b"]).await?;

        // The manifest: half written, altered, another backup's.
        let path = place.join("backups").join("b");
        let whole = std::fs::read(&path)?;
        std::fs::write(&path, &whole[..whole.len() / 2])?;
        refused(cluster, &toka, &at, "b", "truncated or altered", true).await?;
        let mut altered = whole.clone();
        altered[whole.len() / 2] ^= 1;
        std::fs::write(&path, &altered)?;
        refused(cluster, &toka, &at, "b", "truncated or altered", true).await?;
        std::fs::write(&path, &whole)?;
        std::fs::copy(&path, place.join("backups").join("c"))?;
        refused(cluster, &toka, &at, "c", "is that of backup \"b\"", true).await?;
        std::fs::remove_file(place.join("backups").join("c"))?;

        // Another vault's files under this one's name, all of them sound.
        for file in all_files(&others_place.join("objects"))? {
            let name = file.file_name().and_then(|name| name.to_str());
            let target = object(&place, name.context("a digest")?);
            std::fs::create_dir_all(target.parent().context("a directory")?)?;
            std::fs::copy(&file, target)?;
        }
        let mut foreign = ours.clone();
        foreign["files"] = theirs["files"].clone();
        write_manifest(&place, "b", &foreign)?;
        refused(cluster, &toka, &at, "b", "its files are at", false).await?;
        for key in [
            "revision",
            "sequence",
            "unix_ms",
            "history_root",
            "state_digest",
        ] {
            foreign[key] = theirs[key].clone();
        }
        write_manifest(&place, "b", &foreign)?;
        refused(cluster, &toka, &at, "b", "they are another vault's", false).await?;

        // Files of the same vault at another position.
        let mut stale = ours.clone();
        stale["state_digest"] = theirs["state_digest"].clone();
        write_manifest(&place, "b", &stale)?;
        refused(cluster, &toka, &at, "b", "its files are at", false).await?;

        // A newer format is named.
        std::fs::write(&path, "toka-backup 2\nsomething else\n")?;
        let ran = toka.run(&["backup", "verify", &at, "b"]).await?;
        ensure!(
            ran.code == Some(10) && ran.stderr.contains("has format 2"),
            "{ran:?}"
        );
        // What is there already of a damaged backup does not keep another one from being made.
        std::fs::write(&path, &whole)?;
        let digest = files(&ours)?.into_iter().next().context("no files")?;
        std::fs::write(object(&place, &digest), b"x")?;
        value(&toka, &["backup", "create", &at, "--name", "again"]).await?;
        value(&toka, &["backup", "verify", &at, "again"]).await?;
        let taken = toka
            .run(&["backup", "create", &at, "--name", "again"])
            .await?;
        ensure!(taken.code == Some(5), "{taken:?}");
        let list = toka.json(&["backup", "list", &at, "-o", "json"]).await?;
        ensure!(
            list.iter()
                .any(|backup| text(backup, "name").ok() == Some("again"))
        );
        Ok(())
    })
    .await
}
