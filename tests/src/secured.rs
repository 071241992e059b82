//! Clusters whose callers have to show who they are.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use toka_auth::{Secret, Token, TokenId};
use toka_client::{
    Action, Bearer, Client, Grant, Issued, NewToken, PrincipalName, RoleName, TokenLimits,
};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use crate::cluster::{Cluster, PATIENCE};
use crate::wait;

/// How often credentials that are not good are looked at from one address.
const FAILURES: &str = "--failed-authentications-per-second";
/// The issuer of the JWTs.
pub const ISSUER: &str = "https://issuer.test";
/// Whom they are for.
pub const AUDIENCE: &str = "toka-tests";
/// Tells callers who they are.
pub const WHO_AM_I: &str = "toka.vault.v1.AuthService/WhoAmI";
/// An rpc on an empty message is answered at once, or goes on: then it was let in.
const RAW_CALL_MAX: Duration = Duration::from_secs(10);

/// What the nodes of a cluster are told about who may call, and what callers show.
pub struct Secured {
    directory: TempDir,
    /// The token of the configuration.
    pub root: String,
    issuer: Ed25519KeyPair,
}

impl Secured {
    /// A token for the configuration, and an issuer of JWTs.
    pub fn new() -> Result<Self> {
        let directory = TempDir::with_prefix("toka-test-secured-")?;
        let token = Token {
            id: TokenId(rand::random()),
            secret: Secret::from_random(rand::random()),
        };
        let root = token.reveal().to_string();
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let document = document.ok().context("no key")?;
        let issuer = Ed25519KeyPair::from_pkcs8(document.as_ref()).ok();
        let secured = Self {
            directory,
            root,
            issuer: issuer.context("no key")?,
        };
        std::fs::write(secured.root_file(), format!("{}\n", secured.root))?;
        std::fs::write(secured.keys_file(), secured.keys().to_string())?;
        Ok(secured)
    }

    /// The file with the token of the configuration.
    pub fn root_file(&self) -> PathBuf {
        self.directory.path().join("root.token")
    }

    /// A place for a file of the test.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn keys_file(&self) -> PathBuf {
        self.directory.path().join("keys.json")
    }

    fn keys(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.public_key());
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "one", "x": x }] })
    }

    /// The issuer's public key.
    pub fn public_key(&self) -> &[u8] {
        self.issuer.public_key().as_ref()
    }

    /// Arguments of `toka serve`, with further ones. Tests show a lot that is not good, from one address: unless they say
    /// so, that is looked at however often it comes.
    pub fn arguments(&self, further: &[&str]) -> Vec<String> {
        let unlimited: &[&str] = match further.contains(&FAILURES) {
            true => &[],
            false => &[FAILURES, "0"],
        };
        let (root, keys) = (self.root_file(), self.keys_file());
        let (root, keys) = (root.display().to_string(), keys.display().to_string());
        [
            "--auth",
            "--auth-root-token-file",
            &root,
            "--jwt-issuer",
            ISSUER,
            "--jwt-audience",
            AUDIENCE,
            "--jwt-jwks-file",
            &keys,
        ]
        .iter()
        .chain(unlimited)
        .chain(further)
        .map(ToString::to_string)
        .collect()
    }

    /// A JWT with roles, which is good for an hour.
    pub fn jwt(&self, roles: &[&str]) -> Result<String> {
        Ok(self.sign(&json!({ "alg": "EdDSA", "kid": "one" }), &claims(roles)?))
    }

    /// Any header and claims, signed by the issuer.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = unsigned(header, claims);
        let signature = self.issuer.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    /// A client of all nodes that shows the token of the configuration.
    pub async fn root(&self, cluster: &Cluster) -> Result<Client> {
        client(cluster, &cluster.ids(), &self.root).await
    }

    /// Makes a token with grants, once the vault is at the feature level for it.
    pub async fn token(&self, cluster: &Cluster, name: &str, grants: &[&str]) -> Result<Issued> {
        self.limited_token(cluster, name, grants, TokenLimits::default(), None)
            .await
    }

    /// As [`Secured::token`], with limits, and an end.
    pub async fn limited_token(
        &self,
        cluster: &Cluster,
        name: &str,
        grants: &[&str],
        limits: TokenLimits,
        expires_unix_ms: Option<u64>,
    ) -> Result<Issued> {
        let root = self.root(cluster).await?;
        let new = NewToken {
            principal: PrincipalName::new(name)?,
            roles: Vec::<RoleName>::new(),
            grants: grants.iter().map(|text| grant(text)).collect(),
            limits,
            expires_unix_ms,
        };
        let issued = wait::until("a token", PATIENCE, async || {
            Ok(root.create_token(&new).await?)
        })
        .await?;
        for id in cluster.running() {
            wait::until("a node that knows the token", PATIENCE, async || {
                let code = code(cluster, id, WHO_AM_I, Some(&issued.text)).await?;
                ensure!(code == Code::Ok, "node {id}: {code:?}");
                Ok(())
            })
            .await?;
        }
        Ok(issued)
    }
}

/// `read`, or `write:task.,chat.`.
pub fn grant(text: &str) -> Grant {
    let grant: toka_auth::Grant = text.parse().expect("a grant of a test");
    Grant {
        action: match grant.action {
            toka_auth::Action::Read => Action::Read,
            toka_auth::Action::Write => Action::Write,
            toka_auth::Action::Admin => Action::Admin,
        },
        kind_prefixes: grant.kind_prefixes,
    }
}

/// Header and claims as they are signed.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", encoded(header), encoded(claims))
}

/// Claims that are good for an hour.
pub fn claims(roles: &[&str]) -> Result<Value> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    Ok(json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "robot",
        "exp": now + 3_600,
        "toka_roles": roles,
    }))
}

/// A client that knows some nodes, and shows a token.
pub async fn client(cluster: &Cluster, ids: &[u64], token: &str) -> Result<Client> {
    let endpoints = ids.iter().map(|id| cluster.node(*id).endpoint());
    let client = Client::builder()
        .timeout(PATIENCE)
        .bearer(Bearer::new(token)?);
    Ok(client.connect(endpoints).await?)
}

/// The code with which node `id` answers an rpc, `package.Service/Method`, on an empty message.
pub async fn code(cluster: &Cluster, id: u64, rpc: &str, token: Option<&str>) -> Result<Code> {
    let endpoint = Endpoint::from_shared(format!("http://{}", cluster.node(id).endpoint()))?;
    let mut grpc = tonic::client::Grpc::new(endpoint.connect().await?);
    grpc.ready().await?;
    let mut request = Request::new(());
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse()?;
        request.metadata_mut().insert("authorization", value);
    }
    let path: PathAndQuery = format!("/{rpc}").parse()?;
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let call = async {
        match grpc.server_streaming(request, path, codec).await {
            Err(status) => status.code(),
            Ok(mut answers) => match answers.get_mut().message().await {
                Ok(_) => Code::Ok,
                Err(status) => status.code(),
            },
        }
    };
    Ok(tokio::time::timeout(RAW_CALL_MAX, call)
        .await
        .unwrap_or(Code::Ok))
}
