//! Consumer groups: settings, deliveries, and what became of them.

use bytes::{BufMut, Bytes, BytesMut};
use toka_ledger::codec::{self, DecodeError};
use toka_ledger::command::{Precondition, Verdict};
use toka_ledger::group::{
    ACK_TIMEOUT_MS_DEFAULT, DELIVERIES_MAX_DEFAULT, Group, ItemState, Settings, SettleOutcome,
    UNACKNOWLEDGED_MAX_DEFAULT,
};
use toka_ledger::{ConsumerName, Filter, GroupName, Invalid, hash};

use crate::v1;
use crate::v1::outstanding_event::State;
use crate::v1::settlement::Verdict as Message;

/// Changes whenever the bytes of a token do; a token of another version is refused.
const TOKEN_VERSION: u8 = 1;
/// Bytes of the longest token: a version and three varints.
const TOKEN_BYTES_MAX: usize = 31;

/// Names one delivery of one group.
///
/// Its bytes: version u8 | incarnation varint | sequence varint | delivery varint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token {
    /// Which group of that name; of a cluster, mixed with the group's name and the history ([`mixed`]).
    pub incarnation: u64,
    /// The event.
    pub sequence: u64,
    /// Which of its deliveries, from 1.
    pub delivery: u32,
}

impl Token {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(TOKEN_BYTES_MAX);
        bytes.put_u8(TOKEN_VERSION);
        codec::put_varint(&mut bytes, self.incarnation);
        codec::put_varint(&mut bytes, self.sequence);
        codec::put_varint(&mut bytes, self.delivery.into());
        bytes.freeze()
    }

    /// The token of these bytes.
    ///
    /// # Errors
    /// [`Invalid::Syntax`], naming `field`.
    pub fn decode(field: &'static str, bytes: &Bytes) -> Result<Self, Invalid> {
        read_token(bytes.clone()).map_err(|_| Invalid::Syntax {
            field,
            expected: "a token that came with a delivery",
        })
    }
}

/// A group's incarnation as the tokens of its deliveries have it, and back: mixed with the group's name and the history,
/// so that a token of another group, or of the vault that this one was restored from, names no group at all.
#[must_use]
pub fn mixed(history_id: u128, group: &GroupName, incarnation: u64) -> u64 {
    incarnation ^ hash::deliveries(history_id, group)
}

/// [`mixed`], of the deliveries that a commit acknowledges.
pub fn mix_deliveries(preconditions: &mut [Precondition], history_id: u128) {
    for precondition in preconditions {
        if let Precondition::Acknowledge {
            group, incarnation, ..
        } = precondition
        {
            *incarnation = mixed(history_id, group, *incarnation);
        }
    }
}

fn read_token(bytes: Bytes) -> Result<Token, DecodeError> {
    const FIELD: &str = "token";
    let mut reader = codec::Reader::new(bytes);
    if reader.u8(FIELD)? != TOKEN_VERSION {
        return Err(DecodeError::Invalid { field: FIELD });
    }
    let token = Token {
        incarnation: reader.varint(FIELD)?,
        sequence: reader.varint(FIELD)?,
        delivery: u32::try_from(reader.varint(FIELD)?)
            .map_err(|_| DecodeError::Invalid { field: FIELD })?,
    };
    reader.finish()?;
    Ok(token)
}

impl From<&Settings> for v1::GroupSettings {
    fn from(settings: &Settings) -> Self {
        Self {
            filter: Some((&settings.filter).into()),
            ack_timeout_ms: settings.ack_timeout_ms,
            unacknowledged_max: settings.unacknowledged_max,
            deliveries_max: settings.deliveries_max,
        }
    }
}

impl TryFrom<v1::GroupSettings> for Settings {
    type Error = Invalid;

    fn try_from(settings: v1::GroupSettings) -> Result<Self, Invalid> {
        let or = |value: u32, default: u32| if value == 0 { default } else { value };
        let filter = settings.filter.map(Filter::try_from).transpose()?;
        let settings = Self {
            filter: filter.unwrap_or_default(),
            ack_timeout_ms: or(settings.ack_timeout_ms, ACK_TIMEOUT_MS_DEFAULT),
            unacknowledged_max: or(settings.unacknowledged_max, UNACKNOWLEDGED_MAX_DEFAULT),
            deliveries_max: or(settings.deliveries_max, DELIVERIES_MAX_DEFAULT),
        };
        settings.check()?;
        Ok(settings)
    }
}

