//! Stand-ins for what `toka-cli`, `toka-backup` and `smart-embedder` have beside the decoders that are fuzzed: the same
//! names, as little behind them as those use.

pub(crate) mod error {
    //! Of `toka-backup`, and of `smart-embedder`.

    type Source = Box<dyn std::error::Error + Send + Sync>;

    #[derive(Debug, thiserror::Error)]
    #[allow(unreachable_pub, reason = "it is public where it comes from")]
    pub enum Error {
        #[error("{what} {text:?}: {reason}")]
        Invalid {
            what: &'static str,
            text: String,
            reason: String,
        },
        #[error("{what} is refused: {reason}")]
        Damaged { what: String, reason: String },
        #[error("{what} has format {found}, not up to {supported}")]
        NewerFormat {
            what: String,
            found: u32,
            supported: u32,
        },
        #[error(transparent)]
        Ledger(#[from] toka_ledger::Error),
        #[error("{field} is {actual}, at most {limit}")]
        TooLarge {
            field: &'static str,
            limit: usize,
            actual: usize,
        },
        #[error("the event cannot be serialized")]
        Serialize {
            #[source]
            source: Source,
        },
        #[error("the payload is not one MessagePack value")]
        Payload {
            #[source]
            source: Option<Source>,
        },
    }

    impl Error {
        pub(crate) fn damaged(what: impl Into<String>, reason: impl Into<String>) -> Self {
            Self::Damaged {
                what: what.into(),
                reason: reason.into(),
            }
        }
    }
}

pub(crate) mod failure {
    //! Of `toka-cli`, as all below.

    #[derive(Debug, thiserror::Error)]
    pub(crate) enum Failure {
        #[error("{0}")]
        Refused(String),
    }
}

pub(crate) mod cmd {
    pub(crate) mod read {
        pub(crate) fn floats(embedding: &[i16]) -> serde_json::Value {
            embedding.iter().map(|&q| f64::from(q) / 16_384.0).collect()
        }
    }
}

pub(crate) mod embed {
    use toka_ledger::prepare::EventDraft;

    pub(crate) type Event = (String, Vec<u8>);
    pub(crate) type Unembedded = (EventDraft, Option<Event>);

    pub(crate) fn event(kind: &str, payload: &[u8]) -> anyhow::Result<Event> {
        Ok((kind.to_owned(), payload.to_vec()))
    }
}

pub(crate) mod output {
    use bytes::Bytes;
    use serde_json::Value;

    use crate::payload::{self, Shown};

    #[allow(dead_code, reason = "nothing is written here, only read")]
    pub(crate) enum PayloadView {
        Present(Bytes),
    }

    impl PayloadView {
        pub(crate) fn json(&self) -> (&'static str, Value) {
            let Self::Present(bytes) = self;
            match payload::show(bytes) {
                Shown::Json(value) => ("payload", value),
                Shown::Base64(text) => ("payload_base64", text.into()),
            }
        }
    }

    pub(crate) fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

pub(crate) mod target {
    use toka_ledger::EventHeader;

    use super::output::PayloadView;

    pub(crate) struct Record {
        pub(crate) header: EventHeader,
        pub(crate) payload: Option<PayloadView>,
        pub(crate) embedding: Option<Vec<i16>>,
    }
}
