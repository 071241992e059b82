//! What reads have in common.

use toka_ledger::core::limits::{ATTRIBUTES_MAX, KIND_BYTES_MAX};
use toka_ledger::intent::IntentId;
use toka_ledger::{Filter, Invalid, Selector};

use super::ident;
use crate::v1;
use crate::v1::read_options::Consistency as ConsistencyMessage;

/// Kind prefixes in one filter.
pub const KIND_PREFIXES_MAX: usize = 64;
/// Intents in one filter.
pub const INTENTS_MAX: usize = 64;
/// Selectors in one read of several events.
pub const SELECTORS_MAX: usize = 1_000;

/// What a read must see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// What the node has.
    #[default]
    Local,
    /// At least this revision.
    AtLeast(u64),
    /// Everything that was acknowledged before the read began.
    Linearizable,
}

/// Conditions of a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// What it must see.
    pub consistency: Consistency,
    /// The history in which its positions have a meaning; `None`: whichever the vault has.
    pub history_id: Option<u128>,
}

impl From<ReadOptions> for v1::ReadOptions {
    fn from(options: ReadOptions) -> Self {
        let consistency = match options.consistency {
            Consistency::Local => ConsistencyMessage::Local(v1::Local {}),
            Consistency::AtLeast(revision) => ConsistencyMessage::AtLeastRevision(revision),
            Consistency::Linearizable => ConsistencyMessage::Linearizable(v1::Linearizable {}),
        };
        Self {
            consistency: Some(consistency),
            history_id: options
                .history_id
                .map(ident::u128_bytes)
                .unwrap_or_default(),
        }
    }
}

impl TryFrom<Option<v1::ReadOptions>> for ReadOptions {
    type Error = Invalid;

    fn try_from(options: Option<v1::ReadOptions>) -> Result<Self, Invalid> {
        let options = options.unwrap_or_default();
        let consistency = match options.consistency {
            None | Some(ConsistencyMessage::Local(_)) => Consistency::Local,
            Some(ConsistencyMessage::AtLeastRevision(revision)) => Consistency::AtLeast(revision),
            Some(ConsistencyMessage::Linearizable(_)) => Consistency::Linearizable,
        };
        let history_id = ident::u128_optional("read.history_id", &options.history_id)?;
        Ok(Self {
            consistency,
            history_id,
        })
    }
}

/// State of the vault on the node that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Identity of the cluster.
    pub cluster_id: u128,
    /// Identity of the history.
    pub history_id: u128,
    /// The node.
    pub node_id: u64,
    /// Its Raft term.
    pub term: u64,
    /// Commands it has applied.
    pub revision: u64,
    /// Sequence of the last event it has applied; 0: none.
    pub sequence: u64,
}

impl From<Header> for v1::ResponseHeader {
    fn from(header: Header) -> Self {
        Self {
            cluster_id: ident::u128_bytes(header.cluster_id),
            history_id: ident::u128_bytes(header.history_id),
            node_id: header.node_id,
            term: header.term,
            revision: header.revision,
            sequence: header.sequence,
        }
    }
}

impl TryFrom<Option<v1::ResponseHeader>> for Header {
    type Error = Invalid;

    fn try_from(header: Option<v1::ResponseHeader>) -> Result<Self, Invalid> {
        let header = header.ok_or(Invalid::Empty { field: "header" })?;
        Ok(Self {
            cluster_id: ident::u128("header.cluster_id", &header.cluster_id)?,
            history_id: ident::u128("header.history_id", &header.history_id)?,
            node_id: header.node_id,
            term: header.term,
            revision: header.revision,
            sequence: header.sequence,
        })
    }
}

impl From<&Selector> for v1::EventSelector {
    fn from(selector: &Selector) -> Self {
        use v1::event_selector::Selector as Message;
        let selector = match selector {
            Selector::Id(id) => Message::Id(ident::event_id_bytes(id)),
            Selector::Sequence(sequence) => Message::Sequence(*sequence),
            Selector::Digest(digest) => Message::Digest(ident::digest_bytes(digest)),
        };
        Self {
            selector: Some(selector),
        }
    }
}

impl TryFrom<v1::EventSelector> for Selector {
    type Error = Invalid;

    fn try_from(selector: v1::EventSelector) -> Result<Self, Invalid> {
        use v1::event_selector::Selector as Message;
        match selector.selector {
            Some(Message::Id(id)) => ident::event_id("selector.id", &id).map(Self::Id),
            Some(Message::Sequence(sequence)) => Ok(Self::Sequence(sequence)),
            Some(Message::Digest(digest)) => {
                ident::digest("selector.digest", &digest).map(Self::Digest)
            }
            None => Err(Invalid::Empty { field: "selector" }),
        }
    }
}

impl From<&Filter> for v1::EventFilter {
    fn from(filter: &Filter) -> Self {
        let attribute = |(name, value): &(String, String)| v1::AttributeMatch {
            name: name.clone(),
            value: value.clone(),
        };
        Self {
            kind_prefixes: filter.kind_prefixes.clone(),
            attributes: filter.attributes.iter().map(attribute).collect(),
            intents: filter.intents.iter().map(|intent| intent.0).collect(),
            descendants_of: filter.descendants_of.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<v1::EventFilter> for Filter {
    type Error = Invalid;

    fn try_from(filter: v1::EventFilter) -> Result<Self, Invalid> {
        let prefixes = &filter.kind_prefixes;
        check_count("filter.kind_prefixes", KIND_PREFIXES_MAX, prefixes.len())?;
        check_count("filter.attributes", ATTRIBUTES_MAX, filter.attributes.len())?;
        check_count("filter.intents", INTENTS_MAX, filter.intents.len())?;
        if let Some(long) = prefixes.iter().find(|prefix| prefix.len() > KIND_BYTES_MAX) {
            return Err(Invalid::TooLong {
                field: "filter.kind_prefixes",
                max: KIND_BYTES_MAX,
                actual: long.len(),
            });
        }
        let attributes = filter
            .attributes
            .into_iter()
            .map(|a| (a.name, a.value))
            .collect();
        let descendants_of = filter.descendants_of.map(Selector::try_from);
        Ok(Self {
            kind_prefixes: filter.kind_prefixes,
            hidden_kind_prefixes: Vec::new(),
            attributes,
            intents: filter.intents.into_iter().map(IntentId).collect(),
            descendants_of: descendants_of.transpose()?,
        })
    }
}

/// Refuses the names of vaults that do not exist: there is only the default one, without a name.
///
/// # Errors
/// [`Invalid::Syntax`].
pub fn check_vault(name: &str) -> Result<(), Invalid> {
    if name.is_empty() {
        return Ok(());
    }
    Err(Invalid::Syntax {
        field: "vault",
        expected: "empty; only the default vault exists",
    })
}

/// Bounds a list.
///
/// # Errors
/// [`Invalid::TooMany`], naming `field`.
pub fn check_count(field: &'static str, max: usize, actual: usize) -> Result<(), Invalid> {
    if actual > max {
        Err(Invalid::TooMany { field, max, actual })
    } else {
        Ok(())
    }
}
