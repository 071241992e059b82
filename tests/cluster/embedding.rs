//! `toka` embeds texts by itself, with models that differ, and copies a vault from one to another.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use toka_tests::cluster::{self, Cluster};
use toka_tests::command::{Ran, Toka};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const TEXTS: [&str; 8] = [
    "wake me up at seven tomorrow morning",
    "set an alarm for seven in the morning",
    "please wake me up at half past six",
    "what is the weather like in berlin today",
    "will it rain in berlin this weekend",
    "play some jazz music in the kitchen",
    "turn the music in the kitchen off",
    "order a pizza with mushrooms for dinner",
];

fn lines() -> String {
    let line = |(number, text): (usize, &&str)| {
        let parents: Vec<String> = (number > 0)
            .then(|| (number - 1).to_string())
            .into_iter()
            .collect();
        let line = json!({
            "ref": number.to_string(),
            "parents": parents,
            "kind": "utterance",
            "payload": { "text": text },
            "source": "user",
            "attributes": { "turn": number.to_string() },
        });
        format!("{line}\n")
    };
    TEXTS.iter().enumerate().map(line).collect()
}

fn texts(hits: &[Value]) -> Vec<&str> {
    let texts = hits.iter().map(|hit| hit["payload"]["text"].as_str());
    texts.flatten().collect()
}

