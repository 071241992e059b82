//! JWTs of one configured issuer (RFC 7519, in the compact form of RFC 7515), signed with one of its public keys.
//!
//! Only asymmetric signatures are known here, so that there is nothing to confuse: a token that says `none`, or that is
//! signed by HMAC with the text of a public key, names no algorithm of ours. What the token says of its algorithm must fit
//! the key, which is of one type. The signatures are checked by `ring`, which TLS uses too.

mod keys;
#[cfg(test)]
mod tests;
mod verified;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use thiserror::Error;

use self::keys::Algorithm;
pub use self::keys::{KEYS_BYTES_MAX, KEYS_MAX, Keys, KeysError};
use self::verified::Times;
pub use self::verified::{Digest, Remembered, Verified};

/// Longest token, in bytes: a call's headers have 16 KiB in all.
pub const JWT_BYTES_MAX: usize = 8 << 10;
/// Roles that one token may name.
pub const JWT_ROLES_MAX: usize = 64;
/// Longest name of a principal or of a role, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// By so much the clocks of issuer and node may differ, in seconds.
const LEEWAY_S: f64 = 30.0;

/// Whose tokens are taken, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// What the claim `iss` must be.
    pub issuer: String,
    /// What the claim `aud` must be, or contain.
    pub audience: String,
    /// The claim with the names of the roles: an array of texts, or one text with spaces between. Where it is within another
    /// one, a JSON Pointer (RFC 6901), `/realm_access/roles`.
    pub roles_claim: String,
}

/// Who bears a token that was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The claim `sub`.
    pub subject: String,
    /// Names of roles.
    pub roles: Vec<String>,
    /// From then on the token is refused: the claim `exp`, and by how much clocks may differ. Milliseconds since the Unix
    /// epoch.
    pub expires_unix_ms: u64,
}

/// Why a token is refused. Says nothing of what is in it but the names of claims.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JwtError {
    /// It is no JWT.
    #[error("the token is no JWT: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// Its algorithm is none of ours.
    #[error(
        "the JWT's algorithm is not taken; RS, PS and ES with 256, 384 or 512 bits, and EdDSA are"
    )]
    Algorithm,
    /// It demands an extension.
    #[error("the JWT's header demands an extension (`crit`)")]
    Critical,
    /// No key of the issuer has made its signature.
    #[error("the JWT is not signed with a key of the issuer")]
    Signature,
    /// A claim is absent or has another type than it must.
    #[error("the JWT's claim `{claim}` is absent or malformed")]
    Claim {
        /// Its name.
        claim: String,
    },
    /// It is another issuer's.
    #[error("the JWT is of another issuer")]
    Issuer,
    /// It is meant for somebody else.
    #[error("the JWT is for another audience")]
    Audience,
    /// Its time is over.
    #[error("the JWT has expired")]
    Expired,
    /// Its time has not come.
    #[error("the JWT is not valid yet")]
    TooEarly,
}

/// Checks a token: signature first, then the claims, as of `now_unix_ms`.
///
/// # Errors
///
/// Says why the token is refused.
pub fn verify(
    text: &str,
    keys: &Keys,
    issuer: &Issuer,
    now_unix_ms: u64,
) -> Result<Verified, JwtError> {
    let malformed = |what| JwtError::Malformed { what };
    if text.len() > JWT_BYTES_MAX {
        return Err(malformed("it is too long"));
    }
    let (signed, signature) = text
        .rsplit_once('.')
        .ok_or_else(|| malformed("it has no parts"))?;
    let (header, claims) = signed
        .split_once('.')
        .filter(|(_, claims)| !claims.contains('.'))
        .ok_or_else(|| malformed("it does not have three parts"))?;
    let header = object(header).ok_or_else(|| malformed("its header is no JSON object"))?;
    if header.contains_key("crit") {
        return Err(JwtError::Critical);
    }
    let algorithm = header.get("alg").and_then(Value::as_str);
    let algorithm = algorithm
        .and_then(Algorithm::of_name)
        .ok_or(JwtError::Algorithm)?;
    let key_id = match header.get("kid") {
        None => None,
        Some(Value::String(id)) => Some(id.as_str()),
        Some(_) => return Err(malformed("its key id is no text")),
    };
    let signature = URL_SAFE_NO_PAD
        .decode(signature)
        .map_err(|_| malformed("its signature is no base64url"))?;
    if !keys.have_signed(algorithm, key_id, signed.as_bytes(), &signature) {
        return Err(JwtError::Signature);
    }
    let claims = object(claims).ok_or_else(|| malformed("its claims are no JSON object"))?;
    check(&claims, issuer, now_unix_ms)
}

/// The claims of a token whose signature is good.
fn check(
    claims: &Map<String, Value>,
    issuer: &Issuer,
    now_unix_ms: u64,
) -> Result<Verified, JwtError> {
    let wrong = |claim: &str| JwtError::Claim {
        claim: claim.to_owned(),
    };
    if text(claims, "iss").ok_or_else(|| wrong("iss"))? != issuer.issuer {
        return Err(JwtError::Issuer);
    }
    let is_audience = match claims.get("aud") {
        Some(Value::String(one)) => *one == issuer.audience,
        Some(Value::Array(several)) => several
            .iter()
            .any(|one| one.as_str() == Some(issuer.audience.as_str())),
        _ => return Err(wrong("aud")),
    };
    if !is_audience {
        return Err(JwtError::Audience);
    }
    let times = Times {
        expires_s: time(claims, "exp").ok_or_else(|| wrong("exp"))?,
        not_before_s: match claims.contains_key("nbf") {
            true => Some(time(claims, "nbf").ok_or_else(|| wrong("nbf"))?),
            false => None,
        },
    };
    times.check(now_unix_ms)?;
    let subject = text(claims, "sub").filter(|subject| is_name(subject));
    let named = find(claims, &issuer.roles_claim);
    let roles = roles(named).ok_or_else(|| wrong(&issuer.roles_claim))?;
    let claims = Claims {
        subject: subject.ok_or_else(|| wrong("sub"))?.to_owned(),
        roles,
        // A number above all times becomes the last of them.
        expires_unix_ms: (times.end_s() * 1_000.0) as u64,
    };
    Ok(Verified { claims, times })
}

/// The claim of that name, or the one that it points to.
fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let pointed = || {
        let path = name.strip_prefix('/')?;
        let (first, below) = path.split_at(path.find('/').unwrap_or(path.len()));
        let first = first.replace("~1", "/").replace("~0", "~");
        claims.get(&first)?.pointer(below)
    };
    claims.get(name).or_else(pointed)
}

/// A token without the claim has no roles.
fn roles(claim: Option<&Value>) -> Option<Vec<String>> {
    let names: Vec<&str> = match claim {
        None => Vec::new(),
        Some(Value::String(names)) => names.split_ascii_whitespace().collect(),
        Some(Value::Array(names)) => names.iter().map(Value::as_str).collect::<Option<_>>()?,
        Some(_) => return None,
    };
    let is_good = names.len() <= JWT_ROLES_MAX && names.iter().all(|name| is_name(name));
    is_good.then(|| names.into_iter().map(str::to_owned).collect())
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control)
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name)?.as_str()
}

/// Seconds since the Unix epoch.
fn time(claims: &Map<String, Value>, name: &str) -> Option<f64> {
    claims.get(name)?.as_f64().filter(|time| time.is_finite())
}

fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    match serde_json::from_slice(&bytes).ok()? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}
