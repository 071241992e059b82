//! Reads of one event and of several.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use toka_ledger::engine::AtHand;
use toka_ledger::{Embedding, Error, EventHeader, Invalid, Reader, Selector, Stored};
use toka_proto::convert::event::{embedding_message, payload_message};
use toka_proto::convert::read::{SELECTORS_MAX, check_count, check_vault};
use toka_proto::convert::status;
use toka_proto::convert::wire::{EventParts, put_head};
use toka_proto::v1;
use tonic::{Request, Response, Status};

use super::Shared;
use crate::limits::{AT_HAND_BYTES_MAX, PAGE_BYTES};

/// Bytes of what comes with events that are looked up together (one may have more). Of what is looked up in vain, as it
/// does not fit into a reply any more, there is less than that.
const TOGETHER_BYTES: usize = 1 << 20;
/// Events that are looked up together: not so many that a slow disk takes long over them.
const TOGETHER_EVENTS: usize = 64;

/// What comes with an event's header.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Include {
    pub(super) payload: bool,
    pub(super) embedding: bool,
    form: v1::EmbeddingForm,
}

/// What makes the encoded forms of an event differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    payload: bool,
    embedding: bool,
    floats: bool,
}

impl Include {
    pub(super) fn new(message: Option<v1::Include>) -> Self {
        message.map_or_else(Self::default, |message| Self {
            payload: message.payload,
            embedding: message.embedding,
            form: message.embedding_form(),
        })
    }

    /// Whether the header alone is wanted, for which no storage is read.
    pub(super) const fn is_nothing(self) -> bool {
        !self.payload && !self.embedding
    }

    pub(super) fn shape(self) -> Shape {
        Shape {
            payload: self.payload,
            embedding: self.embedding,
            floats: self.embedding && self.form == v1::EmbeddingForm::Float,
        }
    }

    /// About how many bytes of a message the event takes, with what is wanted of it.
    pub(super) fn bytes(self, header: &EventHeader) -> usize {
        EventParts::from(header).encoded_len() + self.extra_bytes(header)
    }

    /// About how many bytes come with the header.
    pub(super) fn extra_bytes(self, header: &EventHeader) -> usize {
        let mut bytes = 0;
        if self.payload {
            bytes += header.payload_bytes as usize;
        }
        if self.embedding {
            let dimension = header.embedding.as_ref().map(|info| info.dimension);
            // As floats.
            bytes += usize::from(dimension.unwrap_or(0)) * 4;
        }
        bytes
    }

    /// How many of these events are looked up together, from the first on: at least one.
    pub(super) fn together<'h>(
        self,
        headers: impl Iterator<Item = Option<&'h EventHeader>>,
    ) -> usize {
        let mut bytes = 0;
        let together = headers.take(TOGETHER_EVENTS).take_while(|header| {
            let has_room = bytes < TOGETHER_BYTES;
            bytes += header.map_or(0, |header| self.extra_bytes(header));
            has_room
        });
        together.count()
    }

    /// As [`Include::read`], if all of it is in memory.
    pub(super) fn read_at_hand<'h>(
        self,
        reader: &Reader,
        headers: &'h [&'h EventHeader],
    ) -> Result<AtHand<Loaded<'h>>, Error> {
        let mut loaded = Loaded {
            headers,
            payloads: Vec::new(),
            embeddings: Vec::new(),
            form: self.form,
        };
        for header in headers {
            if self.payload {
                if header.payload_bytes > AT_HAND_BYTES_MAX {
                    return Ok(AtHand::Unknown);
                }
                match reader.payload_at_hand(header)? {
                    AtHand::Known(payload) => loaded.payloads.push(payload),
                    AtHand::Unknown => return Ok(AtHand::Unknown),
                }
            }
            if self.embedding {
                match reader.embedding_at_hand(header)? {
                    AtHand::Known(embedding) => loaded.embeddings.push(embedding),
                    AtHand::Unknown => return Ok(AtHand::Unknown),
                }
            }
        }
        Ok(AtHand::Known(loaded))
    }

    /// What is wanted of the events, with one look-up for all of them. Blocking.
    pub(super) fn read<'h>(
        self,
        reader: &Reader,
        headers: &'h [&'h EventHeader],
    ) -> Result<Loaded<'h>, Error> {
        let payloads = match self.payload {
            true => reader.payloads(headers)?,
            false => Vec::new(),
        };
        let embeddings = match self.embedding {
            true => reader.embeddings(headers)?,
            false => Vec::new(),
        };
        Ok(Loaded {
            headers,
            payloads,
            embeddings,
            form: self.form,
        })
    }

    /// The event, with what is wanted of it. Blocking.
    pub(super) fn load(self, reader: &Reader, header: &EventHeader) -> Result<v1::Event, Error> {
        let mut event = v1::Event::from(header);
        if self.payload {
            event.payload = Some(payload_message(reader.payload(header)?));
        }
        if self.embedding {
            let embedding = reader.embedding(header)?;
            event.embedding = embedding.map(|stored| embedding_message(&stored, self.form));
        }
        Ok(event)
    }
}

