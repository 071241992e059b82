//! The first token: of a cluster that is to ask callers who they are from its first moment on.
//!
//! Its text is in a file, the same for every node. While the vault has no token with which it could be administered, its
//! leader makes that one. Whether there is one is decided in `apply`, so that two leaders do not make it twice, and
//! a token that was revoked does not come back.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toka_auth::{Token, TokenError};
use toka_ledger::command::{CREDENTIALS_LEVEL, Command, CreateToken};
use toka_ledger::credentials::{ADMIN, Actor, Limits, TokenId};
use toka_ledger::{Outcome, PrincipalName, Rejection, RoleName};
use toka_raft::CommitError;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::secret::verifier;
use crate::api::Shared;
use crate::config::ConfigError;
use crate::limits::TOKEN_FILE_BYTES_MAX;

/// How often it is looked whether there is something to do.
const INTERVAL: Duration = Duration::from_millis(500);
const KEY: &str = "bootstrap_admin_token_file";
/// Who makes the token, and whose it is.
const PRINCIPAL: &str = "bootstrap";

/// A first token, from its file.
#[derive(Debug)]
pub(crate) struct Bootstrap {
    token: Token,
}

/// What became of a try.
enum Tried {
    /// There is nothing to do any more.
    Done,
    Later,
}

impl Bootstrap {
    /// Reads the file.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`], which says nothing of what the file holds.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display();
        let unreadable = |error: io::Error| ConfigError::invalid(KEY, format!("{shown}: {error}"));
        let mut text = String::new();
        let file = File::open(path).map_err(unreadable)?;
        let mut limited = file.take(TOKEN_FILE_BYTES_MAX);
        limited.read_to_string(&mut text).map_err(unreadable)?;
        let token: Result<Token, TokenError> = text.trim().parse();
        let token =
            token.map_err(|error| ConfigError::invalid(KEY, format!("{shown}: {error}")))?;
        Ok(Self { token })
    }

    /// Makes the token, if this node leads while there is no other with which the vault can be administered, unless it has
    /// begun to stop, as `stopping` says. After that it does nothing: tasks of a node do not end before it does.
    pub(crate) async fn run(self, shared: Arc<Shared>, stopping: CancellationToken) {
        let mut is_done = false;
        while !is_done {
            sleep(INTERVAL).await;
            is_done = matches!(self.attempt(&shared, &stopping).await, Tried::Done);
        }
        std::future::pending::<()>().await;
    }

    async fn attempt(&self, shared: &Shared, stopping: &CancellationToken) -> Tried {
        // Right after a start the node has tokens that may have been revoked since.
        if !shared.is_serving() {
            return Tried::Later;
        }
        let settings = shared.reader.settings().ok().flatten();
        if settings.is_none_or(|settings| settings.feature_level < CREDENTIALS_LEVEL) {
            return Tried::Later;
        }
        let position = shared.reader.position();
        if shared.reader.auth_view().all().has_admin(position.unix_ms) {
            return Tried::Done;
        }
        // Only the leader is given a time.
        let Ok(unix_ms) = shared.replica.stamp().await else {
            return Tried::Later;
        };
        let Some(command) = self.command(shared, unix_ms) else {
            return Tried::Done;
        };
        // It still leads while it hands leadership over. Whoever leads next looks by itself, with its own file.
        if stopping.is_cancelled() {
            return Tried::Later;
        }
        self.judge(shared.replica.command(command).await)
    }

    fn judge(&self, outcome: Result<Outcome, CommitError>) -> Tried {
        let id = self.token.id;
        match outcome {
            Ok(Outcome::TokenCreated { .. }) => {
                tracing::info!(%id, "the bootstrap token is made: the vault can be administered with it");
                Tried::Done
            }
            Ok(Outcome::Rejected {
                rejection: Rejection::AdminExists,
                ..
            }) => Tried::Done,
            Ok(Outcome::Rejected {
                rejection: Rejection::TokenExists { .. },
                ..
            }) => {
                tracing::warn!(
                    %id,
                    "the bootstrap token was revoked, and no other token can administer the vault: put another one \
                     into the file, and start a node again"
                );
                Tried::Done
            }
            Ok(other) => {
                tracing::warn!(outcome = ?other, "the bootstrap token is not made yet");
                Tried::Later
            }
            Err(error) => {
                tracing::debug!(%error, "the bootstrap token is not made yet");
                Tried::Later
            }
        }
    }

    fn command(&self, shared: &Shared, unix_ms: u64) -> Option<Command> {
        let principal = PrincipalName::new(PRINCIPAL).ok()?;
        Some(Command::CreateToken(CreateToken {
            unix_ms,
            actor: Actor {
                principal: principal.clone(),
                token: None,
            },
            id: TokenId(self.token.id.0.to_be_bytes()),
            verifier: verifier(&self.token, &*shared.entropy),
            principal,
            roles: vec![RoleName::new(ADMIN).ok()?],
            grants: Vec::new(),
            limits: Limits::default(),
            expires_unix_ms: None,
            if_no_admin: true,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Node, Outside};

    /// What a file with a token holds.
    fn text() -> String {
        format!("toka_0123456789abcdef_{}\n", "A".repeat(43))
    }

    #[test]
    fn the_file_may_end_in_a_newline_and_must_hold_a_token() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("token");
        std::fs::write(&path, text()).expect("written");
        let bootstrap = Bootstrap::read(&path).expect("a token");
        assert_eq!(bootstrap.token.id.to_string(), "0123456789abcdef");
        std::fs::write(&path, "hunter2").expect("written");
        let error = Bootstrap::read(&path).expect_err("no token").to_string();
        assert!(error.starts_with("bootstrap_admin_token_file: "), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        let missing = Bootstrap::read(&dir.path().join("nowhere"));
        assert!(missing.is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_node_that_has_begun_to_stop_does_not_make_the_token() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("token");
        std::fs::write(&path, text()).expect("written");
        let bootstrap = Bootstrap::read(&path).expect("a token");
        let mut config = Config::new(1, dir.path().join("node"));
        for address in [
            &mut config.listen,
            &mut config.raft_listen,
            &mut config.http_listen,
        ] {
            address.set_port(0);
        }
        let node = Node::start(config, Outside::system()).await;
        let node = node.expect("it starts");
        node.ready().await.expect("it runs");
        let shared = node.shared();
        let has_admin = || {
            let position = shared.reader.position();
            shared.reader.auth_view().all().has_admin(position.unix_ms)
        };
        let stopping = CancellationToken::new();
        stopping.cancel();
        bootstrap.attempt(shared, &stopping).await;
        let while_stopping = has_admin();
        bootstrap.attempt(shared, &CancellationToken::new()).await;
        let else_it_would = has_admin();
        node.halt().await;
        assert_eq!((while_stopping, else_it_would), (false, true));
    }
}
