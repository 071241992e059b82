//! A group that has nothing to deliver, and when it may have again.

use std::future::pending;

use toka_ledger::engine::Direction;
use toka_ledger::group::{Group, Settings};
use toka_ledger::read::Position;
use toka_ledger::{Error, GroupName, Query, Reader};
use toka_proto::convert::status;
use toka_raft::Leader;
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep_until};

use crate::api::Shared;
use crate::api::commit::Refused;
use crate::limits::PULL_LOOK_PAUSE;
use crate::routing::Call;

/// A group as it was when it had nothing to deliver.
#[derive(Clone, Debug)]
pub(super) struct Idle {
    name: GroupName,
    incarnation: u64,
    version: u64,
    unacknowledged: u32,
    settings: Settings,
    /// Where the vault was: up to there nothing new is wanted.
    seen: Position,
    /// When the next outstanding event is to be delivered again, if one is.
    due: Option<Instant>,
}

/// Why a wait has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// There may be something.
    Look,
    /// Time is up.
    TimeUp,
}

impl Idle {
    /// `seen`: where the vault was before the group was looked at. `due_unix_ms`: when the next outstanding event is
    /// due (`u64::MAX`: there is none), of a time that is `now_unix_ms` now.
    pub(super) fn new(group: Group, seen: Position, due_unix_ms: u64, now_unix_ms: u64) -> Self {
        let wait = Duration::from_millis(due_unix_ms.saturating_sub(now_unix_ms).max(1));
        Self {
            name: group.name,
            incarnation: group.incarnation,
            version: group.version,
            unacknowledged: group.unacknowledged,
            settings: group.settings,
            seen,
            due: (due_unix_ms < u64::MAX).then(|| Instant::now() + wait),
        }
    }

    /// Waits until the group may have something, or `until`. `changes` tells what this node has done to it since it was
    /// looked at.
    pub(super) async fn wait(
        &mut self,
        shared: &Shared,
        call: &Call,
        leader: &Leader,
        until: Instant,
        changes: &mut watch::Receiver<u64>,
    ) -> Result<Woken, Refused> {
        let mut positions = shared.reader.watch();
        let due = self.due;
        loop {
            let now = *positions.borrow_and_update();
            if now.revision != self.seen.revision && self.is_news(shared, call, now).await? {
                return Ok(Woken::Look);
            }
            // Events that the group does not get come in great numbers, and must not be looked at one by one.
            let pause = until.min(Instant::now() + PULL_LOOK_PAUSE);
            tokio::select! {
                () = sleep_until(until) => return Ok(Woken::TimeUp),
                () = shared.router.lost(leader) => return Err(lost(call)),
                () = at(due) => return Ok(Woken::Look),
                // Never an error: whoever waits holds the sender.
                _ = changes.changed() => return Ok(Woken::Look),
                changed = positions.changed() => {
                    if changed.is_err() {
                        return Err(Refused::Final(status::stopping()));
                    }
                    sleep_until(pause).await;
                }
            }
        }
    }

    /// Whether the group may have something, now that the vault is at `now`.
    async fn is_news(
        &mut self,
        shared: &Shared,
        call: &Call,
        now: Position,
    ) -> Result<bool, Refused> {
        let known = self.clone();
        let read = move |reader: &Reader| known.has_news(reader, now);
        let is_news = shared.read(call.deadline, read).await;
        self.seen = now;
        is_news.map_err(Refused::Final)
    }

    /// Blocking.
    fn has_news(&self, reader: &Reader, now: Position) -> Result<bool, Error> {
        let Some(group) = reader.group(&self.name)? else {
            return Ok(true);
        };
        // The version also tells of what nobody here has waited for: the caller of a settlement may have gone away.
        let is_another = group.incarnation != self.incarnation || group.version != self.version;
        if is_another || group.unacknowledged != self.unacknowledged {
            return Ok(true);
        }
        let is_full = group.unacknowledged >= self.settings.unacknowledged_max;
        if is_full || now.sequence <= self.seen.sequence {
            return Ok(false);
        }
        let page = reader.list(&Query {
            after: self.seen.sequence,
            until: now.sequence,
            filter: self.settings.delivered(),
            direction: Direction::Forward,
            limit: 1,
        })?;
        Ok(!page.headers.is_empty() || page.next.is_some())
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

/// The next leader knows what has become of the group.
fn lost(call: &Call) -> Refused {
    let status = status::no_leader("the leader was replaced");
    match call.is_forwarded {
        // The node that forwarded it asks the next one.
        true => Refused::Final(status),
        false => Refused::Again(status),
    }
}
