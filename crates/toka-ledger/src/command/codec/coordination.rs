//! Bytes of the commands of cursors and consumer groups.

use bytes::{BufMut, BytesMut};

use super::{
    COMMAND_CREATE_GROUP, COMMAND_DELETE_CURSOR, COMMAND_DELETE_GROUP, COMMAND_DELIVER,
    COMMAND_MOVE_PARKED, COMMAND_SAVE_CURSOR, COMMAND_SETTLE, COMMAND_UPDATE_GROUP, invalid,
};
use crate::codec::{DecodeError, Reader, put_prefixed, put_varint};
use crate::command::{
    CreateGroup, DeleteCursor, DeleteGroup, Deliver, MoveParked, ParkedAction, SaveCursor, Settle,
    Settlement, UpdateGroup, Verdict,
};
use crate::core::limits::{
    CONSUMER_NAME_BYTES_MAX, CURSOR_NAME_BYTES_MAX, DELIVER_EVENTS_MAX, GROUP_NAME_BYTES_MAX,
    PARKED_MOVES_MAX, REASON_BYTES_MAX, SETTLE_ITEMS_MAX,
};
use crate::core::{ConsumerName, CursorName, GroupName, groups};

// Tags are persisted and never reused.
const VERDICT_ACKNOWLEDGE: u8 = 1;
const VERDICT_REJECT: u8 = 2;
const VERDICT_EXTEND: u8 = 3;
const VERDICT_PARK: u8 = 4;
const VERDICT_RELEASE: u8 = 5;
const ACTION_REPLAY: u8 = 1;
const ACTION_DISCARD: u8 = 2;

pub(super) fn put_save_cursor(out: &mut BytesMut, save: &SaveCursor) {
    out.put_u8(COMMAND_SAVE_CURSOR);
    out.put_u64_le(save.unix_ms);
    put_prefixed(out, save.name.as_str().as_bytes());
    put_optional(out, save.from);
    put_varint(out, save.to);
}

pub(super) fn read_save_cursor(reader: &mut Reader) -> Result<SaveCursor, DecodeError> {
    Ok(SaveCursor {
        unix_ms: reader.u64("unix_ms")?,
        name: read_cursor(reader)?,
        from: read_optional(reader, "cursor from")?,
        to: reader.varint("cursor to")?,
    })
}

pub(super) fn put_delete_cursor(out: &mut BytesMut, delete: &DeleteCursor) {
    out.put_u8(COMMAND_DELETE_CURSOR);
    out.put_u64_le(delete.unix_ms);
    put_prefixed(out, delete.name.as_str().as_bytes());
    put_optional(out, delete.from);
}

pub(super) fn read_delete_cursor(reader: &mut Reader) -> Result<DeleteCursor, DecodeError> {
    Ok(DeleteCursor {
        unix_ms: reader.u64("unix_ms")?,
        name: read_cursor(reader)?,
        from: read_optional(reader, "cursor from")?,
    })
}

pub(super) fn put_create_group(out: &mut BytesMut, create: &CreateGroup) {
    out.put_u8(COMMAND_CREATE_GROUP);
    out.put_u64_le(create.unix_ms);
    put_prefixed(out, create.name.as_str().as_bytes());
    create.settings.encode(out);
    put_varint(out, create.position);
}

pub(super) fn read_create_group(reader: &mut Reader) -> Result<CreateGroup, DecodeError> {
    Ok(CreateGroup {
        unix_ms: reader.u64("unix_ms")?,
        name: read_group(reader)?,
        settings: groups::Settings::decode(reader)?,
        position: reader.varint("position")?,
    })
}

pub(super) fn put_delete_group(out: &mut BytesMut, delete: &DeleteGroup) {
    out.put_u8(COMMAND_DELETE_GROUP);
    out.put_u64_le(delete.unix_ms);
    put_prefixed(out, delete.name.as_str().as_bytes());
    put_varint(out, delete.incarnation);
}

pub(super) fn read_delete_group(reader: &mut Reader) -> Result<DeleteGroup, DecodeError> {
    Ok(DeleteGroup {
        unix_ms: reader.u64("unix_ms")?,
        name: read_group(reader)?,
        incarnation: reader.varint("incarnation")?,
    })
}

