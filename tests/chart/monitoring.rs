//! Alerts, dashboard and what scrapes: against each other, the documents, and Prometheus' own tool.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use toka_tests::scrape::documented;
use toka_tests::{manifest_dir, promtool};

use crate::documents::{find, text};
use crate::helm::{FULL_NAME, Helm, NAMESPACE, RELEASE, Values};

const RULES: &str = "rules/toka-vault.yaml";
const DASHBOARD: &str = "dashboards/toka-vault.json";

fn root() -> Result<PathBuf> {
    let tests = manifest_dir();
    Ok(tests.parent().context("it has a parent")?.to_owned())
}

fn of_chart(path: &str) -> Result<String> {
    Ok(std::fs::read_to_string(Helm::chart()?.join(path))?)
}

/// Every alert of a list of groups.
fn alerts(groups: &Value) -> Result<Vec<&Value>> {
    let groups = groups.as_array().context("groups")?;
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().into_iter().flatten());
    Ok(rules.collect())
}

/// Those of the file, as it is.
fn rules(helm: &Helm) -> Result<Value> {
    let mut documents = helm.yaml(&of_chart(RULES)?)?;
    let mut document = documents.pop().context("a document")?;
    Ok(document["groups"].take())
}

/// The metric of a name in PromQL: buckets, sums and counts are of a histogram.
fn metric<'a>(name: &'a str, known: &BTreeSet<String>) -> &'a str {
    let mut suffixes = ["_bucket", "_sum", "_count"].into_iter();
    let stem = suffixes.find_map(|suffix| name.strip_suffix(suffix));
    stem.filter(|stem| known.contains(*stem)).unwrap_or(name)
}

fn check_known(place: &str, expression: &str, known: &BTreeSet<String>) -> Result<()> {
    let named = promtool::metrics_in(expression);
    ensure!(!named.is_empty(), "{place}: no metric in {expression}");
    for name in named {
        ensure!(
            known.contains(metric(name, known)),
            "{place}: {name} is not in docs/metrics.md"
        );
    }
    Ok(())
}

#[test]
fn alerts_fire_when_they_have_to_and_only_then() -> Result<()> {
    let root = root()?;
    let file = format!("charts/toka-vault/{RULES}");
    promtool::run(&["check", "rules", &file], "", &root)?;
    promtool::run(&["test", "rules", "tests/chart/alerts.yaml"], "", &root)
}

/// Whether a test looks for this alert, and whether it has to fire.
fn expects(case: &Value, name: &str, fires: bool) -> bool {
    let expected = case["exp_alerts"].as_array();
    let is_some = expected.is_some_and(|expected| !expected.is_empty());
    case["alertname"] == name && is_some == fires
}

