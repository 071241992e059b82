//! Unary calls of a service that does nothing: what HTTP/2 and gRPC take on this machine, whatever is called.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use toka_measure::{Pace, Server, load, ports};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::calls::Calls;

/// The argument with which this program serves them.
pub(crate) const COMMAND: &str = "serve-empty-calls";
const READY_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Serves until it is killed.
pub(crate) async fn serve(address: SocketAddr) -> Result<()> {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let server = tonic::transport::Server::builder().tcp_nodelay(true);
    Ok({ server }.add_service(health).serve(address).await?)
}

/// A process of its own that serves them, so that it shares no threads with the load.
pub(crate) struct Service {
    client: HealthClient<Channel>,
    server: Server,
}

impl Service {
    pub(crate) async fn start(directory: &Path) -> Result<Self> {
        let address = ports::free(1)?[0].to_string();
        let program = std::env::current_exe().context("where this program is")?;
        let arguments: Vec<OsString> = vec![COMMAND.into(), address.clone().into()];
        let log = directory.join("empty-calls.log");
        let mut server = Server::new("empty calls", program, arguments, log);
        server.start()?;
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
        let mut service = Self {
            client: HealthClient::new(endpoint.connect_lazy()),
            server,
        };
        let ready = async {
            while service.client.check(request()).await.is_err() {
                service.server.check()?;
                tokio::time::sleep(POLL).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(READY_LIMIT, ready)
            .await
            .context("the service does not answer")??;
        Ok(service)
    }

    pub(crate) async fn call(&self, pace: &Arc<Pace>, clients: u32) -> Result<Calls> {
        let client = self.client.clone();
        let operation = move |_, _| {
            let mut client = client.clone();
            async move {
                let called = client.check(request()).await;
                called
                    .map(|_| 1)
                    .map_err(|status| status.message().to_owned())
            }
        };
        Ok(load::closed(pace, clients, operation).await?)
    }
}

fn request() -> HealthCheckRequest {
    HealthCheckRequest::default()
}
