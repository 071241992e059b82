//! What a request has to pass before it is answered: it shows a token where the vault wants one, a session is only used
//! by whoever has begun it, and there is room for what it sends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use rmcp::transport::streamable_http_server::SessionManager as _;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use toka_bridge::bearer;

use super::body::Bodies;

/// Sessions at once; one that nobody uses for five minutes ends.
const SESSIONS_MAX: usize = 256;
const SESSION: &str = "mcp-session-id";

/// What is known of sessions.
pub(super) struct Gate {
    manager: Arc<LocalSessionManager>,
    requires_token: bool,
    bodies: Bodies,
    /// What the one who has begun a session had shown, by the session's id.
    holders: Mutex<BTreeMap<String, blake3::Hash>>,
}

impl Gate {
    pub(super) fn new(manager: Arc<LocalSessionManager>, requires_token: bool) -> Self {
        Self {
            manager,
            requires_token,
            bodies: Bodies::default(),
            holders: Mutex::default(),
        }
    }

    fn is_holder(&self, session: &str, shown: &blake3::Hash) -> bool {
        self.lock().get(session) == Some(shown)
    }

    /// Keeps a session that has begun, if there is room for it.
    async fn keep(&self, session: String, shown: blake3::Hash, response: Response) -> Response {
        if self.lock().len() >= SESSIONS_MAX {
            let sessions = self.manager.sessions.read().await;
            self.lock()
                .retain(|session, _| sessions.contains_key(session.as_str()));
        }
        if self.put(&session, shown) {
            return response;
        }
        if let Err(error) = self.manager.close_session(&session.into()).await {
            tracing::debug!(%error, "a session was not closed");
        }
        let said = format!("{SESSIONS_MAX} sessions are open; try again when some have ended\n");
        (StatusCode::SERVICE_UNAVAILABLE, said).into_response()
    }

    fn put(&self, session: &str, shown: blake3::Hash) -> bool {
        let mut holders = self.lock();
        let has_room = holders.len() < SESSIONS_MAX;
        if has_room {
            holders.insert(session.to_owned(), shown);
        }
        has_room
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, blake3::Hash>> {
        // Nothing panics while it is held.
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets a request pass, or answers it.
pub(super) async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let token = bearer(request.headers());
    if gate.requires_token && token.is_none() {
        let said = "the vault asks who is calling: show a bearer token\n";
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (StatusCode::UNAUTHORIZED, challenge, said).into_response();
    }
    let shown = blake3::hash(token.unwrap_or_default().as_bytes());
    let session = session_of(request.headers());
    if let Some(session) = &session
        && !gate.is_holder(session, &shown)
    {
        // As of one that has ended: the client begins another one.
        return (StatusCode::NOT_FOUND, "there is no such session\n").into_response();
    }
    let (request, room) = match gate.bodies.read(request).await {
        Ok(read) => read,
        Err(error) => return error.into_response(),
    };
    if session.is_some() {
        let response = next.run(request).await;
        drop(room);
        return response;
    }
    // Seen through also where whoever has sent it goes away meanwhile: a session that nobody was told of would be open for
    // minutes, and not be counted.
    let beginning = tokio::spawn(async move {
        let response = next.run(request).await;
        drop(room);
        match session_of(response.headers()) {
            Some(begun) => gate.keep(begun, shown, response).await,
            None => response,
        }
    });
    let begun = beginning.await;
    begun.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

fn session_of(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(SESSION)?;
    value.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sessions_are_bounded_and_those_that_have_ended_make_room() {
        let manager = Arc::new(LocalSessionManager::default());
        let gate = Gate::new(Arc::clone(&manager), false);
        let shown = blake3::hash(b"somebody");
        let begin = async || {
            let (id, transport) = manager.create_session().await.expect("a session");
            let response = gate.keep(id.to_string(), shown, StatusCode::OK.into_response());
            (response.await.status(), id, transport)
        };
        let mut open = Vec::new();
        for _ in 0..SESSIONS_MAX {
            let (status, id, transport) = begin().await;
            assert_eq!(status, StatusCode::OK);
            assert!(gate.is_holder(&id, &shown));
            open.push((id, transport));
        }
        assert_eq!(begin().await.0, StatusCode::SERVICE_UNAVAILABLE);
        let (ended, _transport) = open.pop().expect("many");
        manager.close_session(&ended).await.expect("closed");
        assert_eq!(begin().await.0, StatusCode::OK);
        assert!(!gate.is_holder(&ended, &shown));
    }

    #[test]
    fn session_is_used_by_nobody_else() {
        let gate = Gate::new(Arc::default(), true);
        let (mine, theirs) = (blake3::hash(b"mine"), blake3::hash(b"theirs"));
        gate.lock().insert("one".to_owned(), mine);
        assert!(gate.is_holder("one", &mine));
        assert!(!gate.is_holder("one", &theirs));
        assert!(!gate.is_holder("two", &mine));
    }
}
