//! Both ends of a handshake.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower::Service as _;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Listens for one caller, whose first bytes come back; who it was.
async fn listen(acceptor: Acceptor) -> (Uri, JoinHandle<Option<PeerIdentity>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    let served = tokio::spawn(async move {
        let (stream, from) = listener.accept().await.expect("a caller");
        let mut accepted = acceptor.accept(stream, from);
        let identity = tonic::transport::server::Connected::connect_info(&accepted);
        let mut bytes = [0; 4];
        if accepted.read_exact(&mut bytes).await.is_ok() {
            accepted.write_all(&bytes).await.expect("answered");
            accepted.flush().await.expect("sent");
        }
        identity.get().cloned()
    });
    (
        format!("http://{address}").parse().expect("an address"),
        served,
    )
}

fn acceptor(clients: Option<ForClients>, nodes: Option<ForNodes>) -> Acceptor {
    let clients = clients.map(|clients| Arc::new(clients.open().expect("valid")));
    let nodes = nodes.map(|nodes| Arc::new(nodes.open().expect("valid")));
    Acceptor::new("test", clients, nodes)
}

fn connector(trust: Option<Trust>) -> Connector {
    let dialer = trust.map(|trust| {
        let config = Arc::new(trust.open().expect("valid"));
        Dialer::new(config, "server_name", None).expect("no name")
    });
    Connector::new(dialer, TIMEOUT, None)
}

/// Sends four bytes and takes them back.
async fn call(mut connector: Connector, uri: Uri) -> Result<(), BoxError> {
    let mut stream = connector.call(uri).await?.into_inner();
    stream.write_all(b"PRI ").await?;
    stream.flush().await?;
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes).await?;
    assert_eq!(&bytes, b"PRI ");
    Ok(())
}

/// Calls `acceptor`; what the caller and the listener say.
async fn try_call(
    acceptor: Acceptor,
    trust: Option<Trust>,
) -> (Result<(), String>, Option<PeerIdentity>) {
    let (uri, served) = listen(acceptor).await;
    let called = call(connector(trust), uri).await;
    let identity = served.await.expect("it has ended");
    (called.map_err(|error| error.to_string()), identity)
}

fn client(ca: &Ca, pair: Option<Pair>) -> Trust {
    Trust {
        ca: Some(ca.file()),
        pair,
        is_node: false,
    }
}

fn node(ca: &Ca, pair: Pair) -> Trust {
    Trust {
        ca: Some(ca.file()),
        pair: Some(pair),
        is_node: true,
    }
}

