//! How a cluster is reached: where, and with which TLS.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use toka_client::{Bearer, Builder, Client, Tls};
use tokio::process::Command;

use super::failure;
use crate::cli::Global;
use crate::context::{self, Entry};
use crate::failure::Failure;

/// Where clients look if nothing else is said.
pub(crate) const DEFAULT_ENDPOINT: &str = "127.0.0.1:7311";

/// Holds a token.
const TOKEN_VARIABLE: &str = "TOKA_TOKEN";

/// How a cluster is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoints {
    /// As they were written: `host:port`, perhaps with a scheme before it.
    pub(crate) written: Vec<String>,
    /// Absent: the schemes say whether there is TLS.
    pub(crate) tls: Option<Tls>,
    /// What says who calls.
    pub(crate) token: TokenSource,
    /// Without TLS it goes to other machines too.
    pub(crate) insecure_token: bool,
}

/// Where the token is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum TokenSource {
    /// There is none.
    #[default]
    None,
    /// In a file.
    File(PathBuf),
    /// In `TOKA_TOKEN`.
    Environment,
}

impl TokenSource {
    /// The file of the flag or of `TOKA_TOKEN_FILE`, the token of `TOKA_TOKEN`, the file of the context.
    fn of(flag: Option<&PathBuf>, entry: Option<&PathBuf>) -> Self {
        let is_set = std::env::var_os(TOKEN_VARIABLE).is_some_and(|token| !token.is_empty());
        match (flag, entry) {
            (Some(path), _) => Self::File(path.clone()),
            (None, _) if is_set => Self::Environment,
            (None, Some(path)) => Self::File(path.clone()),
            (None, None) => Self::None,
        }
    }

    /// The token. Blocks on the disk.
    fn read(&self) -> Result<Option<Bearer>> {
        Ok(match self {
            Self::None => None,
            Self::File(path) => Some(Bearer::from_file(path).map_err(failure)?),
            Self::Environment => {
                let token = std::env::var(TOKEN_VARIABLE);
                let token =
                    token.map_err(|_| Failure::Usage(format!("{TOKEN_VARIABLE} is no text")))?;
                Some(Bearer::new(&token).map_err(failure)?)
            }
        })
    }
}

impl Endpoints {
    /// Of nodes without TLS that ask nobody who they are.
    pub(crate) fn in_plain_text(written: Vec<String>) -> Self {
        Self {
            written,
            tls: None,
            token: TokenSource::None,
            insecure_token: false,
        }
    }

    /// What makes a client of them.
    pub(crate) fn builder(&self) -> Result<Builder> {
        let mut builder = Client::builder();
        if let Some(tls) = &self.tls {
            builder = builder.tls(tls.clone());
        }
        if let Some(bearer) = self.token.read()? {
            builder = builder.bearer(bearer);
        }
        if self.insecure_token {
            builder = builder.send_token_in_plaintext();
        }
        Ok(builder)
    }

    /// Says what a server waits for that needs the cluster before it listens: that may take as long as a call.
    pub(crate) fn say_waiting(&self, timeout: Duration) {
        eprintln!(
            "waiting for the cluster at {}, for {} at most",
            self.written.join(", "),
            humantime::format_duration(timeout)
        );
    }

    /// Tells another process of this program to reach them in the same way, by its flags and, if the token is there, its
    /// environment.
    pub(crate) fn hand_over(&self, command: &mut Command) {
        command.arg("--endpoint").arg(self.written.join(","));
        if let Some(tls) = &self.tls {
            let files = [
                ("--ca", &tls.ca),
                ("--cert", &tls.certificate),
                ("--key", &tls.key),
            ];
            for (flag, path) in files {
                if let Some(path) = path {
                    command.arg(flag).arg(path);
                }
            }
            if let Some(name) = &tls.server_name {
                command.arg("--server-name").arg(name);
            }
        }
        match &self.token {
            TokenSource::None => {}
            TokenSource::File(path) => {
                command.arg("--token-file").arg(path);
            }
            // Not as an argument, which everybody on the machine sees.
            TokenSource::Environment => {
                if let Some(token) = std::env::var_os(TOKEN_VARIABLE) {
                    command.env(TOKEN_VARIABLE, token);
                }
            }
        }
        if self.insecure_token {
            command.arg("--insecure-token");
        }
    }

    /// The same for a program whose callers say by themselves who they are: nothing is shown for all of them. The second is
    /// whether a token is left out.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a client certificate.
    pub(crate) fn of_callers(self) -> Result<(Self, bool)> {
        if self
            .tls
            .as_ref()
            .is_some_and(|tls| tls.certificate.is_some())
        {
            let said = "with --cert all callers would be taken for the one whom it names; each shows a token of its own";
            return Err(Failure::Usage(said.to_owned()).into());
        }
        let has_token = self.token != TokenSource::None;
        let token = TokenSource::None;
        Ok((Self { token, ..self }, has_token))
    }

