//! Bytes of commands (`docs/format.md`, section "Commands").

mod batch;
mod coordination;
mod credentials;
mod precondition;

use bytes::{BufMut, Bytes, BytesMut};

pub use self::batch::Batch;
use super::{Command, Commit, Create, Label, ParentName, PreparedEvent, SetFeatureLevel};
use crate::codec::{DecodeError, Reader, put_prefixed, put_varint};
use crate::core::limits::{
    ATTRIBUTE_NAME_BYTES_MAX, ATTRIBUTE_VALUE_BYTES_MAX, ATTRIBUTES_MAX, BATCH_BYTES_MAX,
    BATCH_EVENTS_MAX, DIMENSIONS_MAX, EMBEDDING_MODEL_BYTES_MAX, INTENT_LABEL_BYTES_MAX,
    KIND_BYTES_MAX, PARENTS_MAX, PAYLOAD_BYTES_MAX, PRECONDITIONS_MAX, SALT_BYTES_MAX,
};
use crate::core::{
    Attributes, Digest, Embedding, EmbeddingModel, EventId, IntentLabel, Kind, Salt,
};
use crate::core::{IntentId, Parameters};
use crate::error::Invalid;

/// Version of the encoding, first byte of every command.
const VERSION: u8 = 1;

// Tags are persisted and never reused.
const COMMAND_CREATE: u8 = 1;
const COMMAND_COMMIT: u8 = 2;
const COMMAND_LABEL: u8 = 3;
const COMMAND_SET_FEATURE_LEVEL: u8 = 4;
const COMMAND_SAVE_CURSOR: u8 = 5;
const COMMAND_DELETE_CURSOR: u8 = 6;
const COMMAND_CREATE_GROUP: u8 = 7;
const COMMAND_DELETE_GROUP: u8 = 8;
const COMMAND_DELIVER: u8 = 9;
const COMMAND_SETTLE: u8 = 10;
const COMMAND_MOVE_PARKED: u8 = 11;
const COMMAND_UPDATE_GROUP: u8 = 12;
const COMMAND_CREATE_TOKEN: u8 = 13;
const COMMAND_ROTATE_TOKEN: u8 = 14;
const COMMAND_REVOKE_TOKEN: u8 = 15;
const COMMAND_PUT_ROLE: u8 = 16;
const COMMAND_DELETE_ROLE: u8 = 17;
const COMMAND_APPEND_AUDIT: u8 = 18;
const PARENT_ID: u8 = 1;
const PARENT_DIGEST: u8 = 2;
const PARENT_BATCH: u8 = 3;

// Which optional parts an event has.
const HAS_EMBEDDING: u8 = 1;
const HAS_SOURCE: u8 = 1 << 1;
const HAS_CONTENT_TYPE: u8 = 1 << 2;
const HAS_ATTRIBUTES: u8 = 1 << 3;
const HAS_MODEL: u8 = 1 << 4;
/// What an event takes at least: its payload's digest, and a byte or two for each part that is always there.
const EVENT_BYTES_MIN: usize = 38;

/// The commands of an entry; payloads and embeddings share its memory.
///
/// # Errors
/// [`DecodeError`] if the bytes are no entry.
pub fn decode_batch(entry: Bytes) -> Result<Vec<Command>, DecodeError> {
    let mut commands = Vec::new();
    decode_batch_to(&mut commands, entry)?;
    Ok(commands)
}

/// Appends what [`decode_batch`] makes of an entry to `commands`.
///
/// # Errors
/// As [`decode_batch`]; `commands` are then what they were.
pub fn decode_batch_to(commands: &mut Vec<Command>, entry: Bytes) -> Result<(), DecodeError> {
    let before = commands.len();
    commands.reserve(count(&entry));
    let mut reader = Reader::new(entry);
    let mut last = None;
    while reader.remaining() > 0 {
        match read_command(&mut reader, &mut last) {
            Ok(command) => commands.push(command),
            Err(error) => {
                commands.truncate(before);
                return Err(error);
            }
        }
    }
    Ok(())
}