pub(super) fn put_update_group(out: &mut BytesMut, update: &UpdateGroup) {
    out.put_u8(COMMAND_UPDATE_GROUP);
    out.put_u64_le(update.unix_ms);
    put_prefixed(out, update.name.as_str().as_bytes());
    put_varint(out, update.incarnation);
    let changes = &update.changes;
    put_optional(out, changes.ack_timeout_ms.map(u64::from));
    put_optional(out, changes.unacknowledged_max.map(u64::from));
    put_optional(out, changes.deliveries_max.map(u64::from));
}

pub(super) fn read_update_group(reader: &mut Reader) -> Result<UpdateGroup, DecodeError> {
    let update = UpdateGroup {
        unix_ms: reader.u64("unix_ms")?,
        name: read_group(reader)?,
        incarnation: reader.varint("incarnation")?,
        changes: groups::Changes {
            ack_timeout_ms: read_optional_u32(reader, "ack timeout")?,
            unacknowledged_max: read_optional_u32(reader, "unacknowledged max")?,
            deliveries_max: read_optional_u32(reader, "deliveries max")?,
        },
    };
    update.changes.check().map_err(invalid("group settings"))?;
    Ok(update)
}

pub(super) fn put_deliver(out: &mut BytesMut, deliver: &Deliver) {
    out.put_u8(COMMAND_DELIVER);
    out.put_u64_le(deliver.unix_ms);
    put_prefixed(out, deliver.group.as_str().as_bytes());
    put_varint(out, deliver.incarnation);
    put_prefixed(out, deliver.consumer.as_str().as_bytes());
    put_varint(out, deliver.from);
    put_varint(out, deliver.to);
    put_sequences(out, &deliver.sequences);
}

pub(super) fn read_deliver(reader: &mut Reader) -> Result<Deliver, DecodeError> {
    const CONSUMER: &str = "consumer";
    let unix_ms = reader.u64("unix_ms")?;
    let group = read_group(reader)?;
    let incarnation = reader.varint("incarnation")?;
    let consumer = reader.text(CONSUMER, CONSUMER_NAME_BYTES_MAX)?;
    let deliver = Deliver {
        unix_ms,
        group,
        incarnation,
        consumer: ConsumerName::new(&consumer).map_err(invalid(CONSUMER))?,
        from: reader.varint("from")?,
        to: reader.varint("to")?,
        sequences: read_sequences(reader, DELIVER_EVENTS_MAX)?,
    };
    deliver.check().map_err(invalid("delivery"))?;
    Ok(deliver)
}

pub(super) fn put_settle(out: &mut BytesMut, settle: &Settle) {
    out.put_u8(COMMAND_SETTLE);
    out.put_u64_le(settle.unix_ms);
    put_prefixed(out, settle.group.as_str().as_bytes());
    put_varint(out, settle.incarnation);
    put_varint(out, settle.settlements.len() as u64);
    for settlement in &settle.settlements {
        put_varint(out, settlement.sequence);
        put_varint(out, settlement.delivery.into());
        match &settlement.verdict {
            Verdict::Acknowledge => out.put_u8(VERDICT_ACKNOWLEDGE),
            Verdict::Reject { delay_ms, reason } => {
                out.put_u8(VERDICT_REJECT);
                put_varint(out, (*delay_ms).into());
                put_prefixed(out, reason.as_bytes());
            }
            Verdict::Extend => out.put_u8(VERDICT_EXTEND),
            Verdict::Park { reason } => {
                out.put_u8(VERDICT_PARK);
                put_prefixed(out, reason.as_bytes());
            }
            Verdict::Release => out.put_u8(VERDICT_RELEASE),
        }
    }
}

pub(super) fn read_settle(reader: &mut Reader) -> Result<Settle, DecodeError> {
    let unix_ms = reader.u64("unix_ms")?;
    let group = read_group(reader)?;
    let incarnation = reader.varint("incarnation")?;
    let settlements = (0..reader.count("settlements", SETTLE_ITEMS_MAX)?)
        .map(|_| read_settlement(reader))
        .collect::<Result<_, _>>()?;
    let settle = Settle {
        unix_ms,
        group,
        incarnation,
        settlements,
    };
    settle.check().map_err(invalid("settlements"))?;
    Ok(settle)
}

