//! Which client a call goes through, and so who it is from.

use std::fmt;

use http::HeaderMap;
use toka_bridge::Callers;
use toka_client::{Builder, Client, Error};

use crate::error::ToolError;

/// Which client a call goes through.
#[derive(Debug)]
pub struct Vaults(Way);

enum Way {
    /// All calls are of whoever has started this process.
    Own(Box<Client>),
    /// Each is of whoever makes it, with the token that it shows, and of nobody if it shows none.
    Callers(Box<Callers>),
}

impl Vaults {
    /// One client for all calls: of the process that has started this one, over stdio.
    #[must_use]
    pub fn own(client: Client) -> Self {
        Self(Way::Own(Box::new(client)))
    }

    /// A client for each caller, made by `builder`, which must not have a token or a certificate: they would be every
    /// caller's.
    ///
    /// # Errors
    /// As [`Builder::connect`].
    pub async fn of_callers(builder: Builder, endpoints: Vec<String>) -> Result<Self, Error> {
        let callers = Callers::new(builder, endpoints).await?;
        Ok(Self(Way::Callers(Box::new(callers))))
    }

    /// The client for a call that came with these headers; absent: it came over stdio.
    pub(crate) async fn client(&self, headers: Option<&HeaderMap>) -> Result<Client, ToolError> {
        match &self.0 {
            Way::Own(client) => Ok((**client).clone()),
            Way::Callers(callers) => {
                let nothing = HeaderMap::new();
                Ok(callers.client(headers.unwrap_or(&nothing)).await?)
            }
        }
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own(_) => "Own",
            Self::Callers(_) => "Callers",
        })
    }
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;

    #[tokio::test]
    async fn token_that_cannot_be_one_is_refused_without_being_shown() {
        let endpoints = vec!["127.0.0.1:1".to_owned()];
        let vaults = Vaults::of_callers(Client::builder(), endpoints).await;
        let vaults = vaults.expect("nothing is sent");
        let mut headers = HeaderMap::new();
        let value = "Bearer very secret".parse().expect("a header");
        headers.insert(AUTHORIZATION, value);
        let error = vaults.client(Some(&headers)).await.expect_err("no token");
        assert_eq!(error.code(), "unusable_token");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
