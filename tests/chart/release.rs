//! A release as helm and Kubernetes would run it, on addresses of the loopback.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use toka_client::{Client, ClusterStatus};
use toka_tests::cluster::PATIENCE;
use toka_tests::command::Toka;
use toka_tests::slot;
use tokio::sync::SemaphorePermit;

use crate::container::{Container, Volumes};
use crate::documents::{containers, find};
use crate::helm::{FULL_NAME, Helm, NAMESPACE, Values};
use crate::pod::{Pod, Spec};
use crate::secrets::Secrets;

/// What a hook may take: less than a test waits for a command.
const RECONCILE_WITHIN: &str = "80s";
/// Ports of the chart.
const CLIENT_PORT: u16 = 7311;
/// As many pods as a release can have.
const PODS_MAX: u64 = 7;

/// What the templates make of some values.
#[derive(Clone, Debug)]
struct Rendered {
    replicas: u64,
    /// The specification of the pods.
    pods: Value,
    /// The specifications of the pods of the Jobs before and after an upgrade.
    before: Value,
    after: Value,
    /// And of the pod of `helm test`.
    test: Value,
    notes: String,
}

/// A release that runs.
#[derive(Debug)]
pub(crate) struct Release {
    helm: Helm,
    /// Its pods are 127.x.y.ORDINAL.
    network: (u8, u8),
    rendered: Rendered,
    /// With TLS and authorization.
    secrets: Option<Secrets>,
    pods: BTreeMap<u64, Pod>,
    directory: TempDir,
    _slot: SemaphorePermit<'static>,
}

impl Release {
    /// `helm install`, and waits until all pods are ready.
    pub(crate) async fn install(values: Value) -> Result<Self> {
        Self::install_with(values, false).await
    }

    /// The same with TLS and authorization, whose secrets are made before, and which all upgrades have too.
    pub(crate) async fn install_secured(values: Value) -> Result<Self> {
        Self::install_with(values, true).await
    }

    async fn install_with(values: Value, is_secured: bool) -> Result<Self> {
        let slot = slot::take().await;
        let helm = Helm::new()?;
        let network = (rand::random_range(1..=254), rand::random_range(0..=255));
        let directory = TempDir::with_prefix("toka-chart-")?;
        let secrets = if is_secured {
            let hosts: Vec<String> = (0..PODS_MAX)
                .map(|ordinal| host(network, ordinal).to_string())
                .collect();
            Some(Secrets::make(&secrets_below(&directory), &hosts).await?)
        } else {
            None
        };
        let rendered = render(&helm, network, secrets.is_some(), values)?;
        let mut release = Self {
            helm,
            network,
            rendered,
            secrets,
            pods: BTreeMap::new(),
            directory,
            _slot: slot,
        };
        release.start_missing()?;
        release.all_ready().await?;
        Ok(release)
    }

    /// `helm upgrade`: what is before, then the StatefulSet as its controller changes it, and the Job after beside that.
    pub(crate) async fn upgrade(&mut self, values: Value) -> Result<()> {
        let new = render(&self.helm, self.network, self.secrets.is_some(), values)?;
        if new.replicas < self.rendered.replicas {
            // Otherwise the template leaves it out, as it finds in the cluster.
            self.run("before", &new.before).await?;
        }
        let after = self.job("after", &new.after)?;
        let home = self.directory.path().to_owned();
        let is_changed = new.pods != self.rendered.pods;
        let old = std::mem::replace(&mut self.rendered, new);
        let change = async {
            let surplus = self.pods.split_off(&self.rendered.replicas);
            let stopped = surplus.into_values().map(Pod::stop);
            futures::future::try_join_all(stopped).await?;
            let kept = old.replicas.min(self.rendered.replicas);
            self.start_missing()?;
            if is_changed {
                for ordinal in (0..kept).rev() {
                    self.roll(ordinal).await?;
                }
            }
            self.all_ready().await
        };
        let after = async {
            for container in &after {
                container.run(&home).await?;
            }
            Ok::<_, anyhow::Error>(())
        };
        let (changed, after) = tokio::join!(change, after);
        changed?;
        after
    }

