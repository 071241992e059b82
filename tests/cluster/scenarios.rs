//! What has gone wrong elsewhere: each test is one failure that etcd's robustness suite or an analysis of
//! JetStream has shown. docs/scenarios.md lists all of them, with the tests of other modules that show the
//! rest.

mod minority;
mod partition;
mod power_cut;
mod watch;

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};

/// Tests are linked as [`name`](path).
#[test]
fn every_test_that_the_list_names_is_there() -> Result<()> {
    let docs = toka_tests::manifest_dir().join("../docs");
    let list = std::fs::read_to_string(docs.join("scenarios.md"))?;
    let mut named = BTreeSet::new();
    for link in list.split("[`").skip(1) {
        let (name, rest) = link.split_once("`](").context("a link")?;
        let (path, _) = rest.split_once(')').context("the end of a link")?;
        let text = std::fs::read_to_string(docs.join(path)).with_context(|| path.to_owned())?;
        ensure!(
            text.contains(&format!("fn {name}(")),
            "{path} has no {name}"
        );
        named.insert(name);
    }
    for entry in std::fs::read_dir(toka_tests::manifest_dir().join("cluster/scenarios"))? {
        let text = std::fs::read_to_string(entry?.path())?;
        for test in text.split("#[tokio::test").skip(1) {
            let name = test.split("async fn ").nth(1).context("a test")?;
            let (name, _) = name.split_once('(').context("a test")?;
            ensure!(
                named.contains(name),
                "docs/scenarios.md does not name {name}"
            );
        }
    }
    Ok(())
}
