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

#[test]
fn only_its_own_names_and_origins_are_let_in() {
    let address = "127.8.9.10:4711".parse().expect("an address");
    let named = vec!["vault.example".to_owned()];
    let pages = vec!["https://app.example:443".to_owned()];
    let config = config(named, pages, "http", address);
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