    /// Stops all pods, as `kubectl scale --replicas=0` does.
    pub(crate) async fn stop_all(&mut self) -> Result<()> {
        let pods = std::mem::take(&mut self.pods);
        let stopped = pods.into_values().map(Pod::stop);
        futures::future::try_join_all(stopped).await?;
        Ok(())
    }

    /// Starts the pod with an ordinal.
    pub(crate) fn start(&mut self, ordinal: u64) -> Result<()> {
        let host = IpAddr::V4(self.host(ordinal));
        let log = self.directory.path().join(format!("pod-{ordinal}.log"));
        let volume = self.volume(ordinal);
        std::fs::create_dir_all(&volume)?;
        let pods = &self.rendered.pods;
        let volumes = self.volumes(&format!("pod-{ordinal}"), pods)?;
        let volumes = volumes.with_data(&volume);
        let ca = self.secrets.as_ref().map(Secrets::ca);
        let spec = Spec::new(pods, ordinal, host, &volumes, ca, &log)?;
        self.pods.insert(ordinal, Pod::start(spec));
        Ok(())
    }

    /// Stops the pod with an ordinal.
    pub(crate) async fn stop(&mut self, ordinal: u64) -> Result<()> {
        let pod = self.pods.remove(&ordinal).context("it runs")?;
        pod.stop().await
    }

    /// Deletes the volume of a pod that does not run.
    pub(crate) fn lose_volume(&self, ordinal: u64) -> Result<()> {
        ensure!(!self.pods.contains_key(&ordinal), "it runs");
        std::fs::remove_dir_all(self.volume(ordinal))?;
        Ok(())
    }

    /// Waits until the pod with an ordinal is ready.
    pub(crate) async fn ready(&self, ordinal: u64) -> Result<()> {
        let pod = self.pods.get(&ordinal).context("it runs")?;
        let log = || format!("pod {ordinal}: {}", tail(&pod.log()));
        pod.ready().await.with_context(log)
    }

    /// Waits until all pods are.
    pub(crate) async fn all_ready(&self) -> Result<()> {
        for ordinal in self.pods.keys() {
            self.ready(*ordinal).await?;
        }
        Ok(())
    }

    /// The Job after an upgrade, by itself.
    pub(crate) async fn reconcile(&self) -> Result<()> {
        self.run("after", &self.rendered.after).await
    }

    /// `helm test`.
    pub(crate) async fn test(&self) -> Result<()> {
        // The kubelet's DNS is not there.
        let pod = self.rendered.test.to_string();
        let pod = pod.replace(&service(), &self.endpoint(0));
        self.run("test", &serde_json::from_str(&pod)?).await
    }

    /// Commands that are run in pods, as the notes name them.
    pub(crate) fn commands_of_notes(&self) -> Vec<String> {
        let commands = self.rendered.notes.lines();
        commands
            .filter_map(|line| Some(line.split_once(" -- toka ")?.1))
            .map(|command| command.replace(&service(), &self.endpoint(0)))
            .collect()
    }

    /// What the pod with an ordinal has written.
    pub(crate) fn log(&self, ordinal: u64) -> String {
        self.pods.get(&ordinal).map(Pod::log).unwrap_or_default()
    }

    /// Client endpoint of a pod.
    pub(crate) fn endpoint(&self, ordinal: u64) -> String {
        format!("{}:{CLIENT_PORT}", self.host(ordinal))
    }