fn read_settlement(reader: &mut Reader) -> Result<Settlement, DecodeError> {
    Ok(Settlement {
        sequence: reader.varint("sequence")?,
        delivery: read_u32(reader, "delivery")?,
        verdict: match reader.u8("verdict")? {
            VERDICT_ACKNOWLEDGE => Verdict::Acknowledge,
            VERDICT_REJECT => Verdict::Reject {
                delay_ms: read_u32(reader, "delay")?,
                reason: reader.text("reason", REASON_BYTES_MAX)?,
            },
            VERDICT_EXTEND => Verdict::Extend,
            VERDICT_PARK => Verdict::Park {
                reason: reader.text("reason", REASON_BYTES_MAX)?,
            },
            VERDICT_RELEASE => Verdict::Release,
            _ => return Err(DecodeError::Invalid { field: "verdict" }),
        },
    })
}

pub(super) fn put_move_parked(out: &mut BytesMut, moves: &MoveParked) {
    out.put_u8(COMMAND_MOVE_PARKED);
    out.put_u64_le(moves.unix_ms);
    put_prefixed(out, moves.group.as_str().as_bytes());
    put_varint(out, moves.incarnation);
    put_sequences(out, &moves.sequences);
    out.put_u8(match moves.action {
        ParkedAction::Replay => ACTION_REPLAY,
        ParkedAction::Discard => ACTION_DISCARD,
    });
}

pub(super) fn read_move_parked(reader: &mut Reader) -> Result<MoveParked, DecodeError> {
    let moves = MoveParked {
        unix_ms: reader.u64("unix_ms")?,
        group: read_group(reader)?,
        incarnation: reader.varint("incarnation")?,
        sequences: read_sequences(reader, PARKED_MOVES_MAX)?,
        action: match reader.u8("action")? {
            ACTION_REPLAY => ParkedAction::Replay,
            ACTION_DISCARD => ParkedAction::Discard,
            _ => return Err(DecodeError::Invalid { field: "action" }),
        },
    };
    moves.check().map_err(invalid("sequences"))?;
    Ok(moves)
}

fn put_sequences(out: &mut BytesMut, sequences: &[u64]) {
    put_varint(out, sequences.len() as u64);
    for &sequence in sequences {
        put_varint(out, sequence);
    }
}

fn read_sequences(reader: &mut Reader, max: usize) -> Result<Vec<u64>, DecodeError> {
    (0..reader.count("sequences", max)?)
        .map(|_| reader.varint("sequence"))
        .collect()
}

/// 0 u8, or 1 u8 and a varint.
pub(super) fn put_optional(out: &mut BytesMut, number: Option<u64>) {
    out.put_u8(number.is_some().into());
    if let Some(number) = number {
        put_varint(out, number);
    }
}

fn read_optional(reader: &mut Reader, field: &'static str) -> Result<Option<u64>, DecodeError> {
    match reader.u8(field)? {
        0 => Ok(None),
        1 => reader.varint(field).map(Some),
        _ => Err(DecodeError::Invalid { field }),
    }
}

fn read_optional_u32(reader: &mut Reader, field: &'static str) -> Result<Option<u32>, DecodeError> {
    read_optional(reader, field)?
        .map(u32::try_from)
        .transpose()
        .map_err(|_| DecodeError::Invalid { field })
}

fn read_cursor(reader: &mut Reader) -> Result<CursorName, DecodeError> {
    let name = reader.text("cursor", CURSOR_NAME_BYTES_MAX)?;
    CursorName::new(&name).map_err(invalid("cursor"))
}

pub(super) fn read_group(reader: &mut Reader) -> Result<GroupName, DecodeError> {
    let name = reader.text("group", GROUP_NAME_BYTES_MAX)?;
    GroupName::new(&name).map_err(invalid("group"))
}

pub(super) fn read_u32(reader: &mut Reader, field: &'static str) -> Result<u32, DecodeError> {
    u32::try_from(reader.varint(field)?).map_err(|_| DecodeError::Invalid { field })
}
