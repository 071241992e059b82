mod remembered;

use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use serde_json::json;

use super::*;

/// Milliseconds; a second is 1,000,000.
const NOW: u64 = 1_000_000_000;

fn issuer() -> Issuer {
    Issuer {
        issuer: "https://issuer.test".to_owned(),
        audience: "toka".to_owned(),
        roles_claim: "toka_roles".to_owned(),
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://issuer.test",
        "aud": "toka",
        "sub": "robot",
        "exp": 1_000_100,
        "toka_roles": ["worker", "reader"],
    })
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

struct Signer(Ed25519KeyPair);

impl Signer {
    fn new() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        Self(Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key"))
    }

    fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.0.public_key().as_ref());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": "ed-1", "x": x })
    }

    fn keys(&self) -> Keys {
        Keys::parse(json!({ "keys": [self.jwk()] }).to_string().as_bytes()).expect("keys")
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encoded(header), encoded(claims));
        let signature = self.0.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    fn refusal(&self, header: &Value, claims: &Value) -> JwtError {
        let token = self.sign(header, claims);
        verify(&token, &self.keys(), &issuer(), NOW).expect_err("refused")
    }
}

fn header() -> Value {
    json!({ "alg": "EdDSA", "kid": "ed-1", "typ": "JWT" })
}

/// The claims with one of them changed.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().expect("an object").remove(name);
    claims
}

#[test]
fn good_token_names_its_bearer_and_roles() {
    let signer = Signer::new();
    let expected = Claims {
        subject: "robot".to_owned(),
        roles: vec!["worker".to_owned(), "reader".to_owned()],
        // The end that it says, and 30 seconds.
        expires_unix_ms: NOW + 100_000 + 30_000,
    };
    let check = |claims: &Value| {
        let token = signer.sign(&header(), claims);
        verify(&token, &signer.keys(), &issuer(), NOW).map(|verified| verified.claims)
    };
    assert_eq!(check(&claims()), Ok(expected.clone()));
    assert_eq!(
        check(&with("toka_roles", json!("worker reader"))),
        Ok(expected.clone())
    );
    assert_eq!(check(&with("aud", json!(["x", "toka"]))), Ok(expected));
    let none = check(&without("toka_roles")).expect("good");
    assert_eq!(none.roles, Vec::<String>::new());
}

#[test]
fn claim_with_the_roles_may_be_within_another_one() {
    let signer = Signer::new();
    let roles = |name: &str, value: &Value| {
        let issuer = Issuer {
            roles_claim: name.to_owned(),
            ..issuer()
        };
        let token = signer.sign(&header(), value);
        verify(&token, &signer.keys(), &issuer, NOW).map(|verified| verified.claims.roles)
    };
    let nested = with(
        "realm_access",
        json!({ "roles": ["reader"], "a/b": "writer" }),
    );
    assert_eq!(
        roles("/realm_access/roles", &nested),
        Ok(vec!["reader".to_owned()])
    );
    assert_eq!(
        roles("/realm_access/a~1b", &nested),
        Ok(vec!["writer".to_owned()])
    );
    // Where there is none, there are no roles.
    for name in [
        "/realm_access/other",
        "/other/roles",
        "realm_access.roles",
        "/",
    ] {
        assert_eq!(roles(name, &nested), Ok(Vec::new()), "{name}");
    }
    // What is in the way of a name is no text, nor an array of them.
    assert!(roles("/realm_access", &nested).is_err());
    // A name is a name first.
    let odd = with("/odd/name", json!(["reader"]));
    assert_eq!(roles("/odd/name", &odd), Ok(vec!["reader".to_owned()]));
}

#[test]
fn rsa_signatures_of_openssl_are_good() {
    let vectors: Value = serde_json::from_str(include_str!("rsa_vectors.json")).expect("JSON");
    let keys = Keys::parse(vectors["jwks"].to_string().as_bytes()).expect("keys");
    for name in ["rs256", "ps256"] {
        let token = vectors[name].as_str().expect("a token");
        let verified = verify(token, &keys, &issuer(), NOW).expect("good");
        assert_eq!(verified.claims.subject, "robot", "{name}");
        // One bit of the signature, which does not end with it.
        let at = token.len() - 10;
        let flipped = if &token[at..=at] == "A" { "B" } else { "A" };
        let forged = format!("{}{flipped}{}", &token[..at], &token[at + 1..]);
        assert_eq!(
            verify(&forged, &keys, &issuer(), NOW),
            Err(JwtError::Signature)
        );
    }
}

#[test]
fn signature_by_p256_is_good() {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).expect("a key");
    let point = pair.public_key().as_ref();
    let jwk = json!({
        "kty": "EC", "crv": "P-256", "alg": "ES256",
        "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
    });
    let keys = Keys::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).expect("keys");
    let signed = format!(
        "{}.{}",
        encoded(&json!({ "alg": "ES256" })),
        encoded(&claims())
    );
    let signature = pair.sign(&random, signed.as_bytes()).expect("signed");
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()));
    assert!(verify(&token, &keys, &issuer(), NOW).is_ok());
}

