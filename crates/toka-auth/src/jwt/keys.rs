//! The issuer's public keys: a JWK set (RFC 7517).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::{Map, Value};
use thiserror::Error;

/// Keys of one set.
pub const KEYS_MAX: usize = 32;
/// Longest set, in bytes of its JSON.
pub const KEYS_BYTES_MAX: usize = 256 << 10;

/// How a token may be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    /// By its name in RFC 7518 and RFC 8037. Those that are not asymmetric have none here.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "RS384" => Some(Self::Rs384),
            "RS512" => Some(Self::Rs512),
            "PS256" => Some(Self::Ps256),
            "PS384" => Some(Self::Ps384),
            "PS512" => Some(Self::Ps512),
            "ES256" => Some(Self::Es256),
            "ES384" => Some(Self::Es384),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }

    /// How an RSA key checks it; `None`: no RSA key does.
    fn of_rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Rs256 => Some(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&RSA_PSS_2048_8192_SHA512),
            Self::Es256 | Self::Es384 | Self::EdDsa => None,
        }
    }
}

/// Why text is no set of keys.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeysError {
    /// It is too long.
    #[error("the key set has {bytes} bytes, at most {KEYS_BYTES_MAX}")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// It is no JSON object with an array `keys`.
    #[error("the key set is no JSON object with an array `keys`")]
    Malformed,
    /// It has too many keys.
    #[error("the key set has {count} keys, at most {KEYS_MAX}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// A key of a type that is known lacks something.
    #[error("key {index} of the set: `{field}` is absent or malformed")]
    Key {
        /// Its place, from 0.
        index: usize,
        /// What is wrong.
        field: &'static str,
    },
    /// No key can be used.
    #[error("the key set has no key for signatures by RSA, P-256, P-384 or Ed25519")]
    NoKey,
}

/// What a key consists of; each type checks its own algorithms and no others.
#[derive(Clone, PartialEq, Eq)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Clone, PartialEq, Eq)]
struct Key {
    id: Option<String>,
    /// The only algorithm that it is for, where it says so.
    algorithm: Option<Algorithm>,
    material: Material,
}

/// The issuer's public keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    keys: Vec<Key>,
}

/// The keys are public, but long.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.keys.iter().map(|key| key.id.as_deref());
        f.debug_list().entries(ids).finish()
    }
}

impl Keys {
    /// Reads a JWK set. Keys of other types, and those that are not for signatures, are left out.
    ///
    /// # Errors
    ///
    /// [`KeysError`].
    pub fn parse(json: &[u8]) -> Result<Self, KeysError> {
        if json.len() > KEYS_BYTES_MAX {
            return Err(KeysError::TooLong { bytes: json.len() });
        }
        let set: Value = serde_json::from_slice(json).map_err(|_| KeysError::Malformed)?;
        let members = set.get("keys").and_then(Value::as_array);
        let members = members.ok_or(KeysError::Malformed)?;
        if members.len() > KEYS_MAX {
            return Err(KeysError::TooMany {
                count: members.len(),
            });
        }
        let mut keys = Vec::with_capacity(members.len());
        for (index, member) in members.iter().enumerate() {
            let member = member.as_object().ok_or(KeysError::Malformed)?;
            let key = Key::of(member).map_err(|field| KeysError::Key { index, field })?;
            keys.extend(key);
        }
        if keys.is_empty() {
            return Err(KeysError::NoKey);
        }
        Ok(Self { keys })
    }

    /// Whether one of the keys, the one that is named where one is, has signed the message.
    pub(super) fn have_signed(
        &self,
        algorithm: Algorithm,
        key_id: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        self.keys
            .iter()
            .filter(|key| key_id.is_none() || key.id.as_deref() == key_id)
            .any(|key| key.has_signed(algorithm, message, signature))
    }
}

impl Key {
    /// `None`: it is of no use here. The error names what is wrong.
    fn of(member: &Map<String, Value>) -> Result<Option<Self>, &'static str> {
        let text = |name: &str| member.get(name).and_then(Value::as_str);
        let is_for_signatures = text("use").is_none_or(|of| of == "sig")
            && member
                .get("key_ops")
                .and_then(Value::as_array)
                .is_none_or(|operations| operations.iter().any(|of| of == "verify"));
        if !is_for_signatures {
            return Ok(None);
        }
        let bytes = |name: &'static str| {
            let decoded = text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
            decoded.filter(|bytes| !bytes.is_empty()).ok_or(name)
        };
        let material = match (text("kty"), text("crv")) {
            (Some("RSA"), _) => Material::Rsa {
                n: without_zeros(bytes("n")?),
                e: without_zeros(bytes("e")?),
            },
            (Some("EC"), Some("P-256")) => Material::P256(point(bytes("x")?, bytes("y")?, 32)?),
            (Some("EC"), Some("P-384")) => Material::P384(point(bytes("x")?, bytes("y")?, 48)?),
            (Some("OKP"), Some("Ed25519")) => Material::Ed25519(bytes("x")?),
            _ => return Ok(None),
        };
        let algorithm = match text("alg") {
            None => None,
            Some(name) => match Algorithm::of_name(name) {
                // For encryption, for example.
                None => return Ok(None),
                known => known,
            },
        };
        Ok(Some(Self {
            id: text("kid").map(str::to_owned),
            algorithm,
            material,
        }))
    }

    fn has_signed(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if self.algorithm.is_some_and(|only| only != algorithm) {
            return false;
        }
        let is_by = |of: &'static dyn VerificationAlgorithm, key: &Vec<u8>| {
            let key = UnparsedPublicKey::new(of, key);
            key.verify(message, signature).is_ok()
        };
        match (&self.material, algorithm) {
            (Material::Rsa { n, e }, algorithm) => algorithm.of_rsa().is_some_and(|parameters| {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(parameters, message, signature).is_ok()
            }),
            (Material::P256(point), Algorithm::Es256) => is_by(&ECDSA_P256_SHA256_FIXED, point),
            (Material::P384(point), Algorithm::Es384) => is_by(&ECDSA_P384_SHA384_FIXED, point),
            (Material::Ed25519(key), Algorithm::EdDsa) => is_by(&ED25519, key),
            _ => false,
        }
    }
}

/// `ring` takes numbers without leading zeros.
fn without_zeros(bytes: Vec<u8>) -> Vec<u8> {
    bytes.into_iter().skip_while(|byte| *byte == 0).collect()
}

/// An uncompressed point: 4, then both coordinates, each of `bytes` bytes.
fn point(x: Vec<u8>, y: Vec<u8>, bytes: usize) -> Result<Vec<u8>, &'static str> {
    if x.len() != bytes {
        return Err("x");
    }
    if y.len() != bytes {
        return Err("y");
    }
    Ok([&[4][..], &x, &y].concat())
}
