//! What callers show of who they are, and what a node is told to check it by: tokens, their ids, JWTs, key sets, grants.
//! Read or refused; what is read is written back as the same; a JWT lets somebody in only with the issuer's signature and
//! with the claims that it has.

use std::str::FromStr as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use toka_auth::jwt::{Claims, Issuer, JWT_BYTES_MAX, JWT_ROLES_MAX, Keys, verify};
use toka_auth::{Grant, Secret, Token, TokenId, Visibility, Writable};
use toka_ledger::credentials;

use crate::{Seed, noise, of_kind};

/// When JWTs are looked at, milliseconds since the Unix epoch,
const NOW: u64 = 1_700_000_000_000;
/// and the same in seconds, with more than what clocks may differ by.
const LONG_AGO_S: f64 = 1_699_999_900.0;
const ISSUER: &str = "https://issuer.test";
const AUDIENCE: &str = "toka";
const ROLES_CLAIM: &str = "toka_roles";
/// One that is within another claim.
const NESTED_ROLES_CLAIM: &str = "/realm_access/a~1b/roles";
/// Bytes of a token's text in front of its secret.
const BEFORE_SECRET: usize = 22;
/// Between the header and the claims of an input that is to be signed.
const BETWEEN: u8 = b'\n';
/// What the header of a JWT may say of its signature, one for each type of key.
const ALGORITHMS: [&str; 5] = ["RS256", "PS512", "ES256", "ES384", "EdDSA"];

/// See above. The first byte says what the rest is.
pub fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    match kind % 6 {
        3 => signed(bytes),
        4 => keys(bytes),
        kind => {
            // What comes in a header or from a line of text has been checked for it.
            let Ok(text) = std::str::from_utf8(bytes) else {
                return;
            };
            match kind {
                0 => token(text),
                1 => id(text),
                2 => jwt(text),
                _ => grant(text),
            }
        }
    }
}

fn token(text: &str) {
    let Ok(token) = text.parse::<Token>() else {
        return;
    };
    assert!(Token::is_meant_by(text));
    assert_eq!(token.reveal().as_str(), text);
    assert!(!format!("{token:?}").contains(&text[BEFORE_SECRET..]));
}

/// An id that callers show is one that the vault has, under the same text.
fn id(text: &str) {
    let stored = text.parse::<credentials::TokenId>();
    if let Ok(id) = &stored {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
    }
    if let Ok(id) = text.parse::<TokenId>() {
        assert_eq!(id.to_string(), text);
        assert!(stored.is_ok_and(|stored| stored.to_string() == text));
    }
}

fn issuer() -> Issuer {
    Issuer {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        roles_claim: ROLES_CLAIM.to_owned(),
    }
}

fn signer() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7_u8; 32]).expect("a seed of 32 bytes")
}

fn key_set() -> Value {
    let x = URL_SAFE_NO_PAD.encode(signer().public_key().as_ref());
    json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "one", "x": x }] })
}

fn issuers_keys() -> Keys {
    Keys::parse(key_set().to_string().as_bytes()).expect("a key set")
}