/// How many commands there are in an entry, as their lengths say, but for no more than the input can have.
fn count(entry: &[u8]) -> usize {
    let mut count: usize = 0;
    let mut rest = entry;
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        rest = behind.get(length..).unwrap_or_default();
        count += 1;
    }
    count.min(entry.len() / EVENT_BYTES_MIN)
}

fn read_command(reader: &mut Reader, last: &mut Option<Kind>) -> Result<Command, DecodeError> {
    let n = reader.u32("command")? as usize;
    decode(reader.bytes("command", n)?, last)
}

/// The bytes of one command.
#[must_use]
pub fn encode(command: &Command) -> Bytes {
    let mut out = BytesMut::with_capacity(command.size_hint());
    put(&mut out, command);
    out.freeze()
}

fn put(out: &mut BytesMut, command: &Command) {
    out.put_u8(VERSION);
    match command {
        Command::Create(create) => put_create(out, create),
        Command::Commit(commit) => put_commit(out, commit, commit.unix_ms),
        Command::Label(label) => {
            out.put_u8(COMMAND_LABEL);
            out.put_u64_le(label.unix_ms);
            put_varint(out, label.intent.0);
            put_prefixed(out, text(label.label.as_ref()));
        }
        Command::SetFeatureLevel(set) => {
            out.put_u8(COMMAND_SET_FEATURE_LEVEL);
            out.put_u64_le(set.unix_ms);
            put_varint(out, set.level.into());
        }
        Command::SaveCursor(save) => coordination::put_save_cursor(out, save),
        Command::DeleteCursor(delete) => coordination::put_delete_cursor(out, delete),
        Command::CreateGroup(create) => coordination::put_create_group(out, create),
        Command::DeleteGroup(delete) => coordination::put_delete_group(out, delete),
        Command::Deliver(deliver) => coordination::put_deliver(out, deliver),
        Command::Settle(settle) => coordination::put_settle(out, settle),
        Command::MoveParked(moves) => coordination::put_move_parked(out, moves),
        Command::UpdateGroup(update) => coordination::put_update_group(out, update),
        Command::CreateToken(create) => credentials::put_create_token(out, create),
        Command::RotateToken(rotate) => credentials::put_rotate_token(out, rotate),
        Command::RevokeToken(revoke) => credentials::put_revoke_token(out, revoke),
        Command::PutRole(put) => credentials::put_put_role(out, put),
        Command::DeleteRole(delete) => credentials::put_delete_role(out, delete),
        Command::AppendAudit(append) => credentials::put_append_audit(out, append),
    }
}

/// All but the version; the time is `unix_ms`, and not the commit's.
fn put_commit(out: &mut BytesMut, commit: &Commit, unix_ms: u64) {
    out.put_u8(COMMAND_COMMIT);
    out.put_u64_le(unix_ms);
    put_varint(out, commit.preconditions.len() as u64);
    for precondition in &commit.preconditions {
        precondition::put(out, precondition);
    }
    put_varint(out, commit.events.len() as u64);
    for event in &commit.events {
        put_event(out, event);
    }
}

fn put_create(out: &mut BytesMut, create: &Create) {
    out.put_u8(COMMAND_CREATE);
    out.put_u64_le(create.unix_ms);
    out.put_u128_le(create.cluster_id);
    out.put_u128_le(create.history_id);
    put_varint(out, create.feature_level.into());
    put_varint(out, create.dimension.unwrap_or(0).into());
    put_prefixed(out, text(create.model.as_ref()));
    create.intents.encode(out);
}

/// A text that is never empty, or nothing.
fn text(text: Option<&impl AsRef<str>>) -> &[u8] {
    text.map_or(&[], |text| text.as_ref().as_bytes())
}

impl Command {
    /// About its bytes in an entry. Overestimates a little, so that the buffer is allocated once.
    pub(crate) fn size_hint(&self) -> usize {
        match self {
            Self::Commit(commit) => commit_size_hint(commit),
            _ => 512,
        }
    }
}