fn nodes(ca: &Ca, names: &[&str]) -> ForNodes {
    ForNodes {
        pair: ca.pair("listener", &[]),
        ca: ca.file(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        clients: None,
    }
}

fn clients(ca: &Ca, certificates: ClientCertificates) -> ForClients {
    ForClients {
        pair: ca.pair("for-clients", &[]),
        certificates,
    }
}

fn refused(called: Result<(), String>, reason: &str) {
    let error = called.expect_err("refused");
    assert!(error.contains(reason), "{error}");
}

#[tokio::test]
async fn client_without_a_certificate_has_no_identity() {
    let ca = Ca::new("ca");
    let listener = acceptor(Some(clients(&ca, ClientCertificates::None)), None);
    let (called, identity) = try_call(listener, Some(client(&ca, None))).await;
    assert_eq!((called, identity), (Ok(()), None));
}

#[tokio::test]
async fn client_with_a_certificate_has_its_names_and_is_no_node() {
    let (ca, own) = (Ca::new("ca"), Ca::new("clients"));
    let required = ClientCertificates::Required(own.file());
    let listener = acceptor(Some(clients(&ca, required)), Some(nodes(&ca, &[])));
    let shown = own.pair("agent", &["agent.example"]);
    let (called, identity) = try_call(listener, Some(client(&ca, Some(shown)))).await;
    assert_eq!(called, Ok(()));
    let names = vec!["agent.example".to_owned(), "agent".to_owned()];
    let is_node = false;
    assert_eq!(identity, Some(PeerIdentity { names, is_node }));
}

#[tokio::test]
async fn client_that_shows_none_is_refused_where_one_is_demanded_and_only_there() {
    let ca = Ca::new("ca");
    let required = ClientCertificates::Required(ca.file());
    let listener = acceptor(Some(clients(&ca, required)), None);
    let (called, identity) = try_call(listener.clone(), Some(client(&ca, None))).await;
    refused(called, "demands a certificate");
    assert_eq!((identity, listener.refused()), (None, 1));
    let optional = ClientCertificates::Optional(ca.file());
    let listener = acceptor(Some(clients(&ca, optional)), None);
    let (called, _) = try_call(listener, Some(client(&ca, None))).await;
    assert_eq!(called, Ok(()));
}

/// Whoever waits for an answer may be told only that the connection has ended.
#[tokio::test]
async fn refusal_of_a_connection_that_was_made_is_remembered() {
    let ca = Ca::new("ca");
    let required = ClientCertificates::Required(ca.file());
    let (uri, served) = listen(acceptor(Some(clients(&ca, required)), None)).await;
    let place = uri.authority().expect("an address").to_string();
    let connector = connector(Some(client(&ca, None)));
    let refusals = connector.refusals().clone();
    assert_eq!(refusals.of(&place), None);
    call(connector.clone(), uri.clone())
        .await
        .expect_err("refused");
    served.await.expect("it has ended");
    let refusal = refusals.of(&place).expect("it is remembered");
    assert!(refusal.contains("demands a certificate"), "{refusal}");
    // Nobody listens any more, and that is said by the error itself.
    call(connector, uri).await.expect_err("nobody listens");
    assert_eq!(refusals.of(&place), None);
}

#[tokio::test]
async fn foreign_certificates_are_refused_at_both_ends() {
    let (ca, foreign) = (Ca::new("ca"), Ca::new("foreign"));
    let optional = ClientCertificates::Optional(ca.file());
    let listener = acceptor(Some(clients(&ca, optional)), None);
    let shown = foreign.pair("agent", &[]);
    let (called, _) = try_call(listener.clone(), Some(client(&ca, Some(shown)))).await;
    refused(called, "refused");
    let (called, _) = try_call(listener, Some(client(&foreign, None))).await;
    refused(called, "is not signed by a CA that is trusted");
}

#[tokio::test]
async fn expired_certificates_are_refused_at_both_ends() {
    let ca = Ca::new("ca");
    let mut expired = params("expired", &[]);
    expired.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let expired = ca.pair_of("expired", expired);
    let listener = acceptor(None, Some(nodes(&ca, &[])));
    let (called, _) = try_call(listener, Some(node(&ca, expired.clone()))).await;
    refused(called, "the caller's certificate has expired");
    let listener = acceptor(
        None,
        Some(ForNodes {
            pair: expired,
            ..nodes(&ca, &[])
        }),
    );
    let caller = node(&ca, ca.pair("node", &[]));
    let (called, _) = try_call(listener, Some(caller)).await;
    refused(called, "its certificate has expired");
}

#[tokio::test]
async fn node_is_one_by_the_chain_of_its_certificate_where_clients_call_too() {
    let (ca, own) = (Ca::new("nodes"), Ca::new("clients"));
    let required = ClientCertificates::Required(own.file());
    let listener = || {
        let for_clients = clients(&own, required.clone());
        acceptor(Some(for_clients), Some(nodes(&ca, &[])))
    };
    let caller = node(&ca, ca.pair("node", &[]));
    let (called, identity) = try_call(listener(), Some(caller)).await;
    assert_eq!(called, Ok(()));
    assert!(identity.expect("shown").is_node);
    // A client that says it is a node, and has but a client's certificate.
    let liar = node(&ca, own.pair("agent", &[]));
    let (called, identity) = try_call(listener(), Some(liar)).await;
    refused(called, "refused");
    assert_eq!(identity, None);
}

#[tokio::test]
async fn client_certificate_is_refused_where_only_nodes_call() {
    let (ca, own) = (Ca::new("nodes"), Ca::new("clients"));
    let listener = acceptor(None, Some(nodes(&ca, &[])));
    let shown = own.pair("agent", &[]);
    let (called, _) = try_call(listener, Some(client(&ca, Some(shown)))).await;
    refused(called, "refused");
}

#[tokio::test]
async fn node_needs_one_of_the_names_of_nodes() {
    let ca = Ca::new("ca");
    let listener = acceptor(None, Some(nodes(&ca, &["*.nodes.vault"])));
    let other = node(&ca, ca.pair("other", &["a.clients.vault"]));
    let (called, _) = try_call(listener.clone(), Some(other)).await;
    refused(called, "refused");
    let caller = node(&ca, ca.pair("node", &["a.nodes.vault"]));
    let (called, _) = try_call(listener, Some(caller)).await;
    assert_eq!(called, Ok(()));
}

/// A node that offers nothing newer than TLS 1.2.
fn older_node(ca: &Ca, pair: &Pair) -> tokio_rustls::TlsConnector {
    let roots = ca.file().read().expect("a CA");
    let certificate = pair.certificate.read().expect("a certificate");
    let key = pair.key.read().expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("ring has it")
        .with_root_certificates(ca.file().roots(&roots).expect("valid"))
        .with_client_auth_cert(
            pair.certificate.certificates(&certificate).expect("valid"),
            pair.key.key(&key).expect("valid"),
        )
        .expect("a pair");
    config.alpn_protocols = vec![NODE_PROTOCOL.to_vec()];
    Arc::new(config).into()
}

#[tokio::test]
async fn node_that_speaks_nothing_newer_than_tls_1_2_is_refused() {
    let ca = Ca::new("nodes");
    let connector = older_node(&ca, &ca.pair("node", &[]));
    let for_clients = clients(&ca, ClientCertificates::None);
    for listener in [
        acceptor(None, Some(nodes(&ca, &[]))),
        acceptor(Some(for_clients), Some(nodes(&ca, &[]))),
    ] {
        let (uri, served) = listen(listener).await;
        let address = uri.authority().expect("an address").as_str();
        let stream = tokio::net::TcpStream::connect(address).await;
        let name = rustls::pki_types::ServerName::try_from("127.0.0.1").expect("a name");
        let shaken = connector.connect(name, stream.expect("connected")).await;
        assert!(shaken.is_err());
        assert_eq!(served.await.expect("it has ended"), None);
    }
}

#[tokio::test]
async fn plain_text_where_tls_is_spoken_says_so() {
    let ca = Ca::new("ca");
    let listener = acceptor(Some(clients(&ca, ClientCertificates::None)), None);
    let (uri, served) = listen(listener.clone()).await;
    let mut stream = connector(None).call(uri).await.expect("TCP").into_inner();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .expect("sent");
    let error = stream.read(&mut [0; 16]).await.expect_err("an alert");
    assert!(error.to_string().contains("speaks TLS"), "{error}");
    assert_eq!(served.await.expect("it has ended"), None);
    assert_eq!(listener.refused(), 1);
}

#[tokio::test]
async fn tls_where_plain_text_is_spoken_says_so_and_sends_nothing() {
    let ca = Ca::new("ca");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a caller");
        let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        stream.write_all(answer).await.expect("answered");
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        bytes
    });
    let uri = format!("http://{address}").parse().expect("an address");
    let error = call(connector(Some(client(&ca, None))), uri)
        .await
        .expect_err("no TLS");
    assert!(error.to_string().contains("in plain text"), "{error}");
    let sent = served.await.expect("it has ended");
    assert!(!sent.windows(4).any(|bytes| bytes == b"PRI "));
}

#[tokio::test]
async fn certificate_must_have_the_name_that_was_said_or_the_host() {
    let ca = Ca::new("ca");
    let pair = ca.pair("server", &["vault.example"]);
    let served = ForClients {
        pair,
        certificates: ClientCertificates::None,
    };
    let listener = acceptor(Some(served), None);
    for (name, is_its) in [("vault.example", true), ("other.example", false)] {
        let config = Arc::new(client(&ca, None).open().expect("valid"));
        let dialer = Dialer::new(config, "server_name", Some(name)).expect("a name");
        let (uri, served) = listen(listener.clone()).await;
        let called = call(Connector::new(Some(dialer), TIMEOUT, None), uri).await;
        assert_eq!(called.is_ok(), is_its, "{name}: {called:?}");
        served.await.expect("it has ended");
    }
}