    /// Another address, reached in the same way.
    pub(crate) fn at(&self, address: &str) -> Self {
        let is_secured = |endpoint: &String| endpoint.trim().starts_with("https://");
        let written = if self.written.iter().any(is_secured) {
            format!("https://{address}")
        } else {
            address.to_owned()
        };
        Self {
            written: vec![written],
            ..self.clone()
        }
    }
}

/// `--endpoint`, `TOKA_ENDPOINTS`, the context, the default; with the TLS of the flags, the environment, and of the context
/// where the endpoints are the context's.
pub(crate) fn endpoints(global: &Global) -> Result<Endpoints> {
    if !global.endpoint.is_empty() {
        return Ok(given(global, global.endpoint.clone(), None));
    }
    if let Some(list) = std::env::var("TOKA_ENDPOINTS")
        .ok()
        .filter(|list| !list.is_empty())
    {
        let written = list
            .split(',')
            .map(|endpoint| endpoint.trim().to_owned())
            .collect();
        return Ok(given(global, written, None));
    }
    let default = || given(global, vec![DEFAULT_ENDPOINT.to_owned()], None);
    // Without a home directory there are no contexts, unless one was asked for.
    let path = match (context::default_path(), &global.context) {
        (Err(error), Some(_)) => return Err(error),
        (Err(_), None) => return Ok(default()),
        (Ok(path), _) => path,
    };
    let contexts = context::Contexts::read(&path)?;
    let entry = contexts.entry(global.context.as_deref())?;
    Ok(match entry {
        Some(entry) => given(global, entry.endpoints.clone(), Some(entry)),
        None => default(),
    })
}

fn given(global: &Global, written: Vec<String>, entry: Option<&Entry>) -> Endpoints {
    let of = |flag: &Option<PathBuf>, entry: Option<&PathBuf>| flag.clone().or(entry.cloned());
    let token_file = entry.and_then(|entry| entry.token_file.as_ref());
    let token = TokenSource::of(global.token_file.as_ref(), token_file);
    let entry = entry.map(|entry| &entry.tls);
    let tls = Tls {
        ca: of(&global.ca, entry.and_then(|tls| tls.ca.as_ref())),
        certificate: of(&global.cert, entry.and_then(|tls| tls.cert.as_ref())),
        key: of(&global.key, entry.and_then(|tls| tls.key.as_ref())),
        server_name: global
            .server_name
            .clone()
            .or_else(|| entry.and_then(|tls| tls.server_name.clone())),
    };
    Endpoints {
        written,
        tls: Some(tls).filter(|tls| *tls != Tls::default()),
        token,
        insecure_token: global.insecure_token,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_shown_for_all_callers() {
        let with_token = Endpoints {
            written: vec!["a:1".to_owned()],
            tls: None,
            token: TokenSource::File("token".into()),
            insecure_token: false,
        };
        let (of_callers, has_token) = with_token.clone().of_callers().expect("no certificate");
        assert_eq!((of_callers.token, has_token), (TokenSource::None, true));
        let with_certificate = Endpoints {
            tls: Some(Tls {
                certificate: Some("cert.pem".into()),
                ..Tls::default()
            }),
            ..with_token
        };
        assert!(with_certificate.of_callers().is_err());
    }

    #[test]
    fn another_process_is_told_how_to_reach_the_same_nodes() {
        let known = Endpoints {
            written: vec!["https://a:1".to_owned(), "b:2".to_owned()],
            tls: Some(Tls {
                ca: Some("ca.pem".into()),
                server_name: Some("vault".to_owned()),
                ..Tls::default()
            }),
            token: TokenSource::File("token".into()),
            insecure_token: true,
        };
        let mut command = Command::new("toka");
        known.hand_over(&mut command);
        let arguments: Vec<_> = command.as_std().get_args().collect();
        assert_eq!(
            arguments,
            [
                "--endpoint",
                "https://a:1,b:2",
                "--ca",
                "ca.pem",
                "--server-name",
                "vault",
                "--token-file",
                "token",
                "--insecure-token",
            ]
        );
    }

    #[test]
    fn another_address_is_reached_in_the_same_way() {
        let tls = Tls {
            ca: Some("ca.pem".into()),
            ..Tls::default()
        };
        let by_scheme = Endpoints {
            written: vec!["https://a:1".to_owned()],
            tls: None,
            token: TokenSource::None,
            insecure_token: false,
        };
        assert_eq!(by_scheme.at("b:2").written, ["https://b:2"]);
        let by_ca = Endpoints {
            written: vec!["a:1".to_owned()],
            tls: Some(tls.clone()),
            token: TokenSource::File("token".into()),
            insecure_token: false,
        };
        let other = by_ca.at("b:2");
        assert_eq!(
            (other.written, other.tls),
            (vec!["b:2".to_owned()], Some(tls))
        );
        assert_eq!(other.token, TokenSource::File("token".into()));
    }
}