fn check_refused(ran: &Ran, code: i32, parts: &[&str]) -> Result<()> {
    ensure!(ran.code == Some(code), "{ran:?}");
    for part in parts {
        ensure!(ran.stderr.contains(part), "{part:?} is not in {ran:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_are_embedded_and_found_by_their_meaning() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let nothing_embedded = toka.run(&["search", "music"]).await?;
        check_refused(&nothing_embedded, 2, &["--embedder"])?;
        let import = ["import", "--embedder", "hashed", "-o", "json"];
        let ran = toka.run_on(&import, &lines()).await?;
        ensure!(ran.code == Some(0), "{ran:?}");
        let status = toka.json(&["cluster", "status", "-o", "json"]).await?;
        let settings = &status[0]["settings"];
        ensure!(settings["embedding_model"] == "hashed-v1/384", "{settings}");
        ensure!(settings["dimension"] == 384, "{settings}");
        for header in toka.json(&["log", "-o", "json"]).await? {
            ensure!(header["intent"].is_u64(), "{header}");
        }

        // The vault's model says how to embed what is searched for.
        let search = ["search", "music in the kitchen", "-n", "2", "-o", "json"];
        let hits = toka.json(&search).await?;
        ensure!(
            texts(&hits).iter().all(|text| text.contains("music")),
            "{hits:?}"
        );
        let classify = ["intents", "classify", TEXTS[0], "-o", "json"];
        let told = toka.json(&classify).await?;
        ensure!(
            told[0]["nearest"]
                .as_array()
                .is_some_and(|near| !near.is_empty()),
            "{told:?}"
        );

        let user = toka.clone().with_variable("TOKA_EMBEDDER", "hashed");
        let commit = [
            "commit",
            "utterance",
            r#"{"text":"play jazz in the kitchen"}"#,
            "-o",
            "json",
        ];
        let stored = &user.json(&commit).await?[0];
        ensure!(
            stored["dimension"] == 384 && stored["intent"].is_u64(),
            "{stored}"
        );
        let plain = ["commit", "note", "1", "--embedder", "none", "-o", "json"];
        let stored = &user.json(&plain).await?[0];
        ensure!(stored["dimension"].is_null(), "{stored}");

        // Vectors of another model are not mixed in, nor compared.
        let other = toka.clone().with_variable("TOKA_EMBEDDER", "hashed:64");
        let refused = other
            .run(&["commit", "utterance", r#"{"text":"play"}"#])
            .await?;
        check_refused(&refused, 5, &["hashed-v1/64", "hashed-v1/384", "reembed"])?;
        let refused = other.run(&["search", "music"]).await?;
        check_refused(&refused, 5, &["hashed-v1/64", "hashed-v1/384", "reembed"])?;
        let refused = toka
            .run(&["commit", "a", "1", "--embedding", "[1,0]"])
            .await?;
        check_refused(&refused, 5, &["384", "2", "reembed"])?;
        let unknown = toka.run(&["search", "music", "--embedder", "hash"]).await?;
        check_refused(&unknown, 2, &["hashed", "model:DIR", "openai:URL"])
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vault_is_copied_into_one_of_another_model() -> Result<()> {
    let home = TempDir::with_prefix("toka-test-reembed-")?;
    let toka = Toka::new(home.path());
    let dir = |name: &str| home.path().join(name).display().to_string();
    let (old, new) = (dir("old"), dir("new"));
    let import = [
        "--data",
        &old,
        "import",
        "--embedder",
        "hashed",
        "-o",
        "json",
    ];
    let ran = toka.run_on(&import, &lines()).await?;
    ensure!(ran.code == Some(0), "{ran:?}");
    toka.ok(&["--data", &old, "commit", "plain", "1"]).await?;

    let no_model = toka.run(&["--data", &old, "reembed", &new]).await?;
    check_refused(&no_model, 2, &["--embedder"])?;
    let reembed = [
        "--data",
        &old,
        "reembed",
        &new,
        "--embedder",
        "hashed:64",
        "-o",
        "json",
    ];
    let summary = &toka.json(&reembed).await?[0];
    ensure!(
        summary["events"] == 9 && summary["embedded"] == 8,
        "{summary}"
    );
    // Events are named by their digests here, and so are their parents.
    let export = async |data: &str| {
        let ran = toka
            .ok(&["--data", data, "export", "--no-embedding"])
            .await?;
        anyhow::Ok(ran.stdout)
    };
    ensure!(export(&old).await? == export(&new).await?);
    let copies = toka.json(&["--data", &new, "log", "-o", "json"]).await?;
    ensure!(copies[0]["dimension"] == 64, "{}", copies[0]);
    ensure!(copies[8]["dimension"].is_null(), "{}", copies[8]);
    let search = [
        "--data",
        &new,
        "search",
        "rain in berlin",
        "-n",
        "1",
        "-o",
        "json",
    ];
    ensure!(texts(&toka.json(&search).await?) == [TEXTS[4]]);
    let verified = toka.json(&["--data", &new, "verify", "-o", "json"]).await?;
    ensure!(verified[0]["problems"] == json!([]), "{verified:?}");

    // A copy that broke off is continued by repeating it; here nothing is left to do.
    let again = &toka.json(&reembed).await?[0];
    ensure!(
        again["events"] == 9 && again["copied_before"] == 9,
        "{again}"
    );
    // A vault with a history of its own is no copy.
    let other = dir("other");
    toka.ok(&["--data", &other, "commit", "mine", "1"]).await?;
    let into_other = ["--data", &old, "reembed", &other, "--embedder", "hashed:64"];
    check_refused(
        &toka.run(&into_other).await?,
        5,
        &["empty vault", "sequence 1"],
    )?;
    ensure!(
        toka.json(&["--data", &other, "log", "-o", "json"])
            .await?
            .len()
            == 1
    );
    // Nor is a copy by another model.
    let by_another = ["--data", &old, "reembed", &new, "--embedder", "hashed"];
    check_refused(
        &toka.run(&by_another).await?,
        5,
        &["hashed-v1/64", "hashed-v1/384", "empty vault"],
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn import_that_embeds_stores_what_came_before_an_error_and_goes_on() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let good = lines();
        let mut broken: Vec<&str> = good.lines().collect();
        broken.insert(5, "{\"kind\": \"utterance\", \"payload\": ");
        let import = ["import", "--embedder", "hashed", "-o", "json"];
        let ran = toka.run_on(&import, &broken.join("\n")).await?;
        check_refused(&ran, 5, &["line 6"])?;
        let stored = toka.json(&["log", "-o", "json"]).await?;
        ensure!(texts(&stored) == TEXTS[..5], "{stored:?}");
        ensure!(
            stored.iter().all(|event| event["intent"].is_u64()),
            "{stored:?}"
        );

        let ran = toka.run_on(&import, &good).await?;
        ensure!(ran.code == Some(0), "{ran:?}");
        let stored = toka.json(&["log", "-o", "json"]).await?;
        ensure!(texts(&stored) == TEXTS, "{stored:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copy_leaves_out_what_cannot_be_embedded_if_told_so() -> Result<()> {
    let home = TempDir::with_prefix("toka-test-reembed-")?;
    let toka = Toka::new(home.path());
    let path = |name: &str| home.path().join(name).display().to_string();
    let (old, new) = (path("old"), path("new"));
    let lines = [
        json!({ "kind": "good", "payload": { "text": TEXTS[0] } }),
        // Neither MessagePack nor text.
        json!({ "kind": "bytes", "payload_base64": "wf8=", "embedding": vec![1.0; 384] }),
        json!({ "kind": "good", "payload": { "text": TEXTS[1] } }),
    ];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let import = ["--data", &old, "import", "-o", "json"];
    let ran = toka.run_on(&import, &lines).await?;
    ensure!(ran.code == Some(0), "{ran:?}");

    let mut reembed = vec![
        "--data",
        &old,
        "reembed",
        &new,
        "--embedder",
        "hashed",
        "--all",
    ];
    let ran = toka.run(&reembed).await?;
    check_refused(&ran, 5, &["sequence 2", "MessagePack"])?;
    reembed.extend(["--skip-unreadable", "-o", "json"]);
    let copied = toka.json(&reembed).await?;
    ensure!(
        copied[0]["events"] == 3 && copied[0]["embedded"] == 2,
        "{copied:?}"
    );
    // Again: there is nothing left to do.
    let copied = toka.json(&reembed).await?;
    ensure!(copied[0]["copied_before"] == 3, "{copied:?}");

    // What could have been embedded and was not makes it no such copy.
    let plain = path("plain");
    let lines = lines
        .replace("\"good\"", "\"other\"")
        .replacen("\"other\"", "\"good\"", 1);
    let import = ["--data", &plain, "import", "-o", "json"];
    let ran = toka.run_on(&import, &lines).await?;
    ensure!(ran.code == Some(0), "{ran:?}");
    let begun = path("begun");
    let first = format!(
        "{}\n",
        json!({ "kind": "good", "payload": { "text": TEXTS[0] } })
    );
    let import = ["--data", &begun, "import", "-o", "json"];
    ensure!(toka.run_on(&import, &first).await?.code == Some(0));
    let reembed = [
        "--data",
        &plain,
        "reembed",
        &begun,
        "--embedder",
        "hashed",
        "--all",
        "--skip-unreadable",
    ];
    check_refused(&toka.run(&reembed).await?, 5, &["not embedded alike"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedder_that_was_turned_off_embeds_no_text() -> Result<()> {
    let home = TempDir::with_prefix("toka-test-none-")?;
    let toka = Toka::new(home.path());
    let vault = home.path().join("vault").display().to_string();
    let import = ["--data", &vault, "import", "--embedder", "hashed"];
    let ran = toka.run_on(&import, &lines()).await?;
    ensure!(ran.code == Some(0), "{ran:?}");
    let search = ["--data", &vault, "search", "music", "--embedder", "none"];
    check_refused(&toka.run(&search).await?, 2, &["--vector"])
}

/// Answers embeddings calls as OpenAI does, with vectors of eight components that depend on the text's
/// words.
async fn serve(listener: TcpListener, calls: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        calls.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(answer(stream));
    }
}

async fn answer(mut stream: TcpStream) -> Result<()> {
    let mut request = Vec::new();
    let body = loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await?;
        ensure!(read > 0, "the request ends early");
        request.extend_from_slice(&chunk[..read]);
        let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = str::from_utf8(&request[..end])?.to_lowercase();
        ensure!(head.starts_with("post /v1/embeddings "), "{head}");
        ensure!(head.contains("authorization: bearer secret"), "{head}");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.context("no length")?.parse()?;
        if request.len() >= end + 4 + length {
            break serde_json::from_slice::<Value>(&request[end + 4..])?;
        }
    };
    let vector = |text: &str| -> Vec<f32> {
        let mut vector = vec![0.01; 8];
        for word in text.split_whitespace() {
            vector[word.bytes().map(usize::from).sum::<usize>() % 8] += 1.0;
        }
        vector
    };
    let inputs = body["input"].as_array().context("no input")?;
    let data: Vec<_> = inputs
        .iter()
        .enumerate()
        .map(|(index, text)| {
            json!({ "object": "embedding", "index": index, "embedding": vector(text.as_str().unwrap_or_default()) })
        })
        .collect();
    let reply = json!({ "object": "list", "model": body["model"], "data": data }).to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        reply.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoint_embeds_in_batches() -> Result<()> {
    let home = TempDir::with_prefix("toka-test-openai-")?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address: SocketAddr = listener.local_addr()?;
    let calls = Arc::new(AtomicUsize::new(0));
    let server = tokio::spawn(serve(listener, Arc::clone(&calls)));
    let toka = Toka::new(home.path()).with_variable("OPENAI_API_KEY", "secret");
    let data = home.path().join("vault").display().to_string();
    let embedder = format!("openai:http://{address}/v1");
    let import = [
        "--data",
        &data,
        "import",
        "--embedder",
        &embedder,
        "-o",
        "json",
    ];
    let ran = toka.run_on(&import, &lines()).await?;
    ensure!(ran.code == Some(0), "{ran:?}");
    let calls = calls.load(Ordering::SeqCst);
    ensure!(
        calls < TEXTS.len(),
        "{calls} calls for {} texts",
        TEXTS.len()
    );
    let search = ["--data", &data, "search", "music", "-o", "json"];
    // The name of a model on the network does not say where it is.
    let refused = toka.run(&search).await?;
    check_refused(
        &refused,
        2,
        &["openai/text-embedding-3-small", "--embedder"],
    )?;
    let hits = toka
        .json(&[&search[..], &["--embedder", &embedder]].concat())
        .await?;
    ensure!(hits.len() == TEXTS.len(), "{hits:?}");
    server.abort();
    let import = [
        "--data",
        &data,
        "import",
        "--embedder",
        "openai:http://127.0.0.1:1/v1",
    ];
    let other = r#"{"kind":"utterance","payload":{"text":"something else"}}"#;
    let ran = toka.run_on(&import, other).await?;
    ensure!(
        ran.code != Some(0) && ran.stderr.contains("127.0.0.1:1"),
        "{ran:?}"
    );
    Ok(())
}
