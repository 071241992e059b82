//! A pod as a kubelet runs it: its containers are processes with the arguments and the environment that the templates
//! give them, started again when they end, and watched by their probes. Its host is an address of the loopback, and its
//! volume a directory.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use toka_tests::cluster::PATIENCE;
use toka_tests::process;
use toka_tests::wait;
use toka_tls::{Connector, Dialer, File, Trust};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tonic::transport::Uri;
use tower::Service as _;

use crate::container::{Container, Volumes};
use crate::documents::text;

/// Between the end of a container and its next start; a kubelet waits longer and longer.
const RESTART_PAUSE: Duration = Duration::from_millis(300);
/// Longer than any test.
const FOREVER: Duration = Duration::from_secs(3_600);
/// Exit code of a node that was removed from its cluster: it is so until its pod goes.
const REMOVED: i32 = 7;
/// A process that is younger may not be ready to be told to stop.
const YOUTH: Duration = Duration::from_secs(2);
const SIGTERM: i32 = 15;

/// One of its probes, by HTTP or HTTPS.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    at: Uri,
    connector: Connector,
    path: String,
    period: Duration,
    patience: Duration,
    failures_max: u64,
}

/// What a pod is made of.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    before: Vec<Container>,
    node: Container,
    startup: Probe,
    liveness: Probe,
    readiness: Probe,
    grace: Duration,
    log: PathBuf,
}

impl Spec {
    /// That of the pod with an ordinal, from the specification in a template. `ca` has signed what HTTPS is served with.
    pub(crate) fn new(
        template: &Value,
        ordinal: u64,
        host: IpAddr,
        volumes: &Volumes,
        ca: Option<&Path>,
        log: &Path,
    ) -> Result<Self> {
        let of = |list: &str| -> Result<Vec<Container>> {
            let all = template[list].as_array().into_iter().flatten();
            all.map(|one| Container::new(one, ordinal, volumes))
                .collect()
        };
        let node = of("containers")?;
        let [node] = <[Container; 1]>::try_from(node)
            .map_err(|all| anyhow::anyhow!("{} containers", all.len()))?;
        let probe = |name: &str| {
            let container = &template["containers"][0];
            Probe::new(container, name, host, ca).context(name.to_owned())
        };
        let grace = template["terminationGracePeriodSeconds"].as_u64();
        Ok(Self {
            before: of("initContainers")?,
            node,
            startup: probe("startupProbe")?,
            liveness: probe("livenessProbe")?,
            readiness: probe("readinessProbe")?,
            grace: Duration::from_secs(grace.context("no grace")?),
            log: log.to_owned(),
        })
    }
}

impl Probe {
    fn new(container: &Value, name: &str, host: IpAddr, ca: Option<&Path>) -> Result<Self> {
        let probe = &container[name];
        let number = |key: &str| probe[key].as_u64().with_context(|| key.to_owned());
        let get = &probe["httpGet"];
        let ports = container["ports"].as_array().context("ports")?;
        let port = ports.iter().find(|port| port["name"] == get["port"]);
        let port = port.and_then(|port| port["containerPort"].as_u64());
        let port = u16::try_from(port.context("a port of that name")?)?;
        let patience = Duration::from_secs(number("timeoutSeconds")?);
        let (scheme, dialer) = if get["scheme"] == "HTTPS" {
            ("https", Some(dialer(ca.context("there is no CA")?)?))
        } else {
            ("http", None)
        };
        Ok(Self {
            at: format!("{scheme}://{}", SocketAddr::new(host, port)).parse()?,
            connector: Connector::new(dialer, patience, None),
            path: text(&get["path"]).to_owned(),
            period: Duration::from_secs(number("periodSeconds")?),
            patience,
            failures_max: number("failureThreshold")?,
        })
    }

