//! The apply thread: the one writer of the vault.

use std::io;

use tokio::sync::{mpsc, oneshot, watch};

use crate::apply::{Ledger, LogMark, Outcome};
use crate::command::Command;
use crate::engine::{Durability, EngineError};
use crate::error::{Error, Rejection};

/// Commits that wait for the apply thread; beyond it, callers wait for a place.
pub(super) const QUEUE_COMMITS_MAX: usize = 1_024;
/// Payload and embedding bytes after which a group takes no further commit.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// A command and who waits for it.
pub(super) struct Request {
    pub(super) command: Command,
    pub(super) reply: Reply,
}

type Reply = oneshot::Sender<Result<Outcome, Error>>;

/// Applies requests until all senders are gone or a write has failed; `ended` closes then.
///
/// After a failed write nobody knows what a later one would build on: everybody who waits gets the
/// error, and the vault takes no commit until it is opened again.
pub(super) fn run(
    mut ledger: Ledger,
    mut requests: mpsc::Receiver<Request>,
    ended: watch::Sender<()>,
) {
    while let Some(first) = requests.blocking_recv() {
        let group = gather(first, &mut requests);
        if let Err(error) = apply_in_order(&mut ledger, group) {
            tracing::error!(%error, "the vault has stopped accepting commits");
            requests.close();
            while let Some(request) = requests.blocking_recv() {
                answer(request.reply, Err(copy(&error)));
            }
            break;
        }
    }
    // Subscriptions end with the ledger.
    drop(ledger);
    drop(ended);
}

/// `first` and everything else that waits: one write for all of them.
fn gather(first: Request, requests: &mut mpsc::Receiver<Request>) -> Vec<Request> {
    let mut bytes = size(&first);
    let mut group = vec![first];
    while group.len() < QUEUE_COMMITS_MAX && bytes < GROUP_BYTES_MAX {
        let Ok(request) = requests.try_recv() else {
            break;
        };
        bytes += size(&request);
        group.push(request);
    }
    group
}

fn size(request: &Request) -> usize {
    let event_bytes = |event: &crate::command::PreparedEvent| {
        event.payload.len() + event.embedding.as_ref().map_or(0, |e| e.as_bytes().len())
    };
    request.command.events().iter().map(event_bytes).sum()
}

/// Applies a group, but for commits that would move a cursor beyond the end of the vault. Whether one does is clear only
/// once those before it are applied.
fn apply_in_order(ledger: &mut Ledger, group: Vec<Request>) -> Result<(), Error> {
    let mut ready = Vec::with_capacity(group.len());
    let mut group = group.into_iter();
    while let Some(request) = group.next() {
        if ahead(ledger, &request.command).is_some() {
            if let Err(error) = apply(ledger, std::mem::take(&mut ready)) {
                for request in std::iter::once(request).chain(group) {
                    answer(request.reply, Err(copy(&error)));
                }
                return Err(error);
            }
            if let Some(refusal) = ahead(ledger, &request.command) {
                answer(request.reply, Err(refusal.into()));
                continue;
            }
        }
        ready.push(request);
    }
    apply(ledger, ready)
}

/// What is said of a commit that would move a cursor beyond the end; `None`: it would not.
fn ahead(ledger: &Ledger, command: &Command) -> Option<Rejection> {
    let Command::Commit(commit) = command else {
        return None;
    };
    if commit.preconditions.is_empty() {
        return None;
    }
    let last = ledger.position().sequence;
    let position = commit.cursor_ahead(last)?;
    Some(Rejection::PositionAhead { position, last })
}

/// Gives everybody in the group their own outcome, or all of them the error, which is returned too.
fn apply(ledger: &mut Ledger, group: Vec<Request>) -> Result<(), Error> {
    if group.is_empty() {
        return Ok(());
    }
    let (commands, replies): (Vec<_>, Vec<_>) = group
        .into_iter()
        .map(|request| (request.command, request.reply))
        .unzip();
    match ledger.apply(&commands, LogMark::default(), Durability::Synced) {
        Ok(outcomes) => {
            debug_assert_eq!(outcomes.len(), replies.len());
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                answer(reply, Ok(outcome));
            }
            Ok(())
        }
        Err(error) => {
            for reply in replies {
                answer(reply, Err(copy(&error)));
            }
            Err(error)
        }
    }
}

fn answer(reply: Reply, result: Result<Outcome, Error>) {
    // Who gave up waiting does not want to know.
    let _ = reply.send(result);
}

/// An equal error for another waiter; errors of the operating system cannot be cloned.
fn copy(error: &Error) -> Error {
    match error {
        Error::Engine(error) => Error::Engine(copy_engine_error(error)),
        Error::Corrupt { table, key, detail } => Error::Corrupt {
            table,
            key: key.clone(),
            detail: detail.clone(),
        },
        Error::Rejected(rejection) => Error::Rejected(rejection.clone()),
        Error::Invalid(invalid) => Error::Invalid(invalid.clone()),
        _ => Error::Closed,
    }
}

fn copy_engine_error(error: &EngineError) -> EngineError {
    match error {
        EngineError::Corruption {
            path,
            table,
            detail,
            source,
        } => EngineError::Corruption {
            path: path.clone(),
            table: *table,
            detail: detail.clone(),
            source: source.as_ref().map(|source| source.to_string().into()),
        },
        EngineError::Io {
            action,
            path,
            source,
        } => EngineError::Io {
            action,
            path: path.clone(),
            source: io::Error::new(source.kind(), source.to_string()),
        },
        EngineError::Locked { path } => EngineError::Locked { path: path.clone() },
        EngineError::NotFound { path } => EngineError::NotFound { path: path.clone() },
        EngineError::AlreadyExists { path } => EngineError::AlreadyExists { path: path.clone() },
        EngineError::WrongFormat { path, detail } => EngineError::WrongFormat {
            path: path.clone(),
            detail: detail.clone(),
        },
        EngineError::DurabilityRefused { path } => {
            EngineError::DurabilityRefused { path: path.clone() }
        }
        EngineError::ReadOnly { path } => EngineError::ReadOnly { path: path.clone() },
        EngineError::ForkFull { bytes_max } => EngineError::ForkFull {
            bytes_max: *bytes_max,
        },
    }
}