/// Events with what is wanted of them, to be written.
#[derive(Debug)]
pub(super) struct Loaded<'h> {
    headers: &'h [&'h EventHeader],
    /// One for each event, or none at all.
    payloads: Vec<Stored<Bytes>>,
    /// One for each event, or none at all.
    embeddings: Vec<Option<Stored<Embedding>>>,
    form: v1::EmbeddingForm,
}

impl<'h> Loaded<'h> {
    /// The headers alone, for which nothing has to be read.
    pub(super) fn plain(headers: &'h [&'h EventHeader]) -> Self {
        Self {
            headers,
            payloads: Vec::new(),
            embeddings: Vec::new(),
            form: v1::EmbeddingForm::Unspecified,
        }
    }

    /// The events, in the order of their headers.
    pub(super) fn parts(&self) -> impl Iterator<Item = EventParts<'_>> {
        let headers = self.headers.iter().enumerate();
        headers.map(|(at, header)| EventParts {
            header,
            payload: self.payloads.get(at),
            embedding: self.embeddings.get(at).and_then(Option::as_ref),
            form: self.form,
        })
    }

    /// Writes all of them as the field `tag` of a message.
    fn write(&self, tag: u32, out: &mut Vec<u8>) {
        for event in self.parts() {
            event.encode_field(tag, out);
        }
    }
}

/// Of [`v1::GetResponse`].
const EVENT: u32 = 2;
/// Of [`v1::BatchGetResponse`].
const ITEMS: u32 = 2;
/// Of [`v1::BatchGetItem`].
const ITEM_EVENT: u32 = 1;

/// The answer is an encoded [`v1::GetResponse`].
pub(super) async fn get(
    shared: &Shared,
    request: Request<v1::GetRequest>,
) -> Result<Response<Bytes>, Status> {
    let call = shared.admit(&request)?;
    let request = request.into_inner();
    let selector = check_vault(&request.vault)
        .and_then(|()| request.selector.ok_or(Invalid::Empty { field: "selector" }))
        .and_then(Selector::try_from)
        .map_err(|error| status::invalid(&error))?;
    let include = Include::new(request.include);
    let is_confirmed = is_linearizable(request.read.as_ref());
    let position = shared.barrier(&call, request.read).await?;
    if let Selector::Sequence(sequence) = selector
        && sequence > position.sequence
        && is_confirmed
    {
        return Err(status::position_out_of_range(sequence, position.sequence));
    }
    let access = call.access;
    let is_shown = move |header: &EventHeader| {
        header.sequence <= position.sequence && access.sees(header.kind.as_str())
    };
    let head = v1::GetResponse {
        header: Some(shared.header(&position)),
        event: None,
    };
    let mut answer = head.encode_to_vec();
    let failed = |error: Error| shared.failed_read(&error);
    let not_found = || status::event_not_found(&selector.to_string());
    // Most of what is asked for is in memory. To have another thread look there would take longer than the look.
    let header = match shared.reader.header_at_hand(&selector).map_err(failed)? {
        AtHand::Known(Some(header)) if is_shown(&header) => Some(header),
        AtHand::Known(_) => return Err(not_found()),
        AtHand::Unknown => None,
    };
    if let Some(header) = &header
        && let AtHand::Known(loaded) = include
            .read_at_hand(&shared.reader, &[&**header])
            .map_err(failed)?
    {
        loaded.write(EVENT, &mut answer);
        return Ok(Response::new(answer.into()));
    }
    // Not what was found already.
    let read = move |reader: &Reader| {
        let header = match header {
            Some(header) => Some(header),
            None => reader.header(&selector)?.filter(|header| is_shown(header)),
        };
        let Some(header) = header else {
            return Ok(None);
        };
        let mut answer = answer;
        include.read(reader, &[&*header])?.write(EVENT, &mut answer);
        Ok(Some(answer))
    };
    let answer = shared.read(call.deadline, read).await?;
    Ok(Response::new(answer.ok_or_else(not_found)?.into()))
}

