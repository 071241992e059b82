//! A pod as a kubelet runs it: its containers are processes with the arguments and the environment that the templates
//! give them, started again when they end, and watched by their probes. Its host is an address of the loopback, and its
//! volume a directory.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use toka_tests::cluster::PATIENCE;
use toka_tests::process::{self, Process};
use toka_tests::wait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::documents::{arguments, text};

/// Between the end of a container and its next start; a kubelet waits longer and longer.
const RESTART_PAUSE: Duration = Duration::from_millis(300);
/// Longer than any test.
const FOREVER: Duration = Duration::from_secs(3_600);
/// Exit code of a node that was removed from its cluster: it is so until its pod goes.
const REMOVED: i32 = 7;
/// A process that is younger may not be ready to be told to stop.
const YOUTH: Duration = Duration::from_secs(2);
const SIGTERM: i32 = 15;

/// One of a pod's containers.
#[derive(Clone, Debug)]
struct Container {
    arguments: Vec<String>,
    environment: Vec<(String, PathBuf)>,
}

/// One of its probes, by HTTP.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    at: SocketAddr,
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
    /// That of the pod with an ordinal, from the specification in a template.
    pub(crate) fn new(
        template: &Value,
        ordinal: u64,
        host: IpAddr,
        volume: &Path,
        log: &Path,
    ) -> Result<Self> {
        let of = |list: &str| -> Result<Vec<Container>> {
            let all = template[list].as_array().into_iter().flatten();
            all.map(|one| Container::new(one, ordinal, volume))
                .collect()
        };
        let node = of("containers")?;
        let [node] = <[Container; 1]>::try_from(node)
            .map_err(|all| anyhow::anyhow!("{} containers", all.len()))?;
        let probe = |name: &str| {
            let container = &template["containers"][0];
            Probe::new(container, name, host).context(name.to_owned())
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

impl Container {
    fn new(container: &Value, ordinal: u64, volume: &Path) -> Result<Self> {
        let mut environment = Vec::new();
        for variable in container["env"].as_array().into_iter().flatten() {
            let field = variable.pointer("/valueFrom/fieldRef/fieldPath");
            let value = match field.map(text) {
                None => text(&variable["value"]).to_owned(),
                Some("metadata.labels['apps.kubernetes.io/pod-index']") => ordinal.to_string(),
                Some(other) => bail!("{other} is not known here"),
            };
            environment.push((text(&variable["name"]).to_owned(), value));
        }
        let mut arguments = arguments(container);
        for argument in &mut arguments {
            for (name, value) in &environment {
                *argument = argument.replace(&format!("$({name})"), value);
            }
            ensure!(!argument.contains("$("), "{argument} is not expanded");
            for mount in container["volumeMounts"].as_array().into_iter().flatten() {
                ensure!(mount["name"] == "data", "{mount} is not known here");
                let path = text(&mount["mountPath"]);
                *argument = argument.replace(path, &volume.display().to_string());
            }
        }
        let environment = environment.into_iter();
        Ok(Self {
            arguments,
            environment: environment
                .map(|(name, value)| (name, value.into()))
                .collect(),
        })
    }

    fn start(&self, log: &Path) -> Result<Process> {
        let variables: Vec<(&str, &Path)> = self
            .environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_path()))
            .collect();
        Process::start_with(&process::binary()?, &self.arguments, &variables, log)
    }
}

impl Probe {
    fn new(container: &Value, name: &str, host: IpAddr) -> Result<Self> {
        let probe = &container[name];
        let number = |key: &str| probe[key].as_u64().with_context(|| key.to_owned());
        let get = &probe["httpGet"];
        let ports = container["ports"].as_array().context("ports")?;
        let port = ports.iter().find(|port| port["name"] == get["port"]);
        let port = port.and_then(|port| port["containerPort"].as_u64());
        let port = u16::try_from(port.context("a port of that name")?)?;
        Ok(Self {
            at: SocketAddr::new(host, port),
            path: text(&get["path"]).to_owned(),
            period: Duration::from_secs(number("periodSeconds")?),
            patience: Duration::from_secs(number("timeoutSeconds")?),
            failures_max: number("failureThreshold")?,
        })
    }

    /// One look.
    async fn look(&self) -> Result<()> {
        let looked = async {
            let mut connection = TcpStream::connect(self.at).await?;
            let path = &self.path;
            let request = format!("GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n");
            connection.write_all(request.as_bytes()).await?;
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
