//! What a request has to pass before it is answered: it shows a token where the vault wants one, a session is only used
//! by whoever has begun it, and there is room for what it sends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use rmcp::transport::streamable_http_server::SessionManager as _;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use toka_bridge::{Bodies, BodyError, bearer};

use super::answer::Answer;

/// A request's body, bytes: more than the largest event has.
pub(super) const REQUEST_BYTES_MAX: usize = 16 << 20;
/// All bodies that are read, and not yet understood, bytes.
const BODIES_BYTES_MAX: usize = 128 << 20;
/// How long a request may take until it was sent.
const READ_MAX: Duration = Duration::from_secs(30);
/// Sessions at once; one that nobody uses for five minutes ends.
const SESSIONS_MAX: usize = 256;
/// Answers of one session that were not taken: the SDK may keep something of each for as long as the session lasts, so that
/// one with more of them is over.
const BROKEN_OFF_MAX: u32 = 256;
const SESSION: &str = "mcp-session-id";

/// What is known of sessions.
pub(super) struct Gate {
    manager: Arc<LocalSessionManager>,
    requires_token: bool,
    bodies: Bodies,
    /// By the session's id.
    holders: Mutex<BTreeMap<String, Holder>>,
}

/// Who has begun a session, and how much of it was left lying.
struct Holder {
    /// What was shown.
    shown: blake3::Hash,
    broken_off: u32,
}

impl Gate {
    pub(super) fn new(manager: Arc<LocalSessionManager>, requires_token: bool) -> Self {
        Self {
            manager,
            requires_token,
            bodies: Bodies::new(REQUEST_BYTES_MAX, BODIES_BYTES_MAX, READ_MAX),
            holders: Mutex::default(),
        }
    }

    pub(super) fn is_holder(&self, session: &str, shown: &blake3::Hash) -> bool {
        let holders = self.lock();
        let holder = holders.get(session);
        holder.is_some_and(|holder| holder.shown == *shown && holder.broken_off <= BROKEN_OFF_MAX)
    }

    /// Notes that an answer was not taken.
    pub(super) fn note_broken_off(&self, session: &str) {
        if let Some(holder) = self.lock().get_mut(session) {
            holder.broken_off = holder.broken_off.saturating_add(1);
        }
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

    pub(super) fn put(&self, session: &str, shown: blake3::Hash) -> bool {
        let mut holders = self.lock();
        let has_room = holders.len() < SESSIONS_MAX;
        if has_room {
            let holder = Holder {
                shown,
                broken_off: 0,
            };
            holders.insert(session.to_owned(), holder);
        }
        has_room
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Holder>> {
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
        Err(error) => return unread(&error),
    };
    if let Some(session) = session {
        let is_call = request.method() == Method::POST;
        let response = next.run(request).await;
        drop(room);
        return match is_call {
            true => response.map(|answer| Body::new(Answer::new(answer, gate, session))),
            // What a client listens by never ends by itself.
            false => response,
        };
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

fn unread(error: &BodyError) -> Response {
    let status = match error {
        BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        BodyError::Full { .. } => StatusCode::SERVICE_UNAVAILABLE,
        BodyError::Late { .. } => StatusCode::REQUEST_TIMEOUT,
        _ => StatusCode::BAD_REQUEST,
    };
    (status, format!("{error}\n")).into_response()
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
        assert!(gate.put("one", mine));
        assert!(gate.is_holder("one", &mine));
        assert!(!gate.is_holder("one", &theirs));
        assert!(!gate.is_holder("two", &mine));
    }

    #[test]
    fn session_whose_answers_are_left_lying_is_over() {
        let gate = Gate::new(Arc::default(), false);
        let shown = blake3::hash(b"somebody");
        assert!(gate.put("one", shown) && gate.put("two", shown));
        for _ in 0..=BROKEN_OFF_MAX {
            assert!(gate.is_holder("one", &shown));
            gate.note_broken_off("one");
        }
        assert!(!gate.is_holder("one", &shown));
        assert!(gate.is_holder("two", &shown));
    }
}
