use std::convert::Infallible;

use tower::{ServiceExt as _, service_fn};

use super::*;

const WEB: (&str, &str) = ("content-type", "application/grpc-web+proto");

/// A node at `node-1.vault:7311` that has two names besides.
fn sites(is_enforced: bool) -> Sites {
    let mut config = Config::new(1, "/unused".into());
    config.auth.enabled = is_enforced;
    config.allowed_hosts = ["vault.example", "*.pages.example:8443"]
        .map(|host| host.parse::<AllowedHost>().expect(host))
        .to_vec();
    Sites::of(&config, "node-1.vault:7311")
}

async fn answer(sites: &Sites, headers: &[(&str, &str)]) -> Response<Body> {
    let service = service_fn(|_: Request<Body>| {
        std::future::ready(Ok::<_, Infallible>(Response::new(Body::empty())))
    });
    let request = Request::post("/toka.vault.v1.VaultService/Commit");
    let request = headers.iter().fold(request, |request, (name, value)| {
        request.header(*name, *value)
    });
    let request = request.body(Body::empty()).expect("a request");
    let answered = sites.before(service).oneshot(request).await;
    answered.expect("answered")
}

async fn is_answered(sites: &Sites, headers: &[(&str, &str)]) -> bool {
    answer(sites, headers).await.status() == StatusCode::OK
}

#[tokio::test]
async fn browser_is_answered_at_names_that_are_the_nodes() {
    for host in [
        "localhost",
        "LOCALHOST:7311",
        "127.0.0.1:7311",
        "[::1]:7311",
        "10.0.0.1",
        "node-1.vault:7311",
        "Vault.Example",
        "vault.example:444",
        "a.pages.example",
    ] {
        assert!(
            is_answered(&sites(false), &[("host", host), WEB]).await,
            "{host}"
        );
    }
    for host in [
        "evil.example:7311",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "pages.example",
        "vault.example.evil.example",
        "",
    ] {
        let headers = [("host", host), WEB];
        assert!(!is_answered(&sites(false), &headers).await, "{host}");
        // A token has to be shown, and such a page has none.
        assert!(is_answered(&sites(true), &headers).await, "{host}");
    }
    assert!(!is_answered(&sites(false), &[WEB]).await, "no name");
}

#[tokio::test]
async fn page_is_answered_that_is_of_the_node_or_is_named() {
    for (host, origin) in [
        ("localhost:7311", "http://localhost:7311"),
        ("LOCALHOST:7311", "http://localhost:7311"),
        // Behind what speaks TLS.
        ("vault.example", "https://vault.example"),
        ("vault.example", "https://vault.example:443"),
        ("vault.example:443", "https://vault.example"),
        ("127.0.0.1:7311", "https://vault.example:9000"),
        ("127.0.0.1:7311", "https://a.pages.example:8443"),
        ("127.0.0.1:7311", "http://node-1.vault:7311"),
    ] {
        for is_enforced in [false, true] {
            let headers = [("host", host), ("origin", origin)];
            let is_answered = is_answered(&sites(is_enforced), &headers).await;
            assert!(is_answered, "{origin} at {host}");
        }
    }
    for (host, origin) in [
        ("localhost:7311", "http://localhost:8080"),
        ("localhost:7311", "https://localhost:7312"),
        ("localhost:7311", "http://evil.example"),
        ("localhost:7311", "null"),
        ("localhost:7311", ""),
        ("localhost:7311", "file://"),
        ("localhost:7311", "https://a.pages.example"),
        ("vault.example", "http://vault.example.evil.example"),
    ] {
        for is_enforced in [false, true] {
            let headers = [("host", host), ("origin", origin)];
            let is_answered = is_answered(&sites(is_enforced), &headers).await;
            assert!(!is_answered, "{origin} at {host}");
        }
    }
}

/// Both look like port 80 of the same name to a node behind what speaks TLS.
#[tokio::test]
async fn page_in_plain_text_is_not_of_the_node_behind_tls() {
    let headers = |site| {
        let origin = ("origin", "http://secured.example");
        [
            ("host", "secured.example"),
            origin,
            ("sec-fetch-site", site),
        ]
    };
    assert!(is_answered(&sites(true), &headers("same-origin")).await);
    for site in ["cross-site", "same-site"] {
        assert!(!is_answered(&sites(true), &headers(site)).await, "{site}");
    }
    // One that is named may call from wherever it is.
    let named = [
        ("host", "127.0.0.1:7311"),
        ("origin", "https://vault.example"),
        ("sec-fetch-site", "cross-site"),
    ];
    assert!(is_answered(&sites(false), &named).await);
}

#[tokio::test]
async fn one_strange_page_of_two_is_enough() {
    let headers = [
        ("host", "localhost"),
        ("origin", "http://localhost"),
        ("origin", "http://evil.example"),
    ];
    assert!(!is_answered(&sites(false), &headers).await);
}

#[tokio::test]
async fn client_of_grpc_is_answered_at_any_name() {
    let native = ("content-type", "application/grpc");
    let cases: [&[(&str, &str)]; 3] = [&[("host", "evil.example"), native], &[native], &[]];
    for headers in cases {
        assert!(is_answered(&sites(false), headers).await, "{headers:?}");
    }
}

#[tokio::test]
async fn refusal_is_forbidden_and_names_the_setting() {
    let headers = [("host", "evil.example"), WEB];
    let refused = answer(&sites(false), &headers).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let status = tonic::Status::from_header_map(refused.headers()).expect("a status");
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
    assert!(status.message().contains("allowed_hosts"), "{status:?}");
    let body = axum::body::to_bytes(axum::body::Body::new(refused.into_body()), 1_000).await;
    let body = String::from_utf8(body.expect("a body").to_vec()).expect("text");
    assert!(body.contains("--allowed-host"), "{body}");
}