#[test]
fn downgrades_are_refused() {
    let signer = Signer::new();
    let keys = signer.keys();
    let refused = |token: &str| verify(token, &keys, &issuer(), NOW).expect_err("refused");
    for name in [
        "none", "None", "NONE", "HS256", "HS384", "HS512", "eddsa", "",
    ] {
        let header = json!({ "alg": name });
        assert_eq!(
            signer.refusal(&header, &claims()),
            JwtError::Algorithm,
            "{name}"
        );
        let unsigned = format!("{}.{}.", encoded(&header), encoded(&claims()));
        assert_eq!(refused(&unsigned), JwtError::Algorithm, "{name}");
    }
    // HMAC keyed with what everybody knows: the public key.
    let signed = format!(
        "{}.{}",
        encoded(&json!({ "alg": "HS256" })),
        encoded(&claims())
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, signer.0.public_key().as_ref());
    let tag = hmac::sign(&key, signed.as_bytes());
    let confused = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
    assert_eq!(refused(&confused), JwtError::Algorithm);
    // An algorithm that is taken, with a key of another type.
    for name in ["RS256", "PS512", "ES256", "ES384"] {
        let header = json!({ "alg": name, "kid": "ed-1" });
        assert_eq!(
            signer.refusal(&header, &claims()),
            JwtError::Signature,
            "{name}"
        );
    }
}

#[test]
fn token_of_another_key_is_refused() {
    let (ours, theirs) = (Signer::new(), Signer::new());
    let token = theirs.sign(&header(), &claims());
    assert_eq!(
        verify(&token, &ours.keys(), &issuer(), NOW),
        Err(JwtError::Signature)
    );
    let other_id = json!({ "alg": "EdDSA", "kid": "ed-2" });
    assert_eq!(ours.refusal(&other_id, &claims()), JwtError::Signature);
    let critical = json!({ "alg": "EdDSA", "crit": ["b64"], "b64": false });
    assert_eq!(ours.refusal(&critical, &claims()), JwtError::Critical);
}

#[test]
fn changed_claims_are_refused() {
    let signer = Signer::new();
    let token = signer.sign(&header(), &claims());
    let mut parts: Vec<&str> = token.split('.').collect();
    let changed = encoded(&with("toka_roles", json!(["admin"])));
    parts[1] = &changed;
    let forged = parts.join(".");
    assert_eq!(
        verify(&forged, &signer.keys(), &issuer(), NOW),
        Err(JwtError::Signature)
    );
}

#[test]
fn claims_are_checked_by_name() {
    let signer = Signer::new();
    let refused = |claims: &Value| signer.refusal(&header(), claims);
    let claim = |name: &str| JwtError::Claim {
        claim: name.to_owned(),
    };
    assert_eq!(
        refused(&with("iss", json!("https://other.test"))),
        JwtError::Issuer
    );
    assert_eq!(refused(&with("aud", json!("other"))), JwtError::Audience);
    assert_eq!(refused(&with("aud", json!([]))), JwtError::Audience);
    for name in ["iss", "aud", "exp", "sub"] {
        assert_eq!(refused(&without(name)), claim(name));
    }
    // A time of another type is no time that may be left out.
    assert_eq!(refused(&with("exp", json!("1000100"))), claim("exp"));
    assert_eq!(refused(&with("nbf", json!("0"))), claim("nbf"));
    assert_eq!(refused(&with("sub", json!(""))), claim("sub"));
    assert_eq!(refused(&with("toka_roles", json!(7))), claim("toka_roles"));
    assert_eq!(
        refused(&with("toka_roles", json!([7]))),
        claim("toka_roles")
    );
    let many = vec!["r"; JWT_ROLES_MAX + 1];
    assert_eq!(
        refused(&with("toka_roles", json!(many))),
        claim("toka_roles")
    );
}

#[test]
fn times_have_a_leeway_of_thirty_seconds() {
    let signer = Signer::new();
    let check = |claims: &Value| {
        let token = signer.sign(&header(), claims);
        verify(&token, &signer.keys(), &issuer(), NOW).map(drop)
    };
    assert_eq!(check(&with("exp", json!(999_971))), Ok(()));
    assert_eq!(check(&with("exp", json!(999_970))), Err(JwtError::Expired));
    assert_eq!(check(&with("nbf", json!(1_000_030))), Ok(()));
    assert_eq!(
        check(&with("nbf", json!(1_000_031))),
        Err(JwtError::TooEarly)
    );
}

#[test]
fn malformed_tokens_are_refused() {
    let keys = Signer::new().keys();
    let long = "a".repeat(JWT_BYTES_MAX + 1);
    for text in [
        "",
        ".",
        "..",
        "a.b.c",
        "a.b",
        "a.b.c.d",
        "e30.e30.!",
        long.as_str(),
    ] {
        let refused = verify(text, &keys, &issuer(), NOW).expect_err("refused");
        assert!(
            matches!(refused, JwtError::Malformed { .. } | JwtError::Algorithm),
            "{text}: {refused}"
        );
    }
}

#[test]
fn key_sets_are_checked() {
    let parse = |set: Value| Keys::parse(set.to_string().as_bytes());
    assert_eq!(parse(json!([])), Err(KeysError::Malformed));
    assert_eq!(parse(json!({ "keys": [] })), Err(KeysError::NoKey));
    let secret = json!({ "kty": "oct", "k": "c2VjcmV0" });
    let encryption = json!({ "kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB" });
    assert_eq!(
        parse(json!({ "keys": [secret, encryption] })),
        Err(KeysError::NoKey)
    );
    let cut = json!({ "kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB" });
    let field = "x";
    assert_eq!(
        parse(json!({ "keys": [cut] })),
        Err(KeysError::Key { index: 0, field })
    );
    let many = vec![Signer::new().jwk(); KEYS_MAX + 1];
    let count = KEYS_MAX + 1;
    assert_eq!(
        parse(json!({ "keys": many })),
        Err(KeysError::TooMany { count })
    );
}