fn commit_size_hint(commit: &Commit) -> usize {
    let events: usize = commit
        .events
        .iter()
        .map(|event| {
            let embedding = event.embedding.as_ref().map_or(0, |e| e.as_bytes().len());
            let attributes: usize = event
                .attributes
                .iter()
                .map(|(n, v)| n.len() + v.len() + 4)
                .sum();
            384 + event.payload.len() + embedding + attributes + 33 * event.parents.len()
        })
        .sum();
    32 + events + commit.preconditions.len() * 300
}

fn put_event(out: &mut BytesMut, event: &PreparedEvent) {
    let attributes = &event.attributes;
    let flag = |present: bool, bit: u8| if present { bit } else { 0 };
    out.put_u8(
        flag(event.embedding.is_some(), HAS_EMBEDDING)
            | flag(attributes.source.is_some(), HAS_SOURCE)
            | flag(attributes.content_type.is_some(), HAS_CONTENT_TYPE)
            | flag(!attributes.pairs.is_empty(), HAS_ATTRIBUTES)
            | flag(event.model.is_some(), HAS_MODEL),
    );
    put_prefixed(out, event.kind.as_str().as_bytes());
    out.put_slice(event.payload_digest.as_bytes());
    put_prefixed(out, &event.payload);
    put_prefixed(out, event.salt.as_bytes());
    put_varint(out, event.parents.len() as u64);
    for parent in &event.parents {
        put_parent(out, parent);
    }
    if let Some(embedding) = &event.embedding {
        put_prefixed(out, embedding.as_bytes());
    }
    if let Some(model) = &event.model {
        put_prefixed(out, model.as_str().as_bytes());
    }
    for text in [&attributes.source, &attributes.content_type]
        .into_iter()
        .flatten()
    {
        put_prefixed(out, text.as_bytes());
    }
    if !attributes.pairs.is_empty() {
        put_varint(out, attributes.pairs.len() as u64);
        for (name, value) in &attributes.pairs {
            put_prefixed(out, name.as_bytes());
            put_prefixed(out, value.as_bytes());
        }
    }
}

fn put_parent(out: &mut BytesMut, parent: &ParentName) {
    match parent {
        ParentName::Id(id) => {
            out.put_u8(PARENT_ID);
            out.put_slice(id.as_bytes());
        }
        ParentName::Digest(digest) => {
            out.put_u8(PARENT_DIGEST);
            out.put_slice(digest.as_bytes());
        }
        ParentName::Batch(index) => {
            out.put_u8(PARENT_BATCH);
            out.put_u16_le(*index);
        }
    }
}

/// `last` is the kind of the event before.
fn decode(bytes: Bytes, last: &mut Option<Kind>) -> Result<Command, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.u8("command version")?;
    if version != VERSION {
        return Err(DecodeError::Version {
            field: "command",
            version,
        });
    }
    let command = match reader.u8("command tag")? {
        COMMAND_CREATE => Command::Create(read_create(&mut reader)?),
        COMMAND_COMMIT => Command::Commit(read_commit(&mut reader, last)?),
        COMMAND_LABEL => Command::Label(read_label(&mut reader)?),
        COMMAND_SET_FEATURE_LEVEL => Command::SetFeatureLevel(SetFeatureLevel {
            unix_ms: reader.u64("unix_ms")?,
            level: read_level(&mut reader)?,
        }),
        COMMAND_SAVE_CURSOR => Command::SaveCursor(coordination::read_save_cursor(&mut reader)?),
        COMMAND_DELETE_CURSOR => {
            Command::DeleteCursor(coordination::read_delete_cursor(&mut reader)?)
        }
        COMMAND_CREATE_GROUP => Command::CreateGroup(coordination::read_create_group(&mut reader)?),
        COMMAND_DELETE_GROUP => Command::DeleteGroup(coordination::read_delete_group(&mut reader)?),
        COMMAND_DELIVER => Command::Deliver(coordination::read_deliver(&mut reader)?),
        COMMAND_SETTLE => Command::Settle(coordination::read_settle(&mut reader)?),
        COMMAND_MOVE_PARKED => Command::MoveParked(coordination::read_move_parked(&mut reader)?),
        COMMAND_UPDATE_GROUP => Command::UpdateGroup(coordination::read_update_group(&mut reader)?),
        COMMAND_CREATE_TOKEN => Command::CreateToken(credentials::read_create_token(&mut reader)?),
        COMMAND_ROTATE_TOKEN => Command::RotateToken(credentials::read_rotate_token(&mut reader)?),
        COMMAND_REVOKE_TOKEN => Command::RevokeToken(credentials::read_revoke_token(&mut reader)?),
        COMMAND_PUT_ROLE => Command::PutRole(credentials::read_put_role(&mut reader)?),
        COMMAND_DELETE_ROLE => Command::DeleteRole(credentials::read_delete_role(&mut reader)?),
        COMMAND_APPEND_AUDIT => Command::AppendAudit(credentials::read_append_audit(&mut reader)?),
        _ => {
            return Err(DecodeError::Invalid {
                field: "command tag",
            });
        }
    };
    reader.finish()?;
    Ok(command)
}