    /// Client endpoints of all pods.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.pods
            .keys()
            .map(|ordinal| self.endpoint(*ordinal))
            .collect()
    }

    /// Node ids of the voters, by the ordinals of their pods.
    pub(crate) async fn voters(&self) -> Result<BTreeMap<u64, u64>> {
        let status = self.status().await?;
        let mut voters = BTreeMap::new();
        for member in &status.membership.members {
            let ordinal = (0..)
                .take(8)
                .find(|at| self.endpoint(*at) == member.client_endpoint);
            let ordinal = ordinal.with_context(|| format!("{member:?} is no pod"))?;
            ensure!(member.voter, "{member:?} does not vote");
            let other = voters.insert(ordinal, member.node_id);
            ensure!(other.is_none(), "two members at ordinal {ordinal}");
        }
        Ok(voters)
    }

    /// A user who knows all pods, and shows the first token where there is one.
    pub(crate) fn toka(&self) -> Toka {
        let toka = self.plain_toka();
        match &self.secrets {
            Some(secrets) => secrets.shown_by(toka),
            None => toka,
        }
    }

    /// A user who knows all pods, and has no token.
    pub(crate) fn anonymous(&self) -> Toka {
        let toka = self.plain_toka();
        match &self.secrets {
            Some(secrets) => secrets.trusted_by(toka),
            None => toka,
        }
    }

    /// A client of some pods, which shows the first token where there is one.
    pub(crate) async fn client(&self, endpoints: Vec<String>) -> Result<Client> {
        let builder = match &self.secrets {
            Some(secrets) => secrets.builder()?,
            None => Client::builder(),
        };
        Ok(builder.timeout(PATIENCE).connect(endpoints).await?)
    }

    async fn status(&self) -> Result<ClusterStatus> {
        let client = self.client(self.endpoints()).await?;
        Ok(client.cluster_status().await?)
    }

    fn plain_toka(&self) -> Toka {
        Toka::with_endpoints(self.directory.path(), &self.endpoints())
    }

    /// Runs the containers of a pod, one after the other.
    async fn run(&self, name: &str, pod: &Value) -> Result<()> {
        for container in self.job(name, pod)? {
            container.run(self.directory.path()).await?;
        }
        Ok(())
    }

    fn job(&self, name: &str, pod: &Value) -> Result<Vec<Container>> {
        let volumes = self.volumes(name, pod)?;
        containers(pod)
            .map(|container| Container::new(container, 0, &volumes))
            .collect()
    }

    fn volumes(&self, name: &str, pod: &Value) -> Result<Volumes> {
        let parent = self.directory.path().join("volumes").join(name);
        Volumes::new(pod, &secrets_below(&self.directory), &parent)
    }

    fn start_missing(&mut self) -> Result<()> {
        for ordinal in 0..self.rendered.replicas {
            if !self.pods.contains_key(&ordinal) {
                self.start(ordinal)?;
            }
        }
        Ok(())
    }

    async fn roll(&mut self, ordinal: u64) -> Result<()> {
        self.stop(ordinal).await?;
        self.start(ordinal)?;
        self.ready(ordinal).await
    }

    fn host(&self, ordinal: u64) -> Ipv4Addr {
        host(self.network, ordinal)
    }

    fn volume(&self, ordinal: u64) -> PathBuf {
        self.directory.path().join(format!("volume-{ordinal}"))
    }
}

fn host(network: (u8, u8), ordinal: u64) -> Ipv4Addr {
    let last = u8::try_from(ordinal).expect("ordinals are small");
    Ipv4Addr::new(127, network.0, network.1, last)
}

fn secrets_below(directory: &TempDir) -> PathBuf {
    directory.path().join("secrets")
}

/// Of the Service for clients.
fn service() -> String {
    format!("{FULL_NAME}.{NAMESPACE}.svc.cluster.local:{CLIENT_PORT}")
}

fn render(helm: &Helm, network: (u8, u8), is_secured: bool, mut values: Value) -> Result<Rendered> {
    // The kubelet's DNS is not there: hosts are addresses.
    let host = format!("127.{}.{}.{{ordinal}}", network.0, network.1);
    values["podHost"] = json!(host);
    values["listenHost"] = json!(host);
    values["reconcile"] = json!({ "within": RECONCILE_WITHIN });
    if is_secured {
        Secrets::name_in(&mut values);
    }
    let documents = helm.render(Values::Given(&values))?;
    let set = find(&documents, "StatefulSet", FULL_NAME)?;
    let job = |name: &str| -> Result<Value> {
        let job = find(&documents, "Job", &format!("{FULL_NAME}-{name}"))?;
        Ok(job["spec"]["template"]["spec"].clone())
    };
    let test = find(&documents, "Pod", &format!("{FULL_NAME}-test"))?;
    Ok(Rendered {
        replicas: set["spec"]["replicas"].as_u64().context("replicas")?,
        pods: set["spec"]["template"]["spec"].clone(),
        before: job("reconcile-before")?,
        after: job("reconcile-after")?,
        test: test["spec"].clone(),
        notes: helm.notes(Values::Given(&values))?,
    })
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
