//! Refusals that have to do with cursors and consumer groups.

use toka_ledger::Rejection;
use tonic::{Code, Status};
use tonic_types::pb;

use super::details::Details;
use super::{RETRY_SOON, limit_reached, overloaded, position_out_of_range, reason};

/// A refusal that has to do with cursors, groups or kinds; `None`: it is another one.
pub(super) fn status(rejection: &Rejection, message: &str) -> Option<Status> {
    let description = match rejection {
        Rejection::GroupExists { reason, .. } => reason.clone(),
        _ => None,
    };
    let (code, reason, kind, name) = match rejection {
        Rejection::UnknownCursor { name } => (
            Code::NotFound,
            reason::CURSOR_NOT_FOUND,
            "cursor",
            name.as_str(),
        ),
        Rejection::UnknownGroup { name } => (
            Code::NotFound,
            reason::GROUP_NOT_FOUND,
            "group",
            name.as_str(),
        ),
        Rejection::GroupExists { name, .. } => (
            Code::AlreadyExists,
            reason::GROUP_EXISTS,
            "group",
            name.as_str(),
        ),
        Rejection::GroupsFull { .. } => return Some(limit_reached("groups", message)),
        Rejection::CursorsFull { .. } => return Some(limit_reached("cursors", message)),
        // Whoever proposed the delivery plans another one, until its time is up.
        Rejection::GroupMoved { .. } => return Some(overloaded(RETRY_SOON)),
        Rejection::PositionAhead { position, last } => {
            return Some(position_out_of_range(*position, *last));
        }
        _ => return None,
    };
    let details = Details::new(code, reason).with(&pb::ResourceInfo {
        resource_type: kind.to_owned(),
        resource_name: name.to_owned(),
        description: description.unwrap_or_default(),
        ..Default::default()
    });
    Some(details.status(message))
}
