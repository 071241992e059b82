//! Bytes of preconditions.

use bytes::{BufMut, BytesMut};

use super::{coordination, invalid, put_parent, read_kind, read_parent};
use crate::codec::{DecodeError, Reader, put_prefixed, put_varint};
use crate::command::Precondition;
use crate::core::limits::{CURSOR_NAME_BYTES_MAX, KIND_BYTES_MAX};
use crate::core::{CursorName, Kind};

// Tags are persisted and never reused.
const NO_CHILD: u8 = 1;
const KIND_SEQUENCE: u8 = 2;
const TIME_PASSED: u8 = 3;
const CURSOR_MOVE: u8 = 4;
const KIND_PREFIX_SEQUENCE: u8 = 5;
const ACKNOWLEDGE: u8 = 6;

pub(super) fn put(out: &mut BytesMut, precondition: &Precondition) {
    match precondition {
        Precondition::NoChild { parent, kind } => {
            out.put_u8(NO_CHILD);
            put_parent(out, parent);
            put_prefixed(out, kind.as_str().as_bytes());
        }
        Precondition::KindSequence { kind, sequence } => {
            out.put_u8(KIND_SEQUENCE);
            put_prefixed(out, kind.as_str().as_bytes());
            put_varint(out, *sequence);
        }
        Precondition::TimePassed { unix_ms } => {
            out.put_u8(TIME_PASSED);
            put_varint(out, *unix_ms);
        }
        Precondition::CursorMove { name, from, to } => {
            out.put_u8(CURSOR_MOVE);
            put_prefixed(out, name.as_str().as_bytes());
            put_varint(out, *from);
            put_varint(out, *to);
        }
        Precondition::KindPrefixSequence { prefix, sequence } => {
            out.put_u8(KIND_PREFIX_SEQUENCE);
            put_prefixed(out, prefix.as_bytes());
            put_varint(out, *sequence);
        }
        Precondition::Acknowledge {
            group,
            incarnation,
            sequence,
            delivery,
        } => {
            out.put_u8(ACKNOWLEDGE);
            put_prefixed(out, group.as_str().as_bytes());
            put_varint(out, *incarnation);
            put_varint(out, *sequence);
            put_varint(out, (*delivery).into());
        }
    }
}

pub(super) fn read(reader: &mut Reader) -> Result<Precondition, DecodeError> {
    match reader.u8("precondition tag")? {
        NO_CHILD => {
            // Index 0: no event of the batch can be named.
            let parent = read_parent(reader, 0)?;
            Ok(Precondition::NoChild {
                parent,
                kind: read_kind(reader)?,
            })
        }
        KIND_SEQUENCE => {
            let kind = read_kind(reader)?;
            Ok(Precondition::KindSequence {
                kind,
                sequence: reader.varint("kind sequence")?,
            })
        }
        TIME_PASSED => Ok(Precondition::TimePassed {
            unix_ms: reader.varint("time")?,
        }),
        CURSOR_MOVE => {
            let name = reader.text("cursor", CURSOR_NAME_BYTES_MAX)?;
            let name = CursorName::new(&name).map_err(invalid("cursor"))?;
            let from = reader.varint("cursor from")?;
            Ok(Precondition::CursorMove {
                name,
                from,
                to: reader.varint("cursor to")?,
            })
        }
        KIND_PREFIX_SEQUENCE => {
            let prefix = reader.text("kind prefix", KIND_BYTES_MAX)?;
            // A prefix obeys the rules of kinds.
            Kind::new(&prefix).map_err(invalid("kind prefix"))?;
            Ok(Precondition::KindPrefixSequence {
                prefix,
                sequence: reader.varint("kind prefix sequence")?,
            })
        }
        ACKNOWLEDGE => Ok(Precondition::Acknowledge {
            group: coordination::read_group(reader)?,
            incarnation: reader.varint("incarnation")?,
            sequence: reader.varint("sequence")?,
            delivery: coordination::read_u32(reader, "delivery")?,
        }),
        _ => Err(DecodeError::Invalid {
            field: "precondition tag",
        }),
    }
}
