//! Secrets of a release with TLS and authorization, as whoever installs it makes them.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};
use toka_client::{Bearer, Builder, Client, Tls};
use toka_tests::command::Toka;
use toka_tests::tls::Authority;

/// Of the certificate that nodes and clients are shown.
const NODES: &str = "nodes";
/// Of the first token.
const FIRST: &str = "first";

/// What clients of the release have.
#[derive(Clone, Debug)]
pub(crate) struct Secrets {
    ca: PathBuf,
    token: PathBuf,
}

impl Secrets {
    /// Makes them, a directory each below `directory`, for pods with these hosts.
    pub(crate) async fn make(directory: &Path, hosts: &[String]) -> Result<Self> {
        let (nodes, first) = (directory.join(NODES), directory.join(FIRST));
        let authority = Authority::new("nodes")?;
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let signed = authority.sign("node", &hosts)?;
        std::fs::create_dir_all(&nodes)?;
        for (key, text) in [
            ("tls.crt", &signed.certificate),
            ("tls.key", &signed.key),
            ("ca.crt", &authority.pem),
        ] {
            std::fs::write(nodes.join(key), text)?;
        }
        std::fs::create_dir_all(&first)?;
        let token = first.join("token");
        let file = token.display().to_string();
        Toka::new(directory)
            .ok(&["auth", "token", "generate", "--file", &file])
            .await?;
        Ok(Self {
            ca: nodes.join("ca.crt"),
            token,
        })
    }

    /// Adds what a chart is told of them.
    pub(crate) fn name_in(values: &mut Value) {
        values["tls"] = json!({ "enabled": true, "nodes": { "existingSecret": NODES } });
        values["auth"] = json!({ "enabled": true, "existingSecret": FIRST });
        values["insecure"] = json!(false);
    }

    /// The CA of the nodes.
    pub(crate) fn ca(&self) -> &Path {
        &self.ca
    }

    /// Makes clients that show the token.
    pub(crate) fn builder(&self) -> Result<Builder> {
        let token = std::fs::read_to_string(&self.token)?;
        let tls = Tls {
            ca: Some(self.ca.clone()),
            ..Tls::default()
        };
        let builder = Client::builder().tls(tls);
        Ok(builder.bearer(Bearer::new(token.trim())?))
    }

    /// A user who trusts the CA.
    pub(crate) fn trusted_by(&self, toka: Toka) -> Toka {
        toka.with_variable("TOKA_CA", &self.ca.display().to_string())
    }

    /// A user who shows the token besides.
    pub(crate) fn shown_by(&self, toka: Toka) -> Toka {
        let token = self.token.display().to_string();
        self.trusted_by(toka)
            .with_variable("TOKA_TOKEN_FILE", &token)
    }
}
