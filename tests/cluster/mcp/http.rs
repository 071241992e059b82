//! Who may call `toka mcp --http`, and as whom.

use anyhow::{Result, ensure};
use serde_json::json;
use toka_tests::cluster::{self, Cluster};
use toka_tests::command::Toka;
use toka_tests::mcp::Served;
use toka_tests::secured::Secured;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_another_site_has_led_here_are_refused() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let allowed = [
            "--allow-host",
            "vault.example",
            "--allow-origin",
            "https://app.example:443",
        ];
        let served = Served::start(&toka, &allowed).await?;
        let port = served.address.rsplit(':').next().unwrap_or_default();
        for (header, value, status) in [
            ("Host", "evil.example".to_owned(), 403),
            ("Host", "vault.example".to_owned(), 200),
            ("Host", format!("localhost:{port}"), 200),
            ("Origin", "http://evil.example".to_owned(), 403),
            ("Origin", "null".to_owned(), 403),
            ("Origin", "http://localhost:1".to_owned(), 403),
            ("Origin", format!("http://localhost:{port}"), 200),
            ("Origin", "https://app.example".to_owned(), 200),
        ] {
            let answer = served.initialize(&[(header, value.clone())]).await?;
            ensure!(answer.status == status, "{header}: {value}: {answer:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_is_made_with_the_token_of_its_own_request() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let reader = secured.token(cluster, "reader", &["read"]).await?.text;
        let writer = secured.token(cluster, "writer", &["read", "write"]).await?;
        let writer = writer.text;
        // A token of the server's own is nobody's.
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints())
            .with_variable("TOKA_TOKEN", &secured.root);
        let served = Served::start(&toka, &[]).await?;
        let anonymous = served.initialize(&[]).await?;
        ensure!(anonymous.status == 401, "{anonymous:?}");
        ensure!(
            anonymous.head.contains("www-authenticate: bearer"),
            "{anonymous:?}"
        );

        let event = json!({ "kind": "note", "payload": "written" });
        let by_reader = served.session(Some(&reader)).await?;
        let refused = by_reader.call("commit_event", &event).await?;
        ensure!(refused["error"]["code"] == "permission_denied", "{refused}");
        let by_writer = served.session(Some(&writer)).await?;
        let committed = by_writer.call("commit_event", &event).await?;
        let id = &committed["event"]["id"];
        ensure!(id.is_string(), "{committed}");
        let read = by_reader.call("get_event", &json!({ "event": id })).await?;
        ensure!(read["event"]["payload"] == "written", "{read}");

        let by_nobody = served
            .session(Some("toka_0123456789abcdef_nothing"))
            .await?;
        let unknown = by_nobody.call("get_event", &json!({ "event": id })).await?;
        ensure!(unknown["error"]["code"] == "unauthenticated", "{unknown}");
        let stolen = by_writer.with_token(&reader);
        let ping = json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" });
        let answer = stolen.post(&ping).await?;
        ensure!(answer.status == 404, "{answer:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_not_reached_from_elsewhere_unprotected_unless_that_is_meant() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let refused = toka.run(&["mcp", "--http", "0.0.0.0:0"]).await?;
        ensure!(refused.code == Some(2), "{refused:?}");
        for part in ["TLS and authentication", "--insecure"] {
            ensure!(refused.stderr.contains(part), "{refused:?}");
        }
        let own = [
            "mcp",
            "--http",
            "127.0.0.1:0",
            "--cert",
            "cert.pem",
            "--key",
            "key.pem",
        ];
        let refused = toka.run(&own).await?;
        ensure!(refused.code == Some(2), "{refused:?}");
        ensure!(refused.stderr.contains("--cert"), "{refused:?}");
        Ok(())
    })
    .await
}