fn read_create(reader: &mut Reader) -> Result<Create, DecodeError> {
    let unix_ms = reader.u64("unix_ms")?;
    let cluster_id = u128::from_le_bytes(reader.array("cluster id")?);
    let history_id = u128::from_le_bytes(reader.array("history id")?);
    let feature_level = read_level(reader)?;
    let dimension = reader.count("dimension", DIMENSIONS_MAX)?;
    Ok(Create {
        cluster_id,
        history_id,
        feature_level,
        dimension: u16::try_from(dimension)
            .ok()
            .filter(|&dimension| dimension > 0),
        model: read_optional(
            reader,
            "embedding model",
            EMBEDDING_MODEL_BYTES_MAX,
            EmbeddingModel::new,
        )?,
        intents: Parameters::decode(reader)?,
        unix_ms,
    })
}

fn read_level(reader: &mut Reader) -> Result<u32, DecodeError> {
    const FIELD: &str = "feature level";
    u32::try_from(reader.varint(FIELD)?).map_err(|_| DecodeError::Invalid { field: FIELD })
}

fn read_label(reader: &mut Reader) -> Result<Label, DecodeError> {
    Ok(Label {
        unix_ms: reader.u64("unix_ms")?,
        intent: IntentId(reader.varint("intent")?),
        label: read_optional(reader, "label", INTENT_LABEL_BYTES_MAX, IntentLabel::new)?,
    })
}

/// A checked text; nothing where it is empty.
fn read_optional<T>(
    reader: &mut Reader,
    field: &'static str,
    max: usize,
    check: impl FnOnce(&str) -> Result<T, Invalid>,
) -> Result<Option<T>, DecodeError> {
    let text = reader.text(field, max)?;
    if text.is_empty() {
        return Ok(None);
    }
    check(&text)
        .map(Some)
        .map_err(|_| DecodeError::Invalid { field })
}

fn read_commit(reader: &mut Reader, last: &mut Option<Kind>) -> Result<Commit, DecodeError> {
    let unix_ms = reader.u64("unix_ms")?;
    let preconditions = (0..reader.count("preconditions", PRECONDITIONS_MAX)?)
        .map(|_| precondition::read(reader))
        .collect::<Result<_, _>>()?;
    let count = reader.count("events", BATCH_EVENTS_MAX)?;
    if count == 0 {
        return Err(DecodeError::Invalid { field: "events" });
    }
    // Room for one where there is one, as there mostly is: a vector that grows begins with four. And for no more than the
    // input can have.
    let mut events = Vec::with_capacity(count.min(reader.remaining() / EVENT_BYTES_MIN));
    for index in 0..count {
        events.push(read_event(reader, index, last)?);
    }
    Ok(Commit {
        unix_ms,
        events,
        preconditions,
    })
}