/// The answer is an encoded [`v1::BatchGetResponse`].
pub(super) async fn batch_get(
    shared: &Shared,
    request: Request<v1::BatchGetRequest>,
) -> Result<Response<Bytes>, Status> {
    let call = shared.admit(&request)?;
    let request = request.into_inner();
    let selectors = check_vault(&request.vault)
        .and_then(|()| selectors(request.selectors))
        .map_err(|error| status::invalid(&error))?;
    let include = Include::new(request.include);
    let position = shared.barrier(&call, request.read).await?;
    let head = v1::BatchGetResponse {
        header: Some(shared.header(&position)),
        items: Vec::new(),
    };
    let access = call.access;
    let read = move |reader: &Reader| {
        let is_shown = |header: &Arc<EventHeader>| {
            header.sequence <= position.sequence && access.sees(header.kind.as_str())
        };
        let headers = reader.headers(&selectors)?.into_iter();
        let headers: Vec<_> = headers.map(|header| header.filter(is_shown)).collect();
        include.write_items(reader, &headers, head.encode_to_vec())
    };
    let answer = shared.read(call.deadline, read).await?;
    Ok(Response::new(answer.into()))
}

impl Include {
    /// `answer`, with an item for each of these events, or for as many as fit into a reply. Blocking.
    fn write_items(
        self,
        reader: &Reader,
        headers: &[Option<Arc<EventHeader>>],
        mut answer: Vec<u8>,
    ) -> Result<Vec<u8>, Error> {
        let mut bytes = 0;
        let mut is_first = true;
        let mut rest = headers;
        while !rest.is_empty() {
            let count = self.together(rest.iter().map(Option::as_deref));
            let (together, later) = rest.split_at(count);
            rest = later;
            let known: Vec<_> = together.iter().flatten().map(|header| &**header).collect();
            let loaded = self.read(reader, &known)?;
            let mut events = loaded.parts();
            for header in together {
                let event = header.as_ref().and_then(|_| events.next());
                let item_bytes = event.map_or(0, |event| event.field_len(ITEM_EVENT));
                bytes += item_bytes;
                // The client asks again for the rest; one item comes whatever its size.
                if bytes > PAGE_BYTES && !is_first {
                    return Ok(answer);
                }
                is_first = false;
                put_head(&mut answer, ITEMS, item_bytes);
                if let Some(event) = event {
                    event.encode_field(ITEM_EVENT, &mut answer);
                }
            }
        }
        Ok(answer)
    }
}

fn selectors(messages: Vec<v1::EventSelector>) -> Result<Vec<Selector>, Invalid> {
    if messages.is_empty() {
        return Err(Invalid::Empty { field: "selectors" });
    }
    check_count("selectors", SELECTORS_MAX, messages.len())?;
    messages.into_iter().map(Selector::try_from).collect()
}

/// Whether the leader confirms where the vault ends.
fn is_linearizable(read: Option<&v1::ReadOptions>) -> bool {
    matches!(
        read.and_then(|read| read.consistency.as_ref()),
        Some(v1::read_options::Consistency::Linearizable(_))
    )
}
