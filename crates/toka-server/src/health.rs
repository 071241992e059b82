//! `grpc.health.v1`: follows readiness.

use toka_proto::v1::cluster_service_server::ClusterServiceServer;
use toka_proto::v1::intent_service_server::IntentServiceServer;
use toka_proto::v1::lineage_service_server::LineageServiceServer;
use toka_proto::v1::vault_service_server::VaultServiceServer;
use tokio::sync::watch;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::api::{Cluster, Intents, Lineage, Vault};
use crate::status::Readiness;

/// The whole node, in health's terms.
const NODE: &str = "";
const VAULT: &str = VaultServiceServer::<Vault>::NAME;
const INTENTS: &str = IntentServiceServer::<Intents>::NAME;
const LINEAGE: &str = LineageServiceServer::<Lineage>::NAME;
const CLUSTER: &str = ClusterServiceServer::<Cluster>::NAME;

/// Tells health what `readiness` says, for ever.
pub(crate) async fn follow(reporter: HealthReporter, mut readiness: watch::Receiver<Readiness>) {
    loop {
        let now = readiness.borrow_and_update().clone();
        let vault = serving(now == Readiness::Ready);
        // The state of a cluster can be asked for as long as the node runs.
        let cluster = serving(!matches!(now, Readiness::Stopping | Readiness::Failed(_)));
        reporter.set_service_status(NODE, vault).await;
        reporter.set_service_status(VAULT, vault).await;
        reporter.set_service_status(INTENTS, vault).await;
        reporter.set_service_status(LINEAGE, vault).await;
        reporter.set_service_status(CLUSTER, cluster).await;
        if readiness.changed().await.is_err() {
            return;
        }
    }
}

fn serving(is_serving: bool) -> ServingStatus {
    if is_serving {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    }
}
