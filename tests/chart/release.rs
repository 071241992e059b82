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

use crate::documents::{arguments, find};
use crate::helm::{FULL_NAME, Helm, Values};
use crate::pod::{Pod, Spec};

/// What a hook may take: less than a test waits for a command.
const RECONCILE_WITHIN: &str = "80s";
/// Ports of the chart.
const CLIENT_PORT: u16 = 7311;

/// What the templates make of some values.
#[derive(Clone, Debug)]
struct Rendered {
    replicas: u64,
    /// The specification of the pods.
    pods: Value,
    /// Arguments of the Jobs before and after an upgrade.
    before: Vec<String>,
    after: Vec<String>,
}

/// A release that runs.
#[derive(Debug)]
pub(crate) struct Release {
    helm: Helm,
    /// Its pods are 127.x.y.ORDINAL.
    network: (u8, u8),
    rendered: Rendered,
    pods: BTreeMap<u64, Pod>,
    directory: TempDir,
    _slot: SemaphorePermit<'static>,
}

impl Release {
    /// `helm install`, and waits until all pods are ready.
    pub(crate) async fn install(values: Value) -> Result<Self> {
        let slot = slot::take().await;
        let helm = Helm::new()?;
        let network = (rand::random_range(1..=254), rand::random_range(0..=255));
        let rendered = render(&helm, network, values)?;
        let mut release = Self {
            helm,
            network,
            rendered,
            pods: BTreeMap::new(),
            directory: TempDir::with_prefix("toka-chart-")?,
            _slot: slot,
        };
        release.start_missing()?;
        release.all_ready().await?;
        Ok(release)
    }

    /// `helm upgrade`: what is before, then the StatefulSet as its controller changes it, and the Job after beside that.
    pub(crate) async fn upgrade(&mut self, values: Value) -> Result<()> {
        let new = render(&self.helm, self.network, values)?;
        if new.replicas < self.rendered.replicas {
            // Otherwise the template leaves it out, as it finds in the cluster.
            self.run(&new.before).await?;
        }
        let after = new.after.clone();
        let toka = self.toka();
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
        let (changed, after) = tokio::join!(change, run(&toka, &after));
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
        let spec = Spec::new(&self.rendered.pods, ordinal, host, &volume, &log)?;
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
        self.run(&self.rendered.after).await
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

    /// A user who knows all pods.
    pub(crate) fn toka(&self) -> Toka {
        Toka::with_endpoints(self.directory.path(), &self.endpoints())
    }

    async fn status(&self) -> Result<ClusterStatus> {
        let client = Client::builder().timeout(PATIENCE);
        let client = client.connect(self.endpoints()).await?;
        Ok(client.cluster_status().await?)
    }

    async fn run(&self, arguments: &[String]) -> Result<()> {
        run(&self.toka(), arguments).await
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
        let last = u8::try_from(ordinal).expect("ordinals are small");
        Ipv4Addr::new(127, self.network.0, self.network.1, last)
    }

    fn volume(&self, ordinal: u64) -> PathBuf {
        self.directory.path().join(format!("volume-{ordinal}"))
    }
}

async fn run(toka: &Toka, arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    toka.ok(&words).await.map(drop)
}

fn render(helm: &Helm, network: (u8, u8), mut values: Value) -> Result<Rendered> {
    // The kubelet's DNS is not there: hosts are addresses.
    let host = format!("127.{}.{}.{{ordinal}}", network.0, network.1);
    values["podHost"] = json!(host);
    values["listenHost"] = json!(host);
    values["reconcile"] = json!({ "within": RECONCILE_WITHIN });
    let documents = helm.render(Values::Given(&values))?;
    let set = find(&documents, "StatefulSet", FULL_NAME)?;
    let job = |name: &str| -> Result<Vec<String>> {
        let job = find(&documents, "Job", &format!("{FULL_NAME}-{name}"))?;
        let container = job.pointer("/spec/template/spec/containers/0");
        Ok(arguments(container.context("a container")?))
    };
    Ok(Rendered {
        replicas: set["spec"]["replicas"].as_u64().context("replicas")?,
        pods: set["spec"]["template"]["spec"].clone(),
        before: job("reconcile-before")?,
        after: job("reconcile-after")?,
    })
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