impl From<&Group> for v1::Group {
    fn from(group: &Group) -> Self {
        Self {
            name: group.name.to_string(),
            incarnation: group.incarnation,
            settings: Some((&group.settings).into()),
            position: group.position,
            unacknowledged: group.unacknowledged,
            parked: group.parked,
            created_unix_ms: group.created_unix_ms,
            version: group.version,
            is_ending: group.is_ending,
        }
    }
}

impl From<ItemState> for State {
    fn from(state: ItemState) -> Self {
        match state {
            ItemState::Leased {
                consumer,
                deadline_unix_ms,
            } => Self::Leased(v1::Leased {
                consumer: consumer.to_string(),
                deadline_unix_ms,
            }),
            ItemState::Waiting {
                not_before_unix_ms,
                reason,
            } => Self::Waiting(v1::Waiting {
                not_before_unix_ms,
                reason,
            }),
        }
    }
}

impl TryFrom<State> for ItemState {
    type Error = Invalid;

    fn try_from(state: State) -> Result<Self, Invalid> {
        Ok(match state {
            State::Leased(leased) => Self::Leased {
                consumer: ConsumerName::new(&leased.consumer)?,
                deadline_unix_ms: leased.deadline_unix_ms,
            },
            State::Waiting(waiting) => Self::Waiting {
                not_before_unix_ms: waiting.not_before_unix_ms,
                reason: waiting.reason,
            },
        })
    }
}

impl TryFrom<v1::Group> for Group {
    type Error = Invalid;

    fn try_from(group: v1::Group) -> Result<Self, Invalid> {
        let settings = group.settings.ok_or(Invalid::Empty { field: "settings" })?;
        Ok(Self {
            name: GroupName::new(&group.name)?,
            incarnation: group.incarnation,
            settings: settings.try_into()?,
            position: group.position,
            unacknowledged: group.unacknowledged,
            parked: group.parked,
            created_unix_ms: group.created_unix_ms,
            version: group.version,
            is_ending: group.is_ending,
        })
    }
}

/// What became of a delivery, as it is sent.
#[must_use]
pub fn settlement_message(token: &Token, verdict: &Verdict) -> v1::Settlement {
    let verdict = match verdict {
        Verdict::Acknowledge => Message::Acknowledge(v1::Acknowledge {}),
        Verdict::Reject { delay_ms, reason } => Message::Reject(v1::Reject {
            delay_ms: *delay_ms,
            reason: reason.clone(),
        }),
        Verdict::Extend => Message::Extend(v1::Extend {}),
        Verdict::Release => Message::Release(v1::Release {}),
        Verdict::Park { reason } => Message::Park(v1::Park {
            reason: reason.clone(),
        }),
    };
    v1::Settlement {
        token: token.encode(),
        verdict: Some(verdict),
    }
}

/// A delivery, and what became of it.
///
/// # Errors
/// [`Invalid`], naming the field.
pub fn settlement(message: v1::Settlement) -> Result<(Token, Verdict), Invalid> {
    let token = Token::decode("settlements.token", &message.token)?;
    let verdict = match message.verdict {
        Some(Message::Acknowledge(_)) => Verdict::Acknowledge,
        Some(Message::Reject(reject)) => Verdict::Reject {
            delay_ms: reject.delay_ms,
            reason: reject.reason,
        },
        Some(Message::Extend(_)) => Verdict::Extend,
        Some(Message::Release(_)) => Verdict::Release,
        Some(Message::Park(park)) => Verdict::Park {
            reason: park.reason,
        },
        None => {
            return Err(Invalid::Empty {
                field: "settlements.verdict",
            });
        }
    };
    Ok((token, verdict))
}

impl From<SettleOutcome> for v1::SettleOutcome {
    fn from(outcome: SettleOutcome) -> Self {
        match outcome {
            SettleOutcome::Done => Self::Done,
            SettleOutcome::Stale => Self::Stale,
        }
    }
}

/// What a settlement did; `None` for what is newer than this crate.
#[must_use]
pub fn settle_outcome(outcome: v1::SettleOutcome) -> Option<SettleOutcome> {
    match outcome {
        v1::SettleOutcome::Done => Some(SettleOutcome::Done),
        v1::SettleOutcome::Stale => Some(SettleOutcome::Stale),
        v1::SettleOutcome::Unspecified => None,
    }
}
