//! The console in a real browser, on real nodes.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::secured::Secured;
use toka_tests::tls::Certificates;
use toka_tests::{nodejs, process, wait};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::OnceCell;

/// What the browser is told to do, and the lock file of what tells it.
const SCRIPTS: &str = "clients/console";
const NODE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/python-for-console");
const MODULES: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/console-browser");

/// Node.js, with what drives a browser; installed once for all tests.
async fn node() -> Result<&'static PathBuf> {
    static INSTALLED: OnceCell<PathBuf> = OnceCell::const_new();
    INSTALLED.get_or_try_init(install).await
}

async fn install() -> Result<PathBuf> {
    let scripts = toka_tests::manifest_dir().join(SCRIPTS);
    let install = move || nodejs::install(Path::new(NODE), &scripts, Path::new(MODULES));
    tokio::task::spawn_blocking(install).await?
}

/// A browser that is led through a script, on the console of node `id`.
async fn browser(script: &str, cluster: &Cluster, id: u64) -> Result<Command> {
    let mut command = Command::new(node().await?);
    for name in process::foreign_variables() {
        command.env_remove(name);
    }
    command
        .arg(toka_tests::manifest_dir().join(SCRIPTS).join(script))
        .env("MODULES", MODULES)
        .env("PAGE", format!("http://{}/console/", cluster.node(id).http))
        .env("TOKA", process::binary()?)
        .env("TOKA_ENDPOINTS", cluster.endpoints().join(","))
        .env("HOME", cluster.directory())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}

/// Leads it to the end of the script; `steps` of it at least were gone.
async fn is_led(mut browser: Command, steps: usize) -> Result<()> {
    let output = browser.output().await.context("no Node.js")?;
    let (said, failed) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    ensure!(output.status.success(), "{said}\n{failed}");
    let gone = said.lines().filter(|line| line.starts_with("ok ")).count();
    ensure!(gone >= steps, "{gone} steps: {said}");
    Ok(())
}

fn lines(led: &mut Child) -> Result<Lines<BufReader<ChildStdout>>> {
    let said = led.stdout.take().context("standard output is a pipe")?;
    Ok(BufReader::new(said).lines())
}

/// Waits until the script says a word.
async fn says(lines: &mut Lines<BufReader<ChildStdout>>, word: &str) -> Result<()> {
    while let Some(line) = lines.next_line().await? {
        if line == word {
            return Ok(());
        }
    }
    bail!("the script has ended, and has not said {word:?}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reader_sees_everything_by_clicks_and_by_keys() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let follower = cluster.followers().await?[0];
        let mut browser = browser("reading.mjs", cluster, follower).await?;
        if let Some(images) = std::env::var_os("TOKA_SCREENSHOTS") {
            browser.env("IMAGES", images);
        }
        is_led(browser, 19).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_decides_what_is_shown() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(3, &arguments, async |cluster: &mut Cluster| {
        let tasks = secured.token(cluster, "tasks", &["read:task."]).await?;
        let id = tasks.text.split('_').nth(1).context("an id")?;
        let mut browser = browser("token.mjs", cluster, 2).await?;
        browser
            .env("TOKA_TOKEN", &secured.root)
            .env("TASKS", &tasks.text)
            .env("TASKS_ID", id);
        is_led(browser, 10).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_followed_goes_on_when_the_node_is_back() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let toka = cluster.toka();
        toka.ok(&["commit", "before.restart", "{}"]).await?;
        let follower = cluster.followers().await?[0];
        let mut browser = browser("restart.mjs", cluster, follower).await?;
        let mut led = browser.stdout(Stdio::piped()).spawn()?;
        let mut lines = lines(&mut led)?;
        says(&mut lines, "open").await?;
        cluster.kill(follower)?;
        cluster.launch(follower)?;
        cluster.wait_all_ready().await?;
        toka.ok(&["commit", "after.restart", "{}"]).await?;
        let status = led.wait().await?;
        ensure!(status.success(), "{status}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_goes_away_is_missed() -> Result<()> {
    let soon = ["--unreachable-after", "1s"];
    cluster::run(3, &soon, async |cluster: &mut Cluster| {
        let followers = cluster.followers().await?;
        let (seen, gone) = (followers[0], followers[1]);
        let mut browser = browser("health.mjs", cluster, seen).await?;
        let mut led = browser.stdout(Stdio::piped()).spawn()?;
        let mut lines = lines(&mut led)?;
        says(&mut lines, "healthy").await?;
        cluster.kill(gone)?;
        says(&mut lines, "missed").await?;
        cluster.launch(gone)?;
        let status = led.wait().await?;
        ensure!(status.success(), "{status}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn console_is_served_over_tls() -> Result<()> {
    cluster::run_prepared(1, &["--http-tls"], async |cluster: &mut Cluster| {
        let certificates = Certificates::set_up(cluster)?;
        cluster.launch_all()?;
        let toka = cluster.toka();
        wait::until("a commit", PATIENCE, async || {
            toka.ok(&["commit", "over.tls", "{}"]).await
        })
        .await?;
        let mut browser = browser("over_tls.mjs", cluster, 1).await?;
        let client = &certificates.of_client;
        browser
            .env("PAGE", format!("https://{}/console/", cluster.node(1).http))
            .env("TOKA_CA", client.ca())
            .env("TOKA_CERT", client.certificate())
            .env("TOKA_KEY", client.key());
        is_led(browser, 1).await
    })
    .await
}

/// A page from elsewhere has a name, and may let it lead to a node of somebody who looks at it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_asks_nobody_answers_to_no_name_of_dns() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let mut browser = browser("rebinding.mjs", cluster, 1).await?;
        let http = cluster.node(1).http;
        browser
            .env(
                "PAGE",
                format!("http://vault.example:{}/console/", http.port()),
            )
            .env("ADDRESS", http.ip().to_string());
        is_led(browser, 1).await
    })
    .await
}
