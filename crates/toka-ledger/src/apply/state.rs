//! What the next command needs to know, beside the tables.

use std::sync::Arc;

use bytes::Bytes;

use super::overlay::View;
use super::{LogMark, Refused};
use crate::command::{FEATURE_LEVEL, FEATURE_LEVEL_MIN};
use crate::core::Digest;
use crate::core::limits::{CURSORS_MAX, UNIX_MS_END};
use crate::engine::{Batch, Engine, Table};
use crate::error::{Error, Rejection};
use crate::hash;
use crate::history::Frontier;
use crate::read::{Credentials, GROUP_SUM_REVISIONS, Position};
use crate::store::audit::AuditHead;
use crate::store::group_sum::{self, GroupSum};
use crate::store::lookup;
use crate::store::meta::{self, Applied, Settings};

/// The vault's position and settings as of the last command.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) revision: u64,
    pub(super) unix_ms: u64,
    pub(super) state_digest: Digest,
    /// Its size is the last event's sequence.
    pub(super) frontier: Frontier,
    pub(super) settings: Option<Settings>,
    pub(super) mark: LogMark,
    /// All tokens and roles, shared with the readers until the next change.
    pub(super) credentials: Arc<Credentials>,
    /// They are other ones than the readers know.
    has_new_credentials: bool,
    /// Where the chain of audit events ends.
    audit_head: AuditHead,
    /// What all rows of consumer groups and credentials come to; absent where there never was one.
    group_sum: Option<GroupSum>,
    /// It was changed, and is to be written.
    has_new_group_sum: bool,
    /// Number of cursors, once somebody wanted to know it.
    cursors: Option<u64>,
}

impl State {
    /// The state of the vault that `engine` holds.
    pub(super) fn load(engine: &dyn Engine) -> Result<Self, Error> {
        let settings = lookup::settings(engine)?;
        check_level(
            settings
                .as_ref()
                .map_or(0, |settings| settings.feature_level),
        )?;
        let applied = lookup::applied(engine)?.unwrap_or(Applied {
            revision: 0,
            sequence: 0,
            unix_ms: 0,
            state_digest: Digest::ZERO,
            frontier: Vec::new(),
            log_id: None,
        });
        let credentials = Credentials::load(engine, applied.revision)?;
        Ok(Self {
            revision: applied.revision,
            unix_ms: applied.unix_ms,
            state_digest: applied.state_digest,
            frontier: Frontier::new(applied.sequence, applied.frontier)
                .expect("decoded with one root for each 1 bit of the sequence"),
            settings,
            mark: LogMark {
                log_id: applied.log_id,
                membership: lookup::membership(engine)?,
            },
            credentials: Arc::new(credentials),
            has_new_credentials: false,
            audit_head: lookup::audit_head(engine)?.unwrap_or_default(),
            group_sum: lookup::group_sum(engine)?,
            has_new_group_sum: false,
            cursors: None,
        })
    }

    pub(super) const fn sequence(&self) -> u64 {
        self.frontier.size()
    }

    pub(super) fn position(&self) -> Position {
        Position {
            revision: self.revision,
            sequence: self.sequence(),
            unix_ms: self.unix_ms,
            history_root: self.frontier.root(),
            state_digest: self.state_digest,
        }
    }

    /// The vault's feature level; absent before its creation.
    pub(super) fn level(&self) -> Option<u32> {
        let settings = self.settings.as_ref()?;
        Some(settings.feature_level)
    }

    /// Refuses what needs a higher feature level than the vault's. It is not proposed; were it, every member
    /// that can decode it must come to the same.
    pub(super) fn check_needed(&self, needed: u32) -> Result<(), Rejection> {
        let level = self.level().ok_or(Rejection::NotCreated)?;
        if needed > level.max(FEATURE_LEVEL_MIN) {
            return Err(Rejection::FeatureLevel { needed, level });
        }
        Ok(())
    }

    /// Counts a command and moves the vault's time to the proposer's, never back.
    pub(super) fn begin(&mut self, unix_ms: u64) {
        self.revision += 1;
        self.unix_ms = self.unix_ms.max(unix_ms.min(UNIX_MS_END - 1));
    }

    /// Begins a command that needs a feature level. In a vault below that it is refused, and counts as others do.
    pub(super) fn begin_at(&mut self, unix_ms: u64, needed: u32) -> Result<(), Rejection> {
        self.begin(unix_ms);
        self.check_needed(needed)
    }

