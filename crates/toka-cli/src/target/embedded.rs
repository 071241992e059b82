//! An embedded vault as the target of a command.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use toka_ledger::command::Precondition;
use toka_ledger::dir::DataDir;
use toka_ledger::disk::SystemDisk;
use toka_ledger::engine::Direction;
use toka_ledger::feed::{Message, Start};
use toka_ledger::intent::Parameters;
use toka_ledger::prepare::EventDraft;
use toka_ledger::read::{PAGE_EVENTS_MAX, Query, Selector};
use toka_ledger::{Error, EventHeader, Filter, Reader, Rejection, Stored, VaultBus};

use super::{Begin, Include, Listing, Record, Status, Watched, Watching};
use crate::cli::Consistency;
use crate::failure::{Failure, of_directory};
use crate::output::PayloadView;

/// An opened data directory.
pub(crate) struct Local {
    vault: VaultBus,
}

impl Local {
    /// Opens the vault in `path`; `may_create` one that is not there.
    pub(crate) fn open(path: &Path, may_create: bool, intents: Parameters) -> Result<Self> {
        let there_is = DataDir::read(&SystemDisk, path).map_err(of_directory)?;
        if !may_create && there_is.is_none() {
            bail!(Failure::Usage(format!(
                "there is no vault in {}; `toka --data {0} commit` or `import` makes one",
                path.display()
            )));
        }
        let vault = VaultBus::builder().intents(intents).open(path);
        Ok(Self {
            vault: vault.map_err(of_directory)?,
        })
    }

    /// A vault that is open.
    pub(super) const fn of_vault(vault: VaultBus) -> Self {
        Self { vault }
    }

    pub(super) const fn vault(&self) -> &VaultBus {
        &self.vault
    }

    pub(super) fn reader(&self) -> &Reader {
        self.vault.reader()
    }

    pub(super) fn embedding_model(&self) -> Result<Option<String>> {
        let settings = self.reader().settings()?;
        let model = settings.and_then(|settings| settings.model);
        Ok(model.map(|model| model.to_string()))
    }

    pub(super) fn intent_settings(&self) -> Result<Option<Parameters>> {
        let settings = self.reader().settings()?;
        Ok(settings.map(|settings| settings.intents))
    }

    /// The vault's history; refuses positions of another one.
    pub(super) fn check_history(&self, expected: Option<u128>) -> Result<u128> {
        let settings = self.reader().settings()?;
        let actual = settings.context("the vault has no settings")?.history_id;
        match expected.filter(|&expected| expected != actual) {
            Some(expected) => Err(super::failure(toka_client::Error::HistoryChanged {
                expected,
                actual,
            })),
            None => Ok(actual),
        }
    }

    /// Refuses a sequence after which to begin that is beyond the vault's end, as a node does.
    fn check_start(&self, sequence: u64) -> Result<()> {
        let last = self.reader().position().sequence;
        if sequence <= last {
            return Ok(());
        }
        Err(super::failure(toka_client::Error::OutOfRange {
            sequence,
            first: last.min(1),
            last,
        }))
    }

    /// Refuses a revision that the vault does not have, as a node does. Everything else it has seen.
    pub(super) fn check_revision(&self, wanted: Consistency) -> Result<()> {
        let at = self.reader().position().revision;
        match wanted {
            Consistency::AtLeast(revision) if revision > at => {
                bail!(Failure::Refused(format!(
                    "revision {revision} is not in the vault, whose revisions go from 1 to {at}"
                )))
            }
            Consistency::AtLeast(_) | Consistency::Local | Consistency::Linearizable => Ok(()),
        }
    }

    pub(super) async fn commit(
        &self,
        drafts: Vec<EventDraft>,
        preconditions: Vec<Precondition>,
    ) -> Result<Vec<EventHeader>> {
        self.vault
            .commit_batch_if(drafts, preconditions)
            .await
            .map_err(failure)
    }