    /// One look.
    async fn look(&self) -> Result<()> {
        let looked = async {
            let connected = self.connector.clone().call(self.at.clone()).await;
            let connected = connected.map_err(anyhow::Error::from_boxed)?;
            let mut connection = connected.into_inner();
            let path = &self.path;
            let request = format!("GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n");
            connection.write_all(request.as_bytes()).await?;
            connection.flush().await?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer).await?;
            ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            Ok::<_, anyhow::Error>(())
        };
        timeout(self.patience, looked).await?
    }

    /// Looks until it has succeeded once.
    ///
    /// # Errors
    /// It has failed so often that the container would be started again.
    async fn succeeds(&self) -> Result<()> {
        let mut failures = 0;
        while let Err(error) = self.look().await {
            failures += 1;
            ensure!(failures < self.failures_max, "{}: {error:#}", self.path);
            sleep(self.period).await;
        }
        Ok(())
    }

    /// Looks for ever; returns when the container would be started again.
    async fn fails(&self) -> anyhow::Error {
        let mut failures = 0;
        loop {
            sleep(self.period).await;
            match self.look().await {
                Ok(()) => failures = 0,
                Err(_) if failures + 1 < self.failures_max => failures += 1,
                Err(error) => return error.context(self.path.clone()),
            }
        }
    }
}

/// A kubelet does not look at the certificate; here it is looked at besides.
fn dialer(ca: &Path) -> Result<Dialer> {
    let trust = Trust {
        ca: Some(File::new("ca", ca)),
        pair: None,
        is_node: false,
    };
    Ok(Dialer::new(Arc::new(trust.open()?), "server_name", None)?)
}

/// A pod that runs.
#[derive(Debug)]
pub(crate) struct Pod {
    spec: Spec,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl Pod {
    /// Starts it.
    pub(crate) fn start(spec: Spec) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(spec.clone(), stopped));
        Self { spec, stop, task }
    }

    /// SIGTERM, and waits for the end of its process.
    ///
    /// # Errors
    /// It did not end in time, or not well; a probe would have started it again.
    pub(crate) async fn stop(self) -> Result<()> {
        self.stop.send_replace(true);
        self.task.await.context("the pod's task panicked")?
    }

    /// Waits until its readiness probe succeeds.
    ///
    /// # Errors
    /// The pod has failed, or is not ready in time.
    pub(crate) async fn ready(&self) -> Result<()> {
        wait::until("a ready pod", PATIENCE, async || {
            ensure!(!self.task.is_finished(), "the pod has failed");
            self.spec.readiness.look().await
        })
        .await
    }

    /// What its containers have written.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.spec.log).unwrap_or_default()
    }
}

async fn run(spec: Spec, mut stopped: watch::Receiver<bool>) -> Result<()> {
    for container in &spec.before {
        loop {
            let mut process = container.start(&spec.log)?;
            let ended = tokio::select! {
                ended = process.wait(PATIENCE) => ended?,
                () = told(&mut stopped) => return Ok(()),
            };
            if ended.success() {
                break;
            }
            if pauses_until_told(&mut stopped).await {
                return Ok(());
            }
        }
    }
    loop {
        let mut process = spec.node.start(&spec.log)?;
        let started = Instant::now();
        let watched = async {
            match spec.startup.succeeds().await {
                Ok(()) => spec.liveness.fails().await,
                Err(error) => error,
            }
        };
        tokio::select! {
            // Started again.
            ended = process.wait(FOREVER) => {
                ended?;
            }
            failed = watched => {
                return Err(failed.context("the kubelet would start the container again"));
            }
            () = told(&mut stopped) => {
                let ended = process.terminate(spec.grace).await?;
                let is_young = started.elapsed() < YOUTH;
                ensure!(ends_well(ended, is_young), "{ended}: {}", process::tail(&spec.log));
                return Ok(());
            }
        }
        if pauses_until_told(&mut stopped).await {
            return Ok(());
        }
    }
}

/// Whether a node that was told to stop has ended as it should.
fn ends_well(ended: ExitStatus, is_young: bool) -> bool {
    ended.success()
        || ended.code() == Some(REMOVED)
        || (is_young && ended.signal() == Some(SIGTERM))
}

/// Waits until the pod is to stop.
async fn told(stopped: &mut watch::Receiver<bool>) {
    // Without a sender nobody wants it any more.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Waits before the next start; `true`: there is to be none.
async fn pauses_until_told(stopped: &mut watch::Receiver<bool>) -> bool {
    timeout(RESTART_PAUSE, told(stopped)).await.is_ok()
}
