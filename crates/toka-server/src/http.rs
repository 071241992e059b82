//! HTTP for operators: `/livez`, `/readyz`, `/metrics`.
//!
//! Served before the stores are open, so that a node that takes its time to start is seen to live.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::sync::watch;

use crate::api::{Shared, off_reactor};
use crate::metrics;
use crate::status::Readiness;
use crate::transport::Security;

/// What the pages are made of.
#[derive(Clone)]
pub(crate) struct Pages {
    /// Set once the stores are open.
    pub(crate) shared: Arc<OnceLock<Arc<Shared>>>,
    pub(crate) readiness: watch::Receiver<Readiness>,
    /// What TLS rests on, if there is TLS.
    pub(crate) security: Option<Arc<Security>>,
}

impl Pages {
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics_page))
            .with_state(self)
    }

    /// Raises the node's alarm about certificates, or lowers it, once there is a replica that has alarms.
    pub(crate) fn alarm(&self) -> impl Fn(Option<String>) + Send + 'static + use<> {
        let shared = Arc::clone(&self.shared);
        move |message| {
            if let Some(shared) = shared.get() {
                shared.replica.set_certificate_alarm(message);
            }
        }
    }
}

/// 200 as long as the process answers at all: a cluster without a quorum is not healed by restarts.
async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(pages): State<Pages>) -> (StatusCode, String) {
    // Looked at now: what is watched may be a moment old.
    let readiness = match pages.shared.get() {
        Some(shared) => Readiness::of(shared),
        None => Readiness::Starting,
    };
    let code = match readiness {
        Readiness::Ready => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, format!("{readiness}\n"))
}

async fn metrics_page(State(pages): State<Pages>) -> impl IntoResponse {
    let shared = pages.shared.get().cloned();
    let readiness = pages.readiness.borrow().clone();
    let security = pages.security.clone();
    let text =
        off_reactor(move || metrics::text(shared.as_deref(), &readiness, security.as_deref()))
            .await;
    let text = text.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok::<_, StatusCode>(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}
