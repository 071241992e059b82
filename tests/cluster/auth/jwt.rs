//! JWTs of the configured issuer.

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::json;
use toka_client::{CredentialKind, EventDraft};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::secured::{Secured, claims, client, code, unsigned};
use toka_tests::wait;
use tonic::Code;

const LIST: &str = "toka.vault.v1.VaultService/List";
const COMMIT: &str = "toka.vault.v1.VaultService/Commit";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jwt_of_the_issuer_has_the_rights_of_its_roles() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let writer = client(cluster, &[1], &secured.jwt(&["writer"])?).await?;
        let identity = writer.who_am_i().await?;
        ensure!(identity.principal == "robot", "{identity:?}");
        ensure!(identity.credential == CredentialKind::Jwt, "{identity:?}");
        writer.commit(EventDraft::new("task.new")).await?;
        let reader = secured.jwt(&["reader", "no such role"])?;
        ensure!(code(cluster, 1, LIST, Some(&reader)).await? == Code::Ok);
        let denied = code(cluster, 1, COMMIT, Some(&reader)).await?;
        ensure!(denied == Code::PermissionDenied, "{denied:?}");
        let nobody = secured.jwt(&[])?;
        let denied = code(cluster, 1, LIST, Some(&nobody)).await?;
        ensure!(denied == Code::PermissionDenied, "{denied:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_and_downgraded_jwts_are_refused() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let good = claims(&["admin"])?;
        let with = |name: &str, value: serde_json::Value| {
            let mut claims = good.clone();
            claims[name] = value;
            claims
        };
        let header = json!({ "alg": "EdDSA", "kid": "one" });
        let none = unsigned(&json!({ "alg": "none" }), &good);
        let hmac_header = json!({ "alg": "HS256", "kid": "one" });
        let confused = unsigned(&hmac_header, &good);
        let key = hmac::Key::new(hmac::HMAC_SHA256, secured.public_key());
        let tag = hmac::sign(&key, confused.as_bytes());
        let tag = URL_SAFE_NO_PAD.encode(tag.as_ref());
        // The issuer's, with other claims under its signature.
        let signed = secured.sign(&header, &claims(&["reader"])?);
        let signature = signed.rsplit('.').next().unwrap_or_default();
        let bad = [
            format!("{none}."),
            format!("{none}.{signature}"),
            format!("{confused}.{tag}"),
            format!("{}.{signature}", unsigned(&header, &good)),
            Secured::new()?.jwt(&["admin"])?,
            secured.sign(&header, &with("exp", json!(1))),
            secured.sign(&header, &with("nbf", json!(32_503_680_000_u64))),
            secured.sign(&header, &with("iss", json!("https://other.test"))),
            secured.sign(&header, &with("aud", json!("other"))),
            secured.sign(&json!({ "alg": "RS256", "kid": "one" }), &good),
        ];
        for (number, token) in bad.iter().enumerate() {
            let code = code(cluster, 1, LIST, Some(token)).await?;
            ensure!(code == Code::Unauthenticated, "{number}: {code:?}");
        }
        let good = secured.sign(&header, &good);
        ensure!(code(cluster, 1, LIST, Some(&good)).await? == Code::Ok);
        Ok(())
    })
    .await
}

/// The public key of an issuer, as in a JWK set.
fn key(of: &Secured, id: &str) -> serde_json::Value {
    let x = URL_SAFE_NO_PAD.encode(of.public_key());
    json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": x })
}

/// An issuer publishes its next key beside the old one, before it signs with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_that_the_issuer_adds_counts_without_a_restart() -> Result<()> {
    let secured = Secured::new()?;
    let next = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let old_jwt = secured.jwt(&["reader"])?;
        let header = json!({ "alg": "EdDSA", "kid": "two" });
        let new_jwt = next.sign(&header, &claims(&["reader"])?);
        let early = code(cluster, 1, LIST, Some(&new_jwt)).await?;
        ensure!(early == Code::Unauthenticated, "{early:?}");
        let keys = json!({ "keys": [key(&secured, "one"), key(&next, "two")] });
        std::fs::write(secured.file("keys.json"), keys.to_string())?;
        wait::until("the new key", PATIENCE, async || {
            let now = code(cluster, 1, LIST, Some(&new_jwt)).await?;
            ensure!(now == Code::Ok, "{now:?}");
            Ok(())
        })
        .await?;
        let old = code(cluster, 1, LIST, Some(&old_jwt)).await?;
        ensure!(old == Code::Ok, "{old:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_hold_on_while_their_file_cannot_be_read() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let jwt = secured.jwt(&["reader"])?;
        // Half of a file.
        std::fs::write(secured.file("keys.json"), "{ \"keys\": [")?;
        wait::until("a complaint", PATIENCE, async || {
            let log = cluster.log(1);
            let complains = log.contains("the issuer's keys cannot be read anew");
            ensure!(complains, "the log says nothing of it");
            Ok(())
        })
        .await?;
        let now = code(cluster, 1, LIST, Some(&jwt)).await?;
        ensure!(now == Code::Ok, "{now:?}");
        Ok(())
    })
    .await
}