    /// Adds what was written to the state chain.
    pub(super) fn chain(&mut self, written: &[u8]) {
        self.state_digest = hash::state(&self.state_digest, written);
    }

    /// Makes room for so many more cursors, of a vault as `view` shows it.
    pub(super) fn add_cursors(&mut self, view: View<'_>, more: u64) -> Result<(), Refused> {
        let count = match self.cursors {
            Some(count) => count,
            None => view.count_cursors()?,
        };
        self.cursors = Some(count);
        if more > 0 && count.saturating_add(more) > CURSORS_MAX {
            return Err(Rejection::CursorsFull { max: CURSORS_MAX }.into());
        }
        self.cursors = Some(count + more);
        Ok(())
    }

    /// A cursor was deleted.
    pub(super) fn remove_cursor(&mut self) {
        self.cursors = self.cursors.map(|count| count.saturating_sub(1));
    }

    /// All tokens and roles.
    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// All tokens and roles, to be changed.
    pub(super) fn credentials_mut(&mut self) -> &mut Credentials {
        self.has_new_credentials = true;
        Arc::make_mut(&mut self.credentials)
    }

    /// All tokens and roles, if they have changed since they were asked for.
    pub(super) fn new_credentials(&mut self) -> Option<Arc<Credentials>> {
        let is_new = std::mem::take(&mut self.has_new_credentials);
        is_new.then(|| Arc::clone(&self.credentials))
    }

    /// Where the chain of audit events ends.
    pub(super) const fn audit_head(&self) -> AuditHead {
        self.audit_head
    }

    pub(super) const fn set_audit_head(&mut self, head: AuditHead) {
        self.audit_head = head;
    }

    /// Number of consumer groups.
    pub(super) fn groups(&self) -> u64 {
        self.group_sum.map_or(0, |sum| sum.groups)
    }

    /// What all rows of groups and credentials come to, if it is kept as of this revision.
    pub(super) fn kept_group_sum(&self) -> Option<(u64, Digest)> {
        let is_kept = self.revision.is_multiple_of(GROUP_SUM_REVISIONS);
        is_kept.then(|| (self.revision, self.group_sum.unwrap_or_default().digest()))
    }

    /// What all rows of groups and credentials come to, to be changed.
    pub(super) fn group_sum_mut(&mut self) -> &mut GroupSum {
        self.has_new_group_sum = true;
        self.group_sum.get_or_insert_default()
    }

    /// Takes over a log's mark, and puts it, the position, and what changed of the groups' sum into `batch`.
    pub(super) fn finish(&mut self, mark: LogMark, batch: &mut Batch) {
        if mark.log_id.is_some() {
            self.mark.log_id = mark.log_id;
        }
        if let Some(membership) = mark.membership {
            batch.put(
                Table::Meta,
                meta::MEMBERSHIP,
                meta::encode_membership(&membership),
            );
            self.mark.membership = Some(membership);
        }
        let applied = Applied {
            revision: self.revision,
            sequence: self.sequence(),
            unix_ms: self.unix_ms,
            state_digest: self.state_digest,
            frontier: self.frontier.roots().to_vec(),
            log_id: self.mark.log_id.clone(),
        };
        batch.put(Table::Meta, meta::APPLIED, meta::encode_applied(&applied));
        if let Some(sum) = &self.group_sum
            && self.has_new_group_sum
        {
            batch.put(Table::Meta, group_sum::KEY, group_sum::encode(sum));
        }
        self.has_new_group_sum = false;
    }
}

/// Whether this build can apply what a vault at feature level `found` asks of it.
pub(super) fn check_level(found: u32) -> Result<(), Error> {
    if found > FEATURE_LEVEL {
        return Err(Error::FeatureLevel {
            found,
            supported: FEATURE_LEVEL,
        });
    }
    Ok(())
}

/// What a crash would leave of the log's mark.
pub(super) fn flushed_log_mark(engine: &dyn Engine) -> Result<LogMark, Error> {
    let log_id: Option<Bytes> = lookup::flushed_applied(engine)?.and_then(|row| row.log_id);
    Ok(LogMark {
        log_id,
        membership: lookup::flushed_membership(engine)?,
    })
}