    pub(super) fn commit_all<'a>(
        &'a self,
        drafts: BoxStream<'a, Result<EventDraft>>,
        in_flight: usize,
    ) -> BoxStream<'a, Result<EventHeader>> {
        let vault = &self.vault;
        // Handed over one after the other, so that parents come before their children.
        drafts
            .then(move |draft| async move { vault.submit([draft?], Vec::new()).await.map_err(failure) })
            .map(|submitted: Result<_>| async {
                let mut headers = submitted?.await.map_err(failure)?;
                Ok(headers.remove(0))
            })
            .buffered(in_flight)
            .boxed()
    }

    pub(super) fn get(&self, selector: Selector, include: Include) -> Result<Option<Record>> {
        let reader = self.vault.reader();
        let header = reader.header(&selector)?;
        header
            .map(|header| record(reader, &header, include))
            .transpose()
    }

    pub(super) fn list(&self, listing: Listing) -> BoxStream<'_, Result<Record>> {
        let revision = self.check_revision(listing.consistency);
        if let Err(error) = revision.and_then(|()| self.check_start(listing.after)) {
            return futures::stream::iter([Err(error)]).boxed();
        }
        let reader = self.vault.reader();
        let (after, until) = match self.bounds(&listing) {
            Ok(bounds) => bounds,
            Err(error) => return futures::stream::iter([Err(failure(error))]).boxed(),
        };
        let query = Query {
            after,
            until,
            filter: listing.filter,
            direction: if listing.reverse {
                Direction::Backward
            } else {
                Direction::Forward
            },
            limit: PAGE_EVENTS_MAX,
        };
        let include = listing.include;
        futures::stream::try_unfold(Some(query), move |query| async move {
            let Some(mut query) = query else {
                return Ok(None);
            };
            let page = reader.list(&query).map_err(failure)?;
            let records = page
                .headers
                .iter()
                .map(|header| record(reader, header, include))
                .collect::<Vec<_>>();
            let next = page.next.map(|next| {
                match query.direction {
                    Direction::Forward => query.after = next,
                    Direction::Backward => query.until = next,
                }
                query
            });
            Ok::<_, anyhow::Error>(Some((futures::stream::iter(records), next)))
        })
        .try_flatten()
        .boxed()
    }

    /// The sequences that a list is between.
    fn bounds(&self, listing: &Listing) -> Result<(u64, u64), Error> {
        let reader = self.vault.reader();
        let (mut after, mut until) = (listing.after, listing.until.unwrap_or(u64::MAX));
        if let Some(from) = listing.times.from {
            after = after.max(reader.last_before(from)?);
        }
        if let Some(last) = listing.times.until {
            until = until.min(reader.last_before(last.saturating_add(1))?);
        }
        Ok((after, until))
    }

    pub(super) fn watch(
        &self,
        from: Begin,
        history_id: Option<u128>,
        filter: Filter,
        include: Include,
    ) -> Result<Watching<'_>> {
        let history_id = self.check_history(history_id)?;
        let reader = self.vault.reader();
        let start = match from {
            Begin::From(from) => super::cluster::start(from),
            Begin::Cursor(name) => match reader.cursor(&name)? {
                Some(sequence) => Start::After(sequence),
                None => bail!(Failure::NotFound(format!("cursor {name}"))),
            },
        };
        if let Start::After(sequence) = start {
            self.check_start(sequence)?;
        }
        let subscription = reader.subscribe(start, filter);
        let messages =
            futures::stream::try_unfold(subscription, move |mut subscription| async move {
                let watched = match subscription.next().await.map_err(failure)? {
                    Message::Event(header) => {
                        Watched::Event(Box::new(record(reader, &header, include)?))
                    }
                    Message::Continued { intent, successor } => {
                        Watched::Continued(intent, successor)
                    }
                    message @ (Message::CaughtUp | Message::FellBehind) => {
                        let sequence = subscription.position();
                        let lag = reader.position().sequence.saturating_sub(sequence);
                        Watched::Status(match message {
                            Message::CaughtUp => Status::CaughtUp { sequence, lag },
                            _ => Status::FellBehind { sequence, lag },
                        })
                    }
                };
                Ok::<_, anyhow::Error>(Some((watched, subscription)))
            });
        Ok(Watching {
            history_id,
            messages: messages.boxed(),
        })
    }

    pub(super) async fn close(self) -> Result<()> {
        self.vault.close().await;
        Ok(())
    }
}

pub(super) fn record(reader: &Reader, header: &EventHeader, include: Include) -> Result<Record> {
    let payload = match include.payload {
        true => Some(match reader.payload(header)? {
            Stored::Present(bytes) => PayloadView::Present(bytes),
            Stored::Erased => PayloadView::Erased,
        }),
        false => None,
    };
    let embedding = match include.embedding {
        true => reader.embedding(header)?,
        false => None,
    };
    let embedding = match embedding {
        Some(Stored::Present(embedding)) => Some(embedding.iter().collect()),
        Some(Stored::Erased) | None => None,
    };
    Ok(Record {
        header: header.clone(),
        payload,
        embedding,
    })
}

/// Gives refusals their exit code.
pub(super) fn failure(error: Error) -> anyhow::Error {
    match error {
        Error::Rejected(Rejection::UnknownIntent { intent }) => {
            Failure::NotFound(format!("intent {intent}")).into()
        }
        Error::NotFound { name } => Failure::NotFound(format!("event {name}")).into(),
        Error::Rejected(Rejection::UnknownCursor { name }) => {
            Failure::NotFound(format!("cursor {name}")).into()
        }
        Error::Rejected(Rejection::UnknownGroup { name }) => {
            Failure::NotFound(format!("group {name}")).into()
        }
        Error::Rejected(Rejection::Preconditions { .. }) => {
            Failure::Violated(error.to_string()).into()
        }
        Error::Invalid(_)
        | Error::Rejected(_)
        | Error::OutOfRange { .. }
        | Error::DescendantsLimit { .. } => Failure::Refused(error.to_string()).into(),
        other => other.into(),
    }
}
