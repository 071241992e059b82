//! Reads of one event and of several.

use std::sync::Arc;

use prost::Message;
use toka_ledger::engine::AtHand;
use toka_ledger::{Error, EventHeader, Invalid, Reader, Selector};
use toka_proto::convert::event::{embedding_message, payload_message};
use toka_proto::convert::read::{SELECTORS_MAX, check_count, check_vault};
use toka_proto::convert::status;
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
        v1::Event::from(header).encoded_len() + self.extra_bytes(header)
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

    /// The event, with what is wanted of it, if all of that is in memory; `None` where it is not there, or `is_shown`
    /// says no.
    fn at_hand(
        self,
        reader: &Reader,
        selector: &Selector,
        is_shown: &impl Fn(&EventHeader) -> bool,
    ) -> Result<AtHand<Option<v1::Event>>, Error> {
        let header = match reader.header_at_hand(selector)? {
            AtHand::Known(Some(header)) if is_shown(&header) => header,
            AtHand::Known(_) => return Ok(AtHand::Known(None)),
            AtHand::Unknown => return Ok(AtHand::Unknown),
        };
        Ok(match self.event_at_hand(reader, &header)? {
            AtHand::Known(event) => AtHand::Known(Some(event)),
            AtHand::Unknown => AtHand::Unknown,
        })
    }

    fn event_at_hand(
        self,
        reader: &Reader,
        header: &EventHeader,
    ) -> Result<AtHand<v1::Event>, Error> {
        let mut event = v1::Event::from(header);
        if self.payload {
            if header.payload_bytes > AT_HAND_BYTES_MAX {
                return Ok(AtHand::Unknown);
            }
            match reader.payload_at_hand(header)? {
                AtHand::Known(payload) => event.payload = Some(payload_message(payload)),
                AtHand::Unknown => return Ok(AtHand::Unknown),
            }
        }
        if self.embedding {
            match reader.embedding_at_hand(header)? {
                AtHand::Known(embedding) => {
                    event.embedding = embedding.map(|stored| embedding_message(&stored, self.form));
                }
                AtHand::Unknown => return Ok(AtHand::Unknown),
            }
        }
        Ok(AtHand::Known(event))
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

impl Include {
    /// As [`Include::load_all`], if all of it is in memory. Whatever fails will fail again where it is asked for in
    /// earnest.
    pub(super) fn load_at_hand(
        self,
        reader: &Reader,
        headers: &[&EventHeader],
    ) -> Option<Vec<v1::Event>> {
        let event = |header: &&EventHeader| match self.event_at_hand(reader, header) {
            Ok(AtHand::Known(event)) => Some(event),
            Ok(AtHand::Unknown) | Err(_) => None,
        };
        headers.iter().map(event).collect()
    }

    /// As [`Include::load`], several events, which are looked up together and should be few. Blocking.
    pub(super) fn load_all(
        self,
        reader: &Reader,
        headers: &[&EventHeader],
    ) -> Result<Vec<v1::Event>, Error> {
        let events = headers.iter().map(|header| v1::Event::from(*header));
        let mut events: Vec<_> = events.collect();
        if self.payload {
            for (event, payload) in events.iter_mut().zip(reader.payloads(headers)?) {
                event.payload = Some(payload_message(payload));
            }
        }
        if self.embedding {
            for (event, embedding) in events.iter_mut().zip(reader.embeddings(headers)?) {
                event.embedding = embedding.map(|stored| embedding_message(&stored, self.form));
            }
        }
        Ok(events)
    }
}

pub(super) async fn get(
    shared: &Shared,
    request: Request<v1::GetRequest>,
) -> Result<Response<v1::GetResponse>, Status> {
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
    // Most of what is asked for is in memory. To have another thread look there would take longer than the look.
    let at_hand = include.at_hand(&shared.reader, &selector, &is_shown);
    let event = match at_hand.map_err(|error| shared.failed_read(&error))? {
        AtHand::Known(event) => event,
        AtHand::Unknown => {
            let read = move |reader: &Reader| match reader.header(&selector)? {
                Some(header) if is_shown(&header) => include.load(reader, &header).map(Some),
                _ => Ok(None),
            };
            shared.read(call.deadline, read).await?
        }
    };
    let event = event.ok_or_else(|| status::event_not_found(&selector.to_string()))?;
    let header = Some(shared.header(&position));
    Ok(Response::new(v1::GetResponse {
        header,
        event: Some(event),
    }))
}

pub(super) async fn batch_get(
    shared: &Shared,
    request: Request<v1::BatchGetRequest>,
) -> Result<Response<v1::BatchGetResponse>, Status> {
    let call = shared.admit(&request)?;
    let request = request.into_inner();
    let selectors = check_vault(&request.vault)
        .and_then(|()| selectors(request.selectors))
        .map_err(|error| status::invalid(&error))?;
    let include = Include::new(request.include);
    let position = shared.barrier(&call, request.read).await?;
    let access = call.access;
    let read = move |reader: &Reader| {
        let is_shown = |header: &Arc<EventHeader>| {
            header.sequence <= position.sequence && access.sees(header.kind.as_str())
        };
        let headers = reader.headers(&selectors)?.into_iter();
        let headers: Vec<_> = headers.map(|header| header.filter(is_shown)).collect();
        let mut items = Vec::with_capacity(headers.len());
        let mut bytes = 0;
        let mut rest = &headers[..];
        while !rest.is_empty() {
            let count = include.together(rest.iter().map(Option::as_deref));
            let (together, later) = rest.split_at(count);
            rest = later;
            let known: Vec<_> = together.iter().flatten().map(|header| &**header).collect();
            let mut events = include.load_all(reader, &known)?.into_iter();
            for header in together {
                let event = header.as_ref().and_then(|_| events.next());
                let item = v1::BatchGetItem { event };
                bytes += item.encoded_len();
                // The client asks again for the rest; one item comes whatever its size.
                if bytes > PAGE_BYTES && !items.is_empty() {
                    return Ok(items);
                }
                items.push(item);
            }
        }
        Ok(items)
    };
    let items = shared.read(call.deadline, read).await?;
    Ok(Response::new(v1::BatchGetResponse {
        header: Some(shared.header(&position)),
        items,
    }))
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