/// Any text as it is: there is a signature of the issuer only in the seeds.
fn jwt(text: &str) {
    match verify(text, &issuers_keys(), &issuer(), NOW) {
        Ok(verified) => check(&verified.claims, text),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Any header and claims, signed by the issuer.
fn signed(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == BETWEEN);
    let (Some(header), Some(claims)) = (parts.next(), parts.next()) else {
        return;
    };
    let text = sign(header, claims);
    let nested = Issuer {
        roles_claim: NESTED_ROLES_CLAIM.to_owned(),
        ..issuer()
    };
    for issuer in [issuer(), nested] {
        if let Ok(verified) = verify(&text, &issuers_keys(), &issuer, NOW) {
            check(&verified.claims, &text);
        }
        assert!(verify(&forged(&text), &issuers_keys(), &issuer, NOW).is_err());
    }
}

fn sign(header: &[u8], claims: &[u8]) -> String {
    let encoded = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
    let signed = format!("{}.{}", encoded(header), encoded(claims));
    let signature = signer().sign(signed.as_bytes());
    format!("{signed}.{}", encoded(signature.as_ref()))
}

/// The same with another first character of the signature.
fn forged(text: &str) -> String {
    let (signed, signature) = text.rsplit_once('.').expect("it has three parts");
    let other = if signature.starts_with('A') { "B" } else { "A" };
    format!("{signed}.{other}{}", &signature[1..])
}

/// Who is let in by `text` is whom it names, as it must be named.
fn check(claims: &Claims, text: &str) {
    assert!(text.len() <= JWT_BYTES_MAX);
    let mut parts = text.split('.').map(|part| {
        let bytes = URL_SAFE_NO_PAD.decode(part).expect("it was taken");
        serde_json::from_slice::<Value>(&bytes).ok()
    });
    let header = parts.next().flatten().expect("a header");
    let said = parts.next().flatten().expect("claims");
    assert_eq!(header["alg"], "EdDSA");
    assert!(header.get("crit").is_none());
    assert_eq!(said["iss"], ISSUER);
    assert_eq!(said["sub"], claims.subject.as_str());
    assert!(said["exp"].as_f64().is_some_and(|end| end > LONG_AGO_S));
    assert!(claims.roles.len() <= JWT_ROLES_MAX);
    let mut names = claims.roles.iter().chain([&claims.subject]);
    assert!(names.all(|name| !name.is_empty() && !name.chars().any(char::is_control)));
}

/// A set of any keys: what they are used for ends in a refusal.
fn keys(bytes: &[u8]) {
    let keys = match Keys::parse(bytes) {
        Ok(keys) => keys,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    for algorithm in ALGORITHMS {
        for length in [0, 64, 96, 256] {
            let header = json!({ "alg": algorithm }).to_string();
            let signature = noise(1, length);
            let parts: [&[u8]; 3] = [header.as_bytes(), b"{}", &signature];
            let text = parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
            assert!(verify(&text, &keys, &issuer(), NOW).is_err());
        }
    }
}

/// A grant lets nobody see what it does not name, whatever is asked for.
fn grant(text: &str) {
    let Ok(grant) = Grant::from_str(text) else {
        return;
    };
    assert_eq!(grant.to_string(), text);
    assert_eq!(grant.check(), Ok(()));
    let grants = [grant];
    let (seen, written) = (Visibility::of(&grants), Writable::of(&grants));
    assert!(!written.covers("toka.audit.denied"));
    let requests = [
        vec![],
        vec![String::new()],
        vec!["task.".to_owned(), "t".to_owned()],
    ];
    for requested in requests {
        let narrowed = seen.narrow(requested);
        let hidden = |kind: &&String| {
            let mut hidden = narrowed.hidden_kind_prefixes.iter();
            // A prefix that no kind has stands for nothing at all.
            kind.starts_with('\0') || hidden.any(|hidden| kind.starts_with(hidden.as_str()))
        };
        for kind in narrowed.kind_prefixes.iter().filter(|kind| !hidden(kind)) {
            assert!(seen.sees(kind), "{kind:?} by {text:?}");
        }
    }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "robot",
        "exp": 1_700_000_100,
        "nbf": 1_699_999_000,
        (ROLES_CLAIM): ["worker", "reader"],
    })
}

/// The claims with one of them changed.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

/// One of each, and of JWTs one for each way to be taken or refused.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    let token = Token {
        id: TokenId(0x00ab_cdef_0123_4567),
        secret: Secret::from_random([0xfb; 32]),
    };
    let header = json!({ "alg": "EdDSA", "kid": "one", "typ": "JWT" }).to_string();
    let good = sign(header.as_bytes(), claims().to_string().as_bytes());
    let mut seeds: Vec<Seed> = [
        ("token", 0, token.reveal().to_string()),
        ("id", 1, token.id.to_string()),
        ("jwt", 2, good),
        ("jwt-none", 2, "eyJhbGciOiJub25lIn0.e30.".to_owned()),
        ("key-set", 4, key_set().to_string()),
        ("grant", 5, "write:task.,chat.".to_owned()),
        ("grant-admin", 5, "admin".to_owned()),
        ("grant-audit", 5, "admin:toka.audit.".to_owned()),
    ]
    .map(|(name, kind, text)| (name.to_owned(), of_kind(kind, text)))
    .into();
    let of_curves = json!({ "keys": [
        { "kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode([1_u8; 32]), "y": URL_SAFE_NO_PAD.encode([2_u8; 32]) },
        { "kty": "EC", "crv": "P-384", "x": URL_SAFE_NO_PAD.encode([1_u8; 48]), "y": URL_SAFE_NO_PAD.encode([2_u8; 48]) },
        { "kty": "RSA", "use": "sig", "alg": "RS256", "n": URL_SAFE_NO_PAD.encode([0xc1_u8; 256]), "e": "AQAB" },
    ] });
    seeds.push((
        "key-set-of-each-type".to_owned(),
        of_kind(4, of_curves.to_string()),
    ));
    let variants = [
        ("good", claims()),
        ("audiences", with("aud", json!(["other", AUDIENCE]))),
        ("roles-in-text", with(ROLES_CLAIM, json!("worker reader"))),
        (
            "roles-nested",
            with("realm_access", json!({ "a/b": { "roles": ["worker"] } })),
        ),
        ("expired", with("exp", json!(1.5))),
        ("too-early", with("nbf", json!(1.8e9))),
        ("no-subject", with("sub", Value::Null)),
    ];
    for (name, claims) in variants {
        let input = format!("{header}\n{claims}");
        seeds.push((format!("signed-{name}"), of_kind(3, input)));
    }
    let critical = json!({ "alg": "EdDSA", "crit": ["exp"] });
    let input = format!("{critical}\n{}", claims());
    seeds.push(("signed-critical".to_owned(), of_kind(3, input)));
    seeds
}
