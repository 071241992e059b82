//! Over standard input and output, as desktop clients start servers.

use rmcp::service::{QuitReason, ServerInitializeError, serve_server_with_ct};
use rmcp::transport::stdio_pipes;
use tokio_util::sync::CancellationToken;

use crate::server::Server;

/// Why a server over stdio has ended before its client closed it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StdioError {
    /// The client did not begin as the protocol says.
    #[error("the client did not begin with `initialize`: {0}")]
    Initialize(Box<ServerInitializeError>),
    /// A bug: the task that serves it has panicked.
    #[error("the server has failed: {0}")]
    Panicked(#[source] tokio::task::JoinError),
}

/// Serves the process at the other end of standard input and output until it closes them, or `stop` is cancelled.
///
/// # Errors
/// [`StdioError`].
pub async fn serve(server: Server, stop: CancellationToken) -> Result<(), StdioError> {
    let running = Box::pin(serve_server_with_ct(server, stdio_pipes(), stop));
    let running = match running.await {
        Ok(running) => running,
        // Closed before anything was said: nothing was to be done.
        Err(ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled) => {
            return Ok(());
        }
        Err(error) => return Err(StdioError::Initialize(Box::new(error))),
    };
    match running.waiting().await {
        Ok(QuitReason::JoinError(error)) | Err(error) => Err(StdioError::Panicked(error)),
        Ok(_) => Ok(()),
    }
}
