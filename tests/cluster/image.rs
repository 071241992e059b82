//! The image that `cargo xtask image` writes: unpacked, and run with its own files alone.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::process::{self, Process};
use toka_tests::wait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Not everybody has the programs of root on the path.
const CHROOT: &str = "/usr/sbin/chroot";
/// Who runs in the image, and owns its data.
const USER: &str = "65532:65532";

/// Runs a command to its end and returns what it says.
fn run(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The archive's layout, in `directory`.
fn make(directory: &Path) -> Result<PathBuf> {
    let output = directory.join("output");
    let mut xtask = Command::new(process::xtask()?);
    xtask.args(["image", "--name", "ghcr.io/toka/vault", "--bin"]);
    xtask.arg(process::binary()?).arg("--output").arg(&output);
    run(&mut xtask)?;
    let mut archives = Vec::new();
    for entry in std::fs::read_dir(&output)? {
        let path = entry?.path();
        let is_archive = path.to_string_lossy().ends_with(".oci.tar");
        archives.extend(is_archive.then_some(path));
    }
    ensure!(archives.len() == 1, "{archives:?}");
    let layout = directory.join("layout");
    std::fs::create_dir(&layout)?;
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(&archives[0]).arg("-C").arg(&layout);
    run(&mut tar)?;
    Ok(layout)
}

fn json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("{}", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}

/// The blob that a descriptor names.
fn blob(layout: &Path, descriptor: &Value) -> Result<PathBuf> {
    let digest = descriptor["digest"].as_str().context("a digest")?;
    let hash = digest.strip_prefix("sha256:").context("of SHA-256")?;
    Ok(layout.join("blobs").join("sha256").join(hash))
}

/// Whether this process may give files to any user: not if it is root in a namespace of its own only.
fn has_all_users() -> Result<bool> {
    let map = std::fs::read_to_string("/proc/self/uid_map")?;
    let count = map.split_whitespace().nth(2).context("a count")?;
    Ok(count.parse::<u64>()? > 65_532)
}

/// Unpacks the layers over each other; the image's configuration, and the directory.
fn unpack(layout: &Path, directory: &Path, keeps_owners: bool) -> Result<(Value, PathBuf)> {
    let index = json(&layout.join("index.json"))?;
    let image = &index["manifests"][0];
    let name = &image["annotations"]["io.containerd.image.name"];
    let name = name.as_str().context("a name")?;
    ensure!(name.starts_with("ghcr.io/toka/vault:"), "{name}");
    let manifest = json(&blob(layout, image)?)?;
    let root = directory.join("root");
    std::fs::create_dir(&root)?;
    for layer in manifest["layers"].as_array().context("layers")? {
        let mut tar = Command::new("tar");
        tar.args(["-xpzf"]).arg(blob(layout, layer)?);
        if keeps_owners {
            tar.args(["--numeric-owner", "--same-owner"]);
        } else {
            tar.arg("--no-same-owner");
        }
        run(tar.arg("-C").arg(&root))?;
    }
    Ok((json(&blob(layout, &manifest["config"])?)?, root))
}

/// The arguments of `chroot` before those of `toka`.
fn enter(root: &Path, as_user: bool) -> Vec<String> {
    let user = as_user.then(|| format!("--userspec={USER}"));
    let root = root.display().to_string();
    let words = [root, "/usr/bin/toka".to_owned()];
    user.into_iter().chain(words).collect()
}

async fn get(http: SocketAddr, path: &str) -> Result<String> {
    let mut connection = tokio::net::TcpStream::connect(http).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: node\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Three addresses that nobody else has.
fn addresses() -> Result<Vec<SocketAddr>> {
    let host = Ipv4Addr::new(
        127,
        rand::random_range(1..=254),
        rand::random_range(0..=255),
        rand::random_range(1..=254),
    );
    let listeners = (0..3).map(|_| TcpListener::bind((host, 0)));
    let listeners = listeners.collect::<Result<Vec<_>, _>>()?;
    let addresses = listeners.iter().map(TcpListener::local_addr);
    Ok(addresses.collect::<Result<_, _>>()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_runs_in_the_image_alone() -> Result<()> {
    let directory = TempDir::with_prefix("toka-test-image-")?;
    let home = directory.path();
    let layout = make(home)?;
    let as_user = has_all_users()?;
    let (config, root) = unpack(&layout, home, as_user)?;
    let config = &config["config"];
    ensure!(config["User"] == USER, "{config}");
    ensure!(config["Entrypoint"][0] == "/usr/bin/toka", "{config}");
    has_little(&root)?;

    let entered = enter(&root, as_user);
    let said = run(Command::new(CHROOT).args(&entered).arg("--version"))?;
    ensure!(said.starts_with("toka "), "{said}");
    let addresses = addresses()?;
    let [client, raft, http] = addresses[..] else {
        anyhow::bail!("three of them: {addresses:?}");
    };
    let listen = [client, raft, http].map(|address| address.to_string());
    let mut arguments = entered.clone();
    let serve = ["serve", "--node-id", "1", "--data", "/var/lib/toka"];
    arguments.extend(serve.map(str::to_owned));
    for (flag, address) in ["--listen", "--raft-listen", "--http-listen"]
        .iter()
        .zip(&listen)
    {
        arguments.extend([(*flag).to_owned(), address.clone()]);
    }
    let log = home.join("node.log");
    let mut node = Process::start_with(Path::new(CHROOT), &arguments, &[], &log)?;
    let ready = wait::until("ready", PATIENCE, async || {
        let answer = get(http, "/readyz").await?;
        ensure!(answer.contains(" 200 "), "{answer}");
        Ok(())
    });
    ready.await.with_context(|| process::tail(&log))?;
    let toka = |words: &[&str]| {
        let mut command = Command::new(CHROOT);
        command.args(&entered).args(words);
        run(command.env("TOKA_ENDPOINTS", &listen[0]))
    };
    toka(&["commit", "image.works", "1"])?;
    let events = toka(&["log", "-o", "json"])?;
    ensure!(events.contains("image.works"), "{events}");
    let status = node.terminate(PATIENCE).await?;
    ensure!(status.success(), "{status}: {}", process::tail(&log));
    Ok(())
}

/// No shell and no package manager, the root certificates, and what scanners look for.
fn has_little(root: &Path) -> Result<()> {
    for absent in ["bin/sh", "usr/bin/sh", "usr/bin/dpkg", "usr/bin/openssl"] {
        ensure!(!root.join(absent).exists(), "{absent} is in the image");
    }
    let programs = std::fs::read_dir(root.join("usr/bin"))?.count();
    ensure!(programs == 1, "{programs} programs");
    let certificates = std::fs::read_to_string(root.join("etc/ssl/certs/ca-certificates.crt"))?;
    let count = certificates.matches("-----BEGIN CERTIFICATE-----").count();
    ensure!(count > 50, "{count} certificates");
    for there in ["var/lib/dpkg/status.d/libc6", "usr/lib/os-release"] {
        ensure!(root.join(there).is_file(), "{there} is missing");
    }
    Ok(())
}

/// No Docker is here to build the image of the Dockerfile. What it asks a node is asked here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_check_of_the_dockerfile_says_whether_there_is_a_quorum() -> Result<()> {
    let directory = toka_tests::manifest_dir();
    let root = directory.parent().context("it has a parent")?;
    let text = std::fs::read_to_string(root.join("Dockerfile"))?;
    let (_, check) = text.split_once("HEALTHCHECK").context("a health check")?;
    let command = check
        .lines()
        .find_map(|line| line.trim().strip_prefix("CMD "));
    let command: Vec<String> = serde_json::from_str(command.context("its command")?)?;
    ensure!(command[0] == "/usr/local/bin/toka", "{command:?}");
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let endpoint = cluster.node(1).endpoint();
        let words = command[1..].iter().map(|word| match word.as_str() {
            "127.0.0.1:7311" => endpoint.as_str(),
            word => word,
        });
        let words: Vec<&str> = words.collect();
        ensure!(words.contains(&endpoint.as_str()), "{words:?}");
        let toka = cluster.toka();
        toka.ok(&words).await?;
        cluster.kill(2)?;
        cluster.kill(3)?;
        wait::until("a node that is not healthy", PATIENCE, async || {
            let ran = toka.run(&words).await?;
            ensure!(ran.code == Some(3), "{ran:?}");
            Ok(())
        })
        .await
    })
    .await
}
