use super::*;

fn settings(listen: &str) -> Settings {
    Settings {
        listen: listen.parse().expect("an address"),
        tls: None,
        hosts: Vec::new(),
        origins: Vec::new(),
        insecure: false,
    }
}

fn lacks(listen: &str, tls: bool, vault_asks: bool) -> Option<&'static str> {
    let tls = tls.then(|| TlsFiles {
        certificate: "cert.pem".into(),
        key: "key.pem".into(),
    });
    let settings = Settings {
        tls,
        ..settings(listen)
    };
    match check_exposure(&settings, vault_asks) {
        Err(HttpError::Exposed { lacks, .. }) => Some(lacks),
        Ok(()) => None,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn loopback_needs_no_protection() {
    for listen in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        assert_eq!(lacks(listen, false, false), None, "{listen}");
    }
}

#[test]
fn other_addresses_need_tls_and_a_vault_that_asks() {
    for listen in ["0.0.0.0:1", "10.0.0.1:1", "[::]:1"] {
        assert_eq!(lacks(listen, false, false), Some("TLS and authentication"));
        assert_eq!(lacks(listen, true, false), Some("authentication"));
        assert_eq!(lacks(listen, false, true), Some("TLS"));
        assert_eq!(lacks(listen, true, true), None);
    }
    let meant = Settings {
        insecure: true,
        ..settings("0.0.0.0:1")
    };
    assert!(check_exposure(&meant, false).is_ok());
}

#[test]
fn only_its_own_names_and_origins_are_let_in() {
    let mut settings = settings("127.8.9.10:0");
    settings.hosts = vec!["vault.example".to_owned()];
    settings.origins = vec!["https://app.example:443".to_owned()];
    let address = "127.8.9.10:4711".parse().expect("an address");
    let config = config(&settings, address);
    let hosts = [
        "localhost",
        "127.0.0.1",
        "::1",
        "127.8.9.10",
        "vault.example",
    ];
    assert_eq!(config.allowed_hosts, hosts);
    let origins = [
        "http://localhost:4711",
        "http://127.0.0.1:4711",
        "http://[::1]:4711",
        "http://127.8.9.10:4711",
        "https://app.example:443",
    ];
    assert_eq!(config.allowed_origins, origins);
}

#[tokio::test]
async fn url_has_the_port_that_was_given_out() {
    let endpoint = Endpoint::bind(settings("127.0.0.1:0"), false).await;
    let url = endpoint.expect("bound").url();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    assert!(url.ends_with("/mcp") && !url.contains(":0/"), "{url}");
}
