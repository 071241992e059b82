//! Files that are read, and read again.

use rcgen::SanType;
use rustls::pki_types::CertificateDer;

use super::*;
use crate::certificate::{names, validity};

fn for_clients(pair: &Pair) -> ForClients {
    ForClients {
        pair: pair.clone(),
        certificates: ClientCertificates::None,
    }
}

fn signed(ca: &Ca, params: &CertificateParams) -> CertificateDer<'static> {
    let key = KeyPair::generate().expect("a key");
    let signed = params.signed_by(&key, &ca.issuer).expect("signed");
    signed.der().clone()
}

#[test]
fn names_are_the_uris_the_dns_names_and_the_common_name() {
    let ca = Ca::new("ca");
    let mut params = params("agent", &["a.example"]);
    let uri = "spiffe://vault/agent".try_into().expect("ASCII");
    params.subject_alt_names.push(SanType::URI(uri));
    let of = names(&signed(&ca, &params));
    assert_eq!(of, ["spiffe://vault/agent", "a.example", "agent"]);
}

#[test]
fn common_name_that_is_an_alternative_name_too_stands_once() {
    let ca = Ca::new("ca");
    let of = names(&signed(&ca, &params("a.example", &["a.example"])));
    assert_eq!(of, ["a.example"]);
}

#[test]
fn times_of_a_certificate_are_read_in_both_forms() {
    let ca = Ca::new("ca");
    for (year, seconds) in [(2030, 1_893_456_000), (2060, 2_840_140_800)] {
        let mut params = params("node", &[]);
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let read = validity(&signed(&ca, &params)).expect("readable");
        assert_eq!(read.not_before, 1_767_225_600);
        assert_eq!(read.not_after, seconds, "{year}");
    }
}

#[test]
fn file_that_cannot_be_used_keeps_the_one_before_in_use_and_is_told_once() {
    let ca = Ca::new("ca");
    let pair = ca.pair("node", &[]);
    let served = for_clients(&pair).open().expect("valid");
    let first = served.current();
    assert_eq!(served.refresh(), Refreshed::Unchanged);

    std::fs::write(&pair.certificate.path, "no certificate").expect("written");
    let Refreshed::Kept(reason) = served.refresh() else {
        panic!("it cannot be used");
    };
    assert!(reason.contains("cert: there is no certificate"), "{reason}");
    assert_eq!(served.failure(), Some(reason));
    assert_eq!(served.refresh(), Refreshed::Unchanged);
    assert!(std::sync::Arc::ptr_eq(&first, &served.current()));

    ca.write(&pair.certificate.path, &pair.key.path, &params("node", &[]));
    assert_eq!(served.refresh(), Refreshed::Replaced);
    assert_eq!(served.failure(), None);
    assert!(!std::sync::Arc::ptr_eq(&first, &served.current()));
}

#[test]
fn file_that_is_gone_for_a_while_is_used_again() {
    let ca = Ca::new("ca");
    let pair = ca.pair("node", &[]);
    let served = for_clients(&pair).open().expect("valid");
    let away = ca.path("away");
    std::fs::rename(&pair.key.path, &away).expect("moved");
    assert!(matches!(served.refresh(), Refreshed::Kept(_)));
    assert_eq!(served.refresh(), Refreshed::Unchanged);
    std::fs::rename(&away, &pair.key.path).expect("moved");
    assert_eq!(served.refresh(), Refreshed::Replaced);
    assert_eq!(served.failure(), None);
}

#[test]
fn key_of_another_certificate_is_an_error_that_names_the_setting_and_not_the_key() {
    let ca = Ca::new("ca");
    let (pair, other) = (ca.pair("node", &[]), ca.pair("other", &[]));
    let mixed = Pair {
        certificate: pair.certificate,
        key: other.key.clone(),
    };
    let error = for_clients(&mixed)
        .open()
        .expect_err("two keys")
        .to_string();
    assert!(error.starts_with("key: "), "{error}");
    let secret = std::fs::read_to_string(&other.key.path).expect("readable");
    let shown = secret.lines().any(|line| error.contains(line));
    assert!(!shown, "{error}");
}

#[test]
fn broken_key_is_not_shown() {
    let ca = Ca::new("ca");
    let pair = ca.pair("node", &[]);
    let broken = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0 !!\n-----END PRIVATE KEY-----\n";
    std::fs::write(&pair.key.path, broken).expect("written");
    let error = for_clients(&pair).open().expect_err("broken");
    assert!(
        !format!("{error} {error:?}").contains("c2VjcmV0"),
        "{error:?}"
    );
}

#[test]
fn ca_of_nodes_that_is_the_clients_too_wants_names() {
    let ca = Ca::new("ca");
    let mut nodes = ForNodes {
        pair: ca.pair("node", &["node.vault"]),
        ca: ca.file(),
        names: Vec::new(),
        clients: Some(ClientsCa {
            file: File::new("clients_ca", ca.path("ca.pem")),
            names_setting: "names",
        }),
    };
    let refused = nodes.clone().open().expect_err("the same CA");
    assert!(matches!(refused, Error::SharedCa { .. }), "{refused}");
    nodes.names = vec!["node.vault".to_owned()];
    nodes.open().expect("names tell them apart");
}

#[test]
fn file_that_is_too_long_is_not_read() {
    let ca = Ca::new("ca");
    let pair = ca.pair("node", &[]);
    let long = std::fs::File::create(&pair.certificate.path).expect("created");
    long.set_len(FILE_BYTES_MAX + 1).expect("grown");
    let error = for_clients(&pair).open().expect_err("too long");
    assert!(
        matches!(
            error,
            Error::TooLong {
                setting: "cert",
                ..
            }
        ),
        "{error}"
    );
}
