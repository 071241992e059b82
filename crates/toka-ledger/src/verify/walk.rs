//! The way through the history, event by event.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ahead::Ahead;
use super::chain::Chains;
use super::clusters::Clusters;
use super::journal::Journal;
use super::options::Options;
use super::part::{Checked, Counts, Examined, Examiner, Part};
use super::report::{Progress, Report};
use super::sums::Lookups;
use crate::core::EventHeader;
use crate::engine::{Engine, Table};
use crate::error::Error;
use crate::read::Position;
use crate::store::journal::Change;
use crate::store::meta;

/// Events between two reports of progress.
const PROGRESS_EVENTS: u64 = 256;

/// What the headers say about the other tables.
pub(super) struct Walked {
    /// The last event that was checked.
    pub(super) head: u64,
    /// Events whose headers cannot be read.
    pub(super) damaged: BTreeSet<u64>,
    pub(super) counts: Counts,
}

struct Walk<'a> {
    report: &'a mut Report,
    chains: Chains<'a>,
    clusters: Clusters,
    journal: Journal<'a>,
    last_unix_ms: u64,
    walked: Walked,
}

/// Checks all events up to `position`; `None` if it is to end.
pub(super) fn walk(
    engine: &Arc<dyn Engine>,
    position: &Position,
    lookups: Lookups,
    options: &Options,
    report: &mut Report,
    progress: &mut dyn FnMut(Progress),
) -> Result<Option<Walked>, Error> {
    let meta = super::meta::check(&**engine, position, report)?;
    let total = position.sequence;
    let mut walk = Walk {
        chains: Chains::new(&**engine, &meta),
        clusters: Clusters::new(meta.settings.as_ref(), &options.seam),
        journal: Journal::new(&**engine, position.revision),
        last_unix_ms: 0,
        walked: Walked {
            head: total,
            damaged: BTreeSet::new(),
            counts: Counts::new(),
        },
        report,
    };
    // The level may have been raised before there was an event.
    walk.changes(0)?;
    let examiner = Examiner::new(engine, meta.settings, total, lookups, options);
    let parts = Ahead::start(options, examiner.parts(), move |part| examiner.part(part));
    let mut sequence = 0;
    for part in parts {
        let Some(part) = part? else {
            return Ok(None);
        };
        walk.begin(&part);
        for event in part.events {
            sequence += 1;
            walk.event(sequence, event)?;
            if sequence.is_multiple_of(PROGRESS_EVENTS) || sequence == total {
                progress(Progress {
                    checked: sequence,
                    total,
                });
            }
        }
    }
    walk.finish(&**engine, position).map(Some)
}

impl Walk<'_> {
    /// Takes note of what the next events are.
    fn begin(&mut self, part: &Part) {
        self.walked.counts.add(&part.counts);
        let embeddings = part.events.iter().filter_map(|event| {
            let checked = event.checked.as_ref()?;
            checked.embedding.clone()
        });
        self.clusters.expect(embeddings.collect());
    }

    /// Goes on with the next event.
    fn event(&mut self, sequence: u64, event: Examined) -> Result<(), Error> {
        let Examined { checked, findings } = event;
        if let Some(checked) = &checked {
            self.time(&checked.header);
        }
        for finding in findings {
            let damaged = &self.walked.damaged;
            // What only follows was told already.
            let follows = finding
                .unless_damaged
                .is_some_and(|other| damaged.contains(&other));
            if !follows {
                self.report.problem(finding.problem);
            }
        }
        match checked {
            Some(checked) => {
                let links = self.cluster(&checked);
                if !self.clusters.is_complete() {
                    self.chains.lose_links();
                }
                self.chains
                    .push(&checked.header, &checked.row, &links, self.report)?;
            }
            None => {
                self.walked.damaged.insert(sequence);
                self.clusters.lose();
                self.chains.lose(sequence, self.report)?;
            }
        }
        self.changes(sequence)
    }

    /// Goes on with what changed behind the event at `sequence`.
    fn changes(&mut self, sequence: u64) -> Result<(), Error> {
        for change in self.journal.behind(sequence)? {
            let links = self.change(&change);
            self.chains.follow(&links);
        }
        Ok(())
    }

    /// The vault's time never runs backwards.
    fn time(&mut self, header: &EventHeader) {
        if header.unix_ms < self.last_unix_ms {
            let detail = format!(
                "its time is before that of its predecessor, {}",
                self.last_unix_ms
            );
            let (sequence, id) = (header.sequence, Some(header.id));
            self.report.event(sequence, id, Table::Headers, detail);
        }
        self.last_unix_ms = header.unix_ms;
    }

    /// Clusters an event again. Returns what the state chain goes on with.
    fn cluster(&mut self, checked: &Checked) -> Vec<Vec<u8>> {
        match &checked.embedding {
            Some(embedding) => self.clusters.push(&checked.header, embedding, self.report),
            None => {
                if checked.header.embedding.is_some() {
                    self.clusters.lose();
                }
                Vec::new()
            }
        }
    }

    /// What the state chain goes on with where something changed beside the events.
    fn change(&mut self, change: &Change) -> Vec<Vec<u8>> {
        match change {
            Change::Cursor { name, position } | Change::CursorSaved { name, position } => {
                let key = meta::cursor_key(name);
                let row = meta::encode_cursor(name, *position);
                vec![meta::state_link(&key, &row)]
            }
            Change::CursorDeleted { name } => vec![meta::cursor_deletion_link(name)],
            Change::FeatureLevel { level } => vec![meta::level_link(*level)],
            Change::Label { intent, label } => self.clusters.label(*intent, label.as_ref()),
        }
    }

    /// Compares what was found out with where the vault is.
    fn finish(self, engine: &dyn Engine, position: &Position) -> Result<Walked, Error> {
        let Self {
            report,
            chains,
            clusters,
            walked,
            ..
        } = self;
        report.events = walked.head;
        report.payloads = walked.counts.payloads;
        report.embeddings = walked.counts.embeddings;
        report.erased = walked.counts.erased;
        report.bytes = walked.counts.bytes;
        clusters.finish(engine, position, report)?;
        chains.finish(position, report);
        Ok(walked)
    }
}
