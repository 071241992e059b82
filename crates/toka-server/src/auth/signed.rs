//! JWTs of an issuer whose key was thrown away.

use tempfile::TempDir;
use toka_auth::jwt::Issuer;

use super::issuer::Trusted;

/// When the tokens begin to count, and when they are shown.
pub(super) const NOW_UNIX_MS: u64 = 1_700_000_000_000;
/// From then on they are refused: an hour later, and by how much clocks may differ.
pub(super) const EXPIRES_UNIX_MS: u64 = NOW_UNIX_MS + 3_600_000 + 30_000;
/// Of `robot`, with the role `reader`.
pub(super) const ROBOT: &str = concat!(
    "eyJhbGciOiJFZERTQSIsImtpZCI6Im9uZSJ9",
    ".eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0IiwiYXVkIjoidG9rYSIsInN1YiI6InJvYm90IiwibmJmIjoxNzAwMDAwMDAwLCJleHAiOjE3MDAwMDM2",
    "MDAsInRva2Ffcm9sZXMiOlsicmVhZGVyIl19",
    ".J4T7P23qcU_NV-IUQzZ62Vpo60uZUCfardW7d_Y_2wAp-i7EoXkaeExsCi8S6wMTh1PEkAGuObe0uWJvRFMICg",
);
/// Of `other`, with the same role.
pub(super) const OTHER: &str = concat!(
    "eyJhbGciOiJFZERTQSIsImtpZCI6Im9uZSJ9",
    ".eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0IiwiYXVkIjoidG9rYSIsInN1YiI6Im90aGVyIiwibmJmIjoxNzAwMDAwMDAwLCJleHAiOjE3MDAwMDM2",
    "MDAsInRva2Ffcm9sZXMiOlsicmVhZGVyIl19",
    ".e5KXTEFzwd_AvR9nbzx-tkSy91vzdM-vssotso1dBQY19Bz8CfPF6QVg6TlnPqhdRTVKvvmUSXOKVW3YLxfNCw",
);
/// The key that has signed both.
pub(super) const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"one","x":"A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"}]}"#;
/// Another one, of the same id.
pub(super) const OTHER_KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"one","x":"ebVWLo_mVPlAeLES6KmLp5AfhTrmlb7X4OORC60ElmQ"}]}"#;

/// The claims of [`OTHER`] under the signature of [`ROBOT`].
pub(super) fn forged() -> String {
    let (claims, _) = OTHER.rsplit_once('.').expect("three parts");
    let (_, signature) = ROBOT.rsplit_once('.').expect("three parts");
    format!("{claims}.{signature}")
}

/// Whose tokens they are.
pub(super) fn issuer() -> Issuer {
    Issuer {
        issuer: "https://issuer.test".to_owned(),
        audience: "toka".to_owned(),
        roles_claim: "toka_roles".to_owned(),
    }
}

/// The issuer, with [`KEYS`] in a file.
pub(super) fn trusted() -> (TempDir, Trusted) {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("keys.json");
    std::fs::write(&path, KEYS).expect("written");
    (directory, Trusted::load(issuer(), path).expect("keys"))
}
