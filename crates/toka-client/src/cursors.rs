//! Cursors: positions that the vault keeps under a name.

use bytes::Bytes;
use toka_ledger::{CursorName, Rejection};
use toka_proto::convert::ident;
use toka_proto::v1;
use toka_proto::v1::cursor_service_client::CursorServiceClient;

use crate::call::{Repeats, Shared};
use crate::channel::Connection;
use crate::client::Client;
use crate::config::MESSAGE_BYTES_MAX;
use crate::error::Error;
use crate::pages::{Listing, NextPage};
use crate::read::{Consistency, route};

impl Client {
    /// Puts a cursor at the sequence `to`, and makes it where there is none of that name; with `from` only if it is
    /// there, where 0 stands for one that there is not. Returns the revision.
    ///
    /// With `from`, a cursor that is at `to` already is where it is to be, so that the call is repeated after a lost
    /// answer. Without it a repeat might undo what somebody else has saved since: there is none, and the caller is told.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a position that the vault does not have; [`Error::Rejected`] if the cursor is not at
    /// `from`, with where it is; [`Error::LimitReached`] above 100,000 cursors; [`Error::OutcomeUnknown`] without
    /// `from`; [`Error::HistoryChanged`]; as every call.
    pub async fn save_cursor(
        &self,
        name: &CursorName,
        from: Option<u64>,
        to: u64,
    ) -> Result<u64, Error> {
        let repeats = repeats(from);
        let answer = self
            .shared
            .change(self.deadline(), repeats, |channel, time| {
                let message = v1::SaveCursorRequest {
                    vault: String::new(),
                    name: name.to_string(),
                    from_sequence: from,
                    to_sequence: to,
                    history_id: self.shared.history_bytes(),
                };
                let request = self.shared.request(message, time);
                async move { service(channel).save_cursor(request).await }
            })
            .await?;
        self.shared
            .observe(&answer.endpoint, answer.message.header)?;
        Ok(answer.message.revision)
    }

    /// Where a cursor is; `None` if there is none of that name.
    ///
    /// # Errors
    /// As every call.
    pub async fn cursor(
        &self,
        name: &CursorName,
        consistency: Consistency,
    ) -> Result<Option<u64>, Error> {
        let message = v1::GetCursorRequest {
            vault: String::new(),
            name: name.to_string(),
            read: Some(self.options(consistency)),
        };
        let answer = self
            .shared
            .call(route(consistency), self.deadline(), |channel, time| {
                let request = self.shared.request(message.clone(), time);
                async move { service(channel).get_cursor(request).await }
            })
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(Error::Rejected(Rejection::UnknownCursor { .. })) => return Ok(None),
            Err(error) => return Err(error),
        };
        self.shared
            .observe(&answer.endpoint, answer.message.header)?;
        let cursor = answer.message.cursor;
        let cursor = cursor.ok_or_else(|| Error::reply(&answer.endpoint, "it has no cursor"))?;
        Ok(Some(cursor.sequence))
    }

    /// All cursors and where they are, by name.
    ///
    /// # Errors
    /// As every call.
    pub async fn cursors(&self, consistency: Consistency) -> Result<Vec<(CursorName, u64)>, Error> {
        let list = Listing {
            consistency,
            deadline: self.deadline(),
            limit: usize::MAX,
        };
        let ask = |page: NextPage| v1::ListCursorsRequest {
            vault: String::new(),
            page_size: page.size,
            page_token: page.token,
            read: Some(self.options(consistency)),
        };
        let attempt =
            |channel, request| async move { service(channel).list_cursors(request).await };
        self.shared.pages(list, ask, attempt, read_cursor).await
    }

    /// Deletes a cursor; with `from` only if it is there. Returns the revision.
    ///
    /// # Errors
    /// [`Error::Rejected`] if there is none of that name (also after an earlier try of this call has deleted it), or
    /// it is not at `from`, with where it is; [`Error::OutcomeUnknown`] without `from`, as for [`Client::save_cursor`];
    /// as every call.
    pub async fn delete_cursor(&self, name: &CursorName, from: Option<u64>) -> Result<u64, Error> {
        let repeats = repeats(from);
        let answer = self
            .shared
            .change(self.deadline(), repeats, |channel, time| {
                let message = v1::DeleteCursorRequest {
                    vault: String::new(),
                    name: name.to_string(),
                    from_sequence: from,
                    history_id: self.shared.history_bytes(),
                };
                let request = self.shared.request(message, time);
                async move { service(channel).delete_cursor(request).await }
            })
            .await?;
        self.shared
            .observe(&answer.endpoint, answer.message.header)?;
        Ok(answer.message.revision)
    }
}

fn read_cursor(endpoint: &str, cursor: v1::Cursor) -> Result<(CursorName, u64), Error> {
    let name = CursorName::new(&cursor.name);
    let name = name.map_err(|error| Error::reply(endpoint, error))?;
    Ok((name, cursor.sequence))
}

/// Where a cursor must be makes a difference to whether a change of it can be repeated.
const fn repeats(from: Option<u64>) -> Repeats {
    match from {
        Some(_) => Repeats::Always,
        None => Repeats::IfUndone,
    }
}

impl Shared {
    /// The history that the client began with, as it is sent; empty before the first reply.
    pub(crate) fn history_bytes(&self) -> Bytes {
        let history_id = self.seen.first_history();
        history_id.map(ident::u128_bytes).unwrap_or_default()
    }
}

fn service(channel: Connection) -> CursorServiceClient<Connection> {
    CursorServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}