#[test]
fn every_alert_is_tested_both_ways_and_has_a_section_of_what_to_do() -> Result<()> {
    let helm = Helm::new()?;
    let tests = std::fs::read_to_string(manifest_dir().join("chart").join("alerts.yaml"))?;
    let tests = helm.yaml(&tests)?.pop().context("a document")?;
    let tests = tests["tests"].as_array().context("tests")?;
    let cases: Vec<&Value> = tests
        .iter()
        .flat_map(|test| test["alert_rule_test"].as_array().into_iter().flatten())
        .collect();
    let operations = std::fs::read_to_string(root()?.join("docs").join("operations.md"))?;
    let mut names = BTreeSet::new();
    for alert in alerts(&rules(&helm)?)? {
        let name = text(&alert["alert"]);
        ensure!(names.insert(name.to_owned()), "{name} is there twice");
        for fires in [true, false] {
            ensure!(
                cases.iter().any(|case| expects(case, name, fires)),
                "{name}: no test in which it fires: {fires}"
            );
        }
        let section = format!("\n### {name}\n");
        ensure!(operations.contains(&section), "{name} has no section");
        let runbook = text(&alert["annotations"]["runbook_url"]);
        let anchor = format!("docs/operations.md#{}", name.to_lowercase());
        ensure!(runbook == anchor, "{name}: {runbook}");
        let severity = text(&alert["labels"]["severity"]);
        ensure!(
            ["critical", "warning"].contains(&severity),
            "{name}: {severity}"
        );
        for key in ["summary", "description"] {
            ensure!(
                !text(&alert["annotations"][key]).is_empty(),
                "{name}: {key}"
            );
        }
    }
    let sections = operations
        .lines()
        .filter_map(|line| line.strip_prefix("### Toka"));
    for section in sections {
        let name = format!("Toka{section}");
        ensure!(names.contains(&name), "there is no alert {name}");
    }
    Ok(())
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_there_are() -> Result<()> {
    let helm = Helm::new()?;
    let known = documented()?;
    for alert in alerts(&rules(&helm)?)? {
        check_known(text(&alert["alert"]), text(&alert["expr"]), &known)?;
    }
    let dashboard: Value = serde_json::from_str(&of_chart(DASHBOARD)?)?;
    let mut sections = Vec::new();
    for panel in dashboard["panels"].as_array().context("panels")? {
        let title = text(&panel["title"]);
        if panel["type"] == "row" {
            sections.push(title);
            continue;
        }
        let targets = panel["targets"].as_array().context("targets")?;
        ensure!(!targets.is_empty(), "{title} shows nothing");
        for target in targets {
            check_known(title, text(&target["expr"]), &known)?;
        }
    }
    let questions = ["Is it healthy?", "Is it fast?", "Is it full?"];
    ensure!(sections == questions, "{sections:?}");
    for variable in dashboard["templating"]["list"]
        .as_array()
        .context("variables")?
    {
        if variable["type"] == "query" {
            let query = text(&variable["definition"]);
            check_known(text(&variable["name"]), query, &known)?;
        }
    }
    // What an operator reads, too.
    let operations = std::fs::read_to_string(root()?.join("docs").join("operations.md"))?;
    let (_, runbooks) = operations.split_once("\n## Alerts\n").context("alerts")?;
    let (runbooks, _) = runbooks.split_once("\n## ").context("what follows")?;
    for name in promtool::metrics_in(runbooks) {
        ensure!(
            known.contains(metric(name, &known)),
            "operations.md: {name}"
        );
    }
    Ok(())
}

#[test]
fn queries_of_the_dashboard_are_promql() -> Result<()> {
    let dashboard: Value = serde_json::from_str(&of_chart(DASHBOARD)?)?;
    let panels = dashboard["panels"].as_array().context("panels")?;
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    // Each with a name of its own: promtool finds fault with a rule that is there twice.
    let rules: Vec<Value> = targets
        .enumerate()
        .map(|(number, target)| {
            let query = text(&target["expr"]).replace("$__rate_interval", "5m");
            json!({ "record": format!("query:number{number}"), "expr": query })
        })
        .collect();
    ensure!(!rules.is_empty(), "it asks for nothing");
    let directory = tempfile::tempdir()?;
    // JSON is YAML, too.
    let file = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    std::fs::write(directory.path().join("queries.yaml"), file.to_string())?;
    promtool::run(&["check", "rules", "queries.yaml"], "", directory.path())
}

#[test]
fn rules_of_the_chart_are_those_of_the_file() -> Result<()> {
    let helm = Helm::new()?;
    let render = |values: &Value| -> Result<Value> {
        let documents = helm.render(Values::Given(values))?;
        let rule = find(&documents, "PrometheusRule", FULL_NAME)?;
        ensure!(rule["apiVersion"] == "monitoring.coreos.com/v1");
        Ok(rule["spec"]["groups"].clone())
    };
    let backup = json!({ "enabled": true, "s3": { "bucket": "b" } });
    let with_backup = json!({ "prometheusRule": { "enabled": true }, "backup": backup });
    ensure!(render(&with_backup)? == rules(&helm)?, "they differ");

    let names = |groups: &Value| -> Result<BTreeSet<String>> {
        let all = alerts(groups)?.into_iter();
        Ok(all.map(|alert| text(&alert["alert"]).to_owned()).collect())
    };
    let changed = json!({
        "prometheusRule": {
            "enabled": true, "disabled": ["TokaAlarm"], "runbookUrl": "https://wiki.example/toka",
            "alertLabels": { "team": "agents" }, "extraGroups": [{ "name": "mine", "rules": [] }],
        },
    });
    let groups = render(&changed)?;
    let all = names(&rules(&helm)?)?;
    let left = names(&groups)?;
    let without: Vec<&String> = all.difference(&left).collect();
    // Without backups by the chart nobody promises one a day.
    ensure!(without == ["TokaAlarm", "TokaBackupTooOld"], "{without:?}");
    for alert in alerts(&groups)? {
        let runbook = text(&alert["annotations"]["runbook_url"]);
        ensure!(
            runbook.starts_with("https://wiki.example/toka#toka"),
            "{runbook}"
        );
        ensure!(alert["labels"]["team"] == "agents", "{alert}");
        ensure!(alert["labels"]["severity"].is_string(), "{alert}");
    }
    let groups = groups.as_array().context("groups")?;
    ensure!(groups.last().is_some_and(|group| group["name"] == "mine"));
    Ok(())
}

#[test]
fn pods_are_scraped_by_the_service_that_has_all_of_them() -> Result<()> {
    let helm = Helm::new()?;
    let monitoring = json!([{ "namespaceSelector": { "matchLabels": { "a": "b" } } }]);
    let values = json!({
        "serviceMonitor": { "enabled": true, "namespace": "monitoring", "labels": { "c": "d" } },
        "networkPolicy": { "monitoring": monitoring },
    });
    let documents = helm.render(Values::Given(&values))?;
    let monitor = find(&documents, "ServiceMonitor", FULL_NAME)?;
    ensure!(monitor["apiVersion"] == "monitoring.coreos.com/v1");
    ensure!(monitor["metadata"]["namespace"] == "monitoring");
    ensure!(monitor["metadata"]["labels"]["c"] == "d");
    let spec = &monitor["spec"];
    ensure!(spec["namespaceSelector"]["matchNames"] == json!([NAMESPACE]));
    let wanted = spec["selector"]["matchLabels"]
        .as_object()
        .context("labels")?;
    let found: Vec<&Value> = documents
        .iter()
        .filter(|document| document["kind"] == "Service")
        .filter(|service| {
            let labels = &service["metadata"]["labels"];
            wanted.iter().all(|(key, value)| labels[key] == *value)
        })
        .collect();
    let headless = find(&documents, "Service", &format!("{FULL_NAME}-headless"))?;
    ensure!(found == [headless], "{found:?}");
    let job = text(&spec["jobLabel"]);
    ensure!(headless["metadata"]["labels"][job] == RELEASE, "{job}");
    let endpoint = &spec["endpoints"][0];
    ensure!(endpoint["path"] == "/metrics", "{endpoint}");
    let ports = headless["spec"]["ports"].as_array().context("ports")?;
    ensure!(
        ports.iter().any(|port| port["name"] == endpoint["port"]),
        "{endpoint}"
    );

    let policy = find(&documents, "NetworkPolicy", FULL_NAME)?;
    let rules = policy["spec"]["ingress"].as_array().context("rules")?;
    let lets_in = |rule: &Value| {
        rule["ports"] == json!([{ "port": endpoint["port"] }]) && rule["from"] == monitoring
    };
    ensure!(rules.iter().any(lets_in), "{rules:?}");
    Ok(())
}

#[test]
fn notes_say_that_the_policy_may_keep_prometheus_out() -> Result<()> {
    let helm = Helm::new()?;
    let scraped = json!({ "serviceMonitor": { "enabled": true } });
    let notes = helm.notes(Values::Given(&scraped))?;
    ensure!(notes.contains("networkPolicy.monitoring"), "{notes}");
    let notes = helm.notes(Values::Default)?;
    ensure!(!notes.contains("networkPolicy.monitoring"), "{notes}");
    Ok(())
}

#[test]
fn dashboard_is_in_a_map_that_the_sidecar_finds() -> Result<()> {
    let helm = Helm::new()?;
    let values = json!({ "dashboard": { "enabled": true } });
    let documents = helm.render(Values::Given(&values))?;
    let map = find(&documents, "ConfigMap", &format!("{FULL_NAME}-dashboard"))?;
    ensure!(map["metadata"]["labels"]["grafana_dashboard"] == "1");
    let inside: Value = serde_json::from_str(text(&map["data"]["toka-vault.json"]))?;
    let file: Value = serde_json::from_str(&of_chart(DASHBOARD)?)?;
    ensure!(inside == file, "it was changed on its way");
    Ok(())
}
