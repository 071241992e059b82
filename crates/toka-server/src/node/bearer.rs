//! What this node shows other nodes when it calls them for itself, before it belongs to their cluster.

use toka_proto::v1;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};

use crate::auth;
use crate::config::{Config, ConfigError};

/// The token of the configuration, or nothing.
#[derive(Clone, Debug)]
pub(super) struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    /// # Errors
    /// [`ConfigError`] if there is a file with a token, and it cannot be used.
    pub(super) fn of(config: &Config) -> Result<Self, ConfigError> {
        let text = auth::bearer(&config.auth)?;
        // The characters of a token can stand in a header.
        let value = text.and_then(|text| MetadataValue::try_from(text.as_str()).ok());
        Ok(Self(value.map(|mut value| {
            value.set_sensitive(true);
            value
        })))
    }

    /// A call with this message.
    pub(super) fn call<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(bearer) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", bearer.clone());
        }
        request
    }

    /// Asks a node for its state, or for that of all.
    pub(super) fn status(&self, this_node_only: bool) -> Request<v1::GetStatusRequest> {
        self.call(v1::GetStatusRequest { this_node_only })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_goes_with_the_call_and_is_not_shown() {
        let mut value: MetadataValue<Ascii> = "Bearer verysecret".parse().expect("a value");
        value.set_sensitive(true);
        let bearer = Bearer(Some(value));
        let call = bearer.status(true);
        assert!(call.metadata().contains_key("authorization"));
        assert!(!format!("{bearer:?} {call:?}").contains("verysecret"));
    }
}
