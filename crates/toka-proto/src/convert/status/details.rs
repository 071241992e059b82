//! `google.rpc.Status`, which carries typed details.

use std::time::Duration;

use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};
use tonic_types::pb;

use super::DOMAIN;
use crate::v1;

/// A message that can be a detail.
pub(super) trait Detailed: Message + Default {
    const TYPE_URL: &'static str;
}

macro_rules! detailed {
    ($($message:ty, $name:literal;)*) => {
        $(impl Detailed for $message {
            const TYPE_URL: &'static str = concat!("type.googleapis.com/", $name);
        })*
    };
}

detailed! {
    pb::BadRequest, "google.rpc.BadRequest";
    pb::ErrorInfo, "google.rpc.ErrorInfo";
    pb::PreconditionFailure, "google.rpc.PreconditionFailure";
    pb::QuotaFailure, "google.rpc.QuotaFailure";
    pb::ResourceInfo, "google.rpc.ResourceInfo";
    pb::RetryInfo, "google.rpc.RetryInfo";
    v1::CommitAborted, "toka.vault.v1.CommitAborted";
    v1::HistoryChanged, "toka.vault.v1.HistoryChanged";
    v1::NodeBehind, "toka.vault.v1.NodeBehind";
    v1::NotLeader, "toka.vault.v1.NotLeader";
    v1::OtherCluster, "toka.vault.v1.OtherCluster";
    v1::PositionOutOfRange, "toka.vault.v1.PositionOutOfRange";
    v1::UnknownParent, "toka.vault.v1.UnknownParent";
}

/// A status in the making.
pub(super) struct Details {
    code: Code,
    details: Vec<Any>,
}

impl Details {
    pub(super) fn new(code: Code, reason: &str) -> Self {
        let info = pb::ErrorInfo {
            reason: reason.to_owned(),
            domain: DOMAIN.to_owned(),
            ..Default::default()
        };
        Self {
            code,
            details: Vec::new(),
        }
        .with(&info)
    }

    pub(super) fn with<D: Detailed>(mut self, detail: &D) -> Self {
        let value = detail.encode_to_vec();
        self.details.push(Any {
            type_url: D::TYPE_URL.to_owned(),
            value,
        });
        self
    }

    pub(super) fn retry(self, after: Duration) -> Self {
        let retry_delay = prost_types::Duration::try_from(after).ok();
        self.with(&pb::RetryInfo { retry_delay })
    }

    pub(super) fn status(self, message: impl Into<String>) -> Status {
        status(self.code, message.into(), self.details)
    }
}

/// A status with these details.
pub(super) fn status(code: Code, message: String, details: Vec<Any>) -> Status {
    let encoded = pb::Status {
        code: code.into(),
        message: message.clone(),
        details,
    }
    .encode_to_vec();
    Status::with_details(code, message, encoded.into())
}

/// The details of a status; none if it has none that can be read.
pub(super) fn read(status: &Status) -> Vec<Any> {
    pb::Status::decode(status.details())
        .map(|status| status.details)
        .unwrap_or_default()
}

/// The detail of a type, if it is there and can be read.
pub(super) fn find<D: Detailed>(details: &[Any]) -> Option<D> {
    let detail = details.iter().find(|any| any.type_url == D::TYPE_URL)?;
    D::decode(detail.value.as_slice()).ok()
}
