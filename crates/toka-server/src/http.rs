//! HTTP for operators: `/livez`, `/readyz`, `/metrics`, and the console.
//!
//! Served before the stores are open, so that a node that takes its time to start is seen to live.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::api::{Shared, off_reactor};
use crate::console::{self, Console};
use crate::metrics;
use crate::status::Readiness;
use crate::transport::Security;

/// How long a scrape waits for what has to be read for it: Prometheus gives up after 10 s.
const MEASURE_MAX: Duration = Duration::from_secs(2);

/// What the pages are made of.
#[derive(Clone)]
pub(crate) struct Pages {
    /// Set once the stores are open.
    pub(crate) shared: Arc<OnceLock<Arc<Shared>>>,
    pub(crate) readiness: watch::Receiver<Readiness>,
    /// What TLS rests on, if there is TLS.
    pub(crate) security: Option<Arc<Security>>,
    /// What the console calls, set once the services are there; absent: there is no console.
    pub(crate) console: Option<Arc<OnceLock<Console>>>,
    measuring: Arc<Semaphore>,
}

impl Pages {
    /// Of a node whose stores are not open yet.
    pub(crate) fn new(
        readiness: watch::Receiver<Readiness>,
        security: Option<Arc<Security>>,
        has_console: bool,
    ) -> Self {
        Self {
            shared: Arc::default(),
            readiness,
            security,
            console: has_console.then(Arc::default),
            measuring: Arc::new(Semaphore::new(1)),
        }
    }

    pub(crate) fn router(self) -> Router {
        let pages = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics_page));
        match self.console {
            Some(_) => pages
                .route(console::CALLS, post(console_call))
                .with_state(self)
                .merge(toka_console::router()),
            None => pages.with_state(self),
        }
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
    let measured = match shared.clone() {
        Some(shared) => {
            let measure = move || metrics::measure(&shared);
            in_time(MEASURE_MAX, &pages.measuring, measure).await
        }
        None => None,
    };
    let readiness = pages.readiness.borrow().clone();
    let security = pages.security.clone();
    let text = off_reactor(move || {
        metrics::text(shared.as_deref(), measured, &readiness, security.as_deref())
    })
    .await;
    let text = text.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok::<_, StatusCode>(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}

async fn console_call(State(pages): State<Pages>, request: Request) -> Response {
    match pages.console.as_deref().and_then(OnceLock::get) {
        Some(console) => console.clone().call(request).await,
        None => (StatusCode::SERVICE_UNAVAILABLE, "the node is starting\n").into_response(),
    }
}

/// What `work` comes to, if that is soon. One at a time: of those that hang, scrape after scrape would take a thread.
async fn in_time<T: Send + 'static>(
    limit: Duration,
    turn: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let done = async {
        let permit = Arc::clone(turn).acquire_owned().await.ok()?;
        let work = move || {
            let done = work();
            drop(permit);
            done
        };
        off_reactor(work).await.ok()
    };
    timeout(limit, done).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_hangs_is_left_out_and_takes_one_thread() {
        let turn = Arc::new(Semaphore::new(1));
        let hanging = Arc::clone(&turn).acquire_owned().await;
        let soon = Duration::from_millis(1);
        let late: Option<()> = in_time(soon, &turn, || unreachable!("it is not its turn")).await;
        assert_eq!(late, None);
        drop(hanging);
        let done = in_time(Duration::from_secs(60), &turn, || 7).await;
        assert_eq!(done, Some(7));
        assert_eq!(turn.available_permits(), 1);
    }
}