fn read_event(
    reader: &mut Reader,
    index: usize,
    last: &mut Option<Kind>,
) -> Result<PreparedEvent, DecodeError> {
    const KNOWN: u8 = HAS_EMBEDDING | HAS_SOURCE | HAS_CONTENT_TYPE | HAS_ATTRIBUTES | HAS_MODEL;
    let flags = reader.u8("flags")?;
    if flags & !KNOWN != 0 {
        return Err(DecodeError::Invalid { field: "flags" });
    }
    let kind = read_kind_after(reader, last)?;
    let payload_digest = Digest(reader.array("payload digest")?);
    let payload = reader.prefixed("payload", PAYLOAD_BYTES_MAX)?;
    let salt = reader.lent("salt", SALT_BYTES_MAX, Salt::new)?;
    let parents = (0..reader.count("parents", PARENTS_MAX)?)
        .map(|_| read_parent(reader, index))
        .collect::<Result<_, _>>()?;
    let embedding = if flags & HAS_EMBEDDING == 0 {
        None
    } else {
        let components = reader.prefixed("embedding", DIMENSIONS_MAX * 2)?;
        Some(Embedding::from_quantized_bytes(components).map_err(invalid("embedding"))?)
    };
    let model = if flags & HAS_MODEL == 0 {
        None
    } else {
        const FIELD: &str = "embedding model";
        Some(reader.checked(FIELD, EMBEDDING_MODEL_BYTES_MAX, EmbeddingModel::new)?)
    };
    let attributes = read_attributes(reader, flags)?;
    Ok(PreparedEvent {
        kind,
        payload,
        payload_digest,
        salt,
        parents,
        embedding,
        model,
        attributes,
    })
}

fn read_attributes(reader: &mut Reader, flags: u8) -> Result<Attributes, DecodeError> {
    let mut text = |bit: u8, field: &'static str| {
        (flags & bit != 0)
            .then(|| reader.text(field, ATTRIBUTE_VALUE_BYTES_MAX))
            .transpose()
    };
    let source = text(HAS_SOURCE, "source")?;
    let content_type = text(HAS_CONTENT_TYPE, "content type")?;
    let mut pairs = std::collections::BTreeMap::new();
    if flags & HAS_ATTRIBUTES != 0 {
        for _ in 0..reader.count("attributes", ATTRIBUTES_MAX)? {
            let name = reader.text("attribute name", ATTRIBUTE_NAME_BYTES_MAX)?;
            let value = reader.text("attribute value", ATTRIBUTE_VALUE_BYTES_MAX)?;
            pairs.insert(name, value);
        }
    }
    let attributes = Attributes {
        source,
        content_type,
        pairs,
    };
    attributes.check().map_err(invalid("attributes"))?;
    Ok(attributes)
}

/// A kind that is often the `last` one, which is then shared and needs no check.
fn read_kind_after(reader: &mut Reader, last: &mut Option<Kind>) -> Result<Kind, DecodeError> {
    reader.lent("kind", KIND_BYTES_MAX, |bytes| -> Result<Kind, ()> {
        if let Some(kind) = last.as_ref()
            && kind.as_str().as_bytes() == bytes
        {
            return Ok(kind.clone());
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ())?;
        let kind = Kind::new(text).map_err(|_| ())?;
        *last = Some(kind.clone());
        Ok(kind)
    })
}

fn read_kind(reader: &mut Reader) -> Result<Kind, DecodeError> {
    reader.checked("kind", KIND_BYTES_MAX, Kind::new)
}

/// `index` is the event's place in its commit: only earlier ones can be its parents.
fn read_parent(reader: &mut Reader, index: usize) -> Result<ParentName, DecodeError> {
    match reader.u8("parent tag")? {
        PARENT_ID => Ok(ParentName::Id(EventId::from_bytes(
            reader.array("parent id")?,
        ))),
        PARENT_DIGEST => Ok(ParentName::Digest(Digest(reader.array("parent digest")?))),
        PARENT_BATCH => {
            let parent = u16::from_le_bytes(reader.array("parent index")?);
            if usize::from(parent) >= index {
                return Err(DecodeError::Invalid {
                    field: "parent index",
                });
            }
            Ok(ParentName::Batch(parent))
        }
        _ => Err(DecodeError::Invalid {
            field: "parent tag",
        }),
    }
}

fn invalid(field: &'static str) -> impl Fn(Invalid) -> DecodeError {
    move |_| DecodeError::Invalid { field }
}

const _: () = assert!(BATCH_BYTES_MAX < u32::MAX as usize);

#[cfg(test)]
mod tests;
