//! Numbers of the requests in a message of a commit stream.

use toka_ledger::Invalid;
use toka_proto::convert::read::check_count;
use toka_proto::v1;

use crate::limits::STREAM_MESSAGE_COMMITS;

/// The number of the message's last request, if all of them go up, from `last` on, and there are not too many.
///
/// # Errors
/// [`Invalid`] names the field.
pub(super) fn check(message: &v1::CommitStreamRequest, last: Option<u64>) -> Result<u64, Invalid> {
    check_count("more", STREAM_MESSAGE_COMMITS - 1, message.more.len())?;
    let mut before = last;
    let further = message.more.iter().map(|request| request.request_number);
    for number in std::iter::once(message.request_number).chain(further) {
        if before.is_some_and(|before| number <= before) {
            return Err(Invalid::Syntax {
                field: "request_number",
                expected: "above that of the request before",
            });
        }
        before = Some(number);
    }
    Ok(before.unwrap_or(message.request_number))
}
