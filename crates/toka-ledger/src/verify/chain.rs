//! The two chains over all events: the history tree and the state digest.

use std::collections::VecDeque;

use bytes::Bytes;

use super::meta::Meta;
use super::report::Report;
use super::rows::{Row, get};
use crate::core::{Digest, EventHeader};
use crate::engine::{Engine, Table};
use crate::error::Error;
use crate::hash;
use crate::history::{Completed, Frontier};
use crate::read::Position;
use crate::store::history::{self, STATE_DIGEST_EVENTS, STATE_HEIGHT, Subtree};
use crate::store::meta::{self, Settings};

/// Recomputes both chains, and compares them with what is stored on the way.
pub(super) struct Chains<'a> {
    engine: &'a dyn Engine,
    /// `None` once a header could not be read.
    frontier: Option<Frontier>,
    /// What the chain may be at here; empty where it is not known.
    states: Vec<Digest>,
    /// Links are missing that could not be found again.
    has_unknown_links: bool,
}

impl<'a> Chains<'a> {
    pub(super) fn new(engine: &'a dyn Engine, meta: &Meta) -> Self {
        let states = meta.settings.as_ref().map_or_else(Vec::new, first_states);
        Self {
            engine,
            frontier: Some(Frontier::default()),
            states,
            has_unknown_links: false,
        }
    }

    /// What the intents add to the chain is not known from here on.
    pub(super) fn lose_links(&mut self) {
        self.has_unknown_links = true;
    }

    /// Goes on with an event, the row that its header is stored in, and what its intent adds.
    pub(super) fn push(
        &mut self,
        header: &EventHeader,
        row: &Bytes,
        links: &[Vec<u8>],
        report: &mut Report,
    ) -> Result<(), Error> {
        let embedding = header
            .embedding
            .map_or(Digest::ZERO, |embedding| embedding.digest);
        let leaf = hash::leaf(header.sequence, header.unix_ms, &header.digest, &embedding);
        let mut completed = VecDeque::new();
        if let Some(frontier) = &mut self.frontier {
            frontier.push(leaf, |subtree| completed.push_back(subtree));
        }
        for state in &mut self.states {
            *state = hash::state(state, row);
            for link in links {
                *state = hash::state(state, link);
            }
        }
        for subtree in completed {
            let stored = self.stored(subtree.height, subtree.index, report)?;
            check_root(&subtree, stored.as_ref(), report);
        }
        self.end_of_stretch(header.sequence, report)
    }

    /// Goes on with what changed beside the events.
    pub(super) fn follow(&mut self, links: &[Vec<u8>]) {
        for state in &mut self.states {
            for link in links {
                *state = hash::state(state, link);
            }
        }
    }

    /// Goes on past an event whose header cannot be read.
    pub(super) fn lose(&mut self, sequence: u64, report: &mut Report) -> Result<(), Error> {
        self.frontier = None;
        self.states.clear();
        self.end_of_stretch(sequence, report)
    }

    /// Compares the state with the stored one, where there is one, and goes on from that.
    fn end_of_stretch(&mut self, sequence: u64, report: &mut Report) -> Result<(), Error> {
        if !sequence.is_multiple_of(STATE_DIGEST_EVENTS) {
            return Ok(());
        }
        let index = sequence / STATE_DIGEST_EVENTS - 1;
        // A problem of the row itself was told with the root, unless the roots are lost.
        let stored = self.stored(STATE_HEIGHT, index, &mut Report::default())?;
        let Some(stored) = stored.and_then(|subtree| subtree.state_digest) else {
            self.states.clear();
            return Ok(());
        };
        let first = sequence + 1 - STATE_DIGEST_EVENTS;
        self.compare(&stored, first, sequence, report);
        self.states = vec![stored];
        Ok(())
    }

    fn compare(&self, stored: &Digest, first: u64, last: u64, report: &mut Report) {
        if self.states.contains(stored) {
            report.state_stretches += 1;
        } else if !self.states.is_empty() && !self.has_unknown_links {
            let detail = format!("the state digest over the events {first} to {last} is another");
            report.row(Table::History, detail);
        }
    }

    /// Compares both chains' ends with the vault's position.
    pub(super) fn finish(self, position: &Position, report: &mut Report) {
        report.state_digest = position.state_digest;
        let last = position.sequence;
        if !last.is_multiple_of(STATE_DIGEST_EVENTS) {
            self.compare(
                &position.state_digest,
                last / STATE_DIGEST_EVENTS * STATE_DIGEST_EVENTS + 1,
                last,
                report,
            );
        } else if !self.has_unknown_links
            && !self.states.is_empty()
            && !self.states.contains(&position.state_digest)
        {
            let detail = format!("the state digest behind event {last} is another");
            report.row(Table::Meta, detail);
        }
        let Some(frontier) = self.frontier else {
            return;
        };
        report.history_root = frontier.root();
        if report.history_root != position.history_root {
            let detail = format!("the history root should be {}", report.history_root);
            report.row(Table::Meta, detail);
        }
    }

    fn stored(
        &self,
        height: u8,
        index: u64,
        report: &mut Report,
    ) -> Result<Option<Subtree>, Error> {
        let problem = |detail: String| format!("subtree {index} of height {height}: {detail}");
        let decoded = match get(self.engine, Table::History, &history::key(height, index))? {
            Row::Present(row) => {
                history::decode(height, row).map_err(|error| (error.to_string(), true))
            }
            Row::Missing => Err(("the row is missing".to_owned(), false)),
            Row::Damaged(error) => Err((error.to_string(), true)),
        };
        Ok(match decoded {
            Ok(subtree) => Some(subtree),
            Err((detail, true)) => {
                report.unreadable_row(Table::History, problem(detail));
                None
            }
            Err((detail, false)) => {
                report.row(Table::History, problem(detail));
                None
            }
        })
    }
}

/// What the state may be right after the vault's creation. The settings have changed since if embedded
/// events fixed the dimension or the model.
fn first_states(settings: &Settings) -> Vec<Digest> {
    let state = |settings: &Settings| {
        let row = meta::encode_settings(settings);
        hash::state(&Digest::ZERO, &meta::state_link(meta::SETTINGS, &row))
    };
    let mut states = Vec::new();
    for dimension in [settings.dimension, None] {
        for model in [settings.model.clone(), None] {
            let settings = Settings {
                feature_level: settings.created_level,
                dimension,
                model,
                ..settings.clone()
            };
            states.push(state(&settings));
        }
    }
    states
}

fn check_root(computed: &Completed, stored: Option<&Subtree>, report: &mut Report) {
    if stored.is_some_and(|stored| stored.root != computed.root) {
        let (height, index) = (computed.height, computed.index);
        let detail = format!("subtree {index} of height {height}: its root is another");
        report.row(Table::History, detail);
    }
}
