//! Maps of intents, as the command line draws them.

use anyhow::{Context as _, Result, ensure};
use roxmltree::Document;
use serde_json::json;
use tempfile::TempDir;
use toka_client::{Client, EventDraft};
use toka_tests::cluster::{self, Cluster};
use toka_tests::command::Toka;

const TOPICS: usize = 6;

/// Commits events, each of the next topic, with texts that no document may have as they are.
async fn commit(client: &Client, count: usize) -> Result<()> {
    let drafts = (0..count).map(|n| {
        let mut vector = [0.05; 8];
        vector[n % TOPICS] = 1.0 + (n % 13) as f32 / 40.0;
        let text = format!("</title><script>{n}</script>\u{202e}");
        EventDraft::new("message")
            .payload(&json!({ "text": text, "n": n }))
            .embedding(&vector)
            .model("test")
    });
    client.commit_batch(drafts.collect(), Vec::new()).await?;
    Ok(())
}

/// What hovering tells of each intent on a map, the largest first.
fn hovers(picture: &str) -> Result<Vec<String>> {
    let document = Document::parse(picture)?;
    let circles = document.descendants();
    let circles = circles.filter(|node| node.has_tag_name("circle"));
    circles
        .map(|circle| {
            let group = circle.parent_element().context("a circle alone")?;
            let mut inside = group.children();
            let title = inside.find(|node| node.has_tag_name("title"));
            let title = title.context("no title")?;
            Ok(title.text().unwrap_or_default().to_owned())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn map_of_a_cluster_has_each_intent_with_its_examples() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        commit(&cluster.client().await?, 300).await?;
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let intents = toka.json(&["intents", "-o", "json"]).await?;
        ensure!(intents.len() > 2, "{intents:?}");
        let largest = intents[0]["intent"].to_string();
        let label = ["intents", "label", &largest, "<b>mine</b>"];
        toka.ok(&label).await?;

        let file = cluster.directory().join("map.svg");
        let plot = [
            "intents",
            "--plot",
            file.to_str().context("a name")?,
            "-o",
            "json",
        ];
        let told = toka.json(&plot).await?;
        ensure!(told[0]["intents"] == intents.len(), "{told:?}");
        ensure!(told[0]["left_off"] == 0, "{told:?}");
        let picture = std::fs::read_to_string(&file)?;
        let hovers = hovers(&picture)?;
        ensure!(hovers.len() == intents.len(), "{hovers:?}");
        let first = format!("intent {largest}: <b>mine</b>\n");
        ensure!(hovers[0].starts_with(&first), "{hovers:?}");
        for hover in &hovers {
            ensure!(hover.contains("</title><script>"), "{hover:?}");
            ensure!(!hover.contains('\u{202e}'), "{hover:?}");
        }
        // The file that is there is replaced, by the same if nothing has happened.
        toka.ok(&plot).await?;
        ensure!(std::fs::read_to_string(&file)? == picture);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn map_in_a_page_runs_nothing_and_says_what_is_left_off() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        commit(&cluster.client().await?, 300).await?;
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let file = cluster.directory().join("map.html");
        let name = file.to_str().context("a name")?;
        toka.ok(&["intents", "--plot", name, "-n", "2"]).await?;
        let page = std::fs::read_to_string(&file)?;
        ensure!(page.matches("<section id=\"p").count() == 2, "{page}");
        ensure!(page.contains("Left off: the "), "{page}");
        ensure!(page.contains("default-src 'none'"), "{page}");
        ensure!(!page.contains("<script"), "{page}");

        let wrong: [(&[&str], &str); 4] = [
            (&["intents", "--plot", "map.png"], ".svg nor .html"),
            (&["intents", "--plot", name, "-n", "1001"], "at most 1000"),
            (&["intents", "--plot", name, "get", "1"], "--plot"),
            (&["intents", "--plot", name, "--watch"], "--watch"),
        ];
        for (arguments, reason) in wrong {
            let ran = toka.run(arguments).await?;
            ensure!(ran.code == Some(2), "{arguments:?}: {ran:?}");
            ensure!(ran.stderr.contains(reason), "{arguments:?}: {ran:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn map_without_intents_says_why_and_how_to_get_some() -> Result<()> {
    let home = TempDir::with_prefix("toka-test-plots-")?;
    let data = home.path().join("vault").display().to_string();
    let file = home.path().join("map.svg").display().to_string();
    let toka = Toka::new(home.path());
    toka.ok(&["--data", &data, "commit", "message", "\"hello\""])
        .await?;
    let cases: [(&[&str], &str); 2] = [
        (&[], "no event has an embedding"),
        (&["--skip-tentative"], "--skip-tentative leaves"),
    ];
    for (flags, why) in cases {
        let plot = ["--data", &data, "intents", "--plot", &file];
        let ran = toka.ok(&[&plot[..], flags].concat()).await?;
        let picture = std::fs::read_to_string(&file)?;
        ensure!(hovers(&picture)?.is_empty(), "{picture}");
        for part in [why, "--embedder"] {
            ensure!(ran.stderr.contains(part), "{ran:?}");
            ensure!(picture.contains(part), "{picture}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn map_of_an_embedded_vault_is_drawn_as_of_now_and_as_of_then() -> Result<()> {
    let home = TempDir::with_prefix("toka-test-plots-")?;
    let data = home.path().join("vault").display().to_string();
    let toka = Toka::new(home.path()).with_variable("TOKA_EMBEDDER", "hashed");
    let texts = [
        "\"turn the kitchen light on\"",
        "\"turn the kitchen light off\"",
        "\"will it rain tomorrow?\"",
        "\"play some quiet music\"",
    ];
    for text in texts {
        let commit = ["--data", data.as_str(), "commit", "message", text];
        toka.ok(&commit).await?;
    }
    let file = home.path().join("map.svg").display().to_string();
    let times: [&[&str]; 2] = [&[], &["--at", "2"]];
    for at in times {
        let list = ["--data", &data, "intents", "-o", "json"];
        let intents = toka.json(&[&list[..], at].concat()).await?;
        let plot = ["--data", &data, "intents", "--plot", &file];
        toka.ok(&[&plot[..], at].concat()).await?;
        let picture = std::fs::read_to_string(&file)?;
        ensure!(
            hovers(&picture)?.len() == intents.len(),
            "{at:?}: {picture}"
        );
        ensure!(picture.contains("turn the kitchen light"), "{picture}");
        ensure!(
            picture.contains("as of event 2") != at.is_empty(),
            "{picture}"
        );
    }
    Ok(())
}
